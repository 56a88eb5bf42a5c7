"""Fixtures of the node's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.node.network import own_network


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace for this test alone."""
    with own_network():
        yield
