"""Whose a node's events are, and what they are called."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.events.events import Events, Wanted
from gateway.control.events.nodes import NodeEvents
from gateway.control.registry import Registry
from gateway.control.store.interface import Store
from gateway.control.store.sqlite import open_sqlite
from gateway.model.codes import Severity
from gateway.model.events import Event, Resource
from gateway.node.journal import Journal
from tests.control.registry import connect, fleet, running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    one = await open_sqlite(tmp_path / "store.db")
    yield one
    await one.close()


@pytest.fixture
async def registry(store: Store) -> AsyncIterator[Registry]:
    async with running(store) as one:
        await fleet(one)
        yield one


def event(kind: str, name: str, text: str = "", number: int = 1) -> Event:
    return Event(
        1e9 + number, "failover", Severity.WARNING, Resource(kind, name), text, sequence=number
    )


async def test_a_nodes_events_get_names_and_the_tenant_of_their_resource(
    registry: Registry, store: Store
) -> None:
    done = await connect(registry)
    first, second = done.others
    node = str(first.allocated["node"])
    events = Events(store, Journal(io.StringIO(), lambda: 0.0), lambda: 0.0)
    writing = asyncio.create_task(events.run())
    said = [
        event("vpn_connection", done.record.id, f"left {first.id}, by {second.id}", 1),
        event("vpn_tunnel", first.id, number=2),
        event("vpn_tunnel", second.id, number=3),  # on the other node
        event("vpn_tunnel", "tun-aaaaaaaaaa", number=4),
        event("node", "whatever", number=5),
        event("claim", first.id, number=6),
    ]
    await NodeEvents(events, registry.mirror).keep(node, said)
    found = {each.event.sequence: each async for each in events.stored(Wanted())}
    assert found[1].event.resource == Resource("vpn_connection", "office", done.record.id)
    assert found[1].event.text == "left office-1, by office-2"
    assert found[2].event.resource == Resource("vpn_tunnel", "office-1", first.id)
    tenants = [found[number].tenant for number in range(1, 7)]
    assert tenants == ["main", "main", "", "", "", ""]
    assert found[5].event.resource == Resource("node", "gw-a", node)
    assert {each.node for each in found.values()} == {node}
    writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
