"""
A tunnel's IKE messages as they come and go, for `twinspan trace`.

They are told in the notation of RFC 7296, with what happens between them: what was dropped, what
failed, SAs that come and go. No key is in it (`ike/notation.py`). The core tells of a tunnel only
while somebody looks on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

from gateway.ike.events import (
    ChildSaDown,
    ChildSaUp,
    Dropped,
    Event,
    Failed,
    IkeSaDown,
    IkeSaUp,
    Note,
    Reason,
    Spoken,
)
from gateway.model.codes import hint_of
from gateway.node.daemon import IkeDaemon
from gateway.node.journal import Journal

Json = dict[str, object]
WAITING_MAX = 1000  # lines; who reads more slowly loses some, and is told how many
BEAT_S = 10.0  # a sign of life so often: only by writing is it seen that the onlooker has gone


class Tracer:
    """Any number of onlookers, each of one tunnel."""

    def __init__(self, daemon: IkeDaemon, journal: Journal, wall: Callable[[], float]) -> None:
        self._daemon = daemon
        self._journal = journal
        self._wall = wall
        self._lookers: Counter[str] = Counter()

    async def follow(self, tunnel: str) -> AsyncIterator[Json]:
        """Yield what is said with the peer of a tunnel, from now on."""
        lines: asyncio.Queue[Json] = asyncio.Queue(WAITING_MAX)
        lost = 0

        def see(event: Event) -> None:
            nonlocal lost
            line = line_of(event, tunnel)
            if line is None:
                return
            if lines.full():
                lost += 1
                return
            lines.put_nowait({"at": self._wall(), **line, "lost": lost})
            lost = 0

        self._look(tunnel, 1)
        self._journal.info("trace begins", tunnel=tunnel)
        try:
            with self._daemon.watch(see):
                yield {"at": self._wall(), "kind": "state", "text": f"{tunnel} is traced"}
                while True:
                    yield await self._next(lines)
        finally:
            self._look(tunnel, -1)
            self._journal.info("trace ends", tunnel=tunnel)

    async def _next(self, lines: asyncio.Queue[Json]) -> Json:
        try:
            return await asyncio.wait_for(lines.get(), BEAT_S)
        except TimeoutError:
            return {"at": self._wall(), "kind": "idle", "text": ""}

    def _look(self, tunnel: str, more: int) -> None:
        self._lookers[tunnel] += more
        self._daemon.endpoint.trace(frozenset(+self._lookers))


def line_of(event: Event, tunnel: str) -> Json | None:
    """Return what an event says of a tunnel; None for what is of another, or is not shown."""
    if getattr(event, "tunnel", None) != tunnel:
        return None
    match event:
        case Spoken():
            return {
                "kind": "message",
                "sent": event.is_sent,
                "local": f"{event.path.local}:{event.path.local_port}",
                "remote": f"{event.path.remote}:{event.path.remote_port}",
                "exchange": event.exchange,
                "line": event.line,
                "details": list(event.details),
            }
        case Dropped():
            return {"kind": "dropped", "text": f"a datagram: {event.reason}"}
        case Failed():
            return {"kind": "failed", "text": _why(event.reason), **_sides(event.reason)}
        case Note():
            return {"kind": "note", "text": event.text}
    text = _state(event)
    return {"kind": "state", "text": text} if text else None


def _state(event: Event) -> str:
    match event:
        case IkeSaUp():
            return f"IKE SA up: {event.suite}"
        case IkeSaDown():
            return f"IKE SA down: {_why(event.reason)}"
        case ChildSaUp():
            spis = (f"{spi:#010x}" for spi in (event.inbound.spi, event.outbound.spi))
            return f"Child SA up: {event.suite}, SPI in and out {', '.join(spis)}"
        case ChildSaDown():
            return f"Child SA down: SPI in {event.spi_in:#010x}: {_why(event.reason)}"
        case _:
            return ""


def _sides(reason: Reason) -> Json:
    """Return what both ends have said, and what may help, as far as it is known."""
    hint = reason.hint or hint_of(reason.code)
    told = {"ours": reason.ours, "theirs": reason.theirs, "hint": hint}
    return {name: text for name, text in told.items() if text}


def _why(reason: Reason) -> str:
    return f"{reason.code}: {reason.text}"
