"""The routes of alarms and of their targets."""

from __future__ import annotations

import json

import httpx
import pytest

from gateway.control.alarms.judge import Condition
from gateway.control.alarms.kept import alarm_key, cleared, raised
from gateway.control.resources.record import Record
from gateway.control.store.interface import Create, Key
from gateway.model.events import Resource
from tests.control.alarms.receivers import hook
from tests.control.api.conftest import Plane

NOW = 1_764_086_400.0


async def put(
    plane: Plane, name: str, tenant: str = "main", *, at: float = NOW, over: bool = False
) -> str:
    """Put an alarm into the store; return its id."""
    resource = Resource("vpn_tunnel", name, f"tun-{name}")
    condition = Condition("tunnel_down", resource, tenant, f"{name} is down", at)
    key, value = alarm_key(condition.name), raised(condition, None, at)
    if over:
        value = cleared(Record(key.kind, key.id, value, 1), at + 60)
    revision = await plane.store.commit([Create(key, json.dumps(value).encode())], "system:test")
    await plane.mirror.reached(revision)
    return key.id


async def test_alarms_are_listed_read_and_acknowledged(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    ids = [await put(plane, name, at=NOW + at) for at, name in enumerate("abc")]
    over = await put(plane, "d", over=True)
    first = (await api.get("/v1/alarms?limit=3&state=raised")).json()
    assert [each["id"] for each in first["items"]] == ids[::-1]
    assert first["next"] is None
    page = (await api.get("/v1/alarms?limit=2")).json()
    rest = (await api.get(f"/v1/alarms?limit=2&after={page['next']}")).json()
    assert [each["id"] for each in rest["items"]] == sorted([ids[0], over])
    assert (await api.get("/v1/alarms?resource=a")).json()["items"][0]["text"] == "a is down"
    one = (await api.get(f"/v1/alarms/{ids[0]}")).json()
    assert (one["code"], one["title"], one["state"]) == ("tunnel_down", "Tunnel down", "raised")
    assert (one["raised_at"], one["cleared_at"]) == ("2025-11-25T16:00:00.000Z", None)
    done = await api.post(f"/v1/alarms/{ids[0]}/ack")
    assert done.json()["acknowledged_by"].startswith("token:")
    listed = (await api.get("/v1/alarms?acknowledged=true")).json()
    assert [each["id"] for each in listed["items"]] == [ids[0]]
    assert (await api.post(f"/v1/alarms/{over}/ack")).status_code == 409


async def test_a_tenants_alarms_are_its_own_and_reading_is_not_enough(plane: Plane) -> None:
    ours, theirs = await put(plane, "a"), await put(plane, "b", "acme")
    fleets = await put(plane, "c", "")
    for who, seen in {"main": {ours}, "acme": {theirs}, "operator": {ours, theirs, fleets}}.items():
        async with plane.client(who) as client:
            listed = (await client.get("/v1/alarms")).json()["items"]
            assert {each["id"] for each in listed} == seen
            for id in (ours, theirs, fleets):
                status = (await client.get(f"/v1/alarms/{id}")).status_code
                assert status == (200 if id in seen else 404)
    async with plane.client("read") as client:
        assert (await client.post(f"/v1/alarms/{ours}/ack")).status_code == 403
    async with plane.client("acme") as client:
        assert (await client.post(f"/v1/alarms/{ours}/ack")).status_code == 404


@pytest.mark.parametrize(
    "query", ["state=open", "severity=bad", "sort=code", "after=x", "acknowledged=1", "tag.a=b"]
)
async def test_what_makes_no_sense_is_refused(
    plane: Plane, api: httpx.AsyncClient, query: str
) -> None:
    await put(plane, "a")
    assert (await api.get(f"/v1/alarms?{query}")).status_code == 422


async def test_a_target_keeps_its_secret_and_can_be_tested(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    allowed = b'{"spec": {"target_networks": ["127.0.0.0/8"]}}'
    await plane.store.commit([Create(Key("setting", "alarms"), allowed)], "system:test")
    with hook() as seen:
        spec = {"name": "t", "type": "webhook", "url": seen.url, "webhook_secret": "s" * 16}
        made = (await api.post("/v1/alarm-targets", json=spec)).json()
        assert "webhook_secret" not in made
        assert made["webhook_secret_version"] == 1
        path = f"/v1/alarm-targets/{made['id']}"
        assert (await api.post(f"{path}/test")).json() == {"delivered": True, "detail": "taken"}
        body = json.loads(seen.bodies[0])
        assert (body["event"], body["resource"]["name"]) == ("test", "t")
        wrong = await api.patch(path, json={"body": "{{ text }}"})
        assert wrong.status_code == 422
        assert "does not make JSON" in wrong.json()["detail"]
        right = await api.patch(path, json={"body": '{"text": {{ text | tojson }}}'})
        assert right.status_code == 200
        await api.post(f"{path}/test")
        assert json.loads(seen.bodies[1]) == {"text": "a test of the alarm target t"}
    failed = (await api.post(f"{path}/test")).json()
    assert failed["delivered"] is False
    assert "connection refused" in failed["detail"]
    async with plane.client("acme") as client:
        assert (await client.post(f"{path}/test")).status_code == 404
    async with plane.client("read") as client:
        assert (await client.post(f"{path}/test")).status_code == 403
    assert (await api.delete(path)).status_code == 204
