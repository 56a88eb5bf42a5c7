"""
The five routes of a collection of resources, and the conventions of HTTP that all collections have:
pages, ETag and If-Match, Idempotency-Key, dry run.

What a collection is made of, the routes do not know: the registry's resources, users, settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from gateway.control.api.idempotency import Answers, Kept, Once
from gateway.control.auth.principal import Principal
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import Write

Table = dict[str, object]
# Writes that are to be in the commit of something new, made once its answer is known.
Beside = Callable[[Table], Sequence[Write]]

WRITE_QUERY = ("dry_run", "tenant")
RACES = 20  # commits that others were faster than


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

    def now(self, kept: Table) -> Table:
        """Return an answer that was kept with what is computed as it is now."""
        ...


class Raced(Exception):
    """Another request with the same Idempotency-Key may have been committed first."""


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
        if key is not None and not dry_run:
            return await _create_once(collection, answers, key, body, who, tenant)
        made = await collection.create(body, who, tenant=tenant, dry_run=dry_run, beside=None)
        return _made(noun, made, dry_run=dry_run)

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


async def _create_once(
    collection: Collection,
    answers: Answers,
    key: str,
    body: Table,
    who: Principal,
    tenant: str | None,
) -> Response:
    """Make a resource, or answer what the first request with this key was answered."""
    what = f"POST {collection.noun.path}"
    refusal: ApiProblem | None = None
    for _ in range(RACES):
        found = await answers.find(who, tenant or who.tenant, key, what, body)
        if isinstance(found, Kept):
            kept = found.body | {"revision": found.revision}
            return _made(collection.noun, collection.now(kept))
        if refusal is not None:
            raise refusal
        try:
            made = await collection.create(
                body, who, tenant=tenant, dry_run=False, beside=_keeping(answers, found)
            )
        except Raced:
            continue
        except ApiProblem as problem:
            # Maybe what is in the way is what the same request has made in the meantime.
            refusal = problem
            continue
        return _made(collection.noun, made)
    text = "others change the same resources at this moment"
    raise ApiProblem(503, "unavailable", text, retry_after_s=1)


def _keeping(answers: Answers, once: Once) -> Beside:
    """
    Return what keeps the answer in the commit of a new resource.

    It is called again after a commit that was refused, and the reason may be that the answer is
    there by now: it raises Raced.
    """
    is_first = True

    def beside(answer: Table) -> Sequence[Write]:
        nonlocal is_first
        if not is_first:
            raise Raced
        is_first = False
        return [answers.keep(once, answer)]

    return beside
