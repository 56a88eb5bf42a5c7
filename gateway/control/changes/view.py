"""What a change is decided on: the resources of one moment, and as they would be after it. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
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


Name = tuple[str, str]  # kind and id
Pair = tuple[Record | None, Record | None]  # what was, what is to be


class After:
    """A View as it would be after some changes. What is added costs no more than what changes."""

    def __init__(self, view: View, changes: Sequence[Pair] = ()) -> None:
        self._view = view
        self._new: dict[Name, Record] = {}
        self._gone: set[Name] = set()
        self._added: dict[str, dict[Name, None]] = defaultdict(dict)  # by kind
        self._children: dict[str, dict[Name, None]] = defaultdict(dict)  # of what is added
        self._moved: Counter[tuple[str, str]] = Counter()  # by kind and tenant
        self._claims: dict[str, Record | None] = {}
        self.add(changes)

    def add(self, changes: Sequence[Pair]) -> None:
        """Let it be after these changes as well."""
        for old, new in changes:
            if old is not None:
                self._claims |= dict.fromkeys(claims_of(old))
                if new is None:
                    self._take_out(old)
            if new is not None:
                self._put_in(new)
                self._claims |= {id: Record(CLAIM, id, {"by": new.id}, 0) for id in claims_of(new)}

    def _take_out(self, old: Record) -> None:
        name = (old.kind, old.id)
        self._moved[old.kind, old.tenant] -= 1
        self._gone.add(name)
        self._new.pop(name, None)
        self._added[old.kind].pop(name, None)

    def _put_in(self, new: Record) -> None:
        name = (new.kind, new.id)
        if self.get(*name) is None:
            self._moved[new.kind, new.tenant] += 1
            self._added[new.kind][name] = None
            for parent in parents_of(new):
                self._children[parent][name] = None
        self._gone.discard(name)
        self._new[name] = new

    def get(self, kind: str, id: str) -> Record | None:
        if kind == CLAIM and id in self._claims:
            return self._claims[id]
        if (kind, id) in self._gone:
            return None
        return self._new.get((kind, id)) or self._view.get(kind, id)

    def of_kind(self, kind: str, tenant: str | None = None) -> Iterator[Record]:
        yield from self._merged(self._view.of_kind(kind, tenant))
        for name in self._added[kind]:
            if tenant in (None, self._new[name].tenant):
                yield self._new[name]

    def count(self, kind: str, tenant: str | None = None) -> int:
        moved = sum(
            count
            for (of, owner), count in self._moved.items()
            if of == kind and tenant in (None, owner)
        )
        return self._view.count(kind, tenant) + moved

    def children(self, kind: str, id: str) -> Iterator[Record]:
        yield from self._merged(self._view.children(kind, id))
        yield from (one for one in self._added_to(id) if one.kind == kind)

    def users(self, id: str) -> Iterator[Record]:
        yield from self._merged(self._view.users(id))
        yield from self._added_to(id)

    def _merged(self, found: Iterator[Record]) -> Iterator[Record]:
        for record in found:
            name = (record.kind, record.id)
            if name not in self._gone and name not in self._added[record.kind]:
                yield self._new.get(name, record)

    def _added_to(self, id: str) -> Iterator[Record]:
        for name in self._children.get(id, ()):
            if name in self._added[name[0]]:
                yield self._new[name]
