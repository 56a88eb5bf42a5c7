"""
From changed resources to the writes of one commit: objects, their claims, their counts. Pure.

Whatever a change relies on is in its commit: a claim is created (so nobody else has it), the count
of a parent is replaced with its expected revision (so the parent is still there), as is that of
what a quota is for (so it is kept).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from gateway.control.changes import quotas
from gateway.control.changes.view import Pair, View
from gateway.control.resources.kinds import SECRETS
from gateway.control.resources.parents import CLAIM, COUNTED, USES, claims_of, parents_of
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.secrets import is_sealed
from gateway.control.store.interface import Create, Delete, Key, Replace, Write
from gateway.secret import Secret

Seal = Callable[[Secret, Key, str], str]


def writes_of(view: View, changes: Sequence[Pair], seal: Seal) -> list[Write]:
    """Return the writes that make the changes, for one commit."""
    writes: list[Write] = []
    for old, new in changes:
        writes += _object(old, new, seal)
        writes += _claims(view, old, new)
    made = [new for old, new in changes if old is None and new is not None]
    return [*writes, *_counts(view, changes), *quotas.counts_of(view, made)]


def _object(old: Record | None, new: Record | None, seal: Seal) -> Iterator[Write]:
    if new is None:
        assert old is not None
        yield Delete(old.key, old.revision)
        return
    value = bytes_of(sealed(new, seal))
    yield Create(new.key, value) if old is None else Replace(new.key, value, old.revision)


def sealed(record: Record, seal: Seal) -> Table:
    """Return a record's value with its secrets sealed for where they stand."""
    value = dict(record.value)
    for part in ("spec", "allocated"):
        table = dict(value.get(part) or {})
        for field in SECRETS & set(table):
            if not is_sealed(table[field]):
                secret = Secret(str(table[field]).encode())
                table[field] = seal(secret, record.key, f"{part}/{field}")
        value[part] = table
    return value


def _claims(view: View, old: Record | None, new: Record | None) -> Iterator[Write]:
    before = claims_of(old) if old is not None else ()
    after = claims_of(new) if new is not None else ()
    for id in before:
        claim = view.get(CLAIM, id)
        if id not in after and claim is not None:
            yield Delete(claim.key, claim.revision)
    for id in after:
        if id not in before:
            assert new is not None
            yield Create(Key(CLAIM, id), bytes_of({"tenant": new.tenant, "by": new.id}))


def _counts(view: View, changes: Sequence[Pair]) -> Iterator[Write]:
    """Yield the new count of each parent that gains or loses a child, and of each new parent."""
    moved: Counter[str] = Counter()
    for old, new in changes:
        moved.subtract(parents_of(old) if old is not None else ())
        moved.update(parents_of(new) if new is not None else ())
    begun = {new.id for old, new in changes if old is None and new and new.kind in COUNTED}
    ended = {old.id for old, new in changes if new is None and old and old.kind in COUNTED}
    for id in begun:
        yield Create(Key(USES, id), bytes_of({"count": moved.pop(id, 0)}))
    for id, by in moved.items():
        uses = view.get(USES, id)
        if by and uses is not None and id not in ended:
            count = int(uses.value.get("count", 0)) + by
            yield Replace(uses.key, bytes_of({"count": count}), uses.revision)
    for id in ended:
        uses = view.get(USES, id)
        if uses is not None:
            yield Delete(uses.key, uses.revision)
