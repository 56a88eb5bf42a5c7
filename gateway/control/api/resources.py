"""The registry's resources as collections of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.control.api.collection import Table, revision_of
from gateway.control.api.conditions import Listing
from gateway.control.api.depends import ALL_TENANTS, narrowed
from gateway.control.api.describe import Noun, noun_of
from gateway.control.api.find import find
from gateway.control.api.idempotency import Beside
from gateway.control.api.render import StatusOf, rendered
from gateway.control.auth.principal import MAIN_TENANT, Principal
from gateway.control.registry import Done, Registry
from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record
from gateway.control.store.interface import Write


@dataclass(frozen=True, slots=True)
class Api:
    """What the routes of resources work with. `status_of` is what is computed of a resource."""

    registry: Registry
    status_of: StatusOf

    def rendered(self, record: Record) -> Table:
        """Return a resource as it is answered."""
        return rendered(KINDS[record.kind], record, self.status_of(record))

    def told(self, done: Done) -> Table:
        """Return the answer of a change: the resource, and what is probably not meant."""
        return self.rendered(done.record) | _warnings(done)

    def seen(self, kind: Kind, id: str, who: Principal, named: str | None) -> Record:
        """Return a resource of the tenant that is named, or of any that is seen. ApiProblem 404."""
        return self.registry.get(kind.name, id, who if kind.is_operators else narrowed(who, named))


def _warnings(done: Done) -> Table:
    return {"warnings": list(done.warnings)} if done.warnings else {}


# What is made with a new resource in its commit, and what the answer to its maker has of it.
With = Callable[[Record], tuple[Sequence[Write], Table]]


class Resources:
    """The resources of one kind. `made_with` is what a new one comes with."""

    def __init__(self, kind: Kind, api: Api, made_with: With | None = None) -> None:
        self._made_with = made_with
        self.noun: Noun = noun_of(kind)
        self._kind = kind
        self._api = api

    def list(self, who: Principal, named: str | None, asked: Listing) -> Table:
        registry = self._api.registry
        tenant = None if named == ALL_TENANTS else (named or MAIN_TENANT)
        records = registry.all(self._kind.name, who, tenant)
        found = find(self._kind, records, asked, self._name_of)
        return {
            "items": [self._api.rendered(record) for record in found.items],
            "next": found.after,
            "revision": registry.mirror.revision,
        }

    def read(self, id: str, who: Principal, named: str | None) -> Table:
        return self._api.rendered(self._api.seen(self._kind, id, who, named))

    async def create(
        self,
        body: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool,
        beside: Beside | None,
    ) -> Table:
        more: Table = {}

        def together(done: Done) -> list[Write]:
            made_with = self._made_with
            writes, told = made_with(done.record) if made_with is not None else ((), {})
            more.update(told)
            answer = rendered(self._kind, done.record, {}) | _warnings(done) | more
            return [*writes, *(beside(answer) if beside is not None else ())]

        done = await self._api.registry.create(
            self._kind.name, body, who, tenant=tenant, dry_run=dry_run, beside=together
        )
        return self._api.told(done) | more

    async def change(
        self,
        id: str,
        patch: Table,
        who: Principal,
        *,
        named: str | None,
        expected: int | None,
        dry_run: bool,
    ) -> Table:
        self._api.seen(self._kind, id, who, named)
        done = await self._api.registry.update(
            self._kind.name, id, patch, who, expected=expected, dry_run=dry_run
        )
        return self._api.told(done)

    async def delete(
        self,
        id: str,
        who: Principal,
        *,
        named: str | None,
        expected: int | None,
        cascade: bool,
        dry_run: bool,
    ) -> None:
        self._api.seen(self._kind, id, who, named)
        await self._api.registry.delete(
            self._kind.name, id, who, expected=expected, cascade=cascade, dry_run=dry_run
        )

    async def now(self, kept: Table) -> Table:
        """Return a resource as it was made, with its status as it is now."""
        mirror = self._api.registry.mirror
        await mirror.caught_up(revision_of(kept))  # another process may have made it just now
        record = mirror.get(self._kind.name, str(kept["id"]))
        return kept | {"status": self._api.status_of(record) if record is not None else {}}

    def _name_of(self, kind: str, id: str) -> str | None:
        record = self._api.registry.mirror.get(kind, id)
        return record.name if record is not None else None
