"""
Every route that the process really has, from its own description: strangers, another tenant and one
with the scope read get nothing by any of them. A route that is added later is in here by itself.
"""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from gateway.control.api.openapi import describe, operations
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.listen import parse_listening
from gateway.control.resources.kinds import KINDS
from gateway.control.service import Parts, Settings, build_app, open_parts
from gateway.control.setup import prepare
from gateway.node.journal import Journal
from tests.control.api.conftest import make_examples
from tests.control.console.test_commands import told

ROOT = Principal("local:root", OPERATOR, Scope.ADMIN)
MARK = "known-in-main-only"
PASSWORD = "correct horse battery"
OPEN = {"/healthz", "/readyz", "/v1/version", "/v1/openapi.json", "/v1/login"}
WAITS = {"/v1/events/follow"}
SAFE = {"GET", "HEAD"}
# What says who one is oneself, and ends one's own session: no scope is needed.
ONES_OWN = {"/v1/logout", "/v1/me/password"}
Operation = tuple[str, str, dict[str, object]]
Owned = dict[tuple[str, str], int]


@dataclass(slots=True)
class Process:
    """The whole control process without its sockets, with resources of the tenant main."""

    parts: Parts
    app: FastAPI
    tokens: dict[str, str]
    ids: list[str]

    @property
    def operations(self) -> list[Operation]:
        found = operations(describe(self.app))
        return [(method.upper(), path, about) for path, method, about in found]

    def client(self, who: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://x", headers=headers)

    async def objects(self) -> Owned:
        """Return every object of main with its revision; times of use are not counted."""
        found: Owned = {}
        for kind in await self.parts.store.kinds():
            page = await self.parts.store.list(kind, tenant="main")
            assert page.after is None
            found |= {(kind, each.key.id): each.revision for each in page.objects}
        return {key: revision for key, revision in found.items() if key[0] not in ("seen", "event")}


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    place, keys = f"sqlite:{tmp_path}/control.db", tmp_path / "master.key"
    await prepare(place, keys, None)
    listening = parse_listening(["127.0.0.1:0"], None, None, [], tmp_path / "control.sock")
    journal = Journal(io.StringIO(), time.time)
    async with open_parts(Settings(place, keys, listening), journal) as parts:
        running = [asyncio.create_task(each) for each in (parts.mirror.run(), parts.events.run())]
        await parts.mirror.ready.wait()
        app = build_app(parts)
        assert isinstance(app, FastAPI)
        made = Process(parts, app, {}, [])
        await fill(made)
        yield made
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    assert "bug" not in {entry.event for entry in journal.recent(1000)}


async def fill(process: Process) -> None:
    """Make tenants, credentials, and in main one resource of each kind with the mark on it."""
    auth = process.parts.auth
    await auth.tenants.ensure_main()
    await auth.tenants.create({"name": "acme"}, ROOT)
    for name, tenant, scope in (
        ("operator", "", "admin"),
        ("acme", "acme", "admin"),
        ("reader", "main", "read"),
    ):
        table = {"name": name, "tenant": tenant, "scope": scope}
        made = await auth.tokens.create(table, ROOT, tenant=None)
        process.tokens[name] = str(made["token"])
    user = {"name": "mia", "password": PASSWORD, "description": MARK}
    async with process.client("operator") as operator:
        resources = await make_examples(operator)
        for kind, one in resources.items():
            if one["tenant"] == "main":  # pools and nodes are the operator's, and all may know them
                place = f"/v1/{KINDS[kind].path}/{one['id']}"
                changed = await operator.patch(place, json={"description": MARK})
                assert changed.status_code == 200, changed.text
        person = (await operator.post("/v1/users", json=user)).json()
        token = (await operator.post("/v1/tokens?tenant=main", json={"name": MARK})).json()
    process.ids = [str(one["id"]) for one in resources.values() if one["tenant"] == "main"]
    process.ids += [person["id"], token["id"], "main"]


def example(about: dict[str, object]) -> object:
    """Return the body that the description shows for an operation, None if it has none."""
    body = about.get("requestBody")
    if not isinstance(body, dict):
        return None
    return next(iter(body["content"].values())).get("example", {})


async def ask(client: httpx.AsyncClient, operation: Operation, id: str = "") -> httpx.Response:
    method, path, about = operation
    async with asyncio.timeout(10):
        return await client.request(method, path.replace("{id}", id), json=example(about))


async def test_strangers_get_nothing_by_any_route(process: Process) -> None:
    is_open = {path for _, path, about in process.operations if about.get("security") == []}
    assert is_open == OPEN
    before = await process.objects()
    async with process.client(None) as stranger:
        for operation in process.operations:
            if operation[1] in OPEN:
                continue
            answer = await ask(stranger, operation, process.ids[0])
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (
                operation[:2]
            )
    assert await process.objects() == before


async def test_another_tenant_gets_nothing_by_any_route(process: Process) -> None:
    before = await process.objects()
    async with process.client("acme") as acme:
        for operation in process.operations:
            if operation[1] in WAITS:
                continue
            for id in process.ids if "{id}" in operation[1] else [""]:
                answer = await ask(acme, operation, id)
                where = (*operation[:2], id, answer.status_code)
                assert answer.status_code < 500, where
                assert MARK not in answer.text, where
                assert not id or answer.status_code >= 400, where
    assert await process.objects() == before


async def test_the_scope_read_writes_nothing_by_any_route(process: Process) -> None:
    before = await process.objects()
    async with process.client("reader") as reader:
        for operation in process.operations:
            if operation[0] in SAFE or operation[1] in ONES_OWN | OPEN:
                continue
            for id in process.ids if "{id}" in operation[1] else [""]:
                answer = await ask(reader, operation, id)
                where = (*operation[:2], id, answer.status_code)
                assert answer.status_code in (403, 404, 409), where
                assert id or answer.status_code == 403, where
    assert await process.objects() == before


async def test_the_operator_does_see_what_the_others_do_not(process: Process) -> None:
    seen = set()
    async with process.client("operator") as operator:
        for operation in process.operations:
            method, path, _ = operation
            if method == "GET" and path not in WAITS and "{id}" not in path:
                answer = await ask(operator, operation)
                seen |= {path} if MARK in answer.text else set()
    assert len(seen) >= 8, seen
    assert {"/v1/vpn-tunnels", "/v1/users", "/v1/tokens", "/v1/audit-log"} <= seen


async def test_every_call_that_the_console_tells_is_one_of_them(process: Process) -> None:
    known = {(method, re.sub(r"\{\w+\}", "*", path)) for method, path, _ in process.operations}
    for thing in told():
        method, _, address = thing.call.partition("\n")[0].partition(" ")
        path = re.sub(r"/(x-1|tun-1|conn-1|ID)(?=/|$)", "/*", address.partition("?")[0])
        assert (method, path) in known, thing.call
