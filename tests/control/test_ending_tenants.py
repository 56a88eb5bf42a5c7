"""
A tenant that ends while another control process makes something in it: either it stays, with what
was made, or both are gone. On both stores, with the commits put in every order.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

import pytest

from gateway.control.auth.desk import Desk
from gateway.control.auth.passwords import Cost
from gateway.control.auth.service import Auth, make_auth
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.resources.tenancy import CLOSING
from gateway.control.store.interface import Store, Write
from tests.control.auth.support import PASSWORD
from tests.control.conftest import Opener
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

    async def make(self) -> object:
        await self.in_step()
        return await self.registry.create("border_gateway", {"name": "hub"}, ROOT, tenant="red")

    async def make_user(self) -> object:
        await self.in_step()
        return await self.auth.users.create(
            {"name": "ann", "password": PASSWORD}, ROOT, tenant="red"
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


@pytest.fixture
async def both(opener: Opener) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes, and a tenant without anything."""
    async with process(await opener()) as one, process(await opener()) as other:
        await one.auth.tenants.create({"name": "red"}, ROOT)
        yield one, other
        await one.in_step()
        exists, has = one.there()
        assert exists or not has


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("what", ["make", "make_user"])
async def test_what_is_made_while_a_tenant_ends_keeps_it(
    both: tuple[Process, Process], number: int, what: str
) -> None:
    """Before the mark, or between it and the end: then the deletion is the one to give way."""
    one, other = both
    one.before(number, getattr(other, what))
    with pytest.raises(ApiProblem) as caught:
        await one.end()
    assert (caught.value.status, caught.value.code) == (409, "in_use")
    assert one.there() == (True, True)


@pytest.mark.parametrize("what", ["make", "make_user"])
async def test_what_comes_too_late_is_not_made(both: tuple[Process, Process], what: str) -> None:
    one, other = both
    other.before(1, one.end)  # it has decided, and has not committed yet
    with pytest.raises(ApiProblem) as caught:
        await getattr(other, what)()
    assert (caught.value.status, caught.value.code) == (404, "not_found")
    assert one.there() == (False, False)


async def test_a_deletion_that_was_cut_short_holds_nobody_up(
    both: tuple[Process, Process],
) -> None:
    one, other = both

    async def crash() -> None:
        raise OSError("killed")

    one.before(2, crash)
    with pytest.raises(OSError, match="killed"):
        await one.end()
    tenant = one.registry.mirror.get("tenant", "red")
    assert tenant is not None
    assert tenant.value[CLOSING]
    await other.make()
    await one.in_step()
    tenant = one.registry.mirror.get("tenant", "red")
    assert tenant is not None
    assert CLOSING not in tenant.value
    (made,) = one.registry.all("border_gateway", ROOT, "red")
    await one.registry.delete("border_gateway", made.id, ROOT)
    await one.end()
    assert one.there() == (False, False)
