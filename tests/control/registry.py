"""A registry on a real store, for tests: its resources, made by short calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.control.auth.principal import Principal, Scope
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem
from gateway.control.registry import Done, Registry
from gateway.control.resources.record import Record
from gateway.control.secrets import KeyRing, new_master_key
from gateway.control.store.interface import Store

ROOT = Principal("local:root", "", Scope.ADMIN)
RING = KeyRing([new_master_key()])


@contextlib.asynccontextmanager
async def running(store: Store, ring: KeyRing = RING) -> AsyncIterator[Registry]:
    """Give a registry whose mirror follows the store."""
    mirror = Mirror(store)
    following = asyncio.create_task(mirror.run())
    await mirror.ready.wait()
    try:
        yield Registry(store, mirror, ring)
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def make(registry: Registry, kind: str, who: Principal = ROOT, **fields: Any) -> Record:
    """Make a resource and return it."""
    return (await registry.create(kind, fields, who)).record


async def refused(registry: Registry, kind: str, **fields: Any) -> ApiProblem:
    """Return why a resource can not be made."""
    before = registry.mirror.revision
    with pytest.raises(ApiProblem) as caught:
        await registry.create(kind, fields, ROOT)
    assert registry.mirror.revision == before
    return caught.value


async def fleet(registry: Registry) -> None:
    """Make two nodes, a Border Gateway with what lies behind it, and a Customer Gateway."""
    for name, address in (("gw-a", "198.51.100.11"), ("gw-b", "198.51.100.12")):
        await make(registry, "node", name=name, public_addresses=[address])
    await make(registry, "border_gateway", name="main")
    await make(
        registry,
        "vpc_attachment",
        name="vpc",
        border_gateway="main",
        interface="eth1",
        cidrs=["192.168.0.0/16"],
    )
    await make(
        registry, "customer_gateway", name="office", public_addresses=["203.0.113.50"], asn=65001
    )


async def connect(registry: Registry, name: str = "office", **fields: Any) -> Done:
    """Make a VPN Connection between the two of `fleet`."""
    wanted = {
        "name": name,
        "border_gateway": "main",
        "customer_gateway": "office",
        "routing": "bgp",
        "remote_cidrs": ["10.0.0.0/16"],
    }
    return await registry.create("vpn_connection", wanted | fields, ROOT)
