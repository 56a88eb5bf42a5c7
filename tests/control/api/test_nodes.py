"""Nodes by the API: tokens, revoking, actions, and statuses before anybody has reported."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from gateway.control.api.app import make_app
from gateway.control.api.collection import collection_router
from gateway.control.api.idempotency import Answers
from gateway.control.api.nodes import node_router, token_of_new_node
from gateway.control.api.requests import Requests
from gateway.control.api.resources import Api, Resources
from gateway.control.api.status import Status
from gateway.control.auth.principal import Principal, Scope
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import KINDS
from gateway.fleet.messages import parse_token
from tests.control.registry import RING, ROOT, connect
from tests.fleet.control import Control, control


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Control]:
    async with control(tmp_path) as one:
        yield one


def app_for(plane: Control, who: Principal) -> ASGIApp:
    """Return the routes of nodes, for one who asks."""
    api = Api(plane.registry, Status(plane.registry.mirror, plane.nodes.statuses.of).of)
    resources = Resources(KINDS["node"], api, token_of_new_node(plane.nodes))

    async def authenticate(request: object) -> Principal:
        return who

    async def ready() -> str | None:
        return None

    routers = [
        collection_router(resources, Answers(plane.store, RING, lambda: 1.7e9)),
        node_router(api, plane.nodes),
    ]
    return make_app(
        routers,
        authenticate=authenticate,
        loaded=plane.registry.mirror.loaded,
        ready=ready,
        report=lambda *_: "1",
        seen=Requests().see,
    )


def client(plane: Control, who: Principal = ROOT) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app_for(plane, who))
    return httpx.AsyncClient(transport=transport, base_url="http://control")


async def test_a_new_node_comes_with_a_token_that_is_shown_once(plane: Control) -> None:
    async with client(plane) as http:
        body = {"name": "gw-c", "public_addresses": ["198.51.100.77"]}
        head = {"Idempotency-Key": "one"}
        made = (await http.post("/v1/nodes", json=body, headers=head)).json()
        secret, fingerprint = parse_token(made["registration_token"])
        assert fingerprint == plane.nodes.fingerprint
        assert made["status"]["operational"] == "new"
        again = (await http.post("/v1/nodes", json=body, headers=head)).json()
        assert again["registration_token"] == made["registration_token"]
        shown = (await http.get(f"/v1/nodes/{made['id']}")).json()
        assert "registration_token" not in shown
        assert shown["status"]["registered"] is False
    csr = "-----BEGIN CERTIFICATE REQUEST-----\nx\n-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(ApiProblem, match="csr"):
        await plane.nodes.credentials.register(secret, csr)


async def test_a_dry_run_makes_no_token(plane: Control) -> None:
    async with client(plane) as http:
        body = {"name": "gw-c", "public_addresses": ["198.51.100.77"]}
        made = (await http.post("/v1/nodes?dry_run=true", json=body)).json()
    assert "registration_token" not in made
    assert list(plane.registry.mirror.of_kind("registration")) == []


async def test_tokens_are_made_anew_for_as_long_as_is_asked(plane: Control) -> None:
    async with client(plane) as http:
        path = f"/v1/nodes/{plane.node().id}/token"
        made = await http.post(f"{path}?ttl_s=60")
        assert made.status_code == 201
        assert made.json()["ca_fingerprint"] == f"sha256:{plane.nodes.fingerprint}"
        for wrong in ("59", "-1", "x", "1e3", "9" * 20, str(31 * 24 * 3600)):
            refused = await http.post(f"{path}?ttl_s={wrong}")
            assert (refused.status_code, refused.json()["field"]) == (422, "ttl_s")
        assert (await http.post("/v1/nodes/node-aaaaaaaaaa/token")).status_code == 404
    assert len(list(plane.registry.mirror.of_kind("registration"))) == 1


async def test_only_the_operator_makes_tokens_and_locks_nodes_out(plane: Control) -> None:
    for who in (Principal("user:a", "main", Scope.ADMIN), Principal("user:o", "", Scope.OPERATE)):
        async with client(plane, who) as http:
            for verb in ("token", "revoke"):
                answer = await http.post(f"/v1/nodes/{plane.node().id}/{verb}")
                assert answer.status_code == 403


async def test_an_action_is_seen_by_its_tenant_alone(plane: Control) -> None:
    done = await connect(plane.registry)
    told = await plane.nodes.actions.act("drain", done.others[0], ROOT)
    async with client(plane, Principal("user:a", "main", Scope.READ)) as http:
        shown = (await http.get(f"/v1/actions/{told['action']}")).json()
        assert (shown["state"], shown["verb"], shown["by"]) == ("pending", "drain", "local:root")
        assert shown["created_at"].endswith("Z")
    async with client(plane, Principal("user:b", "red", Scope.ADMIN)) as http:
        assert (await http.get(f"/v1/actions/{told['action']}")).status_code == 404


async def test_an_action_that_nobody_does_in_time_has_failed(plane: Control) -> None:
    done = await connect(plane.registry)
    told = await plane.nodes.actions.act("reset", done.others[0], ROOT)
    record = plane.nodes.actions.get(str(told["action"]), ROOT)
    due = float(record.allocated["due_at"])
    await plane.nodes.actions.sweep(due - 1)
    assert plane.nodes.actions.get(record.id, ROOT).allocated["state"] == "pending"
    await plane.nodes.actions.sweep(due + 1)
    ended = plane.nodes.actions.get(record.id, ROOT).allocated
    assert (ended["state"], ended["text"]) == ("failed", "the node has not done it in time")
    await plane.nodes.actions.sweep(due + 25 * 3600)
    assert list(plane.registry.mirror.of_kind("action")) == []
