"""The routes of settings and quotas: the operator's, and what a tenant has left of his."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json, answer_nothing
from gateway.control.api.collection import WRITE_QUERY, Table
from gateway.control.api.conditions import expected_revision, flag, judge_query
from gateway.control.api.depends import ALL_TENANTS, Body, NamedTenant, OneTenant, Query, Who
from gateway.control.api.describe import described_quotas, described_setting, described_settings
from gateway.control.api.render import moment
from gateway.control.auth.desk import Desk
from gateway.control.auth.principal import MAIN_TENANT, Principal, Scope
from gateway.control.auth.specs import patched
from gateway.control.changes import quotas
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.record import Record, bytes_of
from gateway.control.resources.settings import PER_TENANT, setting_id
from gateway.control.resources.settings import SETTING as KIND
from gateway.control.store.interface import Create, Delete, Key, Replace, Write

PATH = "/v1/settings"


class SettingDesk:
    """
    The settings of some models, by name. What was never set has the default, also a later one.

    Calls may raise ApiProblem.
    """

    def __init__(self, desk: Desk, models: Mapping[str, type[BaseModel]]) -> None:
        self._desk = desk
        self._models = models

    def all(self, who: Principal) -> list[Table]:
        """Return all settings, those that were never set with their defaults."""
        who.need_operator(Scope.READ)
        return [self.show(name, who, None) for name in self._models]

    def show(self, name: str, who: Principal, tenant: str | None) -> Table:
        """Return one setting, of one tenant if he is named."""
        who.need_operator(Scope.READ)
        return self._shown(name, tenant, self._desk.mirror.get(KIND, self._id(name, tenant)))

    async def change(
        self,
        name: str,
        patch: Table,
        who: Principal,
        tenant: str | None,
        *,
        expected: int | None,
        dry_run: bool,
    ) -> Table:
        """Change what a merge patch names; null is the default again."""
        who.need_operator(Scope.ADMIN)
        key, made = Key(KIND, self._id(name, tenant)), Record(KIND, name, {}, 0)

        def decide() -> Sequence[Write]:
            nonlocal made
            old = self._expected(key, expected)
            now = self._desk.clock()
            spec = dict(old.spec) if old is not None else {}
            judged = patched(self._models[name], f"setting.{name}", spec, patch)
            named = {key for key, set_to in {**spec, **patch}.items() if set_to is not None}
            value = {
                "tenant": "",
                "name": key.id,
                "spec": {key: judged[key] for key in sorted(named)},
                "created_at": old.value.get("created_at", now) if old is not None else now,
                "updated_at": now,
            }
            made = Record(KIND, key.id, value, old.revision if old is not None else 0)
            data = bytes_of(value)
            # A tenant who ends at this moment leaves no setting to the next of his name.
            stands_on = self._desk.tenant_check(tenant, who) if tenant is not None else []
            made_so = Replace(key, data, old.revision) if old is not None else Create(key, data)
            return [made_so, *stands_on]

        await self._desk.change(decide, who.actor, dry_run=dry_run)
        stored = None if dry_run else self._desk.mirror.get(KIND, key.id)
        return self._shown(name, tenant, stored or made)

    async def reset(
        self, name: str, who: Principal, tenant: str | None, *, expected: int | None, dry_run: bool
    ) -> None:
        """Make a setting what it is by default."""
        who.need_operator(Scope.ADMIN)
        key = Key(KIND, self._id(name, tenant))

        def decide() -> Sequence[Write]:
            old = self._expected(key, expected)
            return [Delete(key, old.revision)] if old is not None else []

        await self._desk.change(decide, who.actor, dry_run=dry_run)

    def _id(self, name: str, tenant: str | None) -> str:
        """Return the id of a setting, of a tenant's own if he is named. ApiProblem 404."""
        if name not in self._models or (tenant is not None and name not in PER_TENANT):
            raise not_found(KIND, name if tenant is None else f"{name} of tenant {tenant}")
        if tenant is None:
            return name
        if self._desk.mirror.get("tenant", tenant) is None:
            raise not_found("tenant", tenant)
        return setting_id(name, tenant)

    def _expected(self, key: Key, expected: int | None) -> Record | None:
        """Return what is set, which must be at a revision if one is given. ApiProblem 412."""
        old = self._desk.mirror.get(key.kind, key.id)
        revision = old.revision if old is not None else 0
        if expected is not None and revision != expected:
            text = f"setting {key.id}: is at revision {revision}, not {expected}"
            raise ApiProblem(412, "precondition_failed", text, extra={"revision": revision})
        return old

    def _shown(self, name: str, tenant: str | None, record: Record | None) -> Table:
        spec = dict(record.spec) if record is not None else {}
        if tenant is not None:  # what is not his own is what holds for all
            common = self._desk.mirror.get(KIND, name)
            spec = {**(common.spec if common is not None else {}), **spec}
        shown = self._models[name].model_validate(spec).model_dump(mode="json")
        return {
            "id": name,
            "tenant": tenant or "",
            **shown,
            "updated_at": moment(record.value.get("updated_at")) if record is not None else None,
            "revision": record.revision if record is not None else 0,
        }


def settings_router(settings: SettingDesk, models: Mapping[str, type[BaseModel]]) -> APIRouter:
    """Return the routes of settings."""
    router = APIRouter(tags=["Settings"])

    async def list_(who: Who, query: Query) -> Response:
        judge_query(query, ())
        return answer_json({"items": settings.all(who), "next": None})

    def of(name: str) -> None:
        async def read(who: Who, tenant: OneTenant, query: Query) -> Response:
            judge_query(query, ("tenant",))
            found = settings.show(name, who, tenant)
            return answer_json(found, revision=_revision(found))

        async def change(
            request: Request, who: Who, tenant: OneTenant, query: Query, body: Body
        ) -> Response:
            judge_query(query, WRITE_QUERY)
            expected = expected_revision(request.headers.get("if-match"))
            dry_run = flag(query.get("dry_run"), "dry_run")
            found = await settings.change(
                name, body, who, tenant, expected=expected, dry_run=dry_run
            )
            return answer_json(found, revision=_revision(found))

        async def reset(request: Request, who: Who, tenant: OneTenant, query: Query) -> Response:
            judge_query(query, WRITE_QUERY)
            expected = expected_revision(request.headers.get("if-match"))
            dry_run = flag(query.get("dry_run"), "dry_run")
            await settings.reset(name, who, tenant, expected=expected, dry_run=dry_run)
            return answer_nothing()

        one = f"{PATH}/{name}"
        add(router, "GET", one, read, described_setting("get", name))
        add(router, "PATCH", one, change, described_setting("update", name))
        add(router, "DELETE", one, reset, described_setting("reset", name))

    add(router, "GET", PATH, list_, described_settings())
    for name in models:
        of(name)
    return router


def quota_router(desk: Desk) -> APIRouter:
    """Return the route of quotas: what a tenant may have, and has."""
    router = APIRouter(tags=["Settings"])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        tenant = MAIN_TENANT if named in (None, ALL_TENANTS) else str(named)
        used = quotas.used(desk.mirror, tenant)
        items = [
            {"name": name, "limit": most, "used": used.get(name)}
            for name, most in quotas.limits(desk.mirror, tenant).items()
        ]
        return answer_json({"tenant": tenant, "items": items, "next": None})

    add(router, "GET", "/v1/quotas", list_, described_quotas())
    return router


def _revision(answer: Table) -> int:
    revision = answer["revision"]
    assert isinstance(revision, int)
    return revision
