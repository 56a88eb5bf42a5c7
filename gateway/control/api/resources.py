"""
The routes of every kind of resource, made from the table of kinds: list, create, read, change,
delete.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.control.api import describe
from gateway.control.api.add import add
from gateway.control.api.answers import answer_json, answer_nothing
from gateway.control.api.conditions import (
    Listing,
    expected_revision,
    flag,
    idempotency_key,
    judge_query,
    listing,
)
from gateway.control.api.depends import ALL_TENANTS, Body, NamedTenant, Query, Tenant, Who
from gateway.control.api.find import filters_of, find
from gateway.control.api.idempotency import Answers, Kept, Once
from gateway.control.api.render import StatusOf, Table, rendered
from gateway.control.auth.principal import MAIN_TENANT, OPERATOR, Principal
from gateway.control.problems import ApiProblem
from gateway.control.registry import Done, Registry
from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record
from gateway.control.store.interface import Write

WRITE_QUERY = ("dry_run", "tenant")
RACES = 20  # commits that others were faster than


@dataclass(frozen=True, slots=True)
class Api:
    """What the routes work with. `status_of` is what is computed of a resource."""

    registry: Registry
    answers: Answers
    status_of: StatusOf

    def rendered(self, record: Record) -> Table:
        return rendered(KINDS[record.kind], record, self.status_of(record))

    def name_of(self, kind: str, id: str) -> str | None:
        record = self.registry.mirror.get(kind, id)
        return record.name if record is not None else None


class Raced(Exception):
    """Another request with the same Idempotency-Key was committed first."""


def path_of(kind: Kind, id: str | None = None) -> str:
    """Return the path of a kind's collection, or of one resource."""
    return f"/v1/{kind.path}" + (f"/{id}" if id is not None else "")


def resource_router(kind: Kind, api: Api) -> APIRouter:
    """Return the five routes of a kind."""
    router = APIRouter(tags=[kind.title])
    known = filters_of(kind)

    async def list_(request: Request, who: Who, named: NamedTenant, query: Query) -> Response:
        asked = listing(query.items(), known)
        return answer_json(_listed(api, kind, who, named, asked))

    async def create(
        request: Request, who: Who, tenant: Tenant, query: Query, body: Body
    ) -> Response:
        judge_query(query, WRITE_QUERY)
        return await _create(api, kind, request, who, tenant, body)

    async def read(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        record = seen(api, kind, id, who, named)
        return answer_json(api.rendered(record), revision=record.revision)

    async def change(
        request: Request, id: str, who: Who, named: NamedTenant, query: Query, body: Body
    ) -> Response:
        judge_query(query, WRITE_QUERY)
        expected = expected_revision(request.headers.get("if-match"))
        dry_run = flag(query.get("dry_run"), "dry_run")
        seen(api, kind, id, who, named)
        done = await api.registry.update(
            kind.name, id, body, who, expected=expected, dry_run=dry_run
        )
        return answer_json(told(api, done), revision=done.record.revision)

    async def delete(
        request: Request, id: str, who: Who, named: NamedTenant, query: Query
    ) -> Response:
        judge_query(query, WRITE_QUERY)
        expected = expected_revision(request.headers.get("if-match"))
        dry_run = flag(query.get("dry_run"), "dry_run")
        seen(api, kind, id, who, named)
        await api.registry.delete(kind.name, id, who, expected=expected, dry_run=dry_run)
        return answer_nothing()

    one, many = path_of(kind, "{id}"), path_of(kind)
    add(router, "GET", many, list_, describe.described_list(kind))
    add(router, "POST", many, create, describe.described_create(kind))
    add(router, "GET", one, read, describe.described_read(kind))
    add(router, "PATCH", one, change, describe.described_change(kind))
    add(router, "DELETE", one, delete, describe.described_delete(kind))
    return router


def seen(api: Api, kind: Kind, id: str, who: Principal, named: str | None) -> Record:
    """Return a resource of the tenant that is named, or of any that is seen. ApiProblem 404."""
    narrow = who
    if named not in (None, ALL_TENANTS) and not kind.is_operators and who.is_operator:
        narrow = Principal(who.actor, str(named), who.scope)
    return api.registry.get(kind.name, id, narrow)


def told(api: Api, done: Done) -> Table:
    """Return the answer of a change: the resource, and what is probably not meant."""
    answer = api.rendered(done.record)
    return answer | {"warnings": list(done.warnings)} if done.warnings else answer


def _listed(
    api: Api, kind: Kind, who: Principal, named: str | None, asked: Listing
) -> dict[str, object]:
    tenant = None if named == ALL_TENANTS else (named or MAIN_TENANT)
    records = api.registry.all(kind.name, who, tenant)
    found = find(kind, records, asked, api.name_of)
    return {
        "items": [api.rendered(record) for record in found.records],
        "next": found.after,
        "revision": api.registry.mirror.revision,
    }


async def _create(
    api: Api, kind: Kind, request: Request, who: Principal, tenant: str, body: Table
) -> Response:
    key = idempotency_key(request.headers.get("idempotency-key"))
    dry_run = flag(request.query_params.get("dry_run"), "dry_run")
    owner = OPERATOR if kind.is_operators else tenant
    if key is None or dry_run:
        done = await api.registry.create(kind.name, body, who, tenant=tenant, dry_run=dry_run)
        location = None if dry_run else path_of(kind, done.record.id)
        return answer_json(told(api, done), 201, revision=done.record.revision, location=location)
    for _ in range(RACES):
        found = await api.answers.find(who, owner, key, f"POST {path_of(kind)} {tenant}", body)
        if isinstance(found, Kept):
            return _again(api, kind, found)
        try:
            done = await api.registry.create(
                kind.name, body, who, tenant=tenant, beside=_keeping(api, kind, found)
            )
        except Raced:
            continue
        location = path_of(kind, done.record.id)
        return answer_json(told(api, done), 201, revision=done.record.revision, location=location)
    text = "others change the same resources at this moment"
    raise ApiProblem(503, "unavailable", text, retry_after_s=1)


def _keeping(api: Api, kind: Kind, once: Once) -> Callable[[Record], list[Write]]:
    """Return what keeps the answer in the commit of a new resource. Raises Raced."""
    is_first = True

    def beside(record: Record) -> list[Write]:
        nonlocal is_first
        if not is_first:  # the commit was refused: maybe because the answer is there by now
            raise Raced
        is_first = False
        body = rendered(kind, record, {})
        return [api.answers.keep(once, 201, path_of(kind, record.id), body)]

    return beside


def _again(api: Api, kind: Kind, kept: Kept) -> Response:
    """Return the answer of the first request: the resource as it was made, and how it is now."""
    record = api.registry.mirror.get(kind.name, str(kept.body["id"]))
    status = api.status_of(record) if record is not None else {}
    body = kept.body | {"revision": kept.revision, "status": status}
    return answer_json(body, kept.status, revision=kept.revision, location=kept.location)
