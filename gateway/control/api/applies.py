"""The routes of applies: several changes at once, confirmed or taken back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import flag, idempotency_key, judge_query
from gateway.control.api.depends import ALL_TENANTS, Body, NamedTenant, Query, Tenant, Who
from gateway.control.api.describe import About, refused
from gateway.control.api.schemas import REFERENCE
from gateway.control.applies import APPLY, OVER, UNDER_WAY, WAITING, Applies
from gateway.control.auth.principal import MAIN_TENANT, Principal, Scope
from gateway.control.changes.steps import (
    ACTIONS,
    CONFIRM_S_MAX,
    STEPS_MAX,
    Step,
    steps_from,
)
from gateway.control.problems import invalid, not_found
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record, Table

PATH = "/v1/applies"
_KEYS = {"steps", "confirm_s"}
STATES = (*UNDER_WAY, WAITING, *OVER)


def apply_router(applies: Applies) -> APIRouter:
    """Return the routes of applies."""
    router = APIRouter(tags=["Apply"])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        tenant = MAIN_TENANT if named in (None, ALL_TENANTS) else str(named)
        items = [applies.rendered(record) for record in applies.all(who, tenant)]
        return answer_json({"items": items, "next": None})

    async def begin(
        request: Request, who: Who, tenant: Tenant, query: Query, body: Body
    ) -> Response:
        judge_query(query, ("tenant", "dry_run"))
        who.need(Scope.ADMIN)
        steps, confirm_s = _asked(body)
        if flag(query.get("dry_run"), "dry_run"):
            return answer_json(await _rehearsed(applies, steps, confirm_s, who, tenant))
        key = idempotency_key(request.headers.get("idempotency-key"))
        record = await applies.begin(steps, confirm_s, who, tenant, key)
        return _answer(applies, record, 202)

    async def read(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        return _answer(applies, _seen(applies, id, who, named))

    async def confirm(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        _seen(applies, id, who, named)
        return _answer(applies, await applies.confirm(id, who))

    async def take_back(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        _seen(applies, id, who, named)
        return _answer(applies, await applies.take_back(id, who), 202)

    one = PATH + "/{id}"
    add(router, "GET", PATH, list_, _about("listApplies", "List applies, the newest first"))
    add(router, "POST", PATH, begin, _about("createApply", _BEGIN, 202, body=True))
    add(router, "GET", one, read, _about("getApply", "Return an apply and how far it is"))
    kept = _about("confirmApply", "Keep what an apply has changed")
    add(router, "POST", f"{one}/confirm", confirm, kept)
    undone = _about("takeBackApply", "Take an apply back before its time is over", 202)
    add(router, "POST", f"{one}/take-back", take_back, undone)
    return router


def _about(operation: str, summary: str, status: int = 200, *, body: bool = False) -> About:
    """Return what the description says of a route."""
    extra: dict[str, Any] = {"parameters": [dict(_TENANT)]}
    if body:
        extra["parameters"] = [dict(_TENANT), dict(_DRY_RUN)]
        extra["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _REQUEST, "example": _EXAMPLE}},
        }
    schema = _LIST if operation.startswith("list") else _APPLY
    answer = {"description": summary, "content": {"application/json": {"schema": schema}}}
    refusals = refused(400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 500, 503)
    responses: dict[int, dict[str, Any]] = {status: answer, **refusals}
    if body:
        responses[200] = {**answer, "description": "With dry_run: what would be"}
    return About(operation, summary, _TEXT if body else "", status, responses, extra)


_BEGIN = "Make several changes, one after the other"
_TEXT = (
    "With `confirm_s` they are taken back unless `confirm` is called within so many seconds after"
    " the last one; also when a step fails. Resources are then what they were, ids and keys too."
)
_TENANT = {"name": "tenant", "in": "query", "schema": {"type": "string"}}
_DRY_RUN = {"name": "dry_run", "in": "query", "schema": {"type": "boolean"}}
_STEP = {
    "type": "object",
    "properties": {
        "action": {"enum": list(ACTIONS)},
        "kind": {"enum": list(KINDS)},
        "id": {"type": "string", "description": "of what is changed or deleted"},
        "name": {"type": "string", "description": "for people"},
        "body": {"type": "object", "description": "the new resource, or a merge patch"},
        "expected": {"type": ["integer", "null"], "description": "the revision it must have"},
    },
    "required": ["action", "kind"],
    "additionalProperties": False,
}
_REQUEST = {
    "type": "object",
    "properties": {
        "steps": {"type": "array", "items": _STEP, "minItems": 1, "maxItems": STEPS_MAX},
        "confirm_s": {"type": "integer", "minimum": 0, "maximum": CONFIRM_S_MAX, "default": 0},
    },
    "required": ["steps"],
    "additionalProperties": False,
}
_EXAMPLE = {
    "confirm_s": 60,
    "steps": [
        {
            "action": "create",
            "kind": "customer_gateway",
            "body": {"name": "office", "public_addresses": ["203.0.113.50"], "asn": 65001},
        }
    ],
}
_APPLY = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"]},
        "state": {"enum": list(STATES)},
        "done": {"type": "integer", "description": "how many steps have been carried out"},
        "steps": {"type": "array", "items": {"type": "object"}},
        "confirm_by": {"type": ["string", "null"], "format": "date-time"},
        "problem": {"anyOf": [{"$ref": REFERENCE + "Problem"}, {"type": "null"}]},
        "left": {"type": "array", "items": {"type": "object"}},
    },
    "required": ["id", "steps"],
}
_LIST = {
    "type": "object",
    "properties": {"items": {"type": "array", "items": _APPLY}, "next": {"type": "null"}},
    "required": ["items", "next"],
}


def _asked(body: Table) -> tuple[list[Step], int]:
    for key in body:
        if key not in _KEYS:
            raise invalid(key[:80], None, "there is no such field", code="unknown_field")
    confirm_s = body.get("confirm_s", 0)
    if not isinstance(confirm_s, int) or isinstance(confirm_s, bool):
        raise invalid("confirm_s", confirm_s, "must be a whole number")
    if not 0 <= confirm_s <= CONFIRM_S_MAX:
        raise invalid("confirm_s", confirm_s, f"must be 0 to {CONFIRM_S_MAX}")
    return steps_from(body.get("steps")), confirm_s


async def _rehearsed(
    applies: Applies, steps: list[Step], confirm_s: int, who: Principal, tenant: str
) -> Table:
    """Return what would be: the fields that each step changes, and what is probably not meant."""
    warnings = await applies.registry.rehearse(steps, who, tenant)
    # An update that sets a secret to what it is already has that field no more.
    told = [(await applies.without_known_secrets(step)).told() for step in steps]
    return {"id": None, "tenant": tenant, "confirm_s": confirm_s, "steps": told} | {
        "warnings": warnings
    }


def _seen(applies: Applies, id: str, who: Principal, named: str | None) -> Record:
    record = applies.get(id, who)
    if named not in (None, ALL_TENANTS, record.tenant):
        raise not_found(APPLY, id)
    return record


def _answer(applies: Applies, record: Record, status: int = 200) -> Response:
    location = f"{PATH}/{record.id}" if status == 202 else None
    body = applies.rendered(record)
    return answer_json(body, status, revision=record.revision, location=location)
