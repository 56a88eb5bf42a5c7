"""Alarms of a store with real resources: raised once, told, cleared, by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.control.alarms import keeper as keepers
from gateway.control.alarms.delivery import Deliveries
from gateway.control.alarms.facts import Certificate, Reading
from gateway.control.alarms.keeper import Keeper
from gateway.control.alarms.settings import AlarmSettings, alarm_settings
from gateway.control.api.alarms import Alarms
from gateway.control.auth.principal import Principal, Scope
from gateway.control.events.events import Events, Wanted
from gateway.control.events.kept import Kept
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.resources.record import Record
from gateway.control.store.interface import Create, Key, NotFound, Replace, Store, Unavailable
from gateway.model.codes import Severity
from gateway.model.events import Event, Resource
from gateway.node.journal import Journal
from tests.control.alarms.receivers import hook
from tests.control.conftest import Opener
from tests.control.registry import RING, ROOT, connect, fleet, make, running

NOW = 1_764_086_400.0
SETTINGS = {
    "tunnel_down_s": 1,
    "connection_down_s": 1,
    "redundancy_lost_s": 1,
    "clear_s": 1,
    "target_networks": ["127.0.0.0/8"],
}


@dataclass
class World:
    """What nodes would have reported: the status of each resource by its id."""

    status: dict[str, dict[str, object]] = field(default_factory=dict)

    def of(self, record: Record) -> dict[str, object]:
        return self.status.get(record.id, _GOOD.get(record.kind, {}))


_GOOD: dict[str, dict[str, object]] = {
    "vpn_tunnel": {"admin": "up", "operational": "up", "reason": None},
    "vpn_connection": {"ha_status": "redundancy", "working": 2},
    "node": {"operational": "up", "generation_wanted": 7, "generation_applied": 7},
}
DOWN: dict[str, object] = {
    "admin": "up",
    "operational": "down",
    "since": "2026-01-01T00:00:00Z",
    "reason": {"code": "peer_unreachable", "text": "no response"},
}


@dataclass
class Process:
    """One control process, as far as alarms are concerned."""

    registry: Registry
    events: Events
    keeper: Keeper
    alarms: Alarms

    def raised(self) -> list[tuple[str, str]]:
        """Return code and resource of the alarms that are raised."""
        found = self.alarms.of(ROOT, None)
        return sorted(
            (str(one.value["code"]), str(one.value["resource"]["name"]))
            for one in found
            if one.value["state"] == "raised"
        )

    async def until(self, holds: Callable[[], bool], most_s: float = 40.0) -> None:
        async with asyncio.timeout(most_s):
            while not holds():
                await self.registry.mirror.reached(self.registry.mirror.revision + 1)


class Line:
    """A store behind a line that can be cut, as if its process had died."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_cut = False

    def __getattr__(self, name: str) -> Any:
        if self.is_cut:
            raise Unavailable("cut")
        return getattr(self._store, name)


@contextlib.asynccontextmanager
async def process(
    store: Any, world: World, name: str, *, delivers: bool = True
) -> AsyncIterator[Process]:
    journal = Journal(io.StringIO(), time.time)
    async with running(store) as registry:
        events = Events(store, journal, time.time)
        deliveries = Deliveries(registry.mirror, RING, events, journal, (0.05, 0.05))
        keeper = Keeper(
            store,
            registry.mirror,
            events,
            deliveries,
            journal,
            holder=name,
            status_of=world.of,
            clock=time.time,
        )
        jobs = [events.run(), keeper.run()] + ([deliveries.run()] if delivers else [])
        tasks = [asyncio.create_task(job) for job in jobs]
        alarms = Alarms(store, registry.mirror, events, deliveries)
        yield Process(registry, events, keeper, alarms)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def settings(store: Store, **more: Any) -> None:
    key, value = Key("setting", "alarms"), json.dumps({"spec": {**SETTINGS, **more}}).encode()
    await store.commit([Create(key, value)], "system:test")


async def stir(store: Store, tunnel: Record) -> None:
    """Commit what a report of a tunnel would: whoever waits looks again."""
    key = Key("state", tunnel.id)
    try:
        old = await store.get(key)
    except NotFound:
        await store.commit([Create(key, b"{}")], "system:test")
    else:
        await store.commit([Replace(key, b"{}", old.revision)], "system:test")


