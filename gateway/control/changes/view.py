"""What a change is decided on: the resources of one moment, and as they would be after it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol

from gateway.control.resources.parents import CLAIM, claims_of, parents_of
from gateway.control.resources.record import Record


class View(Protocol):
    """The resources as they were at one revision of the store."""

    def get(self, kind: str, id: str) -> Record | None:
        """Return an object, None if there is none."""
        ...

    def of_kind(self, kind: str, tenant: str | None = None) -> Iterator[Record]:
        """Yield the objects of a kind, of one tenant if it is named."""
        ...

    def count(self, kind: str, tenant: str | None = None) -> int:
        """Return how many objects of a kind there are, of one tenant if it is named."""
        ...

    def children(self, kind: str, id: str) -> Iterator[Record]:
        """Yield the objects of a kind that refer to the one of this id."""
        ...

    def users(self, id: str) -> Iterator[Record]:
        """Yield all objects that refer to the one of this id."""
        ...


Pair = tuple[Record | None, Record | None]  # what was, what is to be


class After:
    """A View as it would be after some changes."""

    def __init__(self, view: View, changes: Sequence[Pair]) -> None:
        self._view = view
        self._new = {(new.kind, new.id): new for _, new in changes if new is not None}
        self._gone = {(old.kind, old.id) for old, new in changes if old is not None and new is None}
        self._changes = changes

    @cached_property
    def _claims(self) -> dict[str, Record | None]:
        """The claims that come and go with the changes."""
        found: dict[str, Record | None] = {}
        for old, new in self._changes:
            if old is not None:
                found |= dict.fromkeys(claims_of(old))
            if new is not None:
                found |= {id: Record(CLAIM, id, {"by": new.id}, 0) for id in claims_of(new)}
        return found

    def get(self, kind: str, id: str) -> Record | None:
        if kind == CLAIM and id in self._claims:
            return self._claims[id]
        if (kind, id) in self._gone:
            return None
        return self._new.get((kind, id)) or self._view.get(kind, id)

    def of_kind(self, kind: str, tenant: str | None = None) -> Iterator[Record]:
        for record in self._merged(self._view.of_kind(kind, tenant)):
            yield record
        for record in self._added(kind):
            if tenant is None or record.tenant == tenant:
                yield record

    def count(self, kind: str, tenant: str | None = None) -> int:
        moved = sum(1 for one in self._added(kind) if tenant in (None, one.tenant))
        for gone_kind, id in self._gone:
            old = self._view.get(kind, id) if gone_kind == kind else None
            moved -= old is not None and tenant in (None, old.tenant)
        return self._view.count(kind, tenant) + moved

    def children(self, kind: str, id: str) -> Iterator[Record]:
        yield from self._merged(self._view.children(kind, id))
        yield from (record for record in self._added(kind) if id in parents_of(record))

    def users(self, id: str) -> Iterator[Record]:
        yield from self._merged(self._view.users(id))
        for key, record in self._new.items():
            if self._view.get(*key) is None and id in parents_of(record):
                yield record

    def _merged(self, found: Iterator[Record]) -> Iterator[Record]:
        for record in found:
            key = (record.kind, record.id)
            if key not in self._gone:
                yield self._new.get(key, record)

    def _added(self, kind: str) -> Iterator[Record]:
        for key, record in self._new.items():
            if record.kind == kind and self._view.get(*key) is None:
                yield record
