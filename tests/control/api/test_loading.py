"""A process that has just started: what is asked before the store has been read waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter

from gateway.control import mirror as mirrors
from gateway.control.api.app import make_app
from gateway.control.api.requests import Requests
from gateway.control.auth.principal import Principal
from gateway.control.mirror import Mirror
from gateway.control.store.interface import Create, Key
from gateway.control.store.sqlite import open_sqlite
from tests.control.registry import ROOT

NODE = Key("node", "node-aaaaaaaaaa")
VALUE = b'{"tenant":"","name":"gw-a","spec":{},"allocated":{},"generation":1,"created_at":0}'


@asynccontextmanager
async def starting(place: Path) -> AsyncIterator[tuple[Mirror, httpx.AsyncClient]]:
    """Give the app that counts nodes, over a store with one, that nobody has read yet."""
    store = await open_sqlite(place / "control.db")
    await store.commit([Create(NODE, VALUE)], "test")
    mirror, router = Mirror(store), APIRouter()

    @router.get("/count")
    async def count() -> int:
        return mirror.count("node")

    async def authenticate(request: object) -> Principal:
        return ROOT

    async def ready() -> str | None:
        return None if mirror.ready.is_set() else "the store is being read"

    app = make_app(
        [router],
        authenticate=authenticate,
        loaded=mirror.loaded,
        ready=ready,
        report=lambda *_: "1",
        seen=Requests().see,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as client:
        yield mirror, client
    await store.close()


async def test_a_request_waits_until_the_store_has_been_read(tmp_path: Path) -> None:
    async with starting(tmp_path) as (mirror, client):
        asking = asyncio.create_task(client.get("/count"))
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert not asking.done()
        reading = asyncio.create_task(mirror.run())
        assert (await asking).json() == 1
        reading.cancel()


async def test_one_that_has_waited_for_long_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "LOADED_S", 0.01)
    async with starting(tmp_path) as (_, client):
        answer = await client.get("/count")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert "has not been read yet" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"]) > 0
