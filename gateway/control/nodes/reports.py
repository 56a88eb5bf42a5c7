"""
What nodes report: states go to the store when they change, counters stay in memory.

A node counts as alive as long as its lease `node:ID` is held, which is kept with its reports by the
control process that hears them. Its end is seen by all of them; nothing is concluded from it but
that the node's tunnels are not known about.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from gateway.control.api.render import moment
from gateway.control.mirror import Mirror
from gateway.control.nodes.actions import Actions
from gateway.control.nodes.documents import Documents
from gateway.control.nodes.questions import Questions
from gateway.control.nodes.states import States
from gateway.control.nodes.touched import NODE_LEASE
from gateway.control.resources.record import Record, Table
from gateway.control.store.interface import LEASE, Conflict, Lease, NotFound, Store
from gateway.fleet.messages import (
    LOST_S,
    REPORT_S,
    Counters,
    Heard,
    Report,
    TunnelState,
)
from gateway.model.events import Event, EventError, event_of_json

TWICE_S = 60.0  # that a credential is used twice is said so often
KEEP_S = REPORT_S * 0.8  # no oftener: a node whose tunnels flap reports ten times a second

# Keeps events of a node, and returns when they are in the store or on their way.
Keep = Callable[[str, Sequence[Event]], Awaitable[None]]
Say = Callable[[str, str, str], Awaitable[None]]  # an event of ours: node, code, text


@dataclass(slots=True)
class Known:
    """One run of a node's gateway process, as this control process has heard it."""

    session: str
    before: str  # the session before it
    number: int
    reported_at: float  # seconds since 1970
    counters: dict[str, Counters] = field(default_factory=dict)
    lease: Lease | None = None
    kept_at: float = 0.0
    events: int = 0  # the number of the last event that was kept


class Reports:
    """Takes reports. `keep` gets the events in them, `say` what is noticed here."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        states: States,
        documents: Documents,
        actions: Actions,
        questions: Questions,
        keep: Keep,
        say: Say,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._states = states
        self._documents = documents
        self._actions = actions
        self._questions = questions
        self._keep = keep
        self._say = say
        self._said_twice: dict[str, float] = {}
        self._known: dict[str, Known] = {}

    # ---- reading ----

    def is_alive(self, node: str) -> bool:
        """Say whether a node has reported of late, to any control process."""
        return self._mirror.get(LEASE, lease_name(node)) is not None

    def counters(self, node: str, tunnel: str) -> Counters | None:
        """Return what a tunnel has carried, None if this process has not heard of it."""
        known = self._known.get(node)
        return known.counters.get(tunnel) if known is not None else None

    def last_report_at(self, node: str) -> str | None:
        """Return when this process has last heard a node, None if it has not."""
        known = self._known.get(node)
        return moment(known.reported_at) if known is not None else None

    # ---- taking ----

    async def take(self, node: str, report: Report) -> Heard:
        """Take a report of a node. Raises StoreError, ApiProblem."""
        await self._see_twice(node, report.session)
        known, is_missing = self._follow(node, report)
        await self._stay_alive(node, known)
        self._documents.learn(node, report.at)
        self._take_states(node, report)
        before = {} if report.full else known.counters
        known.counters = before | self._own_counters(node, report)
        await self._take_events(node, known, report)
        await self._actions.take(node, report.results)
        await self._questions.take(node, report.answers)
        return Heard(full=is_missing, events=known.events)

    async def _see_twice(self, node: str, session: str) -> None:
        """
        Say so if a run of a gateway process comes back after another one: that is no restart, but
        two machines with one credential.
        """
        known, now = self._known.get(node), time.monotonic()
        if known is None or not session or session != known.before:
            return
        if now - self._said_twice.get(node, -TWICE_S) >= TWICE_S:
            self._said_twice[node] = now
            await self._say(node, "node_twice", "two gateway processes report as this node")

    def _follow(self, node: str, report: Report) -> tuple[Known, bool]:
        """Return what is known of the node's run, and whether something of it was missed."""
        known = self._known.get(node)
        if known is None or known.session != report.session:
            before, lease = (known.session, known.lease) if known is not None else ("", None)
            known = self._known[node] = Known(report.session, before, 0, 0.0, lease=lease)
            self._actions.forget_told(node)
        is_missing = not report.full and report.number != known.number + 1
        known.number, known.reported_at = report.number, time.time()
        return known, is_missing

    async def _stay_alive(self, node: str, known: Known) -> None:
        now = time.monotonic()
        if known.lease is not None and now - known.kept_at < KEEP_S:
            return
        try:
            if known.lease is not None:
                await self._store.keep_alive(known.lease)
        except (NotFound, Conflict):
            known.lease = None
        if known.lease is None:
            # Any control process may hold it in the node's name: the last that heard of it does.
            known.lease = await self._store.acquire(lease_name(node), node, LOST_S)
            await self._mirror.caught_up(known.lease.revision)  # from now on it is alive here
        known.kept_at = now

    def _own_counters(self, node: str, report: Report) -> dict[str, Counters]:
        """Return the counters of what is this node's: else names of its invention would pile up."""
        return {
            name: counters
            for name, counters in report.counters.items()
            if self._is_on(node, self._mirror.get("vpn_tunnel", name))
        }

    def _is_on(self, node: str, tunnel: Record | None) -> bool:
        return tunnel is not None and tunnel.allocated.get("node") == node

    # ---- states ----

    def _take_states(self, node: str, report: Report) -> None:
        self._states.put(node, self._node_state(node, report))
        for tunnel in report.tunnels:
            if (value := self._tunnel_state(node, tunnel)) is not None:
                self._states.put(tunnel.name, value)
        if report.full:
            told = {one.name for one in report.tunnels}
            gone = (id for id in self._states.of_node(node) if id not in told)
            self._states.forget(gone)

    def _node_state(self, node: str, report: Report) -> Table:
        notes = report.notes
        return {
            "tenant": "",
            "node": node,
            "session": report.session,
            "at": report.at.model_dump(),
            "problem": report.problem.model_dump() if report.problem else None,
            "version": report.version,
            "reads": list(report.reads),
            "since": report.since,
            "notes": self._states.get(node).get("notes", []) if notes is None else list(notes),
        }

    def _tunnel_state(self, node: str, tunnel: TunnelState) -> Table | None:
        """Return what is kept of a tunnel; nothing of one that is not this node's."""
        record = self._mirror.get("vpn_tunnel", tunnel.name)
        if record is None or not self._is_on(node, record):
            return None
        return {
            "tenant": record.tenant,
            "node": node,
            **tunnel.model_dump(mode="json", exclude={"name"}),
        }

    # ---- events ----

    async def _take_events(self, node: str, known: Known, report: Report) -> None:
        events = []
        for table in report.events:
            try:
                event = event_of_json(table)
            except EventError:
                continue
            if event.sequence > known.events:
                events.append(event)
        if events:
            await self._keep(node, events)
            known.events = max(event.sequence for event in events)


def lease_name(node: str) -> str:
    """Return the name of the lease of a node that lives."""
    return NODE_LEASE + node
