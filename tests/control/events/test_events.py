"""Events of the control plane: written in batches, once each, found again, followed, forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from gateway.control.events.events import DAY_S, Events, Wanted
from gateway.control.events.kept import Kept, id_at, kept_of, time_of
from gateway.control.events.timeline import Timeline
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.store.interface import Store
from gateway.model.codes import Severity
from gateway.model.events import Event, Resource
from gateway.node.journal import Journal
from tests.control.conftest import Opener
from tests.control.registry import ROOT, make, running

NOW = 1_764_086_400.25


@dataclass
class Here:
    """Events on a real store, with a clock of the test's own."""

    store: Store
    registry: Registry
    now: float = NOW
    events: Events = field(init=False)
    timeline: Timeline = field(init=False)

    def __post_init__(self) -> None:
        journal = Journal(io.StringIO(), lambda: self.now)
        self.events = Events(self.store, journal, lambda: self.now)
        self.timeline = Timeline(self.store, self.events, self.registry.mirror)

    async def all(self, **wanted: object) -> list[Kept]:
        return [each async for each in self.events.stored(Wanted(**wanted))]  # type: ignore[arg-type] # of the test


@pytest.fixture
async def here(store: Store) -> AsyncIterator[Here]:
    async with running(store) as registry:
        one = Here(store, registry)
        writing = asyncio.create_task(one.events.run())
        yield one
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing


def event(at: float = NOW, code: str = "tunnel_down", number: int = 1, **more: str) -> Kept:
    resource = Resource("vpn_tunnel", more.pop("name", "office-1"), more.pop("id", "tun-a"))
    said = Event(
        at, code, Severity.WARNING, resource, "down", more.pop("reason", ""), sequence=number
    )
    return Kept(said, more.pop("tenant", "main"), more.pop("node", "node-a"))


# ---- ids ----


def test_later_events_have_lower_ids() -> None:
    ids = [event(at=NOW + more).id for more in (0.0, 0.000001, 1.0, 1e6)]
    assert ids == sorted(ids, reverse=True)
    assert time_of(ids[0]) == pytest.approx(NOW)
    assert time_of("ev-1") is None
    assert time_of("tun-abc") is None


def test_an_event_is_the_same_in_the_store() -> None:
    assert kept_of(event().value()) == event()


# ---- in and out ----


async def test_what_a_node_says_twice_is_one_event(here: Here) -> None:
    said = [event(number=number) for number in range(5)]
    here.events.record(*said)
    here.events.record(*said)
    await here.events.settled()
    here.events.record(said[0], event(number=9))
    await here.events.settled()
    assert len(await here.all()) == 6


async def test_many_events_are_few_commits(here: Here) -> None:
    before = await here.store.revision()
    here.events.record(*(event(at=NOW + number, number=number) for number in range(200)))
    await here.events.settled()
    assert len(await here.store.changes(before)) == 5
    found = await here.all()
    assert [each.event.sequence for each in found] == list(range(199, -1, -1))


async def test_events_are_found_by_tenant_code_resource_and_time(here: Here) -> None:
    here.events.record(
        event(NOW - 10, "tunnel_up", 1),
        event(NOW, reason="peer_unreachable", number=2),
        event(NOW + 10, name="branch", id="tun-b", tenant="acme", node="node-b", number=3),
    )
    await here.events.settled()

    async def numbers(**wanted: object) -> list[int]:
        return [each.event.sequence for each in await here.all(**wanted)]

    assert await numbers() == [3, 2, 1]
    assert await numbers(tenant="acme") == [3]
    assert await numbers(tenant="main") == [2, 1]
    assert await numbers(code="tunnel_down") == [3, 2]
    assert await numbers(code="peer_unreachable") == [2]
    assert await numbers(resource="tun-a") == [2, 1]
    assert await numbers(resource="branch") == [3]
    assert await numbers(node="node-b", severity="warning", kind="vpn_tunnel") == [3]
    assert await numbers(since=NOW) == [3, 2]
    assert await numbers(until=NOW) == [2, 1]
    assert await numbers(since=NOW - 5, until=NOW + 5) == [2]


