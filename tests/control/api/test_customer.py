"""The route of a customer's device: what it answers, to whom, and what stands in the log."""

from __future__ import annotations

import httpx
import pytest

from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.resources.record import Record
from gateway.customer.catalog import DEVICES
from tests.control.api.conftest import Json, Plane, make_examples

KEY = "a-Key-that-is-long-enough-4-it"


@pytest.fixture
async def made(api: httpx.AsyncClient) -> dict[str, Json]:
    made = await make_examples(api)
    for tunnel in (await api.get("/v1/vpn-tunnels")).json()["items"]:
        changed = await api.patch(f"/v1/vpn-tunnels/{tunnel['id']}", json={"psk": KEY})
        assert changed.status_code == 200, changed.text
    return made


def path(made: dict[str, Json], query: str) -> str:
    return f"/v1/vpn-connections/{made['vpn_connection']['id']}/customer-config?{query}"


async def test_the_devices_are_listed(api: httpx.AsyncClient) -> None:
    items = (await api.get("/v1/customer-devices")).json()["items"]
    assert [one["device"] for one in items] == list(DEVICES)


async def test_the_configuration_has_the_names_that_people_know(
    api: httpx.AsyncClient, made: dict[str, Json]
) -> None:
    answer = await api.get(path(made, "device=generic"))
    assert answer.status_code == 200, answer.text
    text = answer.json()["files"][0]["text"]
    assert f"VPN Connection {made['vpn_connection']['name']}" in text
    assert "tun-" not in text
    assert "conn-" not in text
    assert KEY not in text
    assert any("keys are left out" in note for note in answer.json()["notes"])


async def test_keys_are_told_to_who_may_operate_and_it_is_noted(
    plane: Plane, made: dict[str, Json]
) -> None:
    async with plane.client("read") as reader:
        assert (await reader.get(path(made, "device=generic"))).status_code == 200
        refused = await reader.get(path(made, "device=generic&secrets=true"))
        assert refused.status_code == 403
    async with plane.client("operate") as operator:
        told = await operator.get(path(made, "device=generic&secrets=true"))
        assert KEY in told.json()["files"][0]["text"]
    async with plane.client() as root:
        log = (await root.get("/v1/audit-log?kind=access")).json()["items"]
    assert log
    assert KEY not in str(log)


async def test_it_is_of_one_tenant(plane: Plane, made: dict[str, Json]) -> None:
    async with plane.client("acme") as other:
        assert (await other.get(path(made, "device=generic"))).status_code == 404


async def test_one_tunnel_by_its_name_or_id(api: httpx.AsyncClient, made: dict[str, Json]) -> None:
    first = (await api.get("/v1/vpn-tunnels")).json()["items"][0]
    for word in (first["name"], first["id"]):
        answer = await api.get(path(made, f"device=generic&tunnel={word}"))
        assert answer.json()["files"][0]["text"].count("\n## ") == 1


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("", "device", "must be one of strongswan"),
        ("device=pix", "device", "must be one of strongswan"),
        ("device=generic&tunnel=none", "device", "none has this name"),
        ("device=generic&secrets=maybe", "secrets", "must be true or false"),
        ("device=generic&wan_interface=a%20b", "wan_interface", "is no name of an interface"),
        ("device=generic&first_number=-1", "first_number", "must be a number"),
        ("device=generic&first_number=9999", "first_number", "must be 0 to 4000"),
        ("device=generic&announce=10.0.0.1/8", "announce", "has host bits set"),
        ("device=mikrotik", "device", "only policy"),
        ("device=generic&colour=red", "colour", "no such parameter"),
    ],
)
async def test_what_is_wrong_is_named(
    api: httpx.AsyncClient, made: dict[str, Json], query: str, field: str, words: str
) -> None:
    answer = await api.get(path(made, query))
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert words in answer.json()["detail"]


async def test_a_change_between_is_seen(plane: Plane, made: dict[str, Json]) -> None:
    """Keys and values are of one moment, though reading each key takes a commit."""
    tunnels = list(plane.mirror.of_kind("vpn_tunnel"))
    note = plane.accesses.note
    changed: list[Record] = []

    async def slowly(record: Record, field: str, who: Principal) -> None:
        await note(record, field, who)
        if not changed:
            root = Principal("local:root", OPERATOR, Scope.ADMIN)
            changed.append(record)
            for one in tunnels:
                patch = {"psk": "an0ther-Key-that-is-long-enough", "preference": 777}
                await plane.registry.update("vpn_tunnel", one.id, patch, root)

    plane.accesses.note = slowly  # type: ignore[method-assign]  # the moment cannot be hit else
    async with plane.client() as client:
        text = (await client.get(path(made, "device=generic&secrets=true"))).json()
    assert KEY not in str(text)
    assert "an0ther-Key" in str(text)
