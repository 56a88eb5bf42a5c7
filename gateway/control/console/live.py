"""
The stream that keeps open pages alive: states of tunnels, counts, alarms, events. Pure but for it.

Every page has one stream (server-sent events). What is sent is made once for all pages of a tenant:
only what has changed since the last time, at most a few times a second.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as Asked

from gateway.control.console.render import HEADERS
from gateway.control.console.states import LOOKS, look_of, state_of
from gateway.control.slices import in_slices

Table = Mapping[str, Any]

PAUSE_S = 0.3  # between two looks whether something has changed
COUNTERS_S = 5.0  # rates are looked at so often though nothing has: as often as nodes report
QUIET_S = 15.0  # without anything new a comment is sent, so that a broken stream is noticed
RETRY_MS = 1000
LIFE_S = 300.0  # then the page asks again: a session that has ended sees no more


def brief(tunnel: Table) -> dict[str, Any]:
    """Return what a page shows of a tunnel that may change."""
    status = tunnel.get("status") or {}
    reason = status.get("reason") or {}
    look, counters = look_of(state_of(tunnel)), status.get("counters") or {}
    return {
        "id": tunnel["id"],
        "name": tunnel["name"],
        "word": look.word,
        "symbol": look.symbol,
        "style": look.style,
        "code": reason.get("code", ""),
        **{key: reason.get(key) or "" for key in ("text", "ours", "theirs", "hint")},
        "in_bps": counters.get("in_bps"),
        "out_bps": counters.get("out_bps"),
    }


@dataclass(frozen=True, slots=True)
class Shown:
    """A tunnel as it was looked at last, and what was said of it."""

    table: Table
    brief: dict[str, Any]
    state: str


class Scope:
    """
    What all pages of one tenant are shown, and what was said last.

    `look` gives all tunnels; one that is the same object as the last time has not changed.
    `alarms` says how many are up.
    """

    def __init__(
        self,
        look: Callable[[], Iterable[Table]],
        version: Callable[[], int] = lambda: 0,
        alarms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._look = look
        self._version = version
        self._alarms = alarms
        self._raised = 0
        self._turn = asyncio.Lock()
        self._seen: tuple[int, float] = (-1, 0.0)  # the version of the last look, and when
        self._last: dict[str, Shown] = {}
        self._counts: dict[str, int] = {}

    def is_due(self, now: float) -> bool:
        """Say whether it is worth to look again, at a monotonic time in seconds."""
        version, at = self._seen
        if version == self._version() and now - at < COUNTERS_S:
            return False
        self._seen = (self._version(), now)
        return True

    async def news(self) -> list[tuple[str, Any]]:
        """Return what has changed since the last time, as event and data."""
        async with self._turn:
            now: dict[str, Shown] = {}
            await in_slices(self._looked(now))
            last, self._last = self._last, now
        changed = [
            one.brief
            for id, one in now.items()
            if (before := last.get(id)) is not one and (not before or before.brief != one.brief)
        ]
        found: list[tuple[str, Any]] = [("tunnels", changed)] if changed else []
        counts = Counter(one.state for one in now.values())
        by_state = {
            state: counts[state] for state in LOOKS if state in counts or state in self._counts
        }
        if by_state != self._counts:
            self._counts = by_state
            found.append(("counts", by_state))
        raised = self._alarms()
        if raised != self._raised:
            self._raised = raised
            found.append(("alarms", raised))
        return found

    def _looked(self, now: dict[str, Shown]) -> Iterator[str]:
        """Look at all tunnels, one after the other; yield after each."""
        for table in self._look():
            id = str(table["id"])
            last = self._last.get(id)
            if last is None or last.table is not table:
                last = Shown(table, brief(table), state_of(table))
            now[id] = last
            yield id

    def all(self) -> list[tuple[str, Any]]:
        """Return everything, for a page that has just been opened."""
        return [
            ("tunnels", [one.brief for one in self._last.values()]),
            ("counts", dict(self._counts)),
            ("alarms", self._raised),
        ]


def message(event: str, data: object) -> bytes:
    """Return one server-sent event. Newlines in JSON are escaped, so it is one line of data."""
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Streams:
    """The streams of all open pages."""

    def __init__(self) -> None:
        self._scopes: dict[str, tuple[Scope, set[asyncio.Queue[bytes]]]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def open(
        self,
        name: str,
        look: Callable[[], Iterable[Table]],
        version: Callable[[], int] = lambda: 0,
        alarms: Callable[[], int] = lambda: 0,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the messages for one page of the scope `name`, until the page goes away."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(100)
        if name not in self._scopes:
            self._scopes[name] = (Scope(look, version, alarms), set())
            self._running[name] = asyncio.create_task(self._run(name))
        scope, queues = self._scopes[name]
        end = time.monotonic() + LIFE_S
        for event, data in await scope.news():  # what the other pages have not been told yet
            self.tell(name, event, data)
        queues.add(queue)
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            for event, data in scope.all():
                yield message(event, data)
            while time.monotonic() < end:
                try:
                    yield await asyncio.wait_for(queue.get(), QUIET_S)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            queues.discard(queue)
            if not queues and name in self._scopes:
                del self._scopes[name]
                self._running.pop(name).cancel()

    def tell(self, name: str, event: str, data: object) -> None:
        """Send something to all pages of a scope. A page that does not read is left out."""
        found = self._scopes.get(name)
        for queue in found[1] if found else ():
            if not queue.full():
                queue.put_nowait(message(event, data))

    async def _run(self, name: str) -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            scope, _ = self._scopes[name]
            if scope.is_due(time.monotonic()):
                for event, data in await scope.news():
                    self.tell(name, event, data)


class StreamOf(StreamingResponse):
    """The answer that is a stream. `held` lasts as long as it does, or refuses it: ApiProblem."""

    def __init__(
        self, stream: AsyncGenerator[bytes, None], held: AbstractContextManager[None]
    ) -> None:
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        super().__init__(stream, media_type="text/event-stream", headers=headers)
        self._held = held

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        with self._held:  # not before: a stream that nobody begins to read would hold it for ever
            await super().__call__(scope, receive, send)
