"""The route of the audit log."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.access import KIND as ACCESS
from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.audit import audit_page, wanted_by
from gateway.control.api.conditions import listing
from gateway.control.api.depends import ALL_TENANTS, NamedTenant, Query, Who
from gateway.control.api.describe import described_log
from gateway.control.problems import invalid
from gateway.control.resources.kinds import KINDS
from gateway.control.store.interface import Store

SHOWN = frozenset({*KINDS, ACCESS, "tenant", "user", "token", "session", "setting", "action"})
FILTERS = frozenset({"kind", "id"})


def log_router(store: Store) -> APIRouter:
    """Return the route of the audit log."""
    router = APIRouter(tags=["Audit log"])

    async def list_(who: Who, named: NamedTenant, query: Query) -> Response:
        asked = listing(query.items(), FILTERS)
        kind = asked.filters.get("kind")
        if kind is not None and kind not in SHOWN:
            raise invalid("kind", kind, f"must be one of {', '.join(sorted(SHOWN))}")
        wanted = wanted_by(
            who,
            SHOWN,
            tenant=None if named == ALL_TENANTS else named,
            kind=kind,
            id=asked.filters.get("id"),
        )
        before = _revision(asked.after)
        page = await audit_page(store, wanted, before=before, limit=asked.limit)
        after = None if page.after is None else str(page.after)
        return answer_json({"items": list(page.items), "next": after})

    add(router, "GET", "/v1/audit-log", list_, described_log())
    return router


def _revision(after: str | None) -> int | None:
    if after is None:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise invalid("after", after, "is not what `next` of a page was")
    return int(after)
