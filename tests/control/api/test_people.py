"""Users, tokens and tenants by the API: the conventions of all collections, and who sees whom."""

from __future__ import annotations

import httpx
import pytest

from gateway.control.api.people import TENANT, TOKEN, USER
from tests.control.api.conftest import Plane

PASSWORD = "correct horse battery"


@pytest.mark.parametrize("noun", [USER, TOKEN, TENANT], ids=lambda noun: noun.name)
async def test_the_examples_can_be_made_read_changed_and_deleted(
    api: httpx.AsyncClient, noun: object
) -> None:
    assert isinstance(noun, type(USER))
    made = await api.post(noun.path, json=noun.example)
    assert made.status_code == 201, made.text
    place = made.headers["location"]
    found = await api.get(place)
    assert found.headers["etag"] == made.headers["etag"]
    assert PASSWORD not in made.text + found.text
    listed = (await api.get(f"{noun.path}?name={noun.example['name']}")).json()["items"]
    assert [one["id"] for one in listed] == [made.json()["id"]]
    changed = await api.patch(
        place, json=noun.patch_example, headers={"If-Match": made.headers["etag"]}
    )
    assert changed.status_code == 200, changed.text
    stale = await api.patch(
        place, json=noun.patch_example, headers={"If-Match": made.headers["etag"]}
    )
    assert stale.status_code == 412
    assert (await api.delete(place)).status_code == 204
    assert (await api.get(place)).status_code == 404


async def test_a_token_is_told_once_and_again_to_the_same_request(plane: Plane) -> None:
    headers = {"Idempotency-Key": "first token"}
    async with plane.client("main") as main:
        made = await main.post("/v1/tokens", json={"name": "ci"}, headers=headers)
        again = await main.post("/v1/tokens", json={"name": "ci"}, headers=headers)
        assert made.json() == again.json()
        token = made.json()["token"]
        assert "token" not in (await main.get(made.headers["location"])).json()
        assert "token" not in (await main.get("/v1/tokens?name=ci")).json()["items"][0]
        log = await main.get("/v1/audit-log?kind=token")
        assert made.json()["id"] in log.text
        assert token not in log.text
    plane.tokens["new"] = token
    async with plane.client("new") as new:
        me = (await new.get("/v1/me")).json()
        assert me == {"actor": f"token:{made.json()['id']}", "tenant": "main", "scope": "read"}
        refused = await new.post("/v1/border-gateways", json={"name": "hq"})
        assert refused.status_code == 403


async def test_a_tenant_sees_and_makes_only_its_own_people(plane: Plane) -> None:
    user = {"name": "mia", "password": PASSWORD}
    async with plane.client("main") as main, plane.client("acme") as acme:
        made = await main.post("/v1/users", json=user)
        token = await main.post("/v1/tokens", json={"name": "ci"})
        assert (made.json()["tenant"], token.json()["tenant"]) == ("main", "main")
        for place in (made.headers["location"], token.headers["location"], "/v1/tenants/main"):
            assert (await acme.get(place)).status_code == 404
            patched = await acme.patch(place, json={"description": "mine"})
            assert patched.status_code in (403, 404)
            assert (await acme.delete(place)).status_code in (403, 404)
        for path in ("/v1/users", "/v1/tokens", "/v1/tenants"):
            items = (await acme.get(path)).json()["items"]
            assert {one["tenant"] for one in items} <= {"acme"}
        for tenant in ("main", ""):
            theirs = await acme.post("/v1/users", json={**user, "name": "eve", "tenant": tenant})
            assert theirs.status_code == 404
            grown = await acme.post("/v1/tokens", json={"name": "eve", "tenant": tenant})
            assert grown.status_code == 404


async def test_nobody_makes_a_token_that_may_more_than_he(plane: Plane) -> None:
    async with plane.client("operate") as operate:
        refused = await operate.post("/v1/tokens", json={"name": "x", "scope": "admin"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_a_password_is_in_no_refusal(api: httpx.AsyncClient) -> None:
    for body in ({"name": "A!", "password": PASSWORD}, {"name": "ada", "password": [PASSWORD]}):
        refused = await api.post("/v1/users", json=body)
        assert refused.status_code == 422
        assert PASSWORD not in refused.text
