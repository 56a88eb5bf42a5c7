"""
What events alone say: tunnels that go up and down again and again, limits that were reached. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.control.alarms.judge import Condition, Name
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.events.kept import Kept
from gateway.model.codes import PLANNED
from gateway.model.events import Resource

# Alarms that an event raises and another one of the same resource ends.
LATCHES = {
    "bgp_prefix_limit": frozenset({"bgp_prefix_limit_over", "tunnel_removed", "deleted"}),
    "tunnel_certificate_ending": frozenset(
        {"tunnel_certificate_renewed", "tunnel_removed", "deleted"}
    ),
}
_DOWN = "tunnel_down"
_REMEMBERED = 1000  # times that one tunnel went down


@dataclass(slots=True)
class Signs:
    """Takes events in the order they come, and says what follows from them."""

    _downs: dict[str, deque[float]] = field(default_factory=dict)
    _last: dict[str, Kept] = field(default_factory=dict)
    _latched: dict[Name, Condition] = field(default_factory=dict)

    def take(self, kept: Kept) -> None:
        """Take an event."""
        event = kept.event
        if event.code == _DOWN and event.reason not in PLANNED and event.resource.id:
            times = self._downs.setdefault(event.resource.id, deque(maxlen=_REMEMBERED))
            if event.at not in times:  # it was read and came by the watch
                times.append(event.at)
            self._last[event.resource.id] = kept
        for code, ends in LATCHES.items():
            name = (code, event.resource.kind, event.resource.id)
            if event.code == code and event.resource.id:
                self._latched[name] = Condition(
                    code, event.resource, kept.tenant, event.text, event.at, node=kept.node
                )
            elif event.code in ends:
                self._latched.pop(name, None)

    def remember(self, alarm: Condition) -> None:
        """Go on with an alarm that another process has raised."""
        if alarm.code in LATCHES:
            self._latched.setdefault(alarm.name, alarm)

    def conditions(self, settings: AlarmSettings, now: float) -> Iterable[Condition]:
        """Yield what holds now."""
        yield from self._latched.values()
        for id, times in list(self._downs.items()):
            while times and times[0] < now - settings.flapping_s:
                times.popleft()
            if not times:
                del self._downs[id], self._last[id]
            elif len(times) >= settings.flapping_count:
                yield self._flapping(self._last[id], len(times), settings.flapping_s)

    def due_s(self, settings: AlarmSettings, now: float) -> float:
        """Return when, of itself, something may change: the oldest time is forgotten."""
        firsts = [times[0] for times in self._downs.values() if times]
        return min((at + settings.flapping_s - now for at in firsts), default=float("inf"))

    def _flapping(self, last: Kept, count: int, within_s: int) -> Condition:
        resource: Resource = last.event.resource
        text = f"{resource.name} went down {count} times within {within_s} s"
        return Condition(
            "tunnel_flapping", resource, last.tenant, text, reason=last.event.reason, node=last.node
        )
