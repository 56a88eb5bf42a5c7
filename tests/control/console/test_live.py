"""The streams of open pages: what has changed is sent once, to all pages of the tenant."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from gateway.control.api.settings import SettingDesk
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.console import live
from gateway.control.console.live import Streams
from gateway.control.resources.settings import SETTINGS
from tests.control.console.conftest import NAME, Site
from tests.control.console.test_picture import tunnel
from tests.control.registry import connect


def of(message: bytes) -> tuple[str, Any]:
    head, data = message.decode().strip().split("\n")
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_a_page_gets_all_first_and_then_what_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAUSE_S", 0.01)
    tunnels = [tunnel(1, "up"), tunnel(2, "up")]
    versions: list[None] = []
    streams = Streams()
    async with aclosing(streams.open("main", lambda: tunnels, lambda: len(versions))) as page:
        assert (await anext(page)).startswith(b"retry:")
        event, all_ = of(await anext(page))
        assert (event, [one["id"] for one in all_]) == ("tunnels", ["tun-1", "tun-2"])
        assert of(await anext(page)) == ("counts", {"up": 2})
        assert of(await anext(page)) == ("alarms", 0)
        tunnels[1] = tunnel(2, "down")
        versions.append(None)
        event, changed = of(await anext(page))
        assert (event, [(one["id"], one["style"]) for one in changed]) == (
            "tunnels",
            [("tun-2", "down")],
        )
        assert of(await anext(page)) == ("counts", {"up": 1, "down": 1})
    async with asyncio.timeout(10):
        while streams._running:  # noqa: ASYNC110 # what is waited for has no event
            await asyncio.sleep(0.01)


async def test_a_page_that_does_not_read_costs_the_others_nothing() -> None:
    streams = Streams()
    async with (
        aclosing(streams.open("main", list)) as slow,
        aclosing(streams.open("main", list)) as quick,
    ):
        await anext(slow)
        await anext(quick)
        for number in range(300):
            streams.tell("main", "alarms", number)
        for _ in range(2):
            await anext(quick)
        assert of(await anext(quick)) == ("alarms", 0)


def test_the_same_version_is_not_looked_at_again_but_for_the_rates() -> None:
    version = [1]
    scope = live.Scope(list, lambda: version[0])
    assert [scope.is_due(at) for at in (10.0, 10.3, 10.6, 15.1)] == [True, False, False, True]
    version[0] = 2
    assert scope.is_due(15.2)


async def test_an_alarm_that_is_raised_is_told_by_number() -> None:
    raised = [0]
    scope = live.Scope(list, alarms=lambda: raised[0])
    assert await scope.news() == []
    raised[0] = 2
    assert await scope.news() == [("alarms", 2)]
    assert await scope.news() == []
    assert ("alarms", 2) in scope.all()


async def test_a_page_that_opens_takes_no_news_from_the_others() -> None:
    tunnels = [tunnel(1, "up")]
    streams = Streams()
    async with (
        aclosing(streams.open("main", lambda: tunnels)) as first,
        aclosing(streams.open("main", lambda: tunnels)) as second,
    ):
        for _ in range(4):
            await anext(first)
        tunnels[0] = tunnel(1, "down")
        for _ in range(2):
            await anext(second)
        event, changed = of(await asyncio.wait_for(anext(first), 1))
        assert (event, changed[0]["style"]) == ("tunnels", "down")


async def test_only_a_tunnel_that_looks_otherwise_is_made_anew(site: Site) -> None:
    root = Principal("local:root", OPERATOR, Scope.ADMIN)
    await connect(site.registry)
    source = site.console._source
    first, second = source.tunnels(root, None)
    same = zip((first, second), source.tunnels(root, None), strict=True)
    assert all(one is other for one, other in same)
    site.live[first["id"]] = {"operational": "up", "reason": None}
    again = {one["id"]: one for one in source.tunnels(root, None)}
    assert again[first["id"]]["status"]["operational"] == "up"
    assert again[second["id"]] is second
    await site.registry.update("vpn_tunnel", second["id"], {"name": "renamed"}, root)
    assert {one["name"] for one in source.tunnels(root, None)} == {first["name"], "renamed"}


async def test_a_stream_ends_so_that_the_page_must_show_its_session_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "LIFE_S", 0.05)
    monkeypatch.setattr(live, "QUIET_S", 0.02)
    async with asyncio.timeout(2):
        assert len([each async for each in Streams().open("main", list)]) >= 3


async def test_a_page_too_many_is_refused_until_another_one_has_gone(site: Site) -> None:
    await site.login()
    spec: dict[str, object] = {"per_credential": 1}
    root = Principal("local:root", OPERATOR, Scope.ADMIN)
    desk = SettingDesk(site.auth.desk, SETTINGS)
    await desk.change("waits", spec, root, None, expected=None, dry_run=False)
    with site.waits.hold(Principal(f"user:{NAME}", OPERATOR, Scope.ADMIN)):
        answer = await site.browser.get("/console/stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        assert answer.json()["code"] == "rate_limited"
