"""
All resources of the store in memory, as they were at one revision, kept so by its watch.

Lists and checks read from here, so they cost no query; what they conclude is written with the
revisions that it stands on, and the store refuses it if one has moved. Kinds that grow without
limit (events, answers kept for Idempotency-Key) are left out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator

from gateway.control.resources.parents import parents_of
from gateway.control.resources.record import Record, record_of
from gateway.control.store.interface import Commit, Key, Object, Store, TooOld, Unavailable

LEFT_OUT = frozenset({"event", "idempotency"})
QUEUE_MAX = 10_000  # commits that a subscriber may be behind
RETRY_S = 0.2
SETTLED_S = 5.0  # a watch that is broken does not hold an answer back for longer
LOADED_S = 5.0  # how long a request waits for the first reading of the store


class Lagging(Exception):
    """A subscriber was too slow, or history is gone: read everything again."""


class Mirror:
    """The objects by kind and id. `run` keeps it current; it is complete once `ready` is set."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: dict[str, dict[str, Record]] = defaultdict(dict)
        self._children: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        self._counts: Counter[tuple[str, str]] = Counter()  # by kind and tenant
        self._moved = asyncio.Condition()
        self._subscribers: set[asyncio.Queue[Commit | None]] = set()
        self.revision = 0
        self.ready = asyncio.Event()

    # ---- reading ----

    def get(self, kind: str, id: str) -> Record | None:
        """Return an object, None if there is none."""
        return self._records[kind].get(id)

    def of_kind(self, kind: str, tenant: str | None = None) -> Iterator[Record]:
        """Yield the objects of a kind, of one tenant if it is named."""
        for record in self._records[kind].values():
            if tenant is None or record.tenant == tenant:
                yield record

    def count(self, kind: str, tenant: str | None = None) -> int:
        """Return how many objects of a kind there are, of one tenant if it is named."""
        return len(self._records[kind]) if tenant is None else self._counts[kind, tenant]

    def children(self, kind: str, id: str) -> Iterator[Record]:
        """Yield the objects of a kind that refer to the one of this id, in the order they came."""
        for child_kind, child in self._children.get(id, ()):
            if child_kind == kind:
                yield self._records[kind][child]

    def users(self, id: str) -> Iterator[Record]:
        """Yield all objects that refer to the one of this id."""
        for kind, child in self._children.get(id, ()):
            yield self._records[kind][child]

    async def loaded(self) -> None:
        """Wait until it is complete: what is not there before may exist. Raises Unavailable."""
        if self.ready.is_set():
            return
        try:
            async with asyncio.timeout(LOADED_S):
                await self.ready.wait()
        except TimeoutError:
            raise Unavailable("has not been read yet") from None

    async def reached(self, revision: int) -> None:
        """Wait until the mirror has all that was committed up to a revision."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.revision >= revision)

    async def caught_up(self, revision: int) -> bool:
        """
        Wait until it has what was committed up to a revision, so that a writer reads what he wrote.

        Not for ever: False after SETTLED_S, when the watch is broken. What was committed is in the
        store all the same.
        """
        try:
            async with asyncio.timeout(SETTLED_S):
                await self.reached(revision)
        except TimeoutError:
            return False
        return True

    @contextlib.asynccontextmanager
    async def subscribed(self) -> AsyncIterator[AsyncIterator[Commit]]:
        """
        Give the commits from now on, each once the mirror has it.

        The iterator raises Lagging where some are missing: what was concluded is to be read anew.
        """
        queue: asyncio.Queue[Commit | None] = asyncio.Queue(QUEUE_MAX)
        self._subscribers.add(queue)
        try:
            yield _commits(queue)
        finally:
            self._subscribers.discard(queue)

    # ---- keeping current ----

    async def run(self) -> None:
        """Load all objects and follow the store for ever; where history is missing, load again."""
        while True:
            try:
                await self._load()
                await self._follow()
            except TooOld:
                self._tell(None)
            except Unavailable:
                self._tell(None)
                await asyncio.sleep(RETRY_S)

    async def _load(self) -> None:
        records: dict[str, dict[str, Record]] = defaultdict(dict)
        at = await self._store.revision()
        for kind in await self._store.kinds(at):
            if kind in LEFT_OUT:
                continue
            async for found in _all_of(self._store, kind, at):
                records[kind][found.key.id] = record_of(found)
        self._records = records
        self._children = defaultdict(dict)
        self._counts = Counter()
        for record in (record for table in records.values() for record in table.values()):
            self._link(record)
        await self._move_to(at)
        self.ready.set()

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._store.watch(self.revision)) as commits:
            async for commit in commits:
                for change in commit.changes:
                    if change.key.kind not in LEFT_OUT:
                        self._apply(change.key.kind, change.key.id, change.value, commit.revision)
                await self._move_to(commit.revision)
                self._tell(commit)

    def _apply(self, kind: str, id: str, value: bytes | None, revision: int) -> None:
        old = self._records[kind].pop(id, None) if value is None else self._records[kind].get(id)
        if value is None:
            if old is not None:
                self._unlink(old)
            return
        new = record_of(Object(Key(kind, id), value, revision))
        if old is None or old.tenant != new.tenant or parents_of(old) != parents_of(new):
            if old is not None:
                self._unlink(old)
            self._link(new)
        self._records[kind][id] = new

    def _link(self, record: Record) -> None:
        self._counts[record.kind, record.tenant] += 1
        for parent in parents_of(record):
            self._children[parent][record.kind, record.id] = None

    def _unlink(self, record: Record) -> None:
        self._counts[record.kind, record.tenant] -= 1
        for parent in parents_of(record):
            self._children[parent].pop((record.kind, record.id), None)

    async def _move_to(self, revision: int) -> None:
        async with self._moved:
            self.revision = revision
            self._moved.notify_all()

    def _tell(self, commit: Commit | None) -> None:
        for queue in self._subscribers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                commit = None
            queue.put_nowait(commit)


async def _commits(queue: asyncio.Queue[Commit | None]) -> AsyncIterator[Commit]:
    while True:
        commit = await queue.get()
        if commit is None:
            raise Lagging
        yield commit


async def _all_of(store: Store, kind: str, at: int) -> AsyncIterator[Object]:
    """Yield all objects of a kind as they were at one revision."""
    after = None
    while True:
        page = await store.list(kind, at=at, after=after)
        for found in page.objects:
            yield found
        after = page.after
        if after is None:
            return
