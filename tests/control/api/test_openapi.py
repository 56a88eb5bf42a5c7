"""The description of the API: whole, consistent, and with names that stay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.control.api.describe import noun_of
from gateway.control.api.people import TENANT, TOKEN, USER
from gateway.control.resources.kinds import KINDS
from tests.control.api.conftest import Plane

OPEN = {"/healthz", "/readyz", "/v1/version", "/v1/openapi.json"}
Table = dict[str, Any]


@pytest.fixture
async def description(api: httpx.AsyncClient) -> Table:
    answer: Table = (await api.get("/v1/openapi.json")).json()
    return answer


def operations(description: Table) -> Iterator[tuple[str, str, Table]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


async def test_it_is_openapi_3_1_and_every_reference_leads_somewhere(description: Table) -> None:
    assert description["openapi"].startswith("3.1")
    names = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert set(references(description)) <= names


async def test_it_needs_no_credential_and_has_every_route_that_is_served(plane: Plane) -> None:
    async with plane.client(None) as stranger:
        description = (await stranger.get("/v1/openapi.json")).json()
    for noun in [*(noun_of(kind) for kind in KINDS.values()), USER, TOKEN, TENANT]:
        assert set(description["paths"][noun.path]) == {"get", "post"}
        assert set(description["paths"][noun.one]) == {"get", "patch", "delete"}


async def test_the_names_of_operations_are_unique_and_say_what_they_are_of(
    description: Table,
) -> None:
    names = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(names)) == len(names)
    for kind in KINDS.values():
        name = noun_of(kind).name
        stable = {f"list{name}s", *(f"{verb}{name}" for verb in ("create", "get", "update"))}
        assert stable | {f"delete{name}"} <= set(names)
    assert {"upVpnTunnel", "rekeyVpnTunnel", "getVpnTunnelPsk", "listAuditLog"} <= set(names)


async def test_every_operation_has_its_refusals_and_its_credential(description: Table) -> None:
    assert set(description["components"]["securitySchemes"]) == {"bearer", "session"}
    assert description["security"] == [{"bearer": []}, {"session": []}]
    for path, method, operation in operations(description):
        if path in OPEN:
            assert operation["security"] == []
            continue
        if "security" in operation:  # a login is made without one
            continue
        assert {"401", "403", "429", "500"} <= set(operation["responses"]), (method, path)
        problem = operation["responses"]["401"]["content"]["application/problem+json"]
        assert problem["schema"] == {"$ref": "#/components/schemas/Problem"}


async def test_requests_and_answers_have_examples_that_say_nothing_secret(
    description: Table,
) -> None:
    schemas = description["components"]["schemas"]
    for kind in KINDS.values():
        noun = noun_of(kind)
        body = description["paths"][noun.path]["post"]["requestBody"]
        assert body["content"]["application/json"]["example"] == noun.example
        (example,) = schemas[noun.name]["examples"]
        assert set(schemas[noun.name]["required"]) <= set(example)
        assert set(example) <= set(schemas[noun.name]["properties"])
        assert not kind.secrets & set(example)
    assert "sealed:" not in json.dumps(description)


async def test_secrets_are_write_only_in_the_description(description: Table) -> None:
    schemas = description["components"]["schemas"]
    for name in ("VpnTunnel", "VpnConnection", "DirectLine", "VpcAttachment"):
        assert "bgp_password" in schemas[f"New{name}"]["properties"]
        assert "bgp_password" not in schemas[name]["properties"]
        assert "bgp_password_version" in schemas[name]["properties"]
