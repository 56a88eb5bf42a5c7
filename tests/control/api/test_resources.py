"""The routes of resources: every verb and every convention of HTTP."""

from __future__ import annotations

import asyncio

import httpx

from gateway.control.api.examples import EXAMPLES
from gateway.control.resources.kinds import KINDS
from tests.control.api.conftest import Plane, make_examples

BGW = "/v1/border-gateways"


async def test_the_examples_of_the_description_can_be_made_in_their_order(
    api: httpx.AsyncClient,
) -> None:
    made = await make_examples(api)
    assert set(made) == set(EXAMPLES) == set(KINDS)
    for kind, answer in made.items():
        assert str(answer["id"]).startswith(KINDS[kind].prefix + "-")


async def test_what_was_set_comes_back_with_defaults_and_what_is_computed(
    api: httpx.AsyncClient,
) -> None:
    made = await api.post(BGW, json={"name": "hq", "tags": {"team": "net"}})
    assert made.status_code == 201
    body = made.json()
    assert made.headers["location"] == f"{BGW}/{body['id']}"
    assert made.headers["etag"] == f'"{body["revision"]}"'
    assert body["asn"] == 65000
    assert body["tags"] == {"team": "net"}
    assert body["tenant"] == "main"
    found = await api.get(made.headers["location"])
    assert found.json() == body
    assert found.headers["etag"] == made.headers["etag"]


async def test_a_patch_changes_what_it_names_and_null_sets_the_default(
    api: httpx.AsyncClient,
) -> None:
    made = await api.post(BGW, json={"name": "hq", "asn": 65001, "description": "x"})
    place = made.headers["location"]
    changed = await api.patch(place, json={"description": "y"})
    assert changed.status_code == 200
    assert (changed.json()["asn"], changed.json()["description"]) == (65001, "y")
    reset = await api.patch(place, json={"asn": None})
    assert (reset.json()["asn"], reset.json()["description"]) == (65000, "y")
    assert reset.json()["created_at"] == made.json()["created_at"]
    assert reset.json()["generation"] == 3


async def test_if_match_refuses_who_has_not_seen_the_last_change(api: httpx.AsyncClient) -> None:
    made = await api.post(BGW, json={"name": "hq"})
    place, old = made.headers["location"], made.headers["etag"]
    changed = await api.patch(place, json={"description": "a"}, headers={"If-Match": old})
    assert changed.status_code == 200
    for refused in (
        await api.patch(place, json={"description": "b"}, headers={"If-Match": old}),
        await api.delete(place, headers={"If-Match": old}),
    ):
        assert refused.status_code == 412
        assert refused.json()["revision"] == changed.json()["revision"]
    assert (await api.get(place)).json()["description"] == "a"
    now = changed.headers["etag"]
    assert (await api.delete(place, headers={"If-Match": now})).status_code == 204
    assert (await api.get(place)).status_code == 404


async def test_if_match_that_is_no_etag_is_400(api: httpx.AsyncClient) -> None:
    made = await api.post(BGW, json={"name": "hq"})
    for value in ("17", 'W/"17"', '"x"', '"1", "2"', '""'):
        answer = await api.delete(made.headers["location"], headers={"If-Match": value})
        assert (answer.status_code, answer.json()["field"]) == (400, "If-Match"), value


async def test_dry_run_checks_all_and_writes_nothing(plane: Plane, api: httpx.AsyncClient) -> None:
    before = await plane.store.revision()
    answer = await api.post(f"{BGW}?dry_run=true", json={"name": "hq"})
    assert (answer.status_code, answer.json()["name"]) == (201, "hq")
    assert "location" not in answer.headers
    refused = await api.post(f"{BGW}?dry_run=true", json={"name": "hq", "asn": 0})
    assert (refused.status_code, refused.json()["field"]) == (422, "border_gateway.asn")
    assert await plane.store.revision() == before
    made = await api.post(BGW, json={"name": "hq"})
    place, revision = made.headers["location"], await plane.store.revision()
    assert (await api.patch(f"{place}?dry_run=true", json={"asn": 5})).json()["asn"] == 5
    assert (await api.delete(f"{place}?dry_run=true")).status_code == 204
    assert (await api.get(place)).json()["asn"] == 65000
    assert await plane.store.revision() == revision


