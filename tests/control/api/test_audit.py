"""The audit log: pages from the newest to the oldest that the store still has, secrets masked."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from gateway.control.api import audit
from gateway.control.api.audit import MASK, audit_page, wanted_by
from gateway.control.auth.principal import OPERATOR, Principal, Scope
from gateway.control.store.interface import Change, Create, Delete, Key, Replace, Store
from tests.control.api.conftest import Plane, make_examples

ROOT = Principal("local:root", OPERATOR, Scope.ADMIN)
LOG = "/v1/audit-log"


def everything(change: Change) -> bool:
    return change.key.kind == "route"


async def fill(store: Store, count: int) -> None:
    """Commit `count` routes, one of which is changed and deleted at the end."""
    for number in range(count):
        value = json.dumps({"tenant": "main", "name": f"r{number}"}).encode()
        revision = await store.commit([Create(Key("route", f"r{number}"), value)], "user:ada")
    last = Key("route", f"r{count - 1}")
    revision = await store.commit([Replace(last, b'{"tenant": "main"}', revision)], "user:eve")
    await store.commit([Delete(last, revision)], "user:eve")


async def test_pages_go_from_the_newest_to_the_oldest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "WINDOW", 3)
    await fill(store, 10)
    seen: list[dict[str, Any]] = []
    before = None
    while True:
        page = await audit_page(store, everything, before=before, limit=5)
        seen += page.items
        assert len(page.items) <= 5
        if (before := page.after) is None:
            break
    told = [
        (entry["actor"], change["action"], change["id"])
        for entry in seen
        for change in entry["changes"]
    ]
    assert told[:2] == [("user:eve", "delete", "r9"), ("user:eve", "update", "r9")]
    assert told[2:] == [("user:ada", "create", f"r{number}") for number in range(9, -1, -1)]


async def test_the_log_ends_where_the_store_has_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "WINDOW", 4)
    await fill(store, 9)
    await store.compact(await store.revision() - 4)
    seen: list[dict[str, Any]] = []
    before = None
    while True:
        page = await audit_page(store, everything, before=before, limit=100)
        seen += page.items
        if (before := page.after) is None:
            break
    assert 2 <= len(seen) <= 5
    revisions = [entry["revision"] for entry in seen]
    assert revisions == sorted(revisions, reverse=True)


async def test_a_rare_resource_is_found_over_pages_that_may_be_empty(
    plane: Plane, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "WINDOW", 2)
    monkeypatch.setattr(audit, "MAX_WINDOWS", 2)
    made = await api.post("/v1/border-gateways", json={"name": "hq"})
    for number in range(12):
        await api.patch(made.headers["location"], json={"description": str(number)})
    query, entries, pages = f"{LOG}?kind=border_gateway&limit=2", [], 0
    found = (await api.get(query)).json()
    while True:
        entries += found["items"]
        pages += 1
        if found["next"] is None:
            break
        found = (await api.get(f"{query}&after={found['next']}")).json()
    assert len(entries) == 13
    assert pages > 6
    assert entries[-1]["changes"][0]["before"] is None


async def test_secrets_of_every_kind_are_masked(api: httpx.AsyncClient) -> None:
    await make_examples(api)
    user = await api.post("/v1/users", json={"name": "ada", "password": "correct horse battery"})
    token = await api.post("/v1/tokens", json={"name": "ci"})
    log = (await api.get(f"{LOG}?limit=1000")).text
    assert token.json()["token"] not in log
    assert "sealed:v1" not in log
    assert "correct horse" not in log
    changes = [c for e in json.loads(log)["items"] for c in e["changes"]]
    kinds = {change["kind"]: change["after"] for change in changes}
    assert kinds["vpn_tunnel"]["allocated"]["psk"] == MASK
    assert kinds["user"]["password"] == MASK
    assert kinds["token"]["hash"] == MASK
    assert {change["id"] for change in changes} >= {user.json()["id"], token.json()["id"]}
    assert not {change["kind"] for change in changes} & {"claim", "uses", "idempotency", "lease"}


@pytest.mark.parametrize(
    "query", ["after=x", "after=-1", "after=%C2%B2", "kind=claim", "kind=x", "name=x", "limit=0"]
)
async def test_a_query_that_the_log_does_not_have_is_refused(
    api: httpx.AsyncClient, query: str
) -> None:
    assert (await api.get(f"{LOG}?{query}")).status_code == 422


def test_a_change_of_another_tenant_is_not_wanted() -> None:
    change = Change(Key("route", "r"), None, b'{"tenant": "main"}')
    acme = Principal("user:ada", "acme", Scope.READ)
    assert wanted_by(ROOT, {"route"})(change)
    assert not wanted_by(acme, {"route"})(change)
    assert not wanted_by(ROOT, {"route"}, tenant="acme")(change)
    assert not wanted_by(ROOT, {"node"})(change)
    assert not wanted_by(ROOT, {"route"}, id="other")(change)
