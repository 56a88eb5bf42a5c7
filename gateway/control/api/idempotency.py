"""
POST that may be sent again: the answer of the first one is kept for a day under its key.

The answer is an object of the store, made in the very commit that makes the resource. So of two
requests with one key, to whichever control processes, one commit can be; and a process that ends
right after it leaves nothing half done. The answer is sealed, for it may hold a new token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway.control.auth.principal import Principal
from gateway.control.problems import ApiProblem
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import (
    Create,
    Delete,
    Key,
    NotFound,
    Object,
    Replace,
    Store,
    StoreError,
)
from gateway.secret import Secret

KIND = "idempotency"
KEPT_S = 24 * 3600
_FIELD = "answer"

Json = object


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given: its revision is that of the commit."""

    body: dict[str, Json]
    revision: int


@dataclass(frozen=True, slots=True)
class Once:
    """One request that is done once: where its answer is kept, and what it is."""

    key: Key
    tenant: str
    digest: str
    expired: int | None = None  # the revision of an answer that is older than a day


class Answers:
    """The answers that are kept in a store. `now` is the time in seconds since 1970."""

    def __init__(self, store: Store, ring: KeyRing, now: Callable[[], float]) -> None:
        self._store = store
        self._ring = ring
        self._now = now

    async def find(
        self, who: Principal, tenant: str, key: str, what: str, body: Json
    ) -> Once | Kept:
        """
        Return the answer of the same request, or where to keep that of a new one.

        Raises ApiProblem 422 if the key has been used with another request.
        """
        digest = hashlib.sha256(f"{what}\n{json.dumps(body, sort_keys=True)}".encode()).hexdigest()
        name = json.dumps([who.actor, tenant, key])
        place = Key(KIND, hashlib.sha256(name.encode()).hexdigest())
        try:
            found = await self._store.get(place)
        except NotFound:
            return Once(place, tenant, digest)
        table = json.loads(found.value)
        if table["until"] <= self._now():
            return Once(place, tenant, digest, found.revision)
        if table["request"] != digest:
            text = "Idempotency-Key: was used within the last 24 hours with another request"
            raise ApiProblem(422, "idempotency_key_reused", text)
        return self._open(found, table)

    def keep(self, once: Once, body: dict[str, Json]) -> Create | Replace:
        """Return the write that keeps an answer, for the commit that it is the answer of."""
        answer = json.dumps(body)
        value = {
            "tenant": once.tenant,
            "request": once.digest,
            "until": self._now() + KEPT_S,
            _FIELD: self._ring.seal(Secret(answer.encode()), once.key, _FIELD),
        }
        data = json.dumps(value).encode()
        if once.expired is not None:
            return Replace(once.key, data, once.expired)
        return Create(once.key, data)

    def _open(self, found: Object, table: dict[str, Json]) -> Kept:
        sealed = str(table[_FIELD])
        body = json.loads(self._ring.open(sealed, found.key, _FIELD).reveal())
        return Kept(body, found.revision)

    async def sweep(self) -> int:
        """Delete the answers that are older than a day; return how many."""
        count, after, now = 0, None, self._now()
        while True:
            page = await self._store.list(KIND, after=after)
            for each in page.objects:
                if json.loads(each.value)["until"] <= now:
                    count += await self._forget(each)
            if (after := page.after) is None:
                return count

    async def _forget(self, found: Object) -> bool:
        try:
            await self._store.commit([Delete(found.key, found.revision)], "system:idempotency")
        except StoreError:  # another process was faster
            return False
        return True