async def test_an_alarm_is_raised_once_told_acknowledged_and_cleared(store: Store) -> None:
    world = World()
    await settings(store)
    async with process(store, world, "control-a") as one:
        await fleet(one.registry)
        tunnel, _ = (await connect(one.registry)).others
        with hook() as seen:
            await make(one.registry, "alarm_target", name="t", type="webhook", url=seen.url)
            world.status[tunnel.id] = DOWN
            await stir(store, tunnel)
            await one.until(lambda: one.raised() == [("tunnel_down", "office-1")])
            (alarm,) = one.alarms.of(ROOT, None)
            assert alarm.value["text"] == "tunnel office-1 is down: no response"
            assert alarm.value["hint"].startswith("is the peer running")
            operator = Principal("user:ops", "main", Scope.OPERATE)
            done = await one.alarms.acknowledge(alarm.id, operator)
            assert done.value["acknowledged_by"] == "user:ops"
            assert (await one.alarms.acknowledge(alarm.id, ROOT)).revision == done.revision
            del world.status[tunnel.id]
            await stir(store, tunnel)
            await one.until(lambda: one.raised() == [])
            await asyncio.to_thread(seen.wait_for, 2)
        told = [json.loads(body) for body in seen.bodies]
        assert [(each["event"], each["code"]) for each in told] == [
            ("raised", "tunnel_down"),
            ("cleared", "tunnel_down"),
        ]
        with pytest.raises(ApiProblem, match="is over"):
            await one.alarms.acknowledge(alarm.id, ROOT)
        await one.until(lambda: all(each.value["told"] for each in one.alarms.of(ROOT, None)))
        await one.events.settled()
        codes = [each.event.code async for each in one.events.stored(Wanted(kind="vpn_tunnel"))]
        assert codes == ["alarm_cleared", "alarm_acknowledged", "alarm_raised"]


async def test_another_process_goes_on_within_seconds_and_raises_nothing_twice(
    opener: Opener,
) -> None:
    world, line, second_store = World(), Line(await opener()), await opener()
    await settings(second_store)
    # The first one raises an alarm, and dies before anybody is told.
    async with process(line, world, "control-a", delivers=False) as first:
        await fleet(first.registry)
        one, other = (await connect(first.registry)).others
        await first.until(lambda: first.keeper.is_holder)
        async with process(second_store, world, "control-b") as second:
            with hook() as seen:
                await make(first.registry, "alarm_target", name="t", type="webhook", url=seen.url)
                world.status[one.id] = DOWN
                await stir(second_store, one)
                await second.until(lambda: second.raised() == [("tunnel_down", "office-1")])
                assert not second.keeper.is_holder
                line.is_cut = True
                began_at = time.monotonic()
                world.status[other.id] = DOWN
                both = [("tunnel_down", "office-1"), ("tunnel_down", "office-2")]
                await second.until(lambda: second.raised() == both, 20.0)
                assert time.monotonic() - began_at < keepers.TTL_S + 5
                await asyncio.to_thread(seen.wait_for, 2)
            assert {each.value["count"] for each in second.alarms.of(ROOT, None)} == {1}
            told = {json.loads(body)["resource"]["name"] for body in seen.bodies}
            assert told == {"office-1", "office-2"}
            assert len(seen.bodies) == 2


async def test_who_takes_over_calls_no_node_lost_before_it_could_report(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "NODES_S", 3600.0)
    world = World()
    await settings(store)
    async with process(store, world, "control-a") as one:
        await fleet(one.registry)
        tunnel, _ = (await connect(one.registry)).others
        node = str(tunnel.allocated["node"])
        world.status |= {node: {"operational": "lost"}, tunnel.id: DOWN}
        await stir(store, tunnel)
        await one.until(lambda: one.raised() == [("tunnel_down", "office-1")])
    world.status[tunnel.id] = _GOOD["vpn_tunnel"]
    async with process(store, world, "control-b") as other:
        await stir(store, tunnel)
        await other.until(lambda: other.raised() == [])  # it has looked
        monkeypatch.setattr(keepers, "NODES_S", 0.0)  # as if so long had gone by
        await stir(store, tunnel)
        await other.until(lambda: other.raised() == [("node_lost", "gw-a")])


async def test_a_node_that_is_lost_is_one_alarm_and_its_tunnels_are_not_judged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "NODES_S", 0.0)
    world = World()
    await settings(store)
    async with process(store, world, "control-a") as one:
        await fleet(one.registry)
        tunnel, _ = (await connect(one.registry)).others
        node = str(tunnel.allocated["node"])
        world.status[node] = {"operational": "lost"}
        world.status[tunnel.id] = {"admin": "up", "operational": "unknown"}
        world.status[str(tunnel.of("vpn_connection"))] = {
            "ha_status": "no_redundancy",
            "working": 1,
        }
        await stir(store, tunnel)
        await one.until(lambda: one.raised() == [("node_lost", "gw-a")])
        await asyncio.sleep(1.5)
        assert one.raised() == [("node_lost", "gw-a")]
        world.status.clear()
        await stir(store, tunnel)
        await one.until(lambda: one.raised() == [])


