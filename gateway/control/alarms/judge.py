"""
What is to be raised and cleared: conditions that hold now, alarms as they are, and the time. Pure.

An alarm has one code and one resource, and is there once. A condition must hold for some time
before it is one, counted from when it began where that is known; it must be over for some time
before the alarm is cleared. Of what is not known (its node is lost) nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gateway.model.events import Resource

Name = tuple[str, str, str]  # code, kind and id of the resource


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is so now. `since` is in seconds since 1970, None where it is not known."""

    code: str
    resource: Resource
    tenant: str
    text: str
    since: float | None = None
    reason: str = ""
    node: str = ""
    hold_s: float = 0.0

    @property
    def name(self) -> Name:
        """What tells it apart from others."""
        return (self.code, self.resource.kind, self.resource.id)


@dataclass(frozen=True, slots=True)
class Facts:
    """All conditions that hold now, and the ids of resources of which nothing is known now."""

    conditions: tuple[Condition, ...]
    unknown: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done. `due_s` is when to judge again at the latest, if nothing happens."""

    raised: tuple[Condition, ...]
    cleared: tuple[Name, ...]
    due_s: float


@dataclass(slots=True)
class Judge:
    """Remembers since when conditions hold, and since when those of alarms are over."""

    _began: dict[Name, float] = field(default_factory=dict)
    _over: dict[Name, float] = field(default_factory=dict)

    def judge(self, facts: Facts, alarms: Iterable[Name], now: float, clear_s: float) -> Verdict:
        """Return what follows; `alarms` are those that are raised. `now` in seconds since 1970."""
        holding = {each.name: each for each in facts.conditions}
        standing = set(alarms)
        self._remember(holding, standing, facts.unknown, now)
        raised = [
            each
            for name, each in holding.items()
            if name not in standing
            and each.resource.id not in facts.unknown
            and now - self._began[name] >= each.hold_s
        ]
        cleared = [name for name, at in self._over.items() if now - at >= clear_s]
        return Verdict(tuple(raised), tuple(cleared), self._due_s(holding, standing, now, clear_s))

    def _remember(
        self,
        holding: Mapping[Name, Condition],
        standing: set[Name],
        unknown: frozenset[str],
        now: float,
    ) -> None:
        for name in self._began.keys() - holding.keys():
            del self._began[name]
        for name, each in holding.items():
            began = each.since if each.since is not None else self._began.get(name, now)
            self._began[name] = min(began, now)  # a node's clock may be ahead
        for name in self._over.keys() - (standing - holding.keys()):
            del self._over[name]
        for name in standing - holding.keys():
            if name[2] not in unknown:
                self._over.setdefault(name, now)

    def _due_s(
        self, holding: Mapping[Name, Condition], standing: set[Name], now: float, clear_s: float
    ) -> float:
        waits = [
            self._began[name] + each.hold_s - now
            for name, each in holding.items()
            if name not in standing
        ]
        waits += [at + clear_s - now for at in self._over.values()]
        return min((wait for wait in waits if wait > 0), default=float("inf"))
