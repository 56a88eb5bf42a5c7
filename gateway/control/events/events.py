"""
Events on their way into the store, and out of it.

What is recorded is written in batches: a storm of events must not hold up changes. Each is written
once however often it is recorded, since its id says what it is. If the store is away, events wait;
if too many wait, the oldest go, and that is an event too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass

from gateway.control.events.kept import KIND, Kept, id_at, kept_of
from gateway.control.store.interface import (
    MAX_PAGE,
    MAX_WRITES,
    Conflict,
    Create,
    Delete,
    Store,
    StoreError,
)
from gateway.model.codes import CODES
from gateway.model.events import Event, EventError, Resource
from gateway.node.journal import Journal

BATCH_S = 0.05  # so long a batch waits for more
QUEUE_MAX = 20_000
RETRY_S = 1.0
DAY_S = 86_400.0
ACTOR = "system:events"
SWEPT_AT_ONCE = 25  # pages in one sweep: the rest follows with the next


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are asked for; "" and None are all. Times are seconds since 1970."""

    tenant: str | None = None
    code: str = ""
    severity: str = ""
    kind: str = ""
    resource: str = ""  # id or name
    node: str = ""
    since: float | None = None
    until: float | None = None

    def fits(self, kept: Kept) -> bool:
        """Say whether an event is wanted."""
        event, resource = kept.event, kept.event.resource
        return (
            (self.tenant is None or kept.tenant == self.tenant)
            and (not self.code or self.code in (event.code, event.reason))
            and (not self.severity or event.severity.value == self.severity)
            and (not self.kind or resource.kind == self.kind)
            and (not self.resource or self.resource in (resource.id, resource.name))
            and (not self.node or kept.node == self.node)
            and (self.since is None or event.at >= self.since)
            and (self.until is None or event.at <= self.until)
        )


class Events:
    """The events of the store. `run` writes what is recorded; `clock` is seconds since 1970."""

    def __init__(self, store: Store, journal: Journal, clock: Callable[[], float]) -> None:
        self._store = store
        self._journal = journal
        self._clock = clock
        self._waiting: deque[Kept] = deque()
        self._come = asyncio.Event()
        self._written = asyncio.Condition()
        self._recorded = self._done = self._lost = 0

    # ---- in ----

    def record(self, *events: Kept) -> None:
        """Take events, to be written soon."""
        for event in events:
            if len(self._waiting) >= QUEUE_MAX:
                self._waiting.popleft()
                self._lost += 1
                self._done += 1
            self._waiting.append(event)
            self._recorded += 1
        self._come.set()

    def say(
        self,
        code: str,
        resource: Resource,
        text: str,
        *,
        tenant: str = "",
        node: str = "",
        reason: str = "",
    ) -> None:
        """Record an event of the control plane's own."""
        known = CODES[code]
        event = Event(self._clock(), code, known.severity, resource, text, reason, hint=known.hint)
        self.record(Kept(event, tenant, node))

    async def settled(self) -> None:
        """Wait until all that has been recorded so far is in the store."""
        upto = self._recorded
        async with self._written:
            await self._written.wait_for(lambda: self._done >= upto)

    async def run(self) -> None:
        """Write what is recorded, for ever."""
        while True:
            await self._come.wait()
            if len(self._waiting) < MAX_WRITES:
                await asyncio.sleep(BATCH_S)
            try:
                await self._write_one()
            except StoreError as error:
                self._journal.warning("events not written", text=str(error))
                await asyncio.sleep(RETRY_S)

    async def _write_one(self) -> None:
        """Write one batch. What could not be written waits on."""
        self._say_lost()
        batch = {event.id: event for event in list(self._waiting)[:MAX_WRITES]}
        count = min(len(self._waiting), MAX_WRITES)
        lost = self._lost
        await self._commit(batch)
        # While it was written, the oldest may have gone: they are of this batch.
        for _ in range(count - min(count, self._lost - lost)):
            self._waiting.popleft()
            self._done += 1
        if not self._waiting:
            self._come.clear()
        async with self._written:
            self._written.notify_all()

    async def _commit(self, batch: dict[str, Kept]) -> None:
        """Write those that are not there yet."""
        while batch:
            writes = [Create(event.key, event.value()) for event in batch.values()]
            try:
                await self._store.commit(writes, ACTOR)
            except Conflict as error:
                if error.key is None or error.key.id not in batch:
                    raise
                del batch[error.key.id]
            else:
                return

    def _say_lost(self) -> None:
        if self._lost:
            self._journal.warning("events lost", count=self._lost)
            self._lost = 0

    # ---- out ----

    async def stored(self, wanted: Wanted, after: str | None = None) -> AsyncGenerator[Kept, None]:
        """Yield the events that fit, the newest first, those after an id. Raises StoreError."""
        first = id_at(wanted.until) if wanted.until is not None else None
        last = id_at(wanted.since) + "~" if wanted.since is not None else None
        at = max(filter(None, (after, first)), default=None)
        while True:
            page = await self._store.list(KIND, tenant=wanted.tenant, after=at, limit=MAX_PAGE)
            for found in page.objects:
                if last is not None and found.key.id > last:
                    return
                with contextlib.suppress(EventError, ValueError):
                    kept = kept_of(found.value)
                    if wanted.fits(kept):
                        yield kept
            at = page.after
            if at is None:
                return

    async def sweep(self, days: float) -> int:
        """Delete the events that are older than some days; return how many."""
        oldest, count = id_at(self._clock() - days * DAY_S) + "~", 0
        for _ in range(SWEPT_AT_ONCE):
            page = await self._store.list(KIND, after=oldest, limit=MAX_PAGE)
            for some in _in_batches([Delete(one.key, one.revision) for one in page.objects]):
                await self._store.commit(some, ACTOR)
                count += len(some)
            if page.after is None:
                break
        return count


def _in_batches(writes: Sequence[Delete]) -> Iterable[Sequence[Delete]]:
    for start in range(0, len(writes), MAX_WRITES):
        yield writes[start : start + MAX_WRITES]
