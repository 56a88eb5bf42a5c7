"""
What has become of each connection's traffic since the last look: moved, gone, back. Pure.

Traffic that leaves a tunnel which failed is a failover; traffic that leaves one which is well, or
was closed on purpose, is a switchover. The first look says nothing: it may be of a process that has
taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gateway.model.codes import PLANNED
from gateway.node.journal import Level, Value


@dataclass(frozen=True, slots=True)
class Way:
    """One tunnel of a connection. `reason` says why it does not carry its traffic, if known."""

    name: str
    works: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionFacts:
    """A connection now. `active` are the tunnels that its traffic takes."""

    name: str
    ways: tuple[Way, ...]
    active: frozenset[str]
    is_redundant: bool


@dataclass(frozen=True, slots=True)
class Happening:
    """Something for the journal."""

    event: str
    level: Level
    fields: Mapping[str, Value]


# For how many seconds traffic was silent that has left these tunnels and taken those, if known.
Silent = Callable[[Iterable[str], Iterable[str]], float | None]


@dataclass(slots=True)
class TrafficWatch:
    """Remembers each connection, and tells what has changed."""

    _silent: Silent
    _before: dict[str, ConnectionFacts] = field(default_factory=dict)
    _carried: dict[str, frozenset[str]] = field(default_factory=dict)  # the last that were active

    def look(self, connections: Iterable[ConnectionFacts]) -> Iterator[Happening]:
        """Yield what has happened since the last look."""
        found = {each.name: each for each in connections}
        for name, now in found.items():
            before = self._before.get(name)
            if before is not None:
                yield from _redundancy(before, now)
                yield from self._moves(before, now)
            if now.active:
                self._carried[name] = now.active
        self._before = found
        for name in self._carried.keys() - found.keys():
            del self._carried[name]

    def _moves(self, before: ConnectionFacts, now: ConnectionFacts) -> Iterator[Happening]:
        did_work, works = (any(way.works for way in each.ways) for each in (before, now))
        carried = self._carried.get(now.name, frozenset())
        if did_work and not works:
            yield _happening("connection down", now, Level.ERROR, **self._why(now, carried))
            return
        if works and not did_work:
            by = {"by": _names(now.active)} if now.active else {}
            yield _happening("connection up", now, Level.INFO, **by)
        if not now.active or not carried or now.active == carried:
            return
        names = {"left": _names(carried - now.active), "by": _names(now.active)}
        said = {key: value for key, value in names.items() if value}
        why = self._why(now, carried - now.active)
        is_failure = "reason" in why and why["reason"] not in PLANNED
        if is_failure:
            yield _happening("failover", now, Level.WARNING, **said, **why)
        else:
            yield _happening("switchover", now, Level.INFO, **said)

    def _why(self, now: ConnectionFacts, left: Iterable[str]) -> dict[str, Value]:
        """Return why tunnels do not carry the traffic any more, as far as that is a failure."""
        names = set(left)
        gone = [way for way in now.ways if way.name in names]
        failed = [way for way in gone if way.reason and way.reason not in PLANNED]
        first = next(iter(failed), next((way for way in gone if way.reason), None))
        if first is None:
            return {}
        silent = self._silent([way.name for way in failed], now.active)
        return {"reason": first.reason} | ({} if silent is None else {"silent_s": round(silent, 3)})


def _redundancy(before: ConnectionFacts, now: ConnectionFacts) -> Iterator[Happening]:
    if before.is_redundant and not now.is_redundant:
        down = [way.name for way in now.ways if not way.works]
        yield _happening("redundancy lost", now, Level.WARNING, down=_names(down))
    if now.is_redundant and not before.is_redundant:
        yield _happening("redundancy restored", now, Level.INFO)


def _happening(event: str, now: ConnectionFacts, level: Level, **fields: Value) -> Happening:
    return Happening(event, level, {"connection": now.name, **fields})


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
