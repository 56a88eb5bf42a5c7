"""
When a token, session or user was last used: in memory at once, in the store now and then.

A write for each request would be a commit for each request. So what is new is written together,
for one object at most every ten minutes, beside the object: its revision does not move.
"""

from __future__ import annotations

import math

from gateway.control.auth.desk import Desk
from gateway.control.resources.record import Record, bytes_of
from gateway.control.store.interface import (
    MAX_WRITES,
    Create,
    Key,
    Replace,
    StoreError,
    Write,
)

KIND = "seen"
ACTOR = "system:auth"
EVERY_S = 600


class Seen:
    """The times of use, in seconds since 1970, of objects that have been used here lately."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._fresh: dict[str, tuple[Record, float]] = {}

    def note(self, record: Record) -> None:
        """Remember that an object is used now."""
        self._fresh[record.id] = (record, self._desk.clock())

    def last(self, id: str) -> float | None:
        """Return when an object was last used, as far as is known here; None: never."""
        fresh, stored = self._fresh.get(id), self._stored(id)
        if fresh is None:
            return stored
        return max(fresh[1], stored or 0)

    async def flush(self) -> None:
        """Write what has not been written for long; forget what has been, and what is gone."""
        mirror = self._desk.mirror
        self._fresh = {
            id: (record, at)
            for id, (record, at) in self._fresh.items()
            if mirror.get(record.kind, id) is not None and at > (self._stored(id) or 0)
        }
        due = [id for id, (_, at) in self._fresh.items() if at - (self._stored(id) or 0) >= EVERY_S]
        for begin in range(0, len(due), MAX_WRITES):
            await self._write(due[begin : begin + MAX_WRITES])

    async def _write(self, ids: list[str]) -> None:
        try:
            await self._desk.write([self._write_of(id) for id in ids], ACTOR)
        except StoreError:  # another process was faster, or the store is away: the next time
            return

    def _write_of(self, id: str) -> Write:
        record, at = self._fresh[id]
        value = bytes_of({"tenant": record.tenant, "of": record.kind, "at": math.ceil(at)})
        old = self._desk.mirror.get(KIND, id)
        return Replace(old.key, value, old.revision) if old else Create(Key(KIND, id), value)

    def _stored(self, id: str) -> float | None:
        record = self._desk.mirror.get(KIND, id)
        return None if record is None else float(record.value["at"])