async def test_lists_have_pages_filters_and_an_order(api: httpx.AsyncClient) -> None:
    for number in range(5):
        tags = {"odd": "yes"} if number % 2 else {}
        spec = {"name": f"b{4 - number}", "asn": 65000 + number, "tags": tags}
        assert (await api.post(BGW, json=spec)).status_code == 201
    first = (await api.get(f"{BGW}?limit=2")).json()
    assert [one["name"] for one in first["items"]] == ["b0", "b1"]
    second = (await api.get(f"{BGW}?limit=2&after={first['next']}")).json()
    third = (await api.get(f"{BGW}?limit=2&after={second['next']}")).json()
    assert [one["name"] for one in second["items"] + third["items"]] == ["b2", "b3", "b4"]
    assert third["next"] is None
    down = (await api.get(f"{BGW}?sort=-created_at&limit=1")).json()
    assert [one["name"] for one in down["items"]] == ["b0"]
    more = (await api.get(f"{BGW}?sort=-created_at&limit=9&after={down['next']}")).json()
    assert [one["name"] for one in more["items"]] == ["b1", "b2", "b3", "b4"]
    for query, names in (
        ("tag.odd=yes", ["b1", "b3"]),
        ("name=b2", ["b2"]),
        ("asn=65004", ["b0"]),
        ("spoke_isolation=true&asn=65003", ["b1"]),
        ("spoke_isolation=false", []),
    ):
        found = (await api.get(f"{BGW}?{query}")).json()
        assert [one["name"] for one in found["items"]] == names, query


async def test_a_page_goes_on_where_it_was_though_its_last_one_is_gone(
    api: httpx.AsyncClient,
) -> None:
    for name in "abcd":
        await api.post(BGW, json={"name": name})
    first = (await api.get(f"{BGW}?limit=2")).json()
    await api.delete(f"{BGW}/{first['items'][1]['id']}")
    await api.post(BGW, json={"name": "aa"})
    second = (await api.get(f"{BGW}?after={first['next']}")).json()
    assert [one["name"] for one in second["items"]] == ["c", "d"]


async def test_references_are_filtered_by_id_and_by_name(api: httpx.AsyncClient) -> None:
    made = await make_examples(api)
    gateway = made["border_gateway"]
    for value in (gateway["id"], gateway["name"]):
        for path in ("vpn-connections", "vpc-attachments", "routes", "direct-lines"):
            found = (await api.get(f"/v1/{path}?border_gateway={value}")).json()
            assert len(found["items"]) == 1, path
    node = made["node"]["id"]
    tunnels = (await api.get(f"/v1/vpn-tunnels?node={node}&customer_gateway=office")).json()
    assert len(tunnels["items"]) == 3
    assert (await api.get("/v1/vpn-tunnels?vpn_connection=other")).json()["items"] == []


