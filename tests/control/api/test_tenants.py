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


@pytest.mark.parametrize(("path", "kind", "method"), VERBS)
async def test_what_another_tenant_has_does_not_exist(
    plane: Plane, mains: dict[str, Json], path: str, kind: str, method: str
) -> None:
    revision = await plane.store.revision()
    body = {"json": {"description": "mine now"}} if method == "PATCH" else {}
    place = "/v1" + path.format(id=mains[kind]["id"])
    nowhere = "/v1" + path.format(id="x" + str(mains[kind]["id"])[1:])
    async with plane.client("acme") as acme:
        answer = await acme.request(method, place, **body)  # type: ignore[arg-type] # keywords
        unknown = await acme.request(method, nowhere, **body)  # type: ignore[arg-type] # keywords
    assert answer.status_code == unknown.status_code == 404
    # No word tells one that exists from one that does not.
    seen, other = answer.json(), unknown.json()
    assert {**seen, "detail": ""} == {**other, "detail": ""}
    assert str(seen["detail"]).replace(str(mains[kind]["id"])[1:], "") == str(
        other["detail"]
    ).replace(str(mains[kind]["id"])[1:], "").replace("'x'", f"'{str(mains[kind]['id'])[0]}'")
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


@pytest.mark.parametrize("how", ["query", "header"])
@pytest.mark.parametrize("name", ["main", "nobody", "*", "../main", ""])
async def test_another_tenant_can_not_be_named(
    plane: Plane, mains: dict[str, Json], how: str, name: str
) -> None:
    params = {"tenant": name} if how == "query" else {}
    headers = {"X-Tenant": name} if how == "header" else {}
    async with plane.client("acme") as acme:
        for method, path, body in (
            ("GET", "/v1/border-gateways", None),
            ("POST", "/v1/border-gateways", EXAMPLES["border_gateway"]),
            ("GET", f"/v1/border-gateways/{mains['border_gateway']['id']}", None),
            ("GET", "/v1/audit-log", None),
        ):
            answer = await acme.request(method, path, params=params, headers=headers, json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in OWNED for field, of in kind.references.items() if of != "node"],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
async def test_a_reference_to_another_tenants_resource_leads_nowhere(
    plane: Plane, mains: dict[str, Json], kind: object, field: str
) -> None:
    from gateway.control.resources.kinds import Kind

    assert isinstance(kind, Kind)
    target = kind.references[field]
    async with plane.client("acme") as acme:
        for value in (mains[target]["id"], mains[target]["name"]):
            answer = await acme.post(
                f"/v1/{kind.path}", json=dict(EXAMPLES[kind.name]) | {field: value}
            )
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
