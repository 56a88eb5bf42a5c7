"""
Who has read a secret: an object for each resource, whose history is in the audit log.

It is written before the secret is told. So nobody reads one without a trace.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from gateway.control.auth.principal import Principal
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record
from gateway.control.store.interface import (
    Conflict,
    Create,
    Delete,
    Key,
    NotFound,
    Replace,
    Store,
    StoreError,
    Write,
)

KIND = "access"
ATTEMPTS = 10


class Accesses:
    """The notes of who read which secret. `now` is the time in seconds since 1970."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def note(self, record: Record, field: str, who: Principal) -> None:
        """Write down that somebody reads a secret. Raises ApiProblem 503, Unavailable."""
        key = Key(KIND, record.id)
        for _ in range(ATTEMPTS):
            try:
                await self._store.commit([await self._write(key, record, field)], who.actor)
            except (Conflict, NotFound):  # somebody else reads it at this moment
                continue
            return
        text = "others read the same secret at this moment"
        raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    async def _write(self, key: Key, record: Record, field: str) -> Write:
        value = {
            "tenant": record.tenant,
            "name": record.name,
            "kind": record.kind,
            "field": field,
            "at": self._now(),
        }
        try:
            old = await self._store.get(key)
        except NotFound:
            return Create(key, json.dumps(value).encode())
        return Replace(key, json.dumps(value).encode(), old.revision)

    async def sweep(self, exists: Callable[[str, str], bool]) -> int:
        """Delete the notes of resources that do not exist (any more); return how many."""
        count, after = 0, None
        while True:
            page = await self._store.list(KIND, after=after)
            for each in page.objects:
                if not exists(json.loads(each.value)["kind"], each.key.id):
                    count += await self._forget(Delete(each.key, each.revision))
            if (after := page.after) is None:
                return count

    async def _forget(self, write: Delete) -> bool:
        try:
            await self._store.commit([write], "system:access")
        except StoreError:  # it was read again, or another process was faster
            return False
        return True
