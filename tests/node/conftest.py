"""Fixtures of the node's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.dataplane.plane import LocalPlane
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip, own_network


@pytest.fixture
def network() -> Iterator[None]:
    """A network namespace for this test alone."""
    with own_network():
        yield


@pytest.fixture
async def gw(network: None) -> AsyncIterator[Parts]:
    """A gateway without a tunnel, on a machine that has the public addresses of `document`."""
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")
    with LocalPlane(1) as plane, parts(plane) as made:
        yield made
