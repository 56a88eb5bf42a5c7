"""Settings and quotas: the operator's, with defaults, and what a tenant has left."""

from __future__ import annotations

import httpx
import pytest

from gateway.control.api.examples import EXAMPLES, SETTING_EXAMPLES
from gateway.control.resources.settings import SETTINGS
from tests.control.api.conftest import Plane, make_examples

QUOTAS = "/v1/settings/quotas"


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_setting_has_its_defaults_until_it_is_set_and_again_when_it_is_reset(
    api: httpx.AsyncClient, name: str
) -> None:
    place = f"/v1/settings/{name}"
    before = await api.get(place)
    assert (before.json()["revision"], before.headers["etag"]) == (0, '"0"')
    example = SETTING_EXAMPLES[name]
    assert (await api.patch(f"{place}?dry_run=true", json=example)).json() != before.json()
    changed = await api.patch(place, json=example, headers={"If-Match": '"0"'})
    assert changed.status_code == 200, changed.text
    assert {key: changed.json()[key] for key in example} == example
    stale = await api.patch(place, json=example, headers={"If-Match": '"0"'})
    assert (stale.status_code, stale.json()["revision"]) == (412, changed.json()["revision"])
    one = next(iter(example))
    cleared = await api.patch(place, json={one: None})
    assert cleared.json()[one] == before.json()[one]
    assert (await api.delete(place)).status_code == 204
    assert (await api.get(place)).json() == before.json()
    listed = (await api.get("/v1/settings")).json()["items"]
    assert [each["id"] for each in listed] == list(SETTINGS)


async def test_a_quota_ends_what_a_tenant_makes_and_one_of_its_own_goes_before(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    await api.patch(QUOTAS, json={"border_gateway": 1})
    async with plane.client("acme") as acme:
        made = await acme.post("/v1/border-gateways", json={"name": "a"})
        refused = await acme.post("/v1/border-gateways", json={"name": "b"})
        assert (made.status_code, refused.status_code) == (201, 409)
        assert refused.json()["code"] == "quota_exceeded"
        own = await api.patch(f"{QUOTAS}?tenant=acme", json={"border_gateway": 2})
        assert (own.json()["tenant"], own.json()["border_gateway"]) == ("acme", 2)
        assert (await acme.post("/v1/border-gateways", json={"name": "b"})).status_code == 201
        listed = (await acme.get("/v1/quotas")).json()
        assert listed["tenant"] == "acme"
        quota = {each["name"]: each for each in listed["items"]}["border_gateway"]
        assert (quota["limit"], quota["used"]) == (2, 2)
    assert (await api.get(QUOTAS)).json()["border_gateway"] == 1


async def test_the_next_tenant_of_a_name_begins_without_the_quotas_of_the_one_before(
    api: httpx.AsyncClient,
) -> None:
    for _ in range(2):
        assert (await api.post("/v1/tenants", json={"name": "brief"})).status_code == 201
        quota = await api.get(f"{QUOTAS}?tenant=brief")
        assert quota.json()["border_gateway"] == 50
        await api.patch(f"{QUOTAS}?tenant=brief", json={"border_gateway": 1})
        assert (await api.delete("/v1/tenants/brief")).status_code == 204


async def test_inner_networks_come_from_the_ranges_of_the_setting(api: httpx.AsyncClient) -> None:
    await api.patch("/v1/settings/allocation", json={"inner_ranges": ["10.99.0.0/28"]})
    made = await make_examples(api)
    tunnels = (await api.get("/v1/vpn-tunnels?sort=created_at")).json()["items"]
    cidrs = {one["inner_cidr"] for one in tunnels} - {EXAMPLES["vpn_tunnel"]["inner_cidr"]}
    assert len(cidrs) == 2
    assert all(str(each).startswith("10.99.0.") for each in cidrs)
    assert made["vpn_tunnel"]["inner_cidr"] == EXAMPLES["vpn_tunnel"]["inner_cidr"]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("allocation", {"inner_ranges": ["8.0.0.0/8"]}, "setting.allocation.inner_ranges.0"),
        ("allocation", {"inner_ranges": ["10.0.0.0/30"]}, "setting.allocation.inner_ranges.0"),
        ("allocation", {"inner_ranges": ["fd00::/48"]}, "setting.allocation.inner_ranges.0"),
        ("allocation", {"inner_ranges": []}, "setting.allocation.inner_ranges"),
        ("quotas", {"vpn_tunnel": -1}, "setting.quotas.vpn_tunnel"),
        ("quotas", {"vpn_tunnel": True}, "setting.quotas.vpn_tunnel"),
        ("quotas", {"vpn_tunel": 1}, "setting.quotas.vpn_tunel"),
    ],
)
async def test_a_setting_that_can_not_be_is_refused(
    api: httpx.AsyncClient, name: str, body: dict[str, object], field: str
) -> None:
    answer = await api.patch(f"/v1/settings/{name}", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert (await api.get(f"/v1/settings/{name}")).json()["revision"] == 0


async def test_settings_are_the_operators(plane: Plane, api: httpx.AsyncClient) -> None:
    async with plane.client("main") as main:
        for answer in (
            await main.get("/v1/settings"),
            await main.get(QUOTAS),
            await main.patch(QUOTAS, json={"vpn_tunnel": 9}),
            await main.delete(QUOTAS),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await api.get(f"{QUOTAS}?tenant=nobody")).status_code == 404
    assert (await api.get("/v1/settings/allocation?tenant=acme")).status_code == 404
    assert (await api.get("/v1/settings/nothing")).status_code == 404