async def test_a_tunnel_that_flaps_by_the_events_of_its_node(store: Store) -> None:
    world = World()
    await settings(store, flapping_s=60, flapping_count=3)
    async with process(store, world, "control-a") as one:
        await fleet(one.registry)
        tunnel, _ = (await connect(one.registry)).others
        resource = Resource("vpn_tunnel", tunnel.name, tunnel.id)
        now = time.time()
        for number in range(3):
            down = Event(now + number, "tunnel_down", Severity.WARNING, resource, "down")
            one.events.record(Kept(down, "main", "n"))
        await one.until(lambda: one.raised() == [("tunnel_flapping", "office-1")])


# ---- what holds ----


@pytest.fixture
async def registry(store: Store) -> AsyncIterator[Registry]:
    async with running(store) as one:
        await fleet(one)
        yield one


def held(registry: Registry, world: World, **more: Any) -> dict[str, str]:
    """Return the texts of the conditions that hold, by code."""
    reading = Reading(registry.mirror, world.of, more.pop("settings", AlarmSettings()), NOW, **more)
    parts = [reading.of_connection(one) for one in registry.mirror.of_kind("vpn_connection")]
    return {each.code: each.text for each in reading.facts(parts).conditions}


async def test_what_is_well_is_no_condition(registry: Registry) -> None:
    await connect(registry)
    assert held(registry, World()) == {}


async def test_a_connection_with_one_customer_address_never_had_redundancy(
    registry: Registry,
) -> None:
    done = await connect(registry)
    world = World({done.record.id: {"ha_status": "no_redundancy", "working": 2}})
    assert held(registry, world) == {}
    await make(
        registry,
        "customer_gateway",
        name="branch",
        public_addresses=["203.0.113.60", "203.0.113.61"],
        asn=65002,
    )
    two = await connect(registry, "branch", customer_gateway="branch")
    world.status[two.record.id] = {"ha_status": "no_redundancy", "working": 1}
    assert "redundancy_lost" in held(registry, world)
    world.status[two.record.id] = {"ha_status": "no_redundancy", "working": 0}
    assert held(registry, world)["connection_down"] == "no tunnel of connection branch works"


async def test_what_nobody_wants_up_is_no_alarm(registry: Registry) -> None:
    done = await connect(registry)
    off = {"admin": "down", "operational": "down"}
    world = World({one.id: dict(off) for one in done.others})
    world.status[done.record.id] = {"ha_status": "no_redundancy", "working": 0}
    assert held(registry, world) == {}


async def test_nodes_that_are_late_or_whose_certificate_ends(registry: Registry) -> None:
    (node, *_) = registry.mirror.of_kind("node")
    late = {"operational": "up", "generation_wanted": 8, "generation_applied": 7}
    world = World({node.id: {**late, "certificate_until": "2025-11-27T00:00:00Z"}})
    found = held(registry, world)
    assert found["generation_late"] == "node gw-a has generation 7, wanted is 8"
    assert found["credential_ending"].startswith("the certificate of node gw-a ends on 2025-11-2")
    world.status[node.id] = {**late, "operational": "new", "generation_applied": None}
    assert held(registry, world) == {}


async def test_tokens_certificates_and_quotas(registry: Registry, store: Store) -> None:
    day = 86_400.0
    ends = {"tok-soon": NOW + 3 * day, "tok-later": NOW + 30 * day, "tok-over": NOW - day}
    for id, at in ends.items():
        value = json.dumps({"tenant": "main", "name": id, "expires_at": at}).encode()
        await store.commit([Create(Key("token", id), value)], "system:test")
    quota = b'{"spec": {"border_gateway": 1, "customer_gateway": 10, "vpc_attachment": 0}}'
    revision = await store.commit([Create(Key("setting", "quotas"), quota)], "system:test")
    await registry.mirror.reached(revision)
    certificate = Certificate("api.pem", NOW + 2 * day)
    found = held(registry, World(), certificate=certificate)
    assert set(found) == {"token_ending", "certificate_ending", "quota_reached"}
    assert "tok-soon" in found["token_ending"]
    near = AlarmSettings(quota_percent=10)
    assert (
        held(registry, World(), settings=near)["quota_near"]
        == "1 of 10 Customer Gateways are there"
    )
    key, quota = Key("setting", "quotas"), b'{"spec": {"token": 3}}'
    revision = await store.commit([Replace(key, quota, revision)], "system:test")
    await registry.mirror.reached(revision)
    assert held(registry, World())["quota_reached"] == "3 of 3 tokens are there"


async def test_settings_of_another_version_are_the_defaults(
    registry: Registry, store: Store
) -> None:
    assert alarm_settings(registry.mirror) == AlarmSettings()
    value = b'{"spec": {"of_tomorrow": 1}}'
    revision = await store.commit([Create(Key("setting", "alarms"), value)], "system:test")
    await registry.mirror.reached(revision)
    assert alarm_settings(registry.mirror) == AlarmSettings()
