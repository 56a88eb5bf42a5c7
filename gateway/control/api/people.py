"""Users, API tokens and tenants as collections of the API, and who one is oneself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.collection import Collection, Table
from gateway.control.api.conditions import Listing, judge_query
from gateway.control.api.depends import ALL_TENANTS, Body, Query, Who, narrowed
from gateway.control.api.describe import (
    Noun,
    described_me,
    described_password,
)
from gateway.control.api.find import find_rows
from gateway.control.api.idempotency import Beside
from gateway.control.api.schemas import REFERENCE, Schemas, list_schema, patch_of
from gateway.control.auth.principal import Principal
from gateway.control.auth.service import Auth
from gateway.control.auth.specs import (
    NewTenant,
    NewToken,
    NewUser,
    TenantSpec,
    TokenSpec,
    UserSpec,
)
from gateway.control.mirror import Mirror

USER = Noun(
    "User",
    "User",
    "/v1/users",
    frozenset({"id", "name", "scope", "disabled"}),
    {"name": "ada", "password": "correct horse battery", "scope": "operate"},
    {"scope": "read"},
)
TOKEN = Noun(
    "Token",
    "API token",
    "/v1/tokens",
    frozenset({"id", "name", "scope", "user", "expired"}),
    {"name": "terraform", "scope": "admin", "lifetime_days": 90},
    {"description": "of the build server"},
)
TENANT = Noun(
    "Tenant",
    "Tenant",
    "/v1/tenants",
    frozenset({"id", "name", "own_namespaces"}),
    {"name": "globex", "description": "the sites of Globex"},
    {"description": "Globex and its branches"},
)


class Desk(Protocol):
    """What users, tokens and tenants have in common."""

    def list(self, who: Principal, tenant: str | None = None) -> list[Table]: ...

    def show(self, id: str, /, who: Principal) -> Table: ...

    async def create(
        self,
        table: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool = False,
        beside: Beside | None = None,
    ) -> Table: ...

    async def update(
        self,
        id: str,
        /,
        patch: Table,
        who: Principal,
        *,
        expected: int | None = None,
        dry_run: bool = False,
    ) -> Table: ...

    async def delete(
        self, id: str, /, who: Principal, *, expected: int | None = None, dry_run: bool = False
    ) -> None: ...


class People:
    """One of the three collections."""

    def __init__(self, noun: Noun, desk: Desk, mirror: Mirror) -> None:
        self.noun = noun
        self._desk = desk
        self._mirror = mirror

    def list(self, who: Principal, named: str | None, asked: Listing) -> Table:
        tenant = None if named == ALL_TENANTS else named
        found = find_rows(self._desk.list(who, tenant), asked)
        revision = self._mirror.revision
        return {"items": list(found.items), "next": found.after, "revision": revision}

    def read(self, id: str, who: Principal, named: str | None) -> Table:
        return self._desk.show(id, narrowed(who, named))

    async def create(
        self,
        body: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool,
        beside: Beside | None,
    ) -> Table:
        return await self._desk.create(body, who, tenant=tenant, dry_run=dry_run, beside=beside)

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
        who = narrowed(who, named)
        return await self._desk.update(id, patch, who, expected=expected, dry_run=dry_run)

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
        who = narrowed(who, named)
        await self._desk.delete(id, who, expected=expected, dry_run=dry_run)

    async def now(self, kept: Table) -> Table:
        """Return an answer that was kept as it is: nothing in it is of the moment."""
        return kept


def people(auth: Auth) -> tuple[Collection, ...]:
    """Return the three collections."""
    desks = ((USER, auth.users), (TOKEN, auth.tokens), (TENANT, auth.tenants))
    return tuple(People(noun, desk, auth.desk.mirror) for noun, desk in desks)


def me_router(auth: Auth) -> APIRouter:
    """Return the routes about oneself."""
    router = APIRouter(tags=["Me"])

    async def me(who: Who, query: Query) -> Response:
        judge_query(query, ())
        answer = {"actor": who.actor, "tenant": who.tenant, "scope": who.scope.word}
        return answer_json(answer)

    async def password(who: Who, query: Query, body: Body) -> Response:
        judge_query(query, ())
        return answer_json(await auth.authenticator.change_password(body, who))

    add(router, "GET", "/v1/me", me, described_me())
    add(router, "POST", "/v1/me/password", password, described_password())
    return router


# ---- schemas ----

_COMMON: Schemas = {
    "id": {"type": "string"},
    "tenant": {"type": "string", "description": 'the project; "" is the operator'},
    "name": {"type": "string"},
}
_MOMENT: Table = {"type": ["string", "null"], "format": "date-time"}
_LATER: Schemas = {
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
    "revision": {"type": "integer"},
}
_MODELS: Mapping[str, tuple[type[BaseModel], type[BaseModel], Schemas]] = {
    "User": (
        NewUser,
        UserSpec,
        {"password_version": {"type": "integer"}, "last_login_at": _MOMENT},
    ),
    "Token": (
        NewToken,
        TokenSpec,
        {
            "scope": {"enum": ["read", "operate", "admin"]},
            "user": {"type": ["string", "null"]},
            "expires_at": _MOMENT,
            "expired": {"type": "boolean"},
            "last_used_at": _MOMENT,
        },
    ),
    "Tenant": (NewTenant, TenantSpec, {}),
}
_TOLD_ONCE: Table = {"type": "string", "description": "the token itself: told in this answer only"}


def people_schemas() -> Schemas:
    """Return the schemas of the three collections."""
    found: Schemas = {}
    for name, (new, spec, more) in _MODELS.items():
        found[f"New{name}"] = _schema(new)
        found[f"{name}Patch"] = patch_of(_schema(spec), f"Change of a {name}")
        properties = {**_COMMON, **_properties(spec), **more, **_LATER}
        told = {"token": _TOLD_ONCE} if name == "Token" else {}
        found[name] = {
            "title": name,
            "type": "object",
            "properties": {**properties, **told},
            "required": list(properties),
        }
        found[f"{name}List"] = list_schema(name)
    password = found["UserPatch"]["properties"]
    assert isinstance(password, dict)
    password["password"] = {"type": ["string", "null"], "description": "at least 12 characters"}
    return found


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REFERENCE + "{model}")


def _properties(model: type[BaseModel]) -> Schemas:
    properties: Schemas = _schema(model)["properties"]
    return properties
