"""
The five routes of a collection of resources, and the conventions of HTTP that all collections have:
pages, ETag and If-Match, Idempotency-Key, dry run.

What a collection is made of, the routes do not know: the registry's resources, users, settings.
"""

from __future__ import annotations

from typing import Protocol

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
from gateway.control.api.depends import Body, NamedTenant, OneTenant, Query, Who
from gateway.control.api.describe import Noun
from gateway.control.api.idempotency import Answers, Beside, What
from gateway.control.auth.principal import Principal

Table = dict[str, object]
WRITE_QUERY = ("dry_run", "tenant")


class Collection(Protocol):
    """
    Resources of one kind. Answers are tables with at least `id` and `revision`.

    `named` is the tenant that the request names: "*" for all, None for none. Every call may raise
    ApiProblem.
    """

    noun: Noun

    def list(self, who: Principal, named: str | None, asked: Listing) -> Table: ...

    def read(self, id: str, who: Principal, named: str | None) -> Table: ...

    async def create(
        self,
        body: Table,
        who: Principal,
        *,
        tenant: str | None,
        dry_run: bool,
        beside: Beside | None,
    ) -> Table:
        """Make a resource, in the tenant that is named if one is."""
        ...

    async def change(
        self,
        id: str,
        patch: Table,
        who: Principal,
        *,
        named: str | None,
        expected: int | None,
        dry_run: bool,
    ) -> Table: ...

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
        """Delete a resource. `cascade` is true only where the noun has it."""
        ...

    async def now(self, kept: Table) -> Table:
        """Return an answer that was kept with what is computed as it is now."""
        ...


def collection_router(collection: Collection, answers: Answers) -> APIRouter:
    """Return the five routes of a collection."""
    noun = collection.noun
    router = APIRouter(tags=[noun.title])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        return answer_json(collection.list(who, named, listing(query.items(), noun.filters)))

    async def create(
        request: Request, who: Who, tenant: OneTenant, query: Query, body: Body
    ) -> Response:
        judge_query(query, WRITE_QUERY)
        dry_run = flag(query.get("dry_run"), "dry_run")
        key = idempotency_key(request.headers.get("idempotency-key"))

        async def make(beside: Beside | None) -> Table:
            return await collection.create(body, who, tenant=tenant, dry_run=dry_run, beside=beside)

        if key is None or dry_run:
            return _made(noun, await make(None), dry_run=dry_run)
        what = What(who, tenant or who.tenant, f"POST {noun.path}", body)
        made = await answers.once(key, what, make)
        return _made(noun, await collection.now(made.answer) if made.is_again else made.answer)

    async def read(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        return _one(collection.read(id, who, named))

    async def change(
        request: Request, id: str, who: Who, named: NamedTenant, query: Query, body: Body
    ) -> Response:
        judge_query(query, WRITE_QUERY)
        expected = expected_revision(request.headers.get("if-match"))
        dry_run = flag(query.get("dry_run"), "dry_run")
        changed = await collection.change(
            id, body, who, named=named, expected=expected, dry_run=dry_run
        )
        return _one(changed)

    async def delete(
        request: Request, id: str, who: Who, named: NamedTenant, query: Query
    ) -> Response:
        judge_query(query, (*WRITE_QUERY, *(["cascade"] if noun.cascade else [])))
        await collection.delete(
            id,
            who,
            named=named,
            expected=expected_revision(request.headers.get("if-match")),
            cascade=flag(query.get("cascade"), "cascade"),
            dry_run=flag(query.get("dry_run"), "dry_run"),
        )
        return answer_nothing()

    add(router, "GET", noun.path, list_, describe.described_list(noun))
    add(router, "POST", noun.path, create, describe.described_create(noun))
    add(router, "GET", noun.one, read, describe.described_read(noun))
    add(router, "PATCH", noun.one, change, describe.described_change(noun))
    add(router, "DELETE", noun.one, delete, describe.described_delete(noun))
    return router


def _one(answer: Table) -> Response:
    return answer_json(answer, revision=revision_of(answer))


def _made(noun: Noun, answer: Table, *, dry_run: bool = False) -> Response:
    location = None if dry_run else f"{noun.path}/{answer['id']}"
    return answer_json(answer, 201, revision=revision_of(answer), location=location)


def revision_of(answer: Table) -> int:
    """Return the revision of a resource, from its answer."""
    revision = answer["revision"]
    assert isinstance(revision, int)
    return revision
