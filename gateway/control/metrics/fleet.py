"""
The fleet in numbers: nodes and tunnels by state, alarms by code.

Every tunnel of every tenant is counted under one state and reason. Labels are words of our own
lists, whatever nodes say: there are never more series.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping

from gateway.control.alarms.kept import KIND as ALARM
from gateway.control.alarms.kept import is_raised
from gateway.control.mirror import Lagging, Mirror
from gateway.control.nodes.by_connection import ByConnection
from gateway.control.nodes.status import Statuses
from gateway.control.resources.record import Record
from gateway.control.store.interface import Commit
from gateway.model.codes import CODES
from gateway.prometheus.text import counts

NODE_STATES = ("up", "lost", "new")
TUNNEL_STATES = ("up", "connecting", "down", "unknown")
LOOK_S = 1.0

Word = tuple[str, str]  # the state of a tunnel, and the code of its reason


class FleetCounts:
    """Counts; `run` follows what changes."""

    def __init__(self, mirror: Mirror, statuses: Statuses) -> None:
        self._mirror = mirror
        self._statuses = statuses
        self._kept: ByConnection[tuple[Word, ...]] = ByConnection(mirror)
        self._tunnels: Counter[Word] | None = None

    async def run(self) -> None:
        """Count for ever."""
        await self._mirror.ready.wait()
        while True:
            async with self._mirror.subscribed() as commits:
                self._kept.forget()  # of what came before nobody has told
                following = asyncio.create_task(self._follow(commits))
                try:
                    while not following.done():
                        await self._look()
                        await asyncio.sleep(LOOK_S)
                    following.result()
                except Lagging:
                    continue
                finally:
                    following.cancel()
                    await asyncio.wait([following])

    async def _follow(self, commits: AsyncIterator[Commit]) -> None:
        async for commit in commits:
            self._kept.take(commit)

    async def _look(self) -> None:
        found = await self._kept.current(self._words)
        self._tunnels = Counter(word for words in found for word in words)

    def _words(self, connection: Record) -> tuple[Word, ...]:
        tunnels = self._mirror.children("vpn_tunnel", connection.id)
        return tuple(_word(self._statuses.of_tunnel(tunnel)) for tunnel in tunnels)

    def families(self) -> Iterator[list[str]]:
        """Yield what Prometheus reads of it: nothing until all has been counted."""
        if self._tunnels is None:
            return
        nodes = Counter((self._statuses.word_of_node(one),) for one in self._mirror.of_kind("node"))
        nodes.update({(state,): 0 for state in NODE_STATES})
        text = "nodes: up, lost (does not report) or new (has never reported)"
        yield counts("twinspan_control_nodes", "gauge", text, ("state",), nodes.items())
        found = Counter({(state, ""): 0 for state in TUNNEL_STATES})
        found.update(self._tunnels)
        text = "tunnels of all tenants, each under its state and the code of its reason"
        names = ("state", "reason")
        yield counts("twinspan_control_tunnels", "gauge", text, names, found.items())
        alarms = Counter(
            (_known(str(one.value.get("code"))),)
            for one in self._mirror.of_kind(ALARM)
            if is_raised(one)
        )
        text = "alarms that are raised, by code"
        yield counts("twinspan_control_alarms", "gauge", text, ("code",), alarms.items())


def _word(status: Mapping[str, object]) -> Word:
    state, reason = str(status.get("operational")), status.get("reason")
    code = str(reason.get("code", "")) if isinstance(reason, Mapping) else ""
    return (state if state in TUNNEL_STATES else "other", _known(code))


def _known(code: str) -> str:
    return code if code in CODES or not code else "other"
