"""
A resource as it is kept in the store. Pure.

    {"tenant", "name", "spec": {as it was set}, "allocated": {by us}, "created_at", "updated_at",
     "generation", "secret_versions": {field: how often it was set}}

`spec` has only what somebody has set, so a later default holds for it too; secrets in it are sealed
(`gateway.control.secrets`). Times are seconds since 1970. Objects of other kinds are read with the
same class: what they do not have is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gateway.control.store.interface import Key, Object

Table = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One object of the store with its value read. Never change the tables."""

    kind: str
    id: str
    value: Table
    revision: int

    @property
    def key(self) -> Key:
        """Its name in the store."""
        return Key(self.kind, self.id)

    @cached_property  # a list of a thousand asks each one, each time
    def tenant(self) -> str:
        """The tenant whose it is, "" is the operator."""
        return str(self.value.get("tenant", ""))

    @cached_property
    def name(self) -> str:
        """What people call it; its id if nobody has named it."""
        return str(self.value.get("name") or self.id)

    @cached_property
    def spec(self) -> Mapping[str, Any]:
        """What has been set."""
        return dict(self.value.get("spec") or {})

    @cached_property
    def allocated(self) -> Mapping[str, Any]:
        """What the control plane has chosen for it."""
        return dict(self.value.get("allocated") or {})

    @cached_property
    def memo(self) -> Table:
        """What others have made of it, which holds as long as it does: a change is a new record."""
        return {}

    @property
    def generation(self) -> int:
        """How often what is wanted of it has changed."""
        return int(self.value.get("generation", 1))

    def of(self, field: str) -> Any:  # noqa: ANN401 # JSON
        """Return a field that is set or, if it is not, was allocated; None if neither."""
        found = self.spec.get(field)
        return self.allocated.get(field) if found is None else found


def record_of(found: Object) -> Record:
    """Return an object of the store as a record."""
    return Record(found.key.kind, found.key.id, json.loads(found.value), found.revision)


def bytes_of(value: Mapping[str, Any]) -> bytes:
    """Return a record's value as the store keeps it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
