"""A store with its mirror, and users, tokens and tenants over it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.auth.desk import Desk
from gateway.control.auth.passwords import Cost
from gateway.control.auth.service import Auth, make_auth
from gateway.control.mirror import Mirror
from gateway.control.secrets import KeyRing, new_master_key
from gateway.control.store.sqlite import open_sqlite
from tests.control.auth.support import Clock

CHEAP = Cost(passes=1, memory_kib=8)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@contextlib.asynccontextmanager
async def opened(file: Path, clock: Clock, ring: KeyRing) -> AsyncIterator[Auth]:
    """Users, tokens and tenants as one control process has them."""
    store = await open_sqlite(file)
    mirror = Mirror(store)
    following = asyncio.create_task(mirror.run())
    await mirror.ready.wait()
    made = make_auth(Desk(store, mirror, ring, clock, os.urandom), cost=CHEAP)
    await made.tenants.ensure_main()
    yield made
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    await store.close()


@pytest.fixture
async def auth(tmp_path: Path, clock: Clock) -> AsyncIterator[Auth]:
    async with opened(tmp_path / "store.db", clock, KeyRing([new_master_key()])) as made:
        yield made
