"""
What users, tokens, tenants and sessions are kept with: read from the mirror, written to the store.

A change is decided on the mirror and committed with the revisions that it stands on. If somebody
else was faster it is decided anew.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gateway.control.api.render import moment
from gateway.control.auth.principal import Principal
from gateway.control.changes import quotas
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.resources.tenancy import standing_on
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import (
    Conflict,
    Create,
    Key,
    NotFound,
    Replace,
    Store,
    Write,
)

CLAIM = "claim"
ATTEMPTS = 20

Decide = Callable[[], Sequence[Write]]
# Writes that are to be in the commit of something new, made once its answer is known.
Beside = Callable[[Table], Sequence[Write]]


class Desk:
    """The store, its mirror, the master keys, and the time in seconds since 1970."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        ring: KeyRing,
        clock: Callable[[], float] = time.time,
        noise: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.mirror = mirror
        self.ring = ring
        self.clock = clock
        self.noise = noise
        self._turn = asyncio.Lock()

    def get(self, kind: str, id: str, who: Principal) -> Record:
        """Return an object. ApiProblem 404 if there is none that `who` sees."""
        record = self.mirror.get(kind, id)
        if record is None or not who.sees(record.tenant):
            raise not_found(kind, id)
        return record

    def expected(self, kind: str, id: str, who: Principal, revision: int | None) -> Record:
        """Return an object that must be at a revision, if one is given. ApiProblem 404, 412."""
        record = self.get(kind, id, who)
        if revision is not None and record.revision != revision:
            text = f"{kind} {record.name}: is at revision {record.revision}, not {revision}"
            raise ApiProblem(412, "precondition_failed", text, extra={"revision": record.revision})
        return record

    def tenant_check(self, name: str, who: Principal) -> list[Write]:
        """
        Return what makes a commit depend on a tenant; nothing for the operator.

        Raises ApiProblem 404 if there is none, or he does not see it.
        """
        record = self.mirror.get("tenant", name)
        if not who.sees(name) or (name and record is None):
            raise not_found("tenant", name)
        return [] if record is None else [standing_on(record)]

    async def make(
        self,
        key: Key,
        value: Table,
        who: Principal,
        judge: Callable[[], Sequence[Write]],
        *,
        dry_run: bool = False,
        beside: Callable[[Record], Sequence[Write]] | None = None,
    ) -> Record:
        """
        Make an object and return it. `judge` refuses it, or says what is to be written with it.
        """
        now = self.clock()
        value = {**value, "created_at": now, "updated_at": now, "generation": 1}
        made = Record(key.kind, key.id, value, 0)

        def decide() -> list[Write]:
            more = beside(made) if beside is not None else ()
            writes = [Create(key, bytes_of(value)), *judge(), *more]
            quotas.judge(self.mirror, [made])
            return [*writes, *quotas.counts_of(self.mirror, [made])]

        async with self._turn:  # all of a tenant write the same count
            await self.change(decide, who.actor, dry_run=dry_run)
        return made if dry_run else self.mirror.get(key.kind, key.id) or made

    async def edit(
        self,
        kind: str,
        id: str,
        who: Principal,
        change: Callable[[Record], Table],
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Record:
        """Give an object the value that `change` makes of the old one, and return it."""
        new = self.expected(kind, id, who, expected)

        def decide() -> list[Write]:
            nonlocal new
            old = new = self.expected(kind, id, who, expected)
            value = change(old)
            if value == old.value:
                return []
            value = {**value, "updated_at": self.clock(), "generation": old.generation + 1}
            new = Record(kind, id, value, old.revision)
            return [Replace(old.key, bytes_of(value), old.revision)]

        await self.change(decide, who.actor, dry_run=dry_run)
        return new if dry_run else self.mirror.get(kind, id) or new

    async def change(self, decide: Decide, actor: str, *, dry_run: bool = False) -> None:
        """Commit what `decide` says, anew as long as others are faster. ApiProblem 503."""
        for _ in range(ATTEMPTS):
            writes = decide()
            if dry_run or not writes:
                return
            try:
                await self.write(writes, actor)
            except (Conflict, NotFound):
                await self.catch_up()
            else:
                return
        text = "others change the same at this moment"
        raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    async def catch_up(self) -> None:
        """
        Wait until the mirror has all that any process has written until now. ApiProblem 503.
        """
        if not await self.mirror.caught_up(await self.store.revision()):
            text = "the store's changes do not come in: what this stands on is not known"
            raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    async def write(self, writes: Sequence[Write], actor: str) -> None:
        """Commit, and wait until the mirror has it. Raises StoreError."""
        await self.mirror.caught_up(await self.store.commit(writes, actor))


def not_unique(field: str, value: str) -> ApiProblem:
    """Return the problem of a name that somebody has already."""
    text = f"{field}: there is one of this name already"
    return ApiProblem(409, "not_unique", text, field=field, value=value)


def shown(record: Record, fields: dict[str, Any]) -> Table:
    """Return the answer for an object: what all have, around its own fields."""
    return {
        "id": record.id,
        "tenant": record.tenant,
        "name": record.name,
        **fields,
        "created_at": moment(record.value.get("created_at")),
        "updated_at": moment(record.value.get("updated_at")),
        "revision": record.revision,
    }
