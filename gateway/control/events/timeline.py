"""
All events in one order: those that are kept, and those that the store's history is.

A page begins where the one before ended: at an id, and for the history at a revision. Who follows
asks again and again with the revision up to which he knows everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from gateway.control.events.changes import events_of
from gateway.control.events.events import Events, Wanted
from gateway.control.events.kept import KIND, PREFIX, Kept, kept_of, time_of
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem, invalid
from gateway.control.store.interface import MAX_PAGE, Commit, Store, TooOld
from gateway.model.events import EventError

WINDOW = 500  # revisions of history read at once, to begin with
WINDOWS_MAX = 40  # in one page: a filter that nothing fits must not read all of it
FOLLOWED_AT_ONCE = 1000  # commits
FIRST_ID = f"{PREFIX}-{'0' * 16}-{'0' * 12}"  # before all others
_CURSOR = re.compile(r"(ev-\d{16}-[0-9a-f]{12})~(\d{1,18})")


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, the newest first. `after` is for the next page, None at the end."""

    items: tuple[Kept, ...]
    after: str | None
    revision: int


@dataclass(frozen=True, slots=True)
class News:
    """What has come since: events, the oldest first, and the revision to ask with again."""

    items: tuple[Kept, ...]
    revision: int


class Timeline:
    """Reads events. Every call may raise StoreError, ApiProblem."""

    def __init__(self, store: Store, events: Events, mirror: Mirror) -> None:
        self._store = store
        self._events = events
        self._mirror = mirror

    async def page(self, wanted: Wanted, after: str | None, limit: int) -> EventPage:
        """Return a page of at most `limit` events."""
        revision = await self._store.revision()
        id, before = parse_cursor(after) if after is not None else ("", revision + 1)
        walk = _Walk(self._store, wanted, id, before)
        stored = _Ahead(self._events.stored(wanted, id or None))
        derived = _Ahead(walk.events())
        items: list[Kept] = []
        while len(items) < limit:
            ways = [each for each in (stored, derived) if await each.has_more()]
            if not ways:
                break
            items.append(min(ways, key=lambda way: way.first.id).take())
        is_end = not (await stored.has_more() or await derived.has_more()) and not walk.is_cut
        for each in (stored, derived):
            await each.close()
        last = items[-1].id if items else id or FIRST_ID
        more = None if is_end else f"{last}~{walk.before}"
        return EventPage(tuple(items), more, revision)

    async def news(self, wanted: Wanted, after: int | None, wait_s: float) -> News:
        """Return what was committed after a revision; wait some seconds if there is nothing."""
        at = self._mirror.revision if after is None else after
        if after is None:
            return News((), at)
        if at > await self._store.revision():  # of a store that was put back to an older state
            raise ApiProblem(410, "expired", f"there is no revision {at} yet: begin anew")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while True:
                    await self._mirror.reached(at + 1)
                    found, at = await self._since(wanted, at)
                    if found:
                        return News(found, at)
        return News((), at)

    async def _since(self, wanted: Wanted, after: int) -> tuple[tuple[Kept, ...], int]:
        try:
            commits = await self._store.changes(after, FOLLOWED_AT_ONCE)
        except TooOld as error:
            raise ApiProblem(410, "expired", str(error), field="after", value=after) from None
        found = [
            kept
            for commit in timed(commits, time.time())
            for kept in told(commit)
            if wanted.fits(kept)
        ]
        return tuple(found), commits[-1].revision if commits else after


class _Walk:
    """Goes back through the store's history. `before` is the oldest revision that was looked at."""

    def __init__(self, store: Store, wanted: Wanted, after_id: str, before: int) -> None:
        self._store = store
        self._wanted = wanted
        self._after_id = after_id
        self.before = before
        self.is_cut = False

    async def events(self) -> AsyncIterator[Kept]:
        """Yield the events that commits are, the newest first."""
        top, size = self.before, WINDOW
        for _ in range(WINDOWS_MAX):
            low, commits = await self._window(top, size)
            if low is None:
                return
            for commit in reversed(commits):
                if self._wanted.since is not None and commit.time < self._wanted.since:
                    return
                for kept in self._of(commit):
                    self.before = commit.revision + 1
                    yield kept
            self.before = top = low + 1
            if len(commits) < WINDOW // 4:  # etcd's revisions are others' too
                size *= 2
        self.is_cut = True

    async def _window(self, top: int, size: int) -> tuple[int | None, list[Commit]]:
        """Return the commits in a window below `top`, and where it ends; None: there is no more."""
        low = max(0, top - 1 - size)
        while low < top - 1:
            try:
                commits = await self._store.changes(low, MAX_PAGE)
            except TooOld:  # the history begins within the window
                low = (low + top) // 2
                continue
            if len(commits) == MAX_PAGE and commits[-1].revision < top - 1:
                low = (low + top) // 2
                continue
            return low, timed([one for one in commits if one.revision < top], time.time())
        return None, []

    def _of(self, commit: Commit) -> list[Kept]:
        found = sorted(events_of(commit), key=lambda kept: kept.id)
        return [kept for kept in found if kept.id > self._after_id and self._wanted.fits(kept)]


class _Ahead:
    """A stream of events whose next one can be seen."""

    def __init__(self, events: AsyncIterator[Kept]) -> None:
        self._events = events
        self._next: Kept | None = None

    async def has_more(self) -> bool:
        if self._next is None:
            self._next = await anext(self._events, None)
        return self._next is not None

    @property
    def first(self) -> Kept:
        assert self._next is not None
        return self._next

    def take(self) -> Kept:
        found, self._next = self.first, None
        return found

    async def close(self) -> None:
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()


def timed(commits: Sequence[Commit], now: float) -> list[Commit]:
    """Return commits with a time where nobody wrote one down (etcd ended a lease): the last one."""
    last = next((each.time for each in commits if each.time), now)
    found = []
    for commit in commits:
        last = commit.time or last
        found.append(commit if commit.time else replace(commit, time=last))
    return found


def told(commit: Commit) -> list[Kept]:
    """Return all events of a commit: those written by it, and those it is itself."""
    found = list(events_of(commit))
    for change in commit.changes:
        if change.key.kind == KIND and change.value is not None and change.before is None:
            with contextlib.suppress(EventError, ValueError):
                found.append(kept_of(change.value))
    return sorted(found, key=lambda kept: kept.event.at)


def parse_cursor(after: str) -> tuple[str, int]:
    """Return the id and the revision in what `next` of a page was. Raises ApiProblem 422."""
    found = _CURSOR.fullmatch(after)
    if found is None or time_of(found[1]) is None:
        raise invalid("after", after, "is not what `next` of a page was")
    return found[1], int(found[2])
