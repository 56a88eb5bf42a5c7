"""
An event as the store keeps it, and its id. Pure.

Ids are made of the time, turned round, so that a list in the order of ids has the newest first; and
of what the event is, so that a report that a node sends twice makes no event twice.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from gateway.control.store.interface import Key
from gateway.model.events import Event, event_of_json

KIND = "event"
PREFIX = "ev"
_LAST_US = 10**16 - 1  # microseconds since 1970 that ids can tell: until 2286
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Kept:
    """An event with whose it is: `tenant` "" is the operator, `node` "" the control plane."""

    event: Event
    tenant: str = ""
    node: str = ""

    @property
    def id(self) -> str:
        """Its id."""
        resource = self.event.resource
        parts = (
            self.node,
            self.tenant,
            self.event.code,
            resource.kind,
            resource.id or resource.name,
            self.event.reason,
            str(self.event.sequence),
        )
        text = "\0".join(parts).encode()
        return f"{id_at(self.event.at)}-{hashlib.sha256(text).hexdigest()[:12]}"

    @property
    def key(self) -> Key:
        """Its name in the store."""
        return Key(KIND, self.id)

    def value(self) -> bytes:
        """Return it as the store keeps it."""
        table = {"tenant": self.tenant, **self.event.as_json(), "node": self.node}
        return json.dumps(table, separators=(",", ":")).encode()

    def as_json(self) -> Json:
        """Return it as the API answers it."""
        return {"id": self.id, "tenant": self.tenant, **self.event.as_json(), "node": self.node}


def id_at(at: float) -> str:
    """Return how the ids of events at a time begin; those of earlier ones are higher."""
    return f"{PREFIX}-{max(0, _LAST_US - round(round(at, 6) * 1e6)):016d}"


def time_of(id: str) -> float | None:
    """Return the time in an event's id, None for what is no such id."""
    prefix, _, rest = id.partition("-")
    digits = rest.split("-")[0]
    if prefix != PREFIX or len(digits) != 16 or not (digits.isascii() and digits.isdigit()):
        return None
    return (_LAST_US - int(digits)) / 1e6


def kept_of(value: bytes) -> Kept:
    """Return an event of the store. Raises EventError, ValueError."""
    table = json.loads(value)
    event = event_of_json(table)
    return Kept(event, str(table.get("tenant", "")), str(table.get("node", "")))