async def test_a_query_that_no_list_has_is_refused(api: httpx.AsyncClient) -> None:
    for query, field, code in (
        ("limit=0", "limit", "invalid"),
        ("limit=1001", "limit", "invalid"),
        ("limit=x", "limit", "invalid"),
        ("limit=1&limit=2", "limit", "invalid"),
        ("sort=asn", "sort", "invalid"),
        ("after=AAAA", "after", "invalid"),
        ("after=%00", "after", "invalid"),
        ("nmae=x", "nmae", "unknown_parameter"),
        ("psk=x", "psk", "unknown_parameter"),
        ("name=%00", "name", "invalid"),
    ):
        answer = await api.get(f"/v1/vpn-tunnels?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, code), query
        assert answer.json()["field"] == field


async def test_the_cursor_of_another_order_is_refused(api: httpx.AsyncClient) -> None:
    for name in "ab":
        await api.post(BGW, json={"name": name})
    cursor = (await api.get(f"{BGW}?limit=1")).json()["next"]
    answer = await api.get(f"{BGW}?sort=created_at&after={cursor}")
    assert (answer.status_code, answer.json()["field"]) == (422, "after")


async def test_deleting_what_is_used_says_by_whom(api: httpx.AsyncClient) -> None:
    made = await make_examples(api)
    answer = await api.delete(f"{BGW}/{made['border_gateway']['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    users = {one["kind"] for one in answer.json()["used_by"]}
    assert users == {"vpc_attachment", "vpn_connection", "direct_line", "route"}


async def test_a_cascade_takes_the_tunnels_of_a_connection_with_it_and_no_route(
    api: httpx.AsyncClient,
) -> None:
    made = await make_examples(api)
    place = f"/v1/vpn-connections/{made['vpn_connection']['id']}"
    blocked = await api.delete(f"{place}?cascade=true")
    assert blocked.json()["used_by"] == [{"kind": "route", "id": made["route"]["id"]}]
    assert (await api.delete(f"/v1/routes/{made['route']['id']}")).status_code == 204
    assert (await api.delete(place)).json()["code"] == "in_use"
    assert (await api.delete(f"{place}?cascade=true&dry_run=true")).status_code == 204
    assert (await api.delete(f"{place}?cascade=true")).status_code == 204
    assert (await api.get("/v1/vpn-tunnels")).json()["items"] == []
    again = await make_again(api)
    assert again["inner_cidr"] == made["vpn_tunnel"]["inner_cidr"]
    up = f"/v1/vpn-tunnels/{again['id']}"
    assert (await api.delete(up)).json()["code"] == "tunnel_admin_up"
    assert (await api.delete(f"{up}?cascade=true")).status_code == 204
    refused = await api.delete(f"{BGW}/{made['border_gateway']['id']}?cascade=true")
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_parameter")


async def make_again(api: httpx.AsyncClient) -> dict[str, object]:
    """Make connection and tunnel of the examples, whose names and networks are free again."""
    connection = {**EXAMPLES["vpn_connection"], "tunnels": 0}
    assert (await api.post("/v1/vpn-connections", json=connection)).status_code == 201
    tunnel = await api.post("/v1/vpn-tunnels", json=EXAMPLES["vpn_tunnel"])
    assert tunnel.status_code == 201, tunnel.text
    answer: dict[str, object] = tunnel.json()
    return answer


async def test_secrets_are_write_only_and_their_version_counts(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    made = await make_examples(api)
    place = f"/v1/vpn-tunnels/{made['vpn_tunnel']['id']}"
    assert "psk" not in made["vpn_tunnel"]
    assert made["vpn_tunnel"]["psk_version"] == 1
    chosen = "a pre-shared key that somebody chose"
    changed = await api.patch(place, json={"psk": chosen})
    assert changed.json()["psk_version"] == 2
    assert chosen not in changed.text
    shown = await api.get(f"{place}/psk")
    assert shown.json() == {"id": made["vpn_tunnel"]["id"], "psk": chosen, "psk_version": 2}
    log = (await api.get(f"/v1/audit-log?id={made['vpn_tunnel']['id']}")).json()
    assert [entry["changes"][0]["kind"] for entry in log["items"]] == [
        "access",
        "vpn_tunnel",
        "vpn_tunnel",
    ]
    assert chosen not in str(log)
    async with plane.client("read") as reader:
        assert (await reader.get(f"{place}/psk")).status_code == 403


async def test_verbs_need_the_scope_operate_and_no_more(plane: Plane) -> None:
    async with plane.client() as api:
        made = await make_examples(api)
    place = f"/v1/vpn-tunnels/{made['vpn_tunnel']['id']}"
    async with plane.client("operate") as operator, plane.client("read") as reader:
        for verb in ("up", "down", "drain", "rekey", "reset"):
            assert (await reader.post(f"{place}/{verb}")).status_code == 403
            answer = await operator.post(f"{place}/{verb}")
            assert answer.status_code == 202, answer.text
            assert "action" in answer.json()
        assert (await operator.get(place)).json()["status"]["admin"] == "down"
        assert (await operator.patch(place, json={"rate_mbps": 1})).status_code == 403
        ike = await operator.post(f"{place}/rekey?ike=true")
        action = plane.mirror.get("action", ike.json()["action"])
        assert action is not None
        assert (action.spec["ike"], action.spec["by"]) == (
            True,
            (await operator.get("/v1/me")).json()["actor"],
        )
        assert (await operator.post(f"{place}/drain?ike=true")).status_code == 422


async def test_a_connection_shows_its_tunnels(api: httpx.AsyncClient) -> None:
    made = await make_examples(api)
    status = (await api.get(f"/v1/vpn-connections/{made['vpn_connection']['id']}")).json()["status"]
    assert len(status["tunnels"]) == 3
    assert (status["working"], status["operational"]) == (0, "unknown")
    tunnel = (await api.get(f"/v1/vpn-tunnels/{status['tunnels'][0]}")).json()
    assert tunnel["node"] == made["node"]["id"]
    assert tunnel["rate_mbps"] is None  # its connection's


async def test_only_the_operator_writes_nodes_and_pools(plane: Plane) -> None:
    async with plane.client("main") as tenant:
        for kind in ("node", "address_pool"):
            answer = await tenant.post(f"/v1/{KINDS[kind].path}", json=EXAMPLES[kind])
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_two_writers_of_one_name_make_one(plane: Plane) -> None:
    async with plane.client() as api:
        answers = await asyncio.gather(*(api.post(BGW, json={"name": "hq"}) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [201] + [409] * 7
