"""
The one process that raises alarms: it holds the lease `alarms`, and every write of it stands on it.

If it dies another one takes the lease within seconds and goes on: alarms are in the store, and what
was raised or cleared but not told to the end is told by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.control.alarms.delivery import Deliveries
from gateway.control.alarms.facts import Certificate, Reading, StatusOf
from gateway.control.alarms.judge import Condition, Facts, Judge, Name
from gateway.control.alarms.kept import (
    CLEARED,
    KIND,
    alarm_key,
    cleared,
    condition_of,
    is_raised,
    name_of,
    raised,
)
from gateway.control.alarms.message import message_of
from gateway.control.alarms.settings import SETTING, alarm_settings
from gateway.control.alarms.signs import Signs
from gateway.control.events.events import DAY_S, Events, Wanted
from gateway.control.events.settings import kept_days
from gateway.control.events.timeline import told as events_in
from gateway.control.mirror import Lagging, Mirror
from gateway.control.nodes.by_connection import ByConnection
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.slices import in_slices
from gateway.control.store.interface import (
    MAX_WRITES,
    Check,
    Commit,
    Conflict,
    Create,
    Delete,
    Lease,
    NotFound,
    Replace,
    Store,
    StoreError,
    Write,
)
from gateway.model.events import Resource
from gateway.node.journal import Journal

LEASE_NAME = "alarms"
TTL_S = 5
KEEP_S = 1.5
RETRY_S = 1.0
# Nodes take so long to find us: who was away himself, or takes over, calls none lost before.
NODES_S = 25.0
LOOK_S = 0.5  # between two looks, if something has changed
REST_S = 10.0  # if nothing has
SWEEP_S = 3600.0
ACTOR = "system:alarms"
LOOK_SHARE = 40  # a look that takes long holds up the API: it is repeated after forty times that
_QUIET = frozenset(
    {"access", "claim", "count", "idempotency", "session", "uses"}
)  # no alarm's cause


@dataclass(frozen=True, slots=True)
class Change:
    """An alarm that is raised or cleared: its value then, and how it was."""

    name: Name
    value: Table
    before: Record | None


class Keeper:
    """Raises and clears alarms while it holds the lease. `clock` is in seconds since 1970."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        events: Events,
        deliveries: Deliveries,
        journal: Journal,
        *,
        holder: str,
        status_of: StatusOf,
        clock: Callable[[], float],
        certificate: Callable[[], Certificate | None] = lambda: None,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._events = events
        self._deliveries = deliveries
        self._journal = journal
        self._holder = holder
        self._status_of = status_of
        self._clock = clock
        self._certificate = certificate
        self._moved = asyncio.Event()
        self._parts: ByConnection[Facts] = ByConnection(mirror)
        self._took_at: float | None = None  # by the loop's clock, since when nodes reach us
        self._told: dict[str, str] = {}  # alarm, and the state that was told to the end
        self.is_holder = False

    async def run(self) -> None:
        """Wait for the lease, raise alarms while it is held, and again, for ever."""
        await self._mirror.ready.wait()
        while True:
            try:
                lease = await self._store.acquire(LEASE_NAME, self._holder, TTL_S)
                await self._hold(lease)
            except Conflict:
                self._took_at = None  # another process has it
            except StoreError as error:
                self._took_at = None  # no node's report was kept meanwhile
                self._journal.warning("alarms", text=str(error))
            except Lagging as error:
                self._journal.warning("alarms", text=str(error) or "the mirror was read anew")
            except Exception as error:  # a bug of ours must not take the API along
                self._journal.error("bug", where="alarms", text=repr(error))
            await asyncio.sleep(RETRY_S)

    async def _hold(self, lease: Lease) -> None:
        """Raise alarms until the lease is lost. Raises StoreError, Lagging."""
        self.is_holder = True
        if self._took_at is None:
            self._took_at = asyncio.get_running_loop().time()
        try:
            async with self._mirror.subscribed() as commits:
                self._parts.forget()  # of what came before nobody has told
                await self._mirror.reached(lease.revision)
                signs = await self._signs()
                self._tell_rest()
                following = asyncio.create_task(self._follow(commits, signs))
                try:
                    await self._look_again(lease, signs, following)
                finally:
                    following.cancel()
                    await asyncio.wait([following])
        finally:
            self.is_holder = False
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                await self._store.release(lease)

    async def _look_again(self, lease: Lease, signs: Signs, following: asyncio.Task[None]) -> None:
        judge, loop = Judge(), asyncio.get_running_loop()
        kept_at, look_at, rest_until, sweep_at = loop.time(), 0.0, 0.0, 0.0
        while True:
            if following.done():
                following.result()
            if loop.time() - kept_at >= KEEP_S:
                await self._store.keep_alive(lease)
                kept_at = loop.time()
            is_due = self._moved.is_set() or loop.time() >= look_at
            if is_due and loop.time() >= rest_until:
                self._moved.clear()
                began_at = loop.time()
                look_at = began_at + await self._look(lease, judge, signs)
                rest_until = began_at + LOOK_SHARE * (loop.time() - began_at)
            await self._note_told(lease)
            if loop.time() >= sweep_at:
                await self._forget_old(lease)
                sweep_at = loop.time() + SWEEP_S
            await asyncio.sleep(LOOK_S)

    async def _signs(self) -> Signs:
        """Return what events of late, and alarms that are raised, say."""
        signs, settings = Signs(), alarm_settings(self._mirror)
        for alarm in self._mirror.of_kind(KIND):
            if is_raised(alarm):
                signs.remember(condition_of(alarm))
        since = self._clock() - settings.flapping_s
        found = [
            each async for each in self._events.stored(Wanted(code="tunnel_down", since=since))
        ]
        for kept in reversed(found):
            signs.take(kept)
        return signs

    async def _follow(self, commits: AsyncIterator[Commit], signs: Signs) -> None:
        async for commit in commits:
            for kept in events_in(commit):
                signs.take(kept)
            self._parts.take(commit)
            if any((change.key.kind, change.key.id) == SETTING for change in commit.changes):
                self._parts.forget()
            if any(change.key.kind not in _QUIET for change in commit.changes):
                self._moved.set()

    # ---- one look ----

    async def _look(self, lease: Lease, judge: Judge, signs: Signs) -> float:
        """Raise and clear what is to be; return in how many seconds to look again."""
        settings, now = alarm_settings(self._mirror), self._clock()
        assert self._took_at is not None
        nodes_s = self._took_at + NODES_S - asyncio.get_running_loop().time()
        reading = Reading(
            self._mirror, self._status_of, settings, now, self._certificate(), nodes_s <= 0
        )
        parts = await self._parts.current(reading.of_connection)
        # Here and not below: a node's status may cost to compose its document.
        await in_slices(map(self._status_of, list(self._mirror.of_kind("node"))))
        facts = reading.facts(parts, signs.conditions(settings, now))
        standing = {name_of(one): one for one in self._mirror.of_kind(KIND) if is_raised(one)}
        verdict = judge.judge(facts, standing, now, settings.clear_s)
        changes = [self._raise(each, now) for each in verdict.raised]
        changes += [
            Change(name, cleared(standing[name], now), standing[name]) for name in verdict.cleared
        ]
        for start in range(0, len(changes), MAX_WRITES - 1):
            await self._commit(lease, changes[start : start + MAX_WRITES - 1])
        due_s = min(verdict.due_s, signs.due_s(settings, now), REST_S)
        return min(due_s, nodes_s) if nodes_s > 0 else due_s

    def _raise(self, condition: Condition, now: float) -> Change:
        before = self._mirror.get(KIND, alarm_key(condition.name).id)
        return Change(condition.name, raised(condition, before, now), before)

    async def _commit(self, lease: Lease, changes: list[Change]) -> None:
        """Write alarms, if the lease is still ours; then tell."""
        try:
            await self._write(lease, [_write_of(change) for change in changes])
        except (Conflict, NotFound) as error:
            if error.key == lease.key:
                raise
            self._moved.set()  # somebody has acknowledged it: look again
            return
        for change in changes:
            self._said(change)
            self._tell(alarm_key(change.name).id)

    def _said(self, change: Change) -> None:
        """Log an alarm and make it an event."""
        value = change.value
        code = f"alarm_{value['state']}"
        resource = Resource(**value["resource"])
        self._journal.info(code, code=str(value["code"]), resource=resource.name)
        self._events.say(
            code,
            resource,
            f"over: {value['text']}" if value["state"] == CLEARED else str(value["text"]),
            tenant=str(value["tenant"]),
            node=str(value["node"]),
            reason=str(value["code"]),
        )

    # ---- telling ----

    def _tell(self, id: str) -> None:
        alarm = self._mirror.get(KIND, id)
        if alarm is None:
            return
        state = str(alarm.value.get("state"))
        message = message_of(alarm, state)
        self._deliveries.tell(message, partial(self._is_told, id, state))

    def _is_told(self, id: str, state: str) -> None:
        self._told[id] = state

    async def _note_told(self, lease: Lease) -> None:
        """Write down which alarms were told to the end: nobody has to tell them again."""
        told, self._told = self._told, {}
        writes: list[Write] = []
        for id, state in told.items():
            alarm = self._mirror.get(KIND, id)
            if alarm is not None and alarm.value.get("state") == state:
                value = {**alarm.value, "told": state}
                writes.append(Replace(alarm.key, bytes_of(value), alarm.revision))
        try:
            await self._write(lease, writes)
        except (Conflict, NotFound) as error:
            if error.key == lease.key:
                raise
            self._told = told | self._told  # somebody has acknowledged one: the next time

    async def _forget_old(self, lease: Lease) -> None:
        """Delete alarms that have been over for long."""
        oldest = self._clock() - kept_days(self._mirror) * DAY_S
        await self._write(
            lease,
            [
                Delete(alarm.key, alarm.revision)
                for alarm in self._mirror.of_kind(KIND)
                if not is_raised(alarm) and float(alarm.value.get("cleared_at") or 0) < oldest
            ],
        )

    async def _write(self, lease: Lease, writes: Sequence[Write]) -> None:
        """Write some objects, while the lease is ours. Raises StoreError."""
        for start in range(0, len(writes), MAX_WRITES - 1):
            some = writes[start : start + MAX_WRITES - 1]
            revision = await self._store.commit([Check(lease.key, lease.revision), *some], ACTOR)
            await self._mirror.caught_up(revision)

    def _tell_rest(self) -> None:
        """Tell what a process before has raised or cleared and not told to the end."""
        for alarm in list(self._mirror.of_kind(KIND)):
            if alarm.value.get("told") != alarm.value.get("state"):
                self._tell(alarm.id)


def _write_of(change: Change) -> Write:
    key, value = alarm_key(change.name), bytes_of(change.value)
    if change.before is None:
        return Create(key, value)
    return Replace(key, value, change.before.revision)
