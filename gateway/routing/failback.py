"""
When a tunnel that is well again takes its traffic back, and which one is too restless to. Pure.

What fails is left without us: by carrier, BFD, or a probe. This decides the way back alone, so it
may be late. A tunnel that must not take traffic back is DEMOTED from the time it fails, not from
the time it returns: BIRD and the kernel are faster than we are.

- active-standby: the tunnel of the lowest preference carries the traffic; one that has failed takes
  it back when it has been usable for `hold_s`.
- active-active: traffic stays with the tunnel that carries it until that one fails. Tunnels of
  equal preference share the traffic and join each other at once, in both modes.
- Damping (as in RFC 2439): each failure costs a penalty that halves with time; a tunnel above
  `SUPPRESS` is the last choice until it has come down to `REUSE`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

PENALTY = 1000.0  # for one failure
SUPPRESS, REUSE = 3500.0, 1000.0  # the fourth failure within some seconds; four minutes of rest
PENALTY_MAX = 6000.0  # at most five minutes of rest
HALF_LIFE_S = 120.0
SETTLE_S = 10.0  # after the first tunnel of a connection is up, none is ahead of the others yet


@dataclass(frozen=True, slots=True)
class Failback:
    """How a connection's tunnels take traffic back; `hold_s` None is never (active-active)."""

    hold_s: float | None = 0.0
    is_damped: bool = True


AT_ONCE = Failback()


@dataclass(frozen=True, slots=True)
class TunnelFacts:
    """
    What is known of one tunnel. The lower preference wins. `is_usable`: it could carry traffic now,
    whatever its standing; `since`: when that last changed, in any unit that differs then.
    """

    name: str
    connection: str
    preference: int
    failback: Failback
    is_usable: bool
    since: object = None


@dataclass(frozen=True, slots=True)
class Held:
    """The tunnels that must not take traffic back; `damped` are those that fail too often."""

    held: frozenset[str] = frozenset()
    damped: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Memory:
    """What is remembered of one tunnel. Times are seconds of the caller's clock."""

    is_usable: bool = False
    since: object = None
    usable_at: float = -math.inf  # when it became usable
    penalty: float = 0.0
    penalty_at: float = 0.0
    is_damped: bool = False


@dataclass(slots=True)
class Keeper:
    """Remembers who carries each connection's traffic, and judges who may take it back."""

    _tunnels: dict[str, _Memory] = field(default_factory=dict)
    _holders: dict[str, str] = field(default_factory=dict)  # tunnel by connection
    _first_at: dict[str, float] = field(default_factory=dict)  # when a connection first had one

    def restore(self, held: Iterable[str], facts: Iterable[TunnelFacts], now: float) -> None:
        """Go on where another process was: the tunnels `held` did not carry their traffic."""
        not_these = frozenset(held)
        for connection, group in _by_connection(facts).items():
            if any(one.name in not_these for one in group):
                best = min(group, key=lambda one: (one.name in not_these, one.preference))
                self._holders[connection] = best.name
                self._first_at[connection] = now - SETTLE_S

    def judge(self, facts: Iterable[TunnelFacts], now: float) -> Held:
        """Take note of what is, and return who must not take traffic back. `now` in seconds."""
        found = _by_connection(facts)
        known = [one for group in found.values() for one in group]
        self._forget({one.name for one in known}, found)
        for one in known:
            self._note(one, now)
        damped = frozenset(one.name for one in known if self._is_damped(one, now))
        held: set[str] = set()
        for connection, group in found.items():
            held |= self._held(connection, group, damped, now)
        return Held(frozenset(held), damped)

    def _forget(self, names: set[str], connections: Mapping[str, object]) -> None:
        for name in self._tunnels.keys() - names:
            del self._tunnels[name]
        for connection in self._holders.keys() - connections.keys():
            del self._holders[connection]
        for connection in self._first_at.keys() - connections.keys():
            del self._first_at[connection]

    # ---- who holds the traffic ----

    def _held(
        self, connection: str, group: list[TunnelFacts], damped: frozenset[str], now: float
    ) -> set[str]:
        usable = [one for one in group if one.is_usable]
        if not usable:
            return self._better(connection, group)
        first_at = self._first_at.setdefault(connection, now)
        by_name = {one.name: one for one in usable}
        holder = by_name.get(self._holders.get(connection, ""))
        rivals = [one for one in usable if one.name not in damped] or usable
        if holder is None:
            holder = min(rivals, key=lambda one: one.preference)
        is_settled = now - first_at >= SETTLE_S
        may = [one for one in rivals if not is_settled or self._may_take(one, now)]
        best = min([holder, *may], key=lambda one: one.preference)
        self._holders[connection] = best.name
        return self._better(connection, group) if is_settled else set()

    def _may_take(self, one: TunnelFacts, now: float) -> bool:
        hold_s = one.failback.hold_s
        return hold_s is not None and now - self._tunnels[one.name].usable_at >= hold_s

    def _better(self, connection: str, group: list[TunnelFacts]) -> set[str]:
        """Return the tunnels that would take the traffic from the one that carries it."""
        holder = next((o for o in group if o.name == self._holders.get(connection)), None)
        if holder is None or holder.failback.hold_s == 0:
            return set()
        return {one.name for one in group if one.preference < holder.preference}

    # ---- who is restless ----

    def _note(self, one: TunnelFacts, now: float) -> None:
        memory = self._tunnels.setdefault(one.name, _Memory())
        was_usable = memory.is_usable
        has_failed = was_usable and (not one.is_usable or memory.since != one.since)
        if has_failed:
            memory.penalty = min(self._penalty(memory, now) + PENALTY, PENALTY_MAX)
            memory.penalty_at = now
        if one.is_usable and (has_failed or not was_usable):
            memory.usable_at = now
        memory.is_usable, memory.since = one.is_usable, one.since

    def _penalty(self, memory: _Memory, now: float) -> float:
        return memory.penalty * math.exp2((memory.penalty_at - now) / HALF_LIFE_S)

    def _is_damped(self, one: TunnelFacts, now: float) -> bool:
        memory = self._tunnels[one.name]
        penalty = self._penalty(memory, now)
        memory.is_damped = one.failback.is_damped and (
            penalty > REUSE if memory.is_damped else penalty > SUPPRESS
        )
        return memory.is_damped


def _by_connection(facts: Iterable[TunnelFacts]) -> dict[str, list[TunnelFacts]]:
    ordered = sorted(facts, key=lambda one: one.connection)
    return {name: list(group) for name, group in groupby(ordered, key=lambda one: one.connection)}
