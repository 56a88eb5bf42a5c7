"""
The resources as they are read and changed: every request ends here, whoever sends it.

A change is decided on the mirror and committed with the revisions that it stands on. If another
control process was faster, it is decided anew. Within one process changes queue up, so that their
requests do not compete.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gateway.control.auth.principal import MAIN_TENANT, OPERATOR, Principal, Scope
from gateway.control.changes import edit, quotas
from gateway.control.changes.allocate import Draw
from gateway.control.changes.judge import drafts
from gateway.control.changes.make import Maker
from gateway.control.changes.steps import Rehearsal, Step
from gateway.control.changes.view import Pair
from gateway.control.changes.writes import writes_of
from gateway.control.judging import judged
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem, forbidden, not_found
from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record, Table
from gateway.control.resources.tenancy import standing_on
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import Conflict, NotFound, Store, Unavailable, Write
from gateway.secret import Secret

ATTEMPTS = 20  # another process was faster each time
PAUSE_S = 0.01  # times a random number, before the next attempt


@dataclass(frozen=True, slots=True)
class Done:
    """A change: the resource as it is now, those made with it, what is probably not meant."""

    record: Record
    others: tuple[Record, ...] = ()
    warnings: tuple[str, ...] = ()


# Writes that are to be in the commit of a change, made once all of it is known but its revision.
Beside = Callable[[Done], Sequence[Write]]


class Registry:
    """Creates, changes, deletes and finds resources. Every call may raise ApiProblem."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        ring: KeyRing,
        clock: Callable[[], float] = time.time,
        noise: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self.mirror = mirror
        self._ring = ring
        self._clock = clock
        self._draw = Draw(noise)
        self._turn = asyncio.Lock()

    # ---- reading ----

    def get(self, kind: str, id: str, who: Principal) -> Record:
        """Return a resource by id. One of a tenant that is not seen does not exist."""
        record = self.mirror.get(kind, id)
        if record is None or not who.sees(record.tenant):
            raise not_found(kind, id)
        return record

    def all(self, kind: str, who: Principal, tenant: str | None = None) -> list[Record]:
        """Return the resources of a kind that somebody sees, of one tenant if it is named."""
        if KINDS[kind].is_operators:
            return list(self.mirror.of_kind(kind)) if who.is_operator else []
        if tenant is not None and not who.sees(tenant):
            return []
        return list(self.mirror.of_kind(kind, tenant if who.is_operator else who.tenant))

    async def reveal(self, kind: str, id: str, field: str, who: Principal) -> Secret:
        """Return one secret of a resource: its own, or the one allocated for it."""
        who.need(Scope.OPERATE)
        record = self.get(kind, id, who)
        for part, table in (("spec", record.spec), ("allocated", record.allocated)):
            if field in table:
                return self._ring.open(table[field], record.key, f"{part}/{field}")
        raise ApiProblem(404, "not_found", f"{kind}: {record.name} has no {field} of its own")

    # ---- changing ----

    async def create(
        self,
        kind: str,
        spec: object,
        who: Principal,
        *,
        tenant: str | None = None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Done:
        """Make a resource, with what comes with it, in one commit."""
        one = KINDS[kind]
        owner = self._tenant(one, who, tenant)

        def decide() -> tuple[list[Pair], Record | None]:
            maker = Maker(self.mirror, owner, self._draw, self._clock())
            made = maker.make(one, spec)
            quotas.judge(self.mirror, made)
            return [(None, record) for record in made], made[0]

        return await self._change(decide, who, dry_run, beside)

    async def update(
        self,
        kind: str,
        id: str,
        patch: object,
        who: Principal,
        *,
        expected: int | None = None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Done:
        """Change what a merge patch names (RFC 7396); with `expected` only at that revision."""
        self._need(KINDS[kind], who)

        def decide() -> tuple[list[Pair], Record | None]:
            old = self._expected(kind, id, who, expected)
            new = edit.edited(self.mirror, old, patch, self._clock())
            return ([] if new is old else [(old, new)]), new

        return await self._change(decide, who, dry_run, beside)

    async def delete(
        self,
        kind: str,
        id: str,
        who: Principal,
        *,
        expected: int | None = None,
        cascade: bool = False,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> None:
        """
        End a resource that no other refers to.

        With `cascade` a connection takes its tunnels with it, and a tunnel may still be up.
        """
        self._need(KINDS[kind], who)

        def decide() -> tuple[list[Pair], Record | None]:
            old = self._expected(kind, id, who, expected)
            going = edit.judge_deletion(self.mirror, old, cascade=cascade)
            return [(one, None) for one in going], old

        await self._change(decide, who, dry_run, beside)

    async def restore(
        self, kind: str, id: str, before: Table | None, revision: int, who: Principal
    ) -> None:
        """
        Make a resource what it was before a change, whose `revision` is that of the change.

        `before` is its value then, None: it did not exist. Raises ApiProblem 412 if it has been
        changed since, 409 if it has got users or what it had has been taken.
        """
        self._need(KINDS[kind], who)

        def decide() -> tuple[list[Pair], Record | None]:
            now = self.mirror.get(kind, id)
            if now is not None and now.revision != revision:
                raise edit.precondition_failed(now, revision)
            changes = edit.restored(self.mirror, kind, id, before, self._clock())
            return changes, now or Record(kind, id, before or {}, 0)

        await self._change(decide, who, False)

    async def rehearse(self, steps: Sequence[Step], who: Principal, tenant: str) -> list[str]:
        """
        Judge several changes as if one after the other were made; return the warnings.

        Raises ApiProblem for the first that can not be, with its index as `step`.
        """
        for step in steps:
            owner = self._tenant(KINDS[step.kind], who, tenant)
        rehearsal = Rehearsal(self.mirror, owner, self._draw, self._clock())
        warnings: dict[str, None] = {}
        for index, step in enumerate(steps):
            try:
                warnings |= dict.fromkeys(await judged(rehearsal.take(step)))
            except ApiProblem as error:
                error.extra["step"] = index
                raise
            await asyncio.sleep(0)  # others have their turn
        return list(warnings)

    def _tenant(self, kind: Kind, who: Principal, tenant: str | None) -> str:
        """Return the tenant that a new resource is of."""
        self._need(kind, who)
        owner = tenant or (MAIN_TENANT if who.is_operator else who.tenant)
        if not who.sees(owner):
            raise not_found("tenant", owner)
        if owner != MAIN_TENANT:
            self._existing_tenant(owner)
        return owner

    def _need(self, kind: Kind, who: Principal) -> None:
        if kind.is_operators:
            who.need_operator(Scope.ADMIN)
        who.need(Scope.ADMIN)

    def _expected(self, kind: str, id: str, who: Principal, expected: int | None) -> Record:
        record = self.get(kind, id, who)
        if expected is not None and record.revision != expected:
            raise edit.precondition_failed(record, expected)
        return record

    async def _change(
        self,
        decide: Callable[[], tuple[list[Pair], Record | None]],
        who: Principal,
        dry_run: bool,
        beside: Beside | None = None,
    ) -> Done:
        """Decide, judge and commit; anew as long as others are faster."""
        async with self._turn:
            for attempt in range(ATTEMPTS):
                changes, record = decide()
                assert record is not None
                _judge_machine(changes, who)
                warnings = await judged(drafts(self.mirror, changes))
                done = _done(changes, record, warnings)
                if dry_run or not changes:
                    return done
                writes = writes_of(self.mirror, changes, self._ring.seal)
                writes += self._tenants_of(changes)
                writes += beside(done) if beside is not None else ()
                revision = await self._committed(writes, who.actor)
                if revision is not None:
                    kept = [(old, self._stored(new, revision)) for old, new in changes]
                    return _done(kept, self._stored(record, revision) or record, warnings)
                await asyncio.sleep(PAUSE_S * attempt * os.urandom(1)[0] / 256)
        raise ApiProblem(
            503, "unavailable", "others change the same resources at this moment", retry_after_s=1
        )

    def _tenants_of(self, changes: Sequence[Pair]) -> list[Write]:
        """Return what makes new resources stand on their tenants. Raises ApiProblem 404."""
        found = {new.tenant for old, new in changes if old is None and new is not None}
        others = sorted(found - {OPERATOR, MAIN_TENANT})  # main never ends
        return [standing_on(self._existing_tenant(name)) for name in others]

    def _existing_tenant(self, name: str) -> Record:
        record = self.mirror.get("tenant", name)
        if record is None:
            raise not_found("tenant", name)
        return record

    def _stored(self, record: Record | None, revision: int) -> Record | None:
        """Return a record as it is after a commit of ours, which the mirror may not have yet."""
        if record is None:
            return None
        found = self.mirror.get(record.kind, record.id)
        if found is not None and found.revision >= revision:
            return found
        return replace(record, revision=revision)

    async def _committed(self, writes: Sequence[Write], actor: str) -> int | None:
        """Commit and return the revision; None if the state that the writes stand on is over."""
        try:
            revision = await self._store.commit(writes, actor)
            await self.mirror.caught_up(revision)
        except (Conflict, NotFound):
            if not await self.mirror.caught_up(await self._store.revision()):
                text = "the store's changes do not come in: what this stands on is not known"
                raise ApiProblem(503, "unavailable", text, retry_after_s=1) from None
            return None
        except Unavailable as error:
            raise ApiProblem(503, "unavailable", str(error), retry_after_s=1) from None
        return revision


def _judge_machine(changes: Sequence[Pair], who: Principal) -> None:
    """
    Raise ApiProblem 403 for a tenant who names a device or namespace of the gateway VMs, which may
    be another tenant's or the one that all packets come by, or lets them talk to private addresses.
    `main` is the operator's own.
    """
    if who.is_operator or who.tenant == MAIN_TENANT:
        return
    for old, new in changes:
        if new is None:
            continue
        before = old.spec if old is not None else {}
        for field in sorted(KINDS[new.kind].of_machine):
            if (new.spec.get(field) or None) != (before.get(field) or None):
                text = f"{new.kind}.{field}: is about the gateway VMs: the operator sets it"
                raise forbidden(text)


def _done(changes: Sequence[Pair], record: Record, warnings: Sequence[str]) -> Done:
    others = tuple(new for _, new in changes[1:] if new is not None)
    return Done(record, others, tuple(warnings))
