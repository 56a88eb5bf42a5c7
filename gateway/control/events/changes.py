"""
Events that commits of the store are: resources that were made, changed, deleted. Pure.

The history of the store is the audit log; so these events are not written a second time. Who did it
and which fields changed is in the text; what was before and after is in the audit log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from gateway.control.events.kept import Kept
from gateway.control.events.observed import observed
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.tenancy import CLOSING
from gateway.control.store.interface import Change, Commit
from gateway.model.codes import CODES
from gateway.model.events import Event, Resource, clean

TOLD = frozenset({*KINDS, "tenant", "user", "token", "setting"})
_OURS = frozenset({"updated_at", "generation", "secret_versions", "created_at", CLOSING})
_FIELDS_MAX = 12

Table = Mapping[str, object]


def events_of(commit: Commit) -> Iterator[Kept]:
    """Yield what a commit has done to resources, and what else it shows to have happened."""
    for change in commit.changes:
        if change.key.kind in TOLD:
            event = _event(commit, change)
            if event is not None:
                yield event
    yield from observed(commit)


def _event(commit: Commit, change: Change) -> Kept | None:
    after, before = _table(change.value), _table(change.before)
    code = "created" if not before else "deleted" if not after else "changed"
    fields = _changed(before, after) if code == "changed" else []
    if code == "changed" and not fields:
        return None
    table = after or before
    name = clean(table.get("name")) or change.key.id
    text = f"{CODES[code].title} by {commit.actor}" + (f": {', '.join(fields)}" if fields else "")
    resource = Resource(change.key.kind, name, change.key.id)
    event = Event(
        commit.time, code, CODES[code].severity, resource, clean(text), sequence=commit.revision
    )
    return Kept(event, str(table.get("tenant", "")))


def _changed(before: Table, after: Table) -> list[str]:
    """Return the fields whose values differ: names alone, since secrets are among them."""
    found: list[str] = []
    for part in sorted({*before, *after} - _OURS):
        old, new = before.get(part), after.get(part)
        if old == new:
            continue
        if isinstance(old, dict) or isinstance(new, dict):
            found += _differing(old, new)
        else:
            found.append(part)
    return found[:_FIELDS_MAX] + (["..."] if len(found) > _FIELDS_MAX else [])


def _differing(old: object, new: object) -> list[str]:
    was, now = (each if isinstance(each, dict) else {} for each in (old, new))
    return [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]


def _table(value: bytes | None) -> Table:
    found = json.loads(value) if value is not None else {}
    return found if isinstance(found, dict) else {}