async def test_old_events_are_forgotten(here: Here) -> None:
    ages = (0.0, 29.0, 31.0, 400.0)
    here.events.record(*(event(NOW - days * DAY_S, number=int(days)) for days in ages))
    await here.events.settled()
    assert await here.events.sweep(30) == 2
    assert await here.events.sweep(30) == 0
    assert [each.event.sequence for each in await here.all()] == [0, 29]


# ---- with what the history says ----


async def test_changes_of_resources_are_events_without_their_secrets(here: Here) -> None:
    made = await make(here.registry, "border_gateway", name="main")
    await here.registry.update("border_gateway", made.id, {"asn": 65001}, ROOT)
    await here.registry.delete("border_gateway", made.id, ROOT)
    page = await here.timeline.page(Wanted(), None, 10)
    assert [(each.event.code, each.event.text) for each in page.items] == [
        ("deleted", "Deleted by local:root"),
        ("changed", "Changed by local:root: asn"),
        ("created", "Created by local:root"),
    ]
    assert {each.event.resource for each in page.items} == {
        Resource("border_gateway", "main", made.id)
    }
    assert page.after is None


async def test_pages_hold_every_event_once_in_order(here: Here) -> None:
    here.now = 0.0
    for number in range(6):
        await make(here.registry, "border_gateway", name=f"bgw{number}")
    found = [each for each in (await here.timeline.page(Wanted(), None, 100)).items]
    first, last = found[-1].event.at, found[0].event.at
    step = (last - first) / 9
    here.events.record(*(event(first + step * k, number=k) for k in range(10)))
    await here.events.settled()
    whole = await here.timeline.page(Wanted(), None, 100)
    assert len(whole.items) == 16
    assert [each.id for each in whole.items] == sorted(each.id for each in whole.items)
    for size in (1, 3, 7, 16):
        pieces: list[Kept] = []
        after: str | None = None
        while True:
            page = await here.timeline.page(Wanted(), after, size)
            pieces += page.items
            if (after := page.after) is None:
                break
        assert pieces == list(whole.items)


async def test_who_follows_gets_what_comes_and_can_go_on(here: Here) -> None:
    start = await here.timeline.news(Wanted(), None, 0)
    assert start.items == ()
    waiting = asyncio.create_task(here.timeline.news(Wanted(code="tunnel_down"), start.revision, 9))
    await make(here.registry, "border_gateway", name="main")
    here.events.record(event(number=1))
    news = await waiting
    assert [each.event.code for each in news.items] == ["tunnel_down"]
    assert (await here.timeline.news(Wanted(), news.revision, 0.05)).items == ()
    again = await here.timeline.news(Wanted(), start.revision, 5)
    assert "created" in [each.event.code for each in again.items]


async def test_who_follows_from_too_long_ago_is_told_so(here: Here) -> None:
    await make(here.registry, "border_gateway", name="main")
    await here.store.compact(await here.store.revision())
    with pytest.raises(ApiProblem) as caught:
        await here.timeline.news(Wanted(), 0, 1)
    assert (caught.value.status, caught.value.code) == (410, "expired")
    with pytest.raises(ApiProblem, match="there is no revision"):
        await here.timeline.news(Wanted(), 10**9, 1)


@pytest.mark.parametrize("after", ["", "x", "ev-1~2", f"{id_at(NOW)}-0123456789ab", "~7"])
async def test_what_was_no_next_is_refused(here: Here, after: str) -> None:
    with pytest.raises(ApiProblem, match="is not what `next` of a page was"):
        await here.timeline.page(Wanted(), after, 10)


async def test_two_processes_write_the_same_event_once(opener: Opener) -> None:
    first, second = await opener(), await opener()
    both = [
        Events(one, Journal(io.StringIO(), lambda: NOW), lambda: NOW) for one in (first, second)
    ]
    tasks = [asyncio.create_task(each.run()) for each in both]
    for each in both:
        each.record(*(event(number=number) for number in range(60)))
    for each in both:
        await each.settled()
    found = [each async for each in both[0].stored(Wanted())]
    assert len(found) == 60
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_the_id_tells_events_apart() -> None:
    one = event()
    others = [
        event(number=2),
        event(code="tunnel_up"),
        event(node="node-b"),
        event(id="tun-b"),
        replace(one, tenant="acme"),
    ]
    assert len({each.id for each in (one, *others)}) == 6
