"""
Every route of the whole process, by its description: what a tenant is told of another one's ids,
and what somebody without a credential is told of anything.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.listen import Listening
from gateway.control.resources.kinds import KINDS
from gateway.control.secrets import key_file_text, new_master_key
from gateway.control.service import Parts, Settings, build_app, open_parts
from gateway.control.store.place import open_store
from gateway.node.journal import Journal
from tests.control.api.conftest import make_examples

ROOT = Principal("local:root", OPERATOR, Scope.ADMIN)
# Of nobody: they answer all alike, or to somebody who has no credential yet.
OPEN = {"/healthz", "/readyz", "/v1/version", "/v1/openapi.json"}
Table = dict[str, Any]


@dataclass(slots=True)
class Whole:
    """The app of the process as the service makes it, and clients of it."""

    parts: Parts
    app: Any
    description: Table
    tokens: dict[str, str]

    def client(self, tenant: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}"} if tenant is not None else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers)

    def operations(self) -> list[tuple[str, str, Table]]:
        return [
            (path, method.upper(), operation)
            for path, methods in self.description["paths"].items()
            for method, operation in methods.items()
        ]


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    key, store = tmp_path / "master.key", f"sqlite:{tmp_path / 'control.db'}"
    key.write_text(key_file_text([new_master_key()]))
    key.chmod(0o600)
    await (await open_store(store)).close()
    settings = Settings(store, key, Listening((), None, (), tmp_path / "control.sock"))
    async with open_parts(settings, Journal(io.StringIO(), time.time)) as parts:
        app = build_app(parts)
        following = asyncio.create_task(parts.mirror.run())
        await parts.mirror.ready.wait()
        await parts.auth.tenants.ensure_main()
        await parts.auth.tenants.create({"name": "acme", "own_namespaces": False}, ROOT)
        tokens = {}
        for tenant in ("", "main", "acme"):
            asked: Table = {"name": f"t-{tenant}", "tenant": tenant, "scope": "admin"}
            tokens[tenant] = (await parts.auth.tokens.create(asked, ROOT, tenant=None))["token"]
        made = Whole(parts, app, {}, tokens)
        async with made.client(None) as client:
            made.description = (await client.get("/v1/openapi.json")).json()
        yield made
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def ids_of_main(whole: Whole) -> dict[str, str]:
    """Make something in every collection of the tenant main; return an id by collection."""
    async with whole.client("") as operator, whole.client("main") as main:
        made = await make_examples(operator)
        paths = {KINDS[kind].path: str(answer["id"]) for kind, answer in made.items()}
        user = {"name": "mia", "password": "correct horse battery"}
        paths["users"] = (await main.post("/v1/users", json=user)).json()["id"]
        paths["tokens"] = (await main.post("/v1/tokens", json={"name": "ci"})).json()["id"]
        paths["tenants"] = "main"
        step = {"action": "create", "kind": "border_gateway", "body": {"name": "by-apply"}}
        apply = await main.post("/v1/applies", json={"steps": [step]})
        paths["applies"] = apply.json()["id"]
        rekey = await main.post(f"/v1/vpn-tunnels/{paths['vpn-tunnels']}/rekey")
        paths["actions"] = rekey.json()["action"]
    return paths


async def test_no_route_tells_a_tenant_of_what_another_one_has(whole: Whole) -> None:
    ids = await ids_of_main(whole)
    tried = set()
    async with whole.client("acme") as acme:
        for path, method, _ in whole.operations():
            collection = path.split("/")[2] if path.startswith("/v1/") else ""
            if "{" not in path or collection not in ids:
                continue
            tried.add(collection)
            theirs = path.replace("{id}", ids[collection])
            nobodys = path.replace("{id}", ids[collection][:-1] + "7")
            body: Table = {"json": {}} if method in ("PATCH", "POST", "PUT") else {}
            before = await whole.parts.store.revision()
            seen = await acme.request(method, theirs, **body)
            other = await acme.request(method, nobodys, **body)
            is_fleet = collection in ("nodes", "address-pools")
            expected = {404, 403} | ({200} if is_fleet and method == "GET" else set())
            assert seen.status_code in expected, (method, path, seen.text)
            if not is_fleet:
                assert seen.status_code == other.status_code, (method, path)
            assert await whole.parts.store.revision() == before, (method, path)
    assert tried == set(ids)


async def test_without_a_credential_every_route_is_401_before_it_reads_anything(
    whole: Whole,
) -> None:
    ids = await ids_of_main(whole)
    count = 0
    async with whole.client(None) as stranger:
        for path, method, operation in whole.operations():
            if path in OPEN or operation.get("security") == []:
                continue
            collection = path.split("/")[2]
            place = path.replace("{id}", ids.get(collection, "x"))
            answer = await stranger.request(method, place, content=b"\xff")
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
            count += 1
    assert count > 80
