"""The routes of events."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gateway.control.events.kept import Kept
from gateway.model.codes import Severity
from gateway.model.events import Event, Resource
from tests.control.api.conftest import Plane

NOW = 1_764_086_400.25


def event(number: int = 1, tenant: str = "main", code: str = "tunnel_down") -> Kept:
    resource = Resource("vpn_tunnel", "office-1", "tun-aaaaaaaaaa")
    said = Event(NOW + number, code, Severity.WARNING, resource, "down", sequence=number)
    return Kept(said, tenant, "node-aaaaaaaaaa")


async def test_events_are_listed_followed_and_filtered(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    start = (await api.get("/v1/events/follow")).json()
    assert start["items"] == []
    plane.events.record(event(1), event(2, code="tunnel_up"), event(3, tenant="acme"))
    await plane.events.settled()
    listed = (await api.get("/v1/events?kind=vpn_tunnel&limit=2")).json()
    assert [each["sequence"] for each in listed["items"]] == [3, 2]
    assert listed["items"][0]["at"] == "2025-11-25T16:00:03.250Z"
    more = (await api.get(f"/v1/events?kind=vpn_tunnel&limit=2&after={listed['next']}")).json()
    assert [each["sequence"] for each in more["items"]] == [1]
    only = (await api.get("/v1/events?code=tunnel_up&since=2025-11-25T16:00:00Z")).json()
    assert [each["sequence"] for each in only["items"]] == [2]
    news = (await api.get(f"/v1/events/follow?after={start['revision']}&wait=5")).json()
    assert [each["sequence"] for each in news["items"]] == [1, 2, 3]


async def test_who_waits_is_told_at_once_what_somebody_changes(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    start = (await api.get("/v1/events/follow")).json()["revision"]
    path = f"/v1/events/follow?after={start}&wait=20&code=created"
    waiting = asyncio.create_task(api.get(path))
    await api.post("/v1/border-gateways", json={"name": "hq"})
    async with asyncio.timeout(5):
        (made,) = (await waiting).json()["items"]
    assert (made["code"], made["resource"]["name"]) == ("created", "hq")
    assert made["text"].startswith("Created by token:tok-")


async def test_a_tenant_sees_its_own_events_alone(plane: Plane) -> None:
    plane.events.record(event(1), event(2, tenant="acme"), event(3, tenant=""))
    await plane.events.settled()
    for who, numbers in {"acme": [2], "main": [1], "operator": [3, 2, 1]}.items():
        async with plane.client(who) as client:
            found = (await client.get("/v1/events?kind=vpn_tunnel")).json()
            assert [one["sequence"] for one in found["items"]] == numbers
    async with plane.client("operator") as client:
        found = (await client.get("/v1/events?kind=vpn_tunnel&tenant=acme")).json()
        assert [one["sequence"] for one in found["items"]] == [2]
    async with plane.client("acme") as client:
        assert (await client.get("/v1/events?tenant=main")).status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("code=none", "code"),
        ("severity=bad", "severity"),
        ("since=yesterday", "since"),
        ("until=2026-01-01", "until"),
        ("sort=name", "sort"),
        ("after=x", "after"),
        ("limit=0", "limit"),
        ("tag.a=b", "tag.a"),
        ("colour=red", "colour"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_its_field(
    api: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await api.get(f"/v1/events?{query}")
    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize("query", ["wait=61", "wait=x", "after=x", "after=-1"])
async def test_who_follows_must_ask_with_numbers(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/v1/events/follow?{query}")).status_code == 422


async def test_a_tenant_that_waits_too_often_is_refused_and_others_wait_on(plane: Plane) -> None:
    async with plane.client() as root, plane.client("acme") as acme, plane.client("main") as main:
        limits = {"per_credential": 1, "per_tenant": 2}
        assert (await root.patch("/v1/settings/waits", json=limits)).status_code == 200
        start = (await acme.get("/v1/events/follow")).json()["revision"]
        path = f"/v1/events/follow?after={start}&wait=20"
        both = [asyncio.create_task(acme.get(path)) for _ in range(2)]
        done, left = await asyncio.wait(both, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        (refused,), (waiting,) = [one.result() for one in done], left
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "10"
        assert refused.json()["code"] == "rate_limited"
        assert "per_credential of the setting waits" in refused.json()["detail"]
        other = asyncio.create_task(main.get(path))
        plane.events.record(event(1, tenant="acme"), event(2))
        async with asyncio.timeout(5):
            assert [one.status_code for one in (await waiting, await other)] == [200, 200]
            assert (await acme.get("/v1/events/follow?after=0&wait=1")).status_code == 200
