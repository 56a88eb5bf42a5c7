"""
The last hour of each tunnel in memory, for the charts. What is older is Prometheus's.

A point every INTERVAL_S. Rates of packets and drops are made of the counters of two points; where a
counter has begun anew there is no rate, not a negative one.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

INTERVAL_S = 10.0
POINTS = 360  # an hour
_TRAFFIC = ("in_bps", "out_bps", "in_pps", "out_pps", "drops_ps")
NAMES = (*_TRAFFIC, "inside_ms", "outside_ms", "inside_loss", "outside_loss")
_RATES = {"in_pps": "in_packets", "out_pps": "out_packets", "drops_ps": "drops"}

Counters = Mapping[str, Any]


@dataclass(slots=True)
class _Ring:
    """The points of one tunnel: nine floats of 4 bytes each, 13 KB in all."""

    values: array[float] = field(
        default_factory=lambda: array("f", [math.nan]) * (POINTS * len(NAMES))
    )
    last: dict[str, float] = field(default_factory=dict)


class History:
    """Remembers what `sample` is given."""

    def __init__(self) -> None:
        self._rings: dict[str, _Ring] = {}
        self._times = array("d", [math.nan]) * POINTS
        self._next = 0

    def sample(self, now: float, tunnels: Iterable[tuple[str, Counters | None]]) -> Iterator[str]:
        """
        Add a point for each tunnel by its id, and yield after it.

        Those that do not come are forgotten. All points are seen once the last one is there.
        """
        before = self._times[self._next - 1]
        passed = now - before if not math.isnan(before) else 0.0
        self._times[self._next] = math.nan  # the oldest one goes, the new one is not there yet
        rings: dict[str, _Ring] = {}
        for id, counters in tunnels:
            rings[id] = self._rings.get(id) or _Ring()
            self._put(rings[id], counters or {}, passed)
            yield id
        self._rings = rings
        self._times[self._next] = now
        self._next = (self._next + 1) % POINTS

    def _put(self, ring: _Ring, counters: Counters, passed: float) -> None:
        at = self._next * len(NAMES)
        for place, name in enumerate(NAMES):
            ring.values[at + place] = _value(ring.last, counters, name, passed)
        ring.last = {key: float(counters[key]) for key in _RATES.values() if key in counters}

    def of(self, id: str) -> dict[str, list[float | None]]:
        """Return the points of a tunnel, the oldest first, by name; `at` in seconds since 1970."""
        order = [(self._next + step) % POINTS for step in range(POINTS)]
        known = [at for at in order if not math.isnan(self._times[at])]
        found: dict[str, list[float | None]] = {"at": [round(self._times[at], 1) for at in known]}
        ring = self._rings.get(id)
        for place, name in enumerate(NAMES):
            found[name] = [
                None if ring is None else _number(ring.values[at * len(NAMES) + place])
                for at in known
            ]
        return found


def _value(last: Mapping[str, float], counters: Counters, name: str, passed: float) -> float:
    if name not in _RATES:
        found = counters.get(name)
        return math.nan if found is None else float(found)
    key = _RATES[name]
    if passed <= 0.0 or key not in last or key not in counters or counters[key] < last[key]:
        return math.nan
    return (float(counters[key]) - last[key]) / passed


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)
