"""The console over the real API, registry, users and store; a browser without scripts: httpx."""

from __future__ import annotations

import asyncio
import html
import io
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from starlette.types import ASGIApp

from gateway.control.alarms.delivery import Deliveries
from gateway.control.api.access import Accesses
from gateway.control.api.alarms import Alarms
from gateway.control.api.app import make_app
from gateway.control.api.requests import Requests
from gateway.control.api.resources import Api
from gateway.control.api.status import Status
from gateway.control.auth.authenticate import Peer
from gateway.control.auth.desk import Desk
from gateway.control.auth.passwords import Cost
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.auth.service import Auth, make_auth
from gateway.control.console.app import Console
from gateway.control.console.own import OwnSource
from gateway.control.console.source import Table
from gateway.control.customer import CustomerConfigs
from gateway.control.events.events import Events
from gateway.control.mirror import Mirror
from gateway.control.nodes.inquiries import Inquiries
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.resources.record import Record
from gateway.control.secrets import KeyRing, new_master_key
from gateway.control.store.sqlite import open_sqlite
from gateway.control.waits import Waits
from gateway.customer.catalog import DEVICES
from gateway.node.journal import Journal
from tests.control.registry import fleet

NAME, PASSWORD = "olga", "correct horse battery staple"


class Nothing:
    """No event has been told, no alarm is up."""

    async def events(
        self, who: Principal, tenant: str | None, resource: str | None, limit: int
    ) -> list[Table]:
        return []

    async def alarms(self, who: Principal, tenant: str | None) -> list[Table]:
        return []

    def raised(self, who: Principal, tenant: str | None) -> int:
        return 0


@dataclass(slots=True)
class Site:
    """What the tests look at: the console, who may log in, what the nodes say of the tunnels."""

    app: ASGIApp
    registry: Registry
    auth: Auth
    console: Console
    browser: httpx.AsyncClient
    live: dict[str, dict[str, object]]
    acted: list[tuple[str, str]]
    waits: Waits
    answers: dict[str, Table | ApiProblem]  # of the nodes, by what they are asked
    source: OwnSource
    remembered: dict[str, list[float | None]]  # the last hour of every tunnel
    bugs: list[Exception] = field(default_factory=list)

    async def login(self, name: str = NAME, password: str = PASSWORD) -> httpx.Response:
        return await self.send("/console/login", name=name, password=password, next="/console/")

    async def page(self, path: str, status: int = 200) -> str:
        answer = await self.browser.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    async def send(
        self, path: str, status: int = 303, form_at: str | None = None, **fields: str
    ) -> httpx.Response:
        """Send the form that stands at a path, or at `form_at`, with its token."""
        text = (await self.browser.get(form_at or path)).text
        token = re.search(r'name="csrf" value="([^"]+)"', text)
        assert token is not None, text
        answer = await self.browser.post(path, data={"csrf": html.unescape(token[1]), **fields})
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store, ring = await open_sqlite(tmp_path / "store.db"), KeyRing([new_master_key()])
    mirror = Mirror(store)
    registry = Registry(store, mirror, ring)
    auth = make_auth(Desk(store, mirror, ring), cost=Cost(1, 8))
    live: dict[str, dict[str, object]] = {}
    acted: list[tuple[str, str]] = []
    bugs: list[Exception] = []

    def state(tunnel: Record) -> dict[str, object]:
        return live.get(tunnel.id, {"operational": "unknown", "reason": None, "since": None})

    async def act(verb: str, tunnel: Record, who: Principal, *, ike: bool) -> dict[str, object]:
        acted.append((verb, tunnel.id))
        return {"action": "act-1"}

    async def nobody(request: Request) -> Principal:
        raise ApiProblem(401, "unauthenticated", "the request has no credential")

    async def ready() -> None:
        return None

    def report(where: str, error: Exception) -> str:
        bugs.append(error)
        return "1"

    api = Api(registry, Status(mirror, state).of)
    events = Events(store, Journal(io.StringIO(), time.time), time.time)
    deliveries = Deliveries(mirror, ring, events, Journal(io.StringIO(), time.time))
    answers: dict[str, Table | ApiProblem] = {}

    async def ask(node: str, command: str, arguments: Table, *, by: str) -> Table:
        answer = answers.get(command, {})
        if isinstance(answer, ApiProblem):
            raise answer
        return answer

    async def new_token(node: str, who: Principal) -> tuple[str, float]:
        who.need_operator(Scope.ADMIN)
        return "tsn-token-of-the-test", 0.0

    remembered: dict[str, list[float | None]] = {"at": []}
    source = OwnSource(
        api,
        store,
        Nothing(),
        act,
        lambda id: remembered,
        [(device.name, device.title) for device in DEVICES.values()],
        Inquiries(mirror, ask),
        CustomerConfigs(registry, Accesses(store, time.time)),
        Alarms(store, mirror, events, deliveries),
        new_token,
        lambda tunnel: live.get(tunnel.id),
    )
    peer, waits = Peer("127.0.0.1"), Waits(mirror)
    console = Console(source, auth.authenticator, lambda request: peer, waits)
    app = make_app(
        [console.router()],
        authenticate=nobody,
        loaded=mirror.loaded,
        ready=ready,
        report=report,
        seen=Requests().see,
    )
    running = asyncio.create_task(mirror.run())
    await mirror.ready.wait()
    await auth.tidy()
    await auth.users.create(
        {"name": NAME, "password": PASSWORD, "scope": "admin", "tenant": OPERATOR},
        Principal("local:root", OPERATOR, Scope.ADMIN),
        tenant=OPERATOR,
    )
    await fleet(registry)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as browser:
        yield Site(
            app,
            registry,
            auth,
            console,
            browser,
            live,
            acted,
            waits,
            answers,
            source,
            remembered,
            bugs,
        )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()
    assert bugs == []
