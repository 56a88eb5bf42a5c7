"""Bad input: every string field of every kind, every way to break a request, and no 500 in any."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx
import pytest

from gateway.control.api.body import MAX_BODY
from gateway.control.api.examples import EXAMPLES
from gateway.control.problems import MEDIA_TYPE
from gateway.control.resources.kinds import KINDS, Kind
from tests.control.api.conftest import Plane, make_examples

STRINGS = {
    "sql": "x'; drop table object; --",
    "html": "<script>alert(1)</script>",
    "nul": "a\0b",
    "large": "x" * (MAX_BODY - 4096),
    "control": "a\r\nb\x1b[31m",
    "surrogate": "\ud800",
    "path": "../../etc/passwd",
    "format": "%s%n{0}${x}",
    "empty": "",
    "sealed": "sealed:v1:0123456789abcdef:AAAA:AAAA",
}


def string_fields(kind: Kind) -> list[str]:
    """Return the fields of a request whose value may be a string."""
    properties = kind.new.model_json_schema()["properties"]
    return [name for name, schema in properties.items() if '"string"' in json.dumps(schema)]


def with_text(kind: Kind, field: str, text: str) -> dict[str, object]:
    """Return the example with the text in a field, as its type has it."""
    schema = kind.new.model_json_schema()["properties"][field]
    value: object = [text] if schema.get("type") == "array" else text
    return dict(EXAMPLES[kind.name]) | {field: value}


@pytest.mark.parametrize("name", ["sql", "html", "nul", "large", "sealed"])
async def test_any_text_in_any_field_is_taken_whole_or_refused_by_name(
    plane: Plane, api: httpx.AsyncClient, name: str
) -> None:
    await make_examples(api)
    for kind in KINDS.values():
        fields = [*string_fields(kind), *kind.secrets]
        for field in dict.fromkeys(fields):
            body = with_text(kind, field, STRINGS[name]) | {"description": STRINGS[name][:200]}
            text = json.dumps(body)
            answer = await api.post(
                f"/v1/{kind.path}?dry_run=true",
                content=text,
                headers={"Content-Type": "application/json"},
            )
            assert answer.status_code in (201, 409, 413, 422), (kind.name, field, answer.text)
            if answer.status_code == 422:
                places = [error["field"] for error in answer.json().get("errors", [answer.json()])]
                assert all(places), answer.text
                assert len(answer.content) < 20_000


async def test_text_that_is_taken_comes_back_as_it_was(api: httpx.AsyncClient) -> None:
    for name in ("sql", "html", "format", "path"):
        tags = {STRINGS[name]: STRINGS[name]}
        body = {"name": f"n-{name}", "description": STRINGS[name], "tags": tags}
        made = await api.post("/v1/border-gateways", json=body)
        found = (await api.get(made.headers["location"])).json()
        assert (found["description"], found["tags"]) == (STRINGS[name], tags)
        listed = await api.get(
            "/v1/border-gateways", params={f"tag.{STRINGS[name]}": STRINGS[name]}
        )
        assert len(listed.json()["items"]) == 1


async def test_any_text_in_an_id_a_query_or_a_header_is_refused(api: httpx.AsyncClient) -> None:
    for name in [name for name in STRINGS if name not in ("large", "surrogate")]:
        text = httpx.URL("http://x", params={"q": STRINGS[name]}).query.decode().removeprefix("q=")
        for method in ("GET", "PATCH", "DELETE"):
            answer = await api.request(method, f"/v1/vpn-tunnels/{text}x", json={})
            assert answer.status_code in (404, 405), answer.text
        for query in ("after", "sort", "limit", "tenant", "border_gateway", "id", text):
            answer = await api.get(f"/v1/vpn-connections?{query}={text}")
            assert answer.status_code in (200, 404, 422), answer.text
        header = STRINGS[name].encode()
        for field in ("X-Tenant", "If-Match", "Idempotency-Key", "Authorization", "Content-Type"):
            answer = await api.request(
                "DELETE", "/v1/vpn-tunnels/tun-aaaaaaaaaa", headers=[(field.encode(), header)]
            )
            assert answer.status_code in (400, 401, 403, 404), answer.text


BODIES: list[tuple[bytes, str | None, int, str]] = [
    (b"{}", "text/plain", 415, "unsupported_media_type"),
    (b"{}", None, 415, "unsupported_media_type"),
    (b"{}", "application/json; charset=utf-16", 415, "unsupported_media_type"),
    (b"", "application/json", 400, "malformed_json"),
    (b"[]", "application/json", 400, "malformed_json"),
    (b'"x"', "application/json", 400, "malformed_json"),
    (b"{" * 200_000, "application/json", 400, "malformed_json"),
    (b'{"name":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "application/json", 400, ""),
    (b'{"name":"a","name":"b"}', "application/json", 400, "malformed_json"),
    (b'{"name":"\xff"}', "application/json", 400, "malformed_json"),
    (b'{"asn":1e400,"name":"a"}', "application/json", 400, "malformed_json"),
    (b'{"name":"' + b"x" * MAX_BODY + b'"}', "application/json", 413, "too_large"),
    (b'{"name":"a","asn":' + b"9" * 4000 + b"}", "application/json", 422, ""),
    (b'{"name":["a"],"asn":true,"tags":[1]}', "application/json", 422, "wrong_type"),
    (b'{"name":"a","nmae":"b"}', "application/json", 422, "unknown_field"),
    (b'{"name":"a","id":"bgw-aaaaaaaaaa"}', "application/json", 422, "unknown_field"),
    (b'{"name":"a","tags":{"":"x"}}', "application/json", 422, ""),
]


async def test_a_body_that_is_none_is_refused_with_its_code(api: httpx.AsyncClient) -> None:
    for content, media_type, status, code in BODIES:
        headers = {"Content-Type": media_type} if media_type else {}
        answer = await api.post("/v1/border-gateways", content=content, headers=headers)
        assert answer.status_code == status, (content[:80], answer.text)
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert code in ("", answer.json()["code"]), content[:80]
    assert (await api.get("/v1/border-gateways")).json()["items"] == []


async def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_limit(
    api: httpx.AsyncClient,
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * (64 << 10)

    answer = await api.post(
        "/v1/border-gateways", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


async def test_ten_thousand_mistakes_are_told_in_part(api: httpx.AsyncClient) -> None:
    body = dict(EXAMPLES["vpc_attachment"]) | {"cidrs": ["x"] * 10_000}
    answer = await api.post("/v1/vpc-attachments", json=body)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 100
    assert len(answer.content) < 40_000


NOWHERE = [
    ("GET", "/", 404),
    ("GET", "/v1", 404),
    ("GET", "/v1/border-gateways/", 404),
    ("GET", "/v1//border-gateways", 404),
    ("GET", "/v2/border-gateways", 404),
    ("GET", "/v1/border-gateways/a/b", 404),
    ("GET", "/docs", 404),
    ("GET", "/openapi.json", 404),
    ("PUT", "/v1/border-gateways", 405),
    ("DELETE", "/v1/border-gateways", 405),
    ("TRACE", "/v1/border-gateways", 405),
    ("BREW", "/v1/border-gateways", 405),
    ("POST", "/v1/border-gateways/bgw-aaaaaaaaaa", 405),
    ("GET", "/v1/vpn-tunnels/tun-aaaaaaaaaa/up", 405),
]


async def test_no_such_path_or_method_is_a_problem_document(api: httpx.AsyncClient) -> None:
    for method, path, status in NOWHERE:
        answer = await api.request(method, path)
        assert answer.status_code == status, (method, path)
        assert answer.headers["content-type"] == MEDIA_TYPE
        assert answer.json()["status"] == status
        assert method not in answer.headers.get("allow", "")


async def test_all_methods_of_a_path_are_told(api: httpx.AsyncClient) -> None:
    answer = await api.request("PUT", "/v1/border-gateways")
    assert answer.headers["allow"] == "GET, POST"
    answer = await api.request("PUT", "/v1/border-gateways/bgw-aaaaaaaaaa")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


async def test_head_is_get_without_the_body(api: httpx.AsyncClient) -> None:
    made = await api.post("/v1/border-gateways", json={"name": "hq"})
    head = await api.head(made.headers["location"])
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == made.headers["etag"]


async def test_a_mistake_of_ours_is_500_with_a_number_and_no_word_of_what_it_was(
    plane: Plane, api: httpx.AsyncClient
) -> None:
    plane.mirror.get = None  # type: ignore[assignment, method-assign] # what no code expects
    answer = await api.get("/v1/border-gateways/bgw-aaaaaaaaaa")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["number"] == "1"
    assert "NoneType" not in answer.text
    assert len(plane.bugs) == 1
    plane.bugs.clear()


async def test_secrets_are_in_no_refusal(api: httpx.AsyncClient) -> None:
    made = await make_examples(api)
    word = "hunter2-is-a-secret"
    for path, body in (
        ("/v1/vpn-tunnels", {**EXAMPLES["vpn_tunnel"], "psk": [word]}),
        ("/v1/vpn-tunnels", {**EXAMPLES["vpn_tunnel"], "psk": {"a": word}}),
        ("/v1/vpn-connections", {**EXAMPLES["vpn_connection"], "bgp_password": word + "\n"}),
        ("/v1/vpn-connections", {**EXAMPLES["vpn_connection"], "tunnel": [{"psk": [word]}]}),
        ("/v1/vpn-connections", {**EXAMPLES["vpn_connection"], "psk": f"0x{word}"}),
    ):
        answer = await api.post(path, json=body)
        assert answer.status_code in (409, 422)
        assert word not in answer.text
    changed = await api.patch(f"/v1/vpn-tunnels/{made['vpn_tunnel']['id']}", json={"psk": 7})
    assert (changed.status_code, changed.json()["field"]) == (422, "vpn_tunnel.psk")


async def test_no_answer_is_kept_or_read_as_another_type(api: httpx.AsyncClient) -> None:
    for path in ("/v1/border-gateways", "/v1/nothing", "/healthz", "/v1/docs"):
        headers = (await api.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def walk(value: object) -> Iterator[object]:
    yield value
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from walk(each)


async def test_the_page_of_the_description_needs_no_foreign_host(api: httpx.AsyncClient) -> None:
    page = await api.get("/v1/docs")
    assert "http" not in page.text.replace("https://twinspan.dev", "")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    description = cast(object, (await api.get("/v1/openapi.json")).json())
    assert not [each for each in walk(description) if isinstance(each, str) and "cdn" in each]
