"""The failovers of each connection since the gateway process began. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from gateway.prometheus.text import Histogram

BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)


@dataclass(slots=True)
class Failovers:
    """How many there were, and for how long the traffic was silent in those where that is known."""

    counts: Counter[str] = field(default_factory=Counter)
    _silences: dict[str, Histogram] = field(default_factory=dict)

    def add(self, connection: str, silent_s: float | None) -> None:
        """Count one."""
        self.counts[connection] += 1
        if silent_s is not None:
            self.of(connection).add(silent_s)

    def of(self, connection: str) -> Histogram:
        """Return the silences of a connection in seconds, an empty histogram if there were none."""
        return self._silences.setdefault(connection, Histogram(BOUNDS_S))

    def keep(self, connections: frozenset[str]) -> None:
        """Forget all connections but these."""
        for name in (self.counts.keys() | self._silences.keys()) - connections:
            self.counts.pop(name, None)
            self._silences.pop(name, None)
