"""Tenants (projects): whoever belongs to one sees its resources and no others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from gateway.control.auth.desk import Beside, Desk, not_unique, shown
from gateway.control.auth.principal import MAIN_TENANT, Principal, Scope, system
from gateway.control.auth.specs import NewTenant, TenantSpec, parse, patched
from gateway.control.changes.quotas import end_of_counts
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record, Table
from gateway.control.resources.settings import PER_TENANT, SETTING, setting_id
from gateway.control.resources.tenancy import is_marked, mark
from gateway.control.store.interface import Delete, Key, Write

KIND = "tenant"
# What a tenant that is to go may not have any more.
KEEPING = (*KINDS, "user", "token")


class Tenants:
    """Makes, changes and finds tenants. Calls may raise ApiProblem."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ensure_main(self) -> None:
        """
        Make the tenant `main` if it is not there.

        It is the one of a single network: its Border Gateways use the machine's own namespace.
        """
        if self._desk.mirror.get(KIND, MAIN_TENANT) is None:
            with contextlib.suppress(ApiProblem):  # another process was faster
                await self.create({"name": MAIN_TENANT, "own_namespaces": False}, system("auth"))

    def list(self, who: Principal, tenant: str | None = None) -> list[Table]:
        """Return the tenants that somebody sees: the operator all, others their own."""
        found = self._desk.mirror.of_kind(KIND, tenant)
        return [self.shown(record) for record in found if who.sees(record.id)]

    def shown(self, record: Record) -> Table:
        """Return a tenant as it is answered."""
        return shown(record, TenantSpec.model_validate(record.spec).model_dump(mode="json"))

    def show(self, name: str, who: Principal) -> Table:
        """Return one tenant."""
        return self.shown(self._desk.get(KIND, name, who))

    async def create(
        self,
        table: Table,
        who: Principal,
        *,
        tenant: str | None = None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Table:
        """Make a tenant, which is in no other (`tenant` means nothing here)."""
        who.need_operator(Scope.ADMIN)
        wanted = parse(NewTenant, KIND, table)
        value = {
            "tenant": wanted.name,
            "name": wanted.name,
            "spec": wanted.model_dump(mode="json", exclude={"name"}),
        }

        def judge() -> list[Write]:
            if self._desk.mirror.get(KIND, wanted.name) is not None:
                raise not_unique("tenant.name", wanted.name)
            return []

        made = await self._desk.make(
            Key(KIND, wanted.name),
            value,
            who,
            judge,
            dry_run=dry_run,
            beside=lambda record: beside(self.shown(record)) if beside is not None else (),
        )
        return self.shown(made)

    async def update(
        self,
        name: str,
        patch: Table,
        who: Principal,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Table:
        """Change what a merge patch names; its namespaces only while it has no Border Gateway."""
        who.need_operator(Scope.ADMIN)

        def change(old: Record) -> Table:
            spec = patched(TenantSpec, KIND, old.spec, patch)
            self._judge_namespaces(old, spec)
            return {**old.value, "spec": spec}

        return self.shown(
            await self._desk.edit(KIND, name, who, change, expected=expected, dry_run=dry_run)
        )

    async def delete(
        self, name: str, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> None:
        """End a tenant that has nothing any more, with his own settings. `main` stays."""
        who.need_operator(Scope.ADMIN)

        def close() -> list[Write]:
            old = self._empty(name, who, expected)
            return [] if is_marked(old) else [mark(old)]

        def end() -> list[Write]:
            old = self._empty(name, who, None)
            if not is_marked(old):
                text = f"tenant {name}: others use it at this moment"
                raise ApiProblem(503, "unavailable", text, retry_after_s=1)
            # The next of this name begins without what was set for this one.
            settings = (
                self._desk.mirror.get(SETTING, setting_id(each, name)) for each in PER_TENANT
            )
            return [*_ends([old, *settings]), *end_of_counts(self._desk.mirror, name)]

        await self._desk.catch_up()
        await self._desk.change(close, who.actor, dry_run=dry_run)
        if not dry_run:
            await self._desk.catch_up()
            await self._desk.change(end, who.actor)

    def _empty(self, name: str, who: Principal, expected: int | None) -> Record:
        """Return a tenant that has nothing any more. ApiProblem 404, 409, 412."""
        found = self._desk.expected(KIND, name, who, expected)
        if name == MAIN_TENANT:
            raise ApiProblem(409, "in_use", "tenant main: is where the operator's own are")
        counts = {kind: self._count(kind, name) for kind in KEEPING}
        there = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        if there:
            raise ApiProblem(409, "in_use", f"tenant {name}: still has {there}")
        return found

    def _count(self, kind: str, tenant: str) -> int:
        return self._desk.mirror.count(kind, tenant)

    def _judge_namespaces(self, old: Record, spec: Table) -> None:
        was = old.spec.get("own_namespaces", True)
        if spec["own_namespaces"] != was and self._count("border_gateway", old.id):
            text = "tenant.own_namespaces: can not change while the tenant has Border Gateways"
            field, value = "tenant.own_namespaces", spec["own_namespaces"]
            raise ApiProblem(409, "conflict", text, field=field, value=value)


def _ends(found: Iterable[Record | None]) -> list[Write]:
    """Return the ends of objects, as far as they are there."""
    return [Delete(each.key, each.revision) for each in found if each is not None]
