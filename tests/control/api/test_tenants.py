"""Two tenants that try to see each other, in every verb of every route."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.control.api.conditions import MAX_LIMIT
from gateway.control.api.examples import EXAMPLES
from gateway.control.resources.kinds import KINDS
from tests.control.api.conftest import Json, Plane, make_examples

OWNED = [kind for kind in KINDS.values() if not kind.is_operators]
VERBS = [
    (f"/{kind.path}/{{id}}{verb}", kind.name, method)
    for kind in OWNED
    for method, verb in [("GET", ""), ("PATCH", ""), ("DELETE", "")]
] + [
    (f"/vpn-tunnels/{{id}}/{verb}", "vpn_tunnel", "GET" if verb == "psk" else "POST")
    for verb in ("up", "down", "drain", "rekey", "reset", "psk")
]


@pytest.fixture
async def mains(plane: Plane) -> AsyncIterator[dict[str, Json]]:
    """The resources of the tenant main, beside which acme has none."""
    async with plane.client() as operator:
        yield await make_examples(operator)


async def test_what_another_tenant_has_does_not_exist(plane: Plane, mains: dict[str, Json]) -> None:
    revision = await plane.store.revision()
    async with plane.client("acme") as acme:
        for path, kind, method in VERBS:
            id = str(mains[kind]["id"])
            body: Json = {"json": {"description": "mine now"}} if method == "PATCH" else {}
            seen = await acme.request(method, "/v1" + path.format(id=id), **body)  # type: ignore[arg-type] # keywords
            other = await acme.request(method, "/v1" + path.format(id="x" + id), **body)  # type: ignore[arg-type] # keywords
            assert (seen.status_code, other.status_code) == (404, 404), (method, path)
            # No word tells one that exists from one that does not.
            assert seen.text == other.text.replace("x" + id, id)
    assert await plane.store.revision() == revision


async def test_lists_and_the_audit_log_have_only_ones_own(
    plane: Plane, mains: dict[str, Json]
) -> None:
    async with plane.client("acme") as acme:
        for kind in OWNED:
            for query in ("", "?limit=1", "?name=hq", f"?id={mains[kind.name]['id']}"):
                found = (await acme.get(f"/v1/{kind.path}{query}")).json()
                assert found["items"] == [], kind.name
        for query in (f"?limit={MAX_LIMIT}", f"?id={mains['vpn_tunnel']['id']}"):
            log = (await acme.get(f"/v1/audit-log{query}")).json()
            assert not [
                change
                for entry in log["items"]
                for change in entry["changes"]
                if change["kind"] in {kind.name for kind in OWNED}
            ]


async def test_another_tenant_can_not_be_named(plane: Plane, mains: dict[str, Json]) -> None:
    asks = (
        ("GET", "/v1/border-gateways", None),
        ("POST", "/v1/border-gateways", EXAMPLES["border_gateway"]),
        ("GET", f"/v1/border-gateways/{mains['border_gateway']['id']}", None),
        ("GET", "/v1/audit-log", None),
    )
    async with plane.client("acme") as acme:
        for name in ("main", "nobody", "*", "../main", ""):
            for how in ({"params": {"tenant": name}}, {"headers": {"X-Tenant": name}}):
                for method, path, body in asks:
                    answer = await acme.request(method, path, json=body, **how)  # type: ignore[arg-type] # keywords
                    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


async def test_a_reference_to_another_tenants_resource_leads_nowhere(
    plane: Plane, mains: dict[str, Json]
) -> None:
    async with plane.client("acme") as acme:
        for kind in OWNED:
            for field, target in kind.references.items():
                if KINDS[target].is_operators:
                    continue
                for value in (mains[target]["id"], mains[target]["name"]):
                    asked = dict(EXAMPLES[kind.name]) | {field: value}
                    answer = await acme.post(f"/v1/{kind.path}", json=asked)
                    assert answer.status_code == 422
                    errors = {error["field"]: error for error in answer.json()["errors"]}
                    error = errors[f"{kind.name}.{field}"]
                    assert error["code"] == "reference_not_found"
                    assert error["detail"].endswith("there is: none")


async def test_both_tenants_may_have_the_same_names(plane: Plane, mains: dict[str, Json]) -> None:
    async with plane.client("acme") as acme, plane.client() as operator:
        made = await acme.post("/v1/border-gateways", json=EXAMPLES["border_gateway"])
        assert (made.status_code, made.json()["tenant"]) == (201, "acme")
        by_operator = await operator.get("/v1/border-gateways?tenant=acme")
        assert [one["id"] for one in by_operator.json()["items"]] == [made.json()["id"]]
        all_of_them = (await operator.get("/v1/border-gateways?tenant=*")).json()["items"]
        assert {one["tenant"] for one in all_of_them} == {"main", "acme"}
        narrow = await operator.get(f"{made.headers['location']}?tenant=main")
        assert narrow.status_code == 404
        assert (await operator.get(made.headers["location"])).status_code == 200


async def test_without_a_credential_nothing_is_told(plane: Plane, mains: dict[str, Json]) -> None:
    async with plane.client(None) as stranger:
        for path, kind, method in VERBS:
            place = "/v1" + path.format(id=mains[kind]["id"])
            answer = await stranger.request(method, place, content=b"\xff" * 9)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert (await stranger.get("/v1/audit-log")).status_code == 401


async def test_one_with_the_scope_read_changes_nothing(
    plane: Plane, mains: dict[str, Json]
) -> None:
    revision = await plane.store.revision()
    async with plane.client("read") as reader:
        for kind in OWNED:
            place = f"/v1/{kind.path}/{mains[kind.name]['id']}"
            assert (await reader.get(place)).status_code == 200
            for answer in (
                await reader.patch(place, json={"description": "x"}),
                await reader.delete(place),
                await reader.post(f"/v1/{kind.path}", json=EXAMPLES[kind.name]),
            ):
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert await plane.store.revision() == revision
