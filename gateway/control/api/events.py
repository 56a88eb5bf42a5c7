"""The routes of events: pages of them, and what has come since somebody last asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import Listing, listing
from gateway.control.api.depends import ALL_TENANTS, NamedTenant, Query, Who
from gateway.control.api.describe import ALWAYS, About, refused
from gateway.control.api.render import moment
from gateway.control.api.schemas import REFERENCE, Table
from gateway.control.auth.principal import MAIN_TENANT, Principal
from gateway.control.events.events import Wanted
from gateway.control.events.kept import Kept
from gateway.control.events.timeline import Timeline
from gateway.control.problems import invalid
from gateway.control.waits import Waits
from gateway.model.codes import CODES, Severity

WAIT_MOST_S = 60
FILTERS = frozenset({"code", "severity", "kind", "resource", "node", "since", "until"})
_NUMBER = re.compile(r"[0-9]{1,18}")


def event_router(timeline: Timeline, waits: Waits) -> APIRouter:
    """Return the routes of events. `waits` says who may wait for them."""
    router = APIRouter(tags=["Events"])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        asked = listing(query.items(), FILTERS)
        if asked.sort:
            raise invalid("sort", asked.sort, "events are always the newest first")
        wanted = wanted_by(who, named, asked)
        page = await timeline.page(wanted, asked.after, asked.limit)
        return answer_json(
            {
                "items": [shown(each) for each in page.items],
                "next": page.after,
                "revision": page.revision,
            }
        )

    async def follow(who: Who, named: NamedTenant, query: Query) -> Response:
        rest = {name: value for name, value in query.items() if name != "wait"}
        asked = listing(rest.items(), FILTERS)
        after = _number("after", asked.after)
        wait_s = _number("wait", query.get("wait")) or 0
        if wait_s > WAIT_MOST_S:
            raise invalid("wait", wait_s, f"must be 0 to {WAIT_MOST_S} seconds")
        wanted = wanted_by(who, named, asked)
        with waits.hold(who) if wait_s else nullcontext():
            news = await timeline.news(wanted, after, wait_s)
        items = [shown(each) for each in news.items]
        return answer_json({"items": items, "revision": news.revision})

    add(router, "GET", "/v1/events", list_, _described_list())
    add(router, "GET", "/v1/events/follow", follow, _described_follow())
    return router


def shown(kept: Kept) -> Table:
    """Return an event as the API answers it."""
    return {**kept.as_json(), "at": moment(kept.event.at)}


def wanted_by(who: Principal, named: str | None, asked: Listing) -> Wanted:
    """Return which events a request asks for. Raises ApiProblem 422."""
    given = asked.filters
    for name in given:
        if name not in FILTERS:
            raise invalid(name, given[name], "events have no tags")
    code, severity = given.get("code", ""), given.get("severity", "")
    if code and code not in CODES:
        raise invalid("code", code, "is no code of docs/events.md")
    if severity and severity not in [each.value for each in Severity]:
        raise invalid("severity", severity, "must be info, warning or error")
    return Wanted(
        tenant_of(who, named),
        code,
        severity,
        given.get("kind", ""),
        given.get("resource", ""),
        given.get("node", ""),
        _time("since", given),
        _time("until", given),
    )


def tenant_of(who: Principal, named: str | None) -> str | None:
    """Return whose events or alarms are asked for; None: of all tenants and of the fleet."""
    if named == ALL_TENANTS or (named is None and who.is_operator):
        return None if who.is_operator else who.tenant
    return named or MAIN_TENANT


def _time(name: str, given: Mapping[str, str]) -> float | None:
    text = given.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return found.timestamp()
    except (ValueError, OverflowError):
        text = "must be a time with its zone, as in 2026-11-25T16:00:00Z"
        raise invalid(name, given[name], text) from None


def _number(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise invalid(name, text, "must be a number")
    return int(text)


# ---- the description ----

_TEXTS = ("id", "tenant", "code", "text", "reason", "ours", "theirs", "hint", "node")
EVENT: Table = {
    "type": "object",
    "properties": {
        **{each: {"type": "string"} for each in _TEXTS},
        "at": {"type": "string", "format": "date-time"},
        "severity": {"enum": [each.value for each in Severity]},
        "sequence": {"type": "integer"},
        "resource": {
            "type": "object",
            "properties": {each: {"type": "string"} for each in ("kind", "name", "id")},
        },
    },
    "required": [*_TEXTS, "at", "severity", "sequence", "resource"],
}


def parameter(name: str, text: str, schema: Table | None = None) -> Table:
    """Return the description of one parameter of a query."""
    return {
        "name": name,
        "in": "query",
        "schema": schema or {"type": "string"},
        "description": text,
    }


_FILTERS = [
    parameter("code", "only events with this code, as event or as reason"),
    parameter("severity", "only these", {"enum": [each.value for each in Severity]}),
    parameter("kind", "only of resources of this kind"),
    parameter("resource", "only of the resource with this id or name"),
    parameter("node", "only those that this node reported"),
    parameter("since", "not before", {"type": "string", "format": "date-time"}),
    parameter("until", "not after", {"type": "string", "format": "date-time"}),
    parameter("tenant", "the operator names a tenant; all, and the fleet's own, if not"),
]


def answered(schema: Table, *statuses: int) -> dict[int, Table]:
    """Return the responses of a route: what it answers, and its refusals."""
    content = {"application/json": {"schema": schema}}
    return {200: {"description": "Events", "content": content}, **refused(*ALWAYS, *statuses)}


def _described_list() -> About:
    schema: Table = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": EVENT},
            "next": {"type": ["string", "null"]},
            "revision": {"type": "integer"},
        },
        "required": ["items", "next", "revision"],
    }
    limit: Table = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    parameters = [
        parameter("limit", "how many at most", limit),
        parameter("after", "`next` of the page before"),
        *_FILTERS,
    ]
    text = "What nodes have reported, and changes of resources, the newest first, for 30 days."
    return About(
        "listEvents", "List events", text, 200, answered(schema), {"parameters": parameters}
    )


def _described_follow() -> About:
    schema: Table = {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": EVENT},
            "revision": {"type": "integer"},
        },
        "required": ["items", "revision"],
    }
    parameters = [
        parameter("after", "`revision` of the answer before", {"type": "integer", "minimum": 0}),
        parameter("wait", "seconds to wait for the first", {"type": "integer", "maximum": 60}),
        *_FILTERS,
    ]
    text = (
        "Answers as soon as there is an event, the oldest first; without `after`, only from where"
        " to follow. 410 where the history is gone: begin anew."
    )
    responses = answered(schema)
    responses[410] = {
        "description": "That revision is not in the history any more",
        "content": {"application/problem+json": {"schema": {"$ref": REFERENCE + "Problem"}}},
    }
    return About(
        "followEvents", "Wait for events", text, 200, responses, {"parameters": parameters}
    )
