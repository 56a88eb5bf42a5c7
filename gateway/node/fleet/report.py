"""
Says to the control plane what is: every 5 s, and within 100 ms when a state has changed.

What changed is told by the events, of which every change has one, so only those tunnels are looked
at; all of them every 5 s, in portions that do not hold up the loop. A report has the states
that the last one did not have; the control plane asks for all of them when it has missed one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from gateway.fleet.messages import (
    REPORT_S,
    Answer,
    Counters,
    Heard,
    Position,
    Report,
    Result,
    TunnelState,
    Why,
)
from gateway.model.events import Event
from gateway.node.fleet.http import LinkError
from gateway.node.fleet.questions import READING
from gateway.node.fleet.states import counters, tunnel_state
from gateway.node.plan import TunnelPlan
from gateway.node.source import Node

TOGETHER_S = 0.02  # changes come in groups: what follows so soon goes into the same report
BETWEEN_S = 0.05
PORTION = 50  # tunnels that are looked at in one turn of the loop
EVENTS_TOLD = 500  # in one report
NOTES_TOLD = 256
RESULTS_TOLD = 500
ANSWERS_TOLD = 8  # in one report, each of 256 KiB at most
RETRY_S = 2.0

Where = Callable[[], tuple[Position, Why | None]]
Send = Callable[[Report], Awaitable[Heard]]


class Reporter:
    """One run of the gateway process as the control plane sees it."""

    def __init__(self, node: Node, send: Send, where: Where) -> None:
        self._node = node
        self._send = send
        self._where = where
        self._session = secrets.token_hex(8)
        self._since = time.time()
        self._number = 0
        self._is_full = True
        self._changed = asyncio.Event()
        self._again = asyncio.Event()
        self._names: set[str] = set()  # tunnels whose state may be another
        self._all_at = 0.0  # when they were, in monotonic seconds
        self._told: dict[str, TunnelState] = {}
        self._told_counters: dict[str, Counters] = {}
        self._results: list[Result] = []
        self._answers: list[Answer] = []

    # ---- what is new ----

    def wake(self, tunnels: Iterable[str] = ()) -> None:
        """Report now: these tunnels are others, or something beside the tunnels is."""
        self._names |= set(tunnels)
        self._changed.set()

    def tell(self, result: Result) -> None:
        """Report what became of an action."""
        self._results.append(result)
        self.wake()

    def reply(self, answer: Answer) -> None:
        """Report what the control plane has asked."""
        self._answers.append(answer)
        self.wake()

    async def listen(self) -> None:
        """See from the events which tunnels have changed, for ever."""
        with self._node.events.follow() as events:
            while True:
                event = await events.get()
                if event.resource.kind == "vpn_tunnel":
                    self._names.add(event.resource.name)
                self.wake()

    # ---- saying it ----

    async def run(self) -> None:
        """Report for ever."""
        while True:
            await self._report()
            if self._is_full:
                await self._reachable()
                continue
            await asyncio.sleep(BETWEEN_S)
            try:
                async with asyncio.timeout(REPORT_S - BETWEEN_S):
                    await self._changed.wait()
                await asyncio.sleep(TOGETHER_S)
            except TimeoutError:
                pass  # nothing has changed

    def reached(self) -> None:
        """The control plane is there (again): report now."""
        self._again.set()

    async def _reachable(self) -> None:
        """Wait a moment after a report that was not heard."""
        self._again.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await self._again.wait()

    async def _report(self) -> None:
        """Say what has changed; once more, and all there is, if something was missed."""
        self._changed.clear()
        names, self._names = self._names, set()
        is_time = time.monotonic() - self._all_at >= REPORT_S - BETWEEN_S
        look_at_all = self._is_full or is_time
        if look_at_all:
            self._all_at = time.monotonic()
        report = await self._made(None if look_at_all else names)
        try:
            heard = await self._send(report)
        except LinkError:
            self._is_full = True
            self.wake()
            return
        self._take_as_told(report)
        self._node.events.acknowledge(heard.events)
        self._is_full = False
        if heard.full and not report.full:
            self._is_full = True
            await self._report()

    async def _made(self, names: set[str] | None) -> Report:
        self._number += 1
        at, problem = self._where()
        states, carried = await self._looked_at(names)
        if not self._is_full:
            states = [one for one in states if self._told.get(one.name) != one]
            carried = {
                name: one for name, one in carried.items() if self._told_counters.get(name) != one
            }
        notes = self._node.status.notes()[:NOTES_TOLD] if self._is_full else None
        return Report(
            session=self._session,
            number=self._number,
            full=self._is_full,
            at=at,
            problem=problem,
            version=self._node.status.version,
            since=self._since,
            notes=None if notes is None else tuple(note[:2000] for note in notes),
            tunnels=tuple(states),
            counters=carried,
            events=tuple(event.as_json() for event in self._untold()),
            results=tuple(self._results[:RESULTS_TOLD]),
            answers=tuple(self._answers[:ANSWERS_TOLD]),
            reads=tuple(sorted(READING)),
        )

    def _untold(self) -> list[Event]:
        log = self._node.events
        return log.take(log.acknowledged, EVENTS_TOLD)

    def _take_as_told(self, report: Report) -> None:
        self._told |= {one.name: one for one in report.tunnels}
        self._told_counters |= report.counters
        self._results = self._results[len(report.results) :]
        self._answers = self._answers[len(report.answers) :]

    async def _looked_at(
        self, names: set[str] | None
    ) -> tuple[list[TunnelState], dict[str, Counters]]:
        """Return the states of these tunnels and their twins; of all, with counters, for None."""
        status = self._node.status
        owners = {plan.connection for plan in status.plans if names is None or plan.name in names}
        states, carried = [], {}
        for portion in _portions([plan for plan in status.plans if plan.connection in owners]):
            for shown in status.tunnels(portion):
                states.append(tunnel_state(shown))
                if names is None:
                    carried[states[-1].name] = counters(shown)
            await asyncio.sleep(0)
        return states, carried


def _portions(plans: Sequence[TunnelPlan]) -> Iterable[list[TunnelPlan]]:
    """Yield the plans in portions, those of one connection together."""
    by_connection: dict[str, list[TunnelPlan]] = {}
    for plan in plans:
        by_connection.setdefault(plan.connection, []).append(plan)
    portion: list[TunnelPlan] = []
    for group in by_connection.values():
        portion += group
        if len(portion) >= PORTION:
            yield portion
            portion = []
    if portion:
        yield portion
