"""
Two control processes on one store, of which one does something just before the other commits.

So the commits of both come in every order that matters, without luck.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

from gateway.control.auth.desk import Desk
from gateway.control.auth.passwords import Cost
from gateway.control.auth.service import Auth, make_auth
from gateway.control.registry import Registry
from gateway.control.store.interface import Store, Write
from tests.control.auth.support import PASSWORD
from tests.control.registry import RING, ROOT, running

Step = Callable[[], Awaitable[object]]


class Interleaved:
    """A store that lets others do something before one of its own commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: dict[int, Step] = {}
        self.count = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, writes: Sequence[Write], actor: str) -> int:
        self.count += 1
        step = self.before.pop(self.count, None)
        if step is not None:
            await step()
        return await self._store.commit(writes, actor)


class Process:
    """One control process, as far as it makes resources, users and tenants."""

    def __init__(self, registry: Registry, auth: Auth, store: Interleaved) -> None:
        self.registry = registry
        self.auth = auth
        self.store = store

    def before(self, number: int, step: Step) -> None:
        """Have something done before the commit of that number from now on."""
        self.store.before[self.store.count + number] = step

    async def make(self, name: str = "hub") -> object:
        await self.in_step()
        return await self.registry.create("border_gateway", {"name": name}, ROOT, tenant="red")

    async def make_user(self, name: str = "ann") -> object:
        await self.in_step()
        return await self.auth.users.create(
            {"name": name, "password": PASSWORD}, ROOT, tenant="red"
        )

    async def end(self) -> None:
        await self.auth.tenants.delete("red", ROOT)

    async def in_step(self) -> None:
        await self.registry.mirror.reached(await self.store.revision())  # type: ignore[operator]

    def there(self) -> tuple[bool, bool]:
        """Return whether the tenant exists, and whether it has anything."""
        mirror = self.registry.mirror
        has = [mirror.count(kind, "red") for kind in ("border_gateway", "user")]
        return mirror.get("tenant", "red") is not None, any(has)


@contextlib.asynccontextmanager
async def process(store: Store) -> AsyncIterator[Process]:
    between = Interleaved(store)
    seen = cast("Store", between)
    async with running(seen) as registry:
        auth = make_auth(Desk(seen, registry.mirror, RING), cost=Cost(passes=1, memory_kib=8))
        yield Process(registry, auth, between)
