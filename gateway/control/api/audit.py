"""
The audit log: the store's commits, newest first, as one principal may see them.

The store's history is the log itself: who wrote, when, what each object was before and after. It
reaches back as far as the store keeps history. Secrets are shown by kind only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.control.auth.principal import Principal
from gateway.control.secrets import is_sealed
from gateway.control.store.interface import Change, Commit, Store, TooOld, tenant_of
from gateway.model.problem import SECRET_KEYS

WINDOW = 500  # revisions that are read at a time
MAX_WINDOWS = 20  # of one request: a rare resource is found over several pages
MASKED_KEYS = SECRET_KEYS | {"hash", "password_hash", "token_hash", "secret", "password", "token"}
MASK = "secret, not shown"

Json = object
Wanted = Callable[[Change], bool]


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, the newest first. `after` is where the next page begins, None at the log's end."""

    items: tuple[dict[str, Json], ...]
    after: int | None


async def audit_page(store: Store, wanted: Wanted, *, before: int | None, limit: int) -> AuditPage:
    """
    Return the newest commits before a revision with the changes that are wanted.

    A page may have fewer entries than `limit`, even none, and not be the last one.
    """
    top = await store.revision() + 1 if before is None else before
    items: list[dict[str, Json]] = []
    for _ in range(MAX_WINDOWS):
        if top <= 1 or len(items) >= limit:
            break
        low, commits = await _window(store, top)
        found = [entry for commit in commits if (entry := _entry(commit, wanted))]
        room = limit - len(items)
        items += found[::-1][:room]
        if len(found) > room:
            return AuditPage(tuple(items), _revision(items[-1]))
        top = low + 1 if low is not None else 1
    return AuditPage(tuple(items), top if top > 1 else None)


def wanted_by(
    who: Principal,
    kinds: Collection[str],
    *,
    tenant: str | None = None,
    kind: str | None = None,
    id: str | None = None,
) -> Wanted:
    """Return what says whether a change is of a resource that is asked for and may be seen."""

    def wanted(change: Change) -> bool:
        if change.key.kind not in kinds or kind not in (None, change.key.kind):
            return False
        if id not in (None, change.key.id):
            return False
        owner = tenant_of(change.value or change.before or b"{}")
        return who.sees(owner) and tenant in (None, owner)

    return wanted


async def _window(store: Store, top: int) -> tuple[int | None, list[Commit]]:
    """Return the commits of the window below `top`, and where it ends; None: there is no more."""
    low = max(0, top - 1 - WINDOW)
    while low < top - 1:
        try:
            commits = await store.changes(low, WINDOW)
        except TooOld:
            low = (low + top) // 2  # the history begins within the window
            continue
        return low, [commit for commit in commits if commit.revision < top]
    return None, []


def _entry(commit: Commit, wanted: Wanted) -> dict[str, Json] | None:
    changes = [_change(change) for change in commit.changes if wanted(change)]
    if not changes:
        return None
    at = datetime.fromtimestamp(commit.time, UTC) if commit.time else None
    return {
        "revision": commit.revision,
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None,
        "actor": commit.actor,
        "changes": changes,
    }


def _change(change: Change) -> dict[str, Json]:
    before, after = (_masked(json.loads(v)) if v else None for v in (change.before, change.value))
    now = after or before
    return {
        "action": "delete" if after is None else "create" if before is None else "update",
        "kind": change.key.kind,
        "id": change.key.id,
        "name": now.get("name", "") if isinstance(now, dict) else "",
        "before": before,
        "after": after,
    }


def _masked(value: Json, key: str = "") -> Json:
    if isinstance(value, dict):
        return {name: _masked(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, key) for each in value]
    if is_sealed(value) or (key in MASKED_KEYS and value not in (None, "")):
        return MASK
    return value


def _revision(entry: dict[str, Json]) -> int:
    revision = entry["revision"]
    assert isinstance(revision, int)
    return revision
