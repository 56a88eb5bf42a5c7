"""The API in memory: the real app, registry and store, and clients with one credential each."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from gateway.control.alarms.delivery import Deliveries
from gateway.control.api.access import Accesses
from gateway.control.api.alarms import Alarms, alarm_router
from gateway.control.api.app import make_app
from gateway.control.api.collection import collection_router
from gateway.control.api.customer import customer_router
from gateway.control.api.depends import authenticate_by
from gateway.control.api.events import event_router
from gateway.control.api.examples import EXAMPLES
from gateway.control.api.idempotency import Answers
from gateway.control.api.log import log_router
from gateway.control.api.login import login_router, oidc_router
from gateway.control.api.people import me_router, people
from gateway.control.api.requests import Requests
from gateway.control.api.resources import Api, Resources
from gateway.control.api.settings import SettingDesk, quota_router, settings_router
from gateway.control.api.status import Status
from gateway.control.api.verbs import verb_router
from gateway.control.auth.authenticate import Limits
from gateway.control.auth.buckets import Rate
from gateway.control.auth.desk import Desk
from gateway.control.auth.passwords import Cost
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.auth.service import Auth, make_auth
from gateway.control.customer import CustomerConfigs
from gateway.control.events.events import Events
from gateway.control.events.timeline import Timeline
from gateway.control.mirror import Mirror
from gateway.control.nodes.actions import Actions
from gateway.control.registry import Registry
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.settings import SETTINGS
from gateway.control.secrets import KeyRing, new_master_key
from gateway.control.store.interface import Store
from gateway.control.store.sqlite import open_sqlite
from gateway.control.waits import Waits
from gateway.node.journal import Journal

Json = dict[str, object]

# The credentials of the tests: a token each, with its tenant and scope.
CREDENTIALS = {
    "operator": ("", "admin"),
    "main": ("main", "admin"),
    "acme": ("acme", "admin"),
    "operate": ("main", "operate"),
    "read": ("main", "read"),
}
CHEAP = Cost(passes=1, memory_kib=8)
UNLIMITED = Limits(requests=Rate(burst=1_000_000, per_s=1_000_000))


@dataclass(slots=True)
class Plane:
    """A control plane in memory. `bugs` are the exceptions that ended in a 500."""

    app: ASGIApp
    store: Store
    mirror: Mirror
    registry: Registry
    answers: Answers
    accesses: Accesses
    events: Events
    auth: Auth
    tokens: dict[str, str]
    bugs: list[Exception]

    def client(self, who: str | None = "operator") -> httpx.AsyncClient:
        """Return a client with one of the credentials, or none."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://control", headers=headers
        )


async def ready() -> None:
    return None


def make_plane(store: Store, ring: KeyRing, now: Callable[[], float] = time.time) -> Plane:
    """Return a control plane over a store; somebody has to run its mirror."""
    mirror = Mirror(store)
    registry = Registry(store, mirror, ring, now)
    answers, accesses = Answers(store, ring, now), Accesses(store, now)
    bugs: list[Exception] = []

    def report(where: str, error: Exception) -> str:
        bugs.append(error)
        return str(len(bugs))

    auth = make_auth(Desk(store, mirror, ring, now), cost=CHEAP, limits=UNLIMITED)
    api = Api(registry, Status(mirror).of)
    collections = [*(Resources(kind, api) for kind in KINDS.values()), *people(auth)]
    routers = [collection_router(each, answers) for each in collections]
    routers += [
        verb_router(api, Actions(store, mirror).act, accesses, answers),
        log_router(store),
        me_router(auth),
    ]
    routers.append(customer_router(api, CustomerConfigs(registry, accesses)))
    routers += [login_router(auth), oidc_router(auth)]
    routers += [
        settings_router(SettingDesk(auth.desk, SETTINGS), SETTINGS),
        quota_router(auth.desk),
    ]
    journal = Journal(io.StringIO(), now)
    events = Events(store, journal, now)
    deliveries = Deliveries(mirror, ring, events, journal)
    routers.append(alarm_router(Alarms(store, mirror, events, deliveries)))
    routers.append(event_router(Timeline(store, events, mirror), Waits(mirror)))
    authenticate = authenticate_by(auth.authenticator)
    app = make_app(
        routers,
        authenticate=authenticate,
        loaded=mirror.loaded,
        ready=ready,
        report=report,
        seen=Requests().see,
    )
    return Plane(app, store, mirror, registry, answers, accesses, events, auth, {}, bugs)


async def add_credentials(plane: Plane) -> None:
    """Make the tenants and a token for each credential of the tests."""
    root = Principal("local:root", OPERATOR, Scope.ADMIN)
    await plane.auth.tenants.ensure_main()
    await plane.auth.tenants.create({"name": "acme", "own_namespaces": False}, root)
    for name, (tenant, scope) in CREDENTIALS.items():
        table: Json = {"name": name, "tenant": tenant, "scope": scope}
        made = await plane.auth.tokens.create(table, root, tenant=None)
        plane.tokens[name] = str(made["token"])


@pytest.fixture
def ring() -> KeyRing:
    return KeyRing([new_master_key()])


@pytest.fixture
async def plane(tmp_path: Path, ring: KeyRing) -> AsyncIterator[Plane]:
    """A control plane with two tenants, main and acme; nothing in it may end in a 500."""
    store = await open_sqlite(tmp_path / "store.db")
    made = make_plane(store, ring)
    running = asyncio.create_task(made.mirror.run())
    writing = asyncio.create_task(made.events.run())
    await made.mirror.ready.wait()
    await add_credentials(made)
    yield made
    for task in (running, writing):
        task.cancel()
    await asyncio.gather(running, writing, return_exceptions=True)
    await store.close()
    assert made.bugs == []


@pytest.fixture
async def api(plane: Plane) -> AsyncIterator[httpx.AsyncClient]:
    async with plane.client() as client:
        yield client


async def make_examples(
    client: httpx.AsyncClient, tenant: str = "main", *, fleet: bool = True
) -> dict[str, Json]:
    """Make the resources of the examples, in their order; return each by its kind."""
    made: dict[str, Json] = {}
    for kind, example in EXAMPLES.items():
        if KINDS[kind].is_operators and not fleet:
            continue
        path = f"/v1/{KINDS[kind].path}?tenant={tenant}"
        answer = await client.post(path, json=example)
        assert answer.status_code == 201, answer.text
        made[kind] = answer.json()
    return made
