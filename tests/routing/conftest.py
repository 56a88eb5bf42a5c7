"""A laboratory for each module of the routing's live tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest

from lab.netns import Lab

_numbers = count(1)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Return a laboratory for this module's tests."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    with Lab(f"rt{os.getpid()}n{next(_numbers)}") as made:
        yield made
