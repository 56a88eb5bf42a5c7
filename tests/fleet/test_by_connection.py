"""What is kept of each connection: after any change it is what it would be if made anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.control import slices
from gateway.control.alarms.facts import Reading
from gateway.control.alarms.judge import Facts
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.api.requests import Requests
from gateway.control.api.status import Status
from gateway.control.mirror import Mirror
from gateway.control.nodes.by_connection import ByConnection
from gateway.control.nodes.reports import lease_name
from gateway.control.nodes.service import open_nodes
from gateway.control.registry import Registry
from gateway.control.resources.record import Record
from gateway.control.store.interface import Create, Delete, Key, Replace, Store
from gateway.control.store.sqlite import open_sqlite
from tests.control.registry import RING, ROOT, connect, fleet, make, running

NOW = 1_764_086_400.0
UP = {"operational": "up", "reason": None, "admin": "up"}
DOWN = {"operational": "down", "reason": {"code": "peer_silent", "text": "no answer"}}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path / "control.db")
    yield opened
    await opened.close()


async def told(store: Store, id: str, value: object) -> None:
    """Write what a node has told of itself or of a tunnel."""
    key, text = Key("state", id), json.dumps(value).encode()
    page = await store.list("state")
    old = {found.key: found.revision for found in page.objects}.get(key)
    write = Create(key, text) if old is None else Replace(key, text, old)
    await store.commit([write], "system:test")


async def deleted(store: Store, mirror: Mirror, id: str) -> None:
    record = mirror.get("state", id)
    assert record is not None
    await store.commit([Delete(record.key, record.revision)], "system:test")


async def steps(store: Store, registry: Registry) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Yield each kind of change that the status of a tunnel or connection can follow from."""
    mirror, update = registry.mirror, registry.update
    yield lambda: connect(registry)
    first, second = mirror.of_kind("vpn_tunnel")
    node = str(first.allocated["node"])
    (connection,) = mirror.of_kind("vpn_connection")
    lease = await store.acquire("other", "nobody", 60)
    yield lambda: store.acquire(lease_name(node), node, 60)
    yield lambda: told(store, node, {"node": node, "problem": {"code": "bad", "text": "no"}})
    yield lambda: told(store, node, {"node": node, "problem": None})
    yield lambda: told(store, first.id, UP)
    yield lambda: told(store, second.id, UP)
    yield lambda: store.acquire(lease_name(str(second.allocated["node"])), "n", 60)
    yield lambda: told(store, first.id, DOWN)
    yield lambda: update("vpn_tunnel", first.id, {"name": "renamed"}, ROOT)
    yield lambda: update("vpn_connection", connection.id, {"admin": "down"}, ROOT)
    yield lambda: update("vpn_connection", connection.id, {"admin": "up"}, ROOT)
    yield lambda: store.release(lease)
    yield lambda: deleted(store, mirror, second.id)
    yield lambda: registry.delete("vpn_tunnel", second.id, ROOT, cascade=True)
    yield lambda: registry.delete("vpn_connection", connection.id, ROOT, cascade=True)


async def test_what_is_kept_is_what_would_be_made_anew(store: Store) -> None:
    async with running(store) as registry, registry.mirror.subscribed() as commits:
        await fleet(registry)
        mirror = registry.mirror
        nodes = await open_nodes(store, mirror, RING, _keep, lambda *_: "1", Requests().see)
        status_of = Status(mirror, nodes.statuses.of).of
        reading = Reading(mirror, status_of, AlarmSettings(), NOW)
        kept: ByConnection[Facts] = ByConnection(mirror)
        await kept.current(reading.of_connection)
        told_of = set()
        async for step in steps(store, registry):
            await step()
            await mirror.reached(await store.revision())
            async for commit in commits:
                kept.take(commit)
                if commit.revision >= mirror.revision:
                    break
            anew = [reading.of_connection(one) for one in mirror.of_kind("vpn_connection")]
            assert list(await kept.current(reading.of_connection)) == anew
            told_of |= {each.code for facts in anew for each in facts.conditions}
        assert told_of == {"tunnel_down", "connection_down"}


async def _keep(*_: object) -> None:
    """Keep no events."""


async def test_a_change_costs_only_the_connections_that_it_touches(store: Store) -> None:
    async with running(store) as registry, registry.mirror.subscribed() as commits:
        await fleet(registry)
        for number in range(5):
            name, cidr = f"office-{number}", f"10.{number}.0.0/16"
            address = f"203.0.113.{number + 1}"
            await make(registry, "customer_gateway", name=name, public_addresses=[address])
            await connect(
                registry, name, customer_gateway=name, remote_cidrs=[cidr], routing="static"
            )
        kept: ByConnection[str] = ByConnection(registry.mirror)
        made: list[str] = []

        def note(record: Record) -> str:
            made.append(record.name)
            return record.name

        assert len(await kept.current(note)) == 5
        assert sorted(made) == [f"office-{number}" for number in range(5)]
        made.clear()
        tunnel = next(iter(registry.mirror.of_kind("vpn_tunnel")))
        node = str(tunnel.allocated["node"])
        await told(store, node, {"problem": None, "at": {"generation": 1}})
        await told(store, node, {"problem": None, "at": {"generation": 2}})
        await told(store, tunnel.id, UP)
        await registry.mirror.reached(await store.revision())
        seen = []
        async for commit in commits:
            seen.append(commit)
            if commit.revision >= registry.mirror.revision:
                break
        for commit in seen[-2:]:  # a node that has applied something, a tunnel that is up
            kept.take(commit)
        await kept.current(note)
        assert made == ["office-0"]
        kept.forget()
        assert len(await kept.current(note)) == 5
        assert len(made) == 6


async def test_others_have_their_turn_while_all_is_made_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)
    async with running(store) as registry:
        await fleet(registry)
        await connect(registry)
        turns: list[str] = []

        async def other() -> None:
            turns.append("other")

        def note(record: Record) -> str:
            turns.append(record.name)
            return record.name

        task = asyncio.create_task(other())
        await ByConnection[str](registry.mirror).current(note)
        turns.append("end")
        await task
        assert turns == ["office", "other", "end"]
