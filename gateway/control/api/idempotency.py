"""
POST that may be sent again: the answer of the first one is kept for a day under its key.

The answer is an object of the store, made in the very commit that makes the resource. So of two
requests with one key, to whichever control processes, one commit can be; and a process that ends
right after it leaves nothing half done. The answer is sealed, for it may hold a new token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
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
    Write,
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


Table = dict[str, Json]
# Writes that are to be in the commit of something new, made once its answer is known.
Beside = Callable[[Table], Sequence[Write]]
Make = Callable[[Beside], Awaitable[Table]]
RACES = 20  # commits that others were faster than


@dataclass(frozen=True, slots=True)
class What:
    """What somebody asks for: the same again is the same request."""

    who: Principal
    tenant: str
    path: str
    body: Json


@dataclass(frozen=True, slots=True)
class Made:
    """An answer; `is_again`: it is that of an earlier request."""

    answer: Table
    is_again: bool


class Raced(Exception):
    """Another request with the same key may have been committed first."""


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

    async def once(self, key: str, what: What, make: Make) -> Made:
        """
        Make something, or return what the first request with this key was answered.

        `make` gets what keeps its answer in its commit. Raises ApiProblem: 422 if the key has been
        used with another request, and what `make` raises.
        """
        refusal: ApiProblem | None = None
        for _ in range(RACES):
            found = await self._find(key, what)
            if isinstance(found, Kept):
                return Made(found.body | {"revision": found.revision}, is_again=True)
            if refusal is not None:
                raise refusal
            try:
                return Made(await make(self._keeping(found)), is_again=False)
            except Raced:
                continue
            except ApiProblem as problem:
                # Maybe what is in the way is what the same request has made in the meantime.
                refusal = problem
        text = "others change the same resources at this moment"
        raise ApiProblem(503, "unavailable", text, retry_after_s=1)

    def _keeping(self, once: Once) -> Beside:
        """
        Return what keeps the answer in the commit of something new.

        It is called again after a commit that was refused, and the reason may be that the answer is
        there by now: it raises Raced.
        """
        is_first = True

        def beside(answer: Table) -> Sequence[Write]:
            nonlocal is_first
            if not is_first:
                raise Raced
            is_first = False
            return [self._keep(once, answer)]

        return beside

    async def _find(self, key: str, what: What) -> Once | Kept:
        """Return the answer of the same request, or where to keep that of a new one."""
        asked = f"{what.path}\n{json.dumps(what.body, sort_keys=True)}"
        digest = hashlib.sha256(asked.encode()).hexdigest()
        tenant, name = what.tenant, json.dumps([what.who.actor, what.tenant, key])
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

    def _keep(self, once: Once, body: dict[str, Json]) -> Create | Replace:
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
