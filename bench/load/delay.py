"""
The delay of small packets, one way, with nothing beside them and beside one TCP stream.

1,000 packets of 100 bytes a second from site a to site b, from when the source sends one until the
receiving host's kernel has it. Beside TCP a gateway on this machine waits for CPUs that senders and
receivers hold; where it goes ahead of them it does not, as on a machine of its own.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence

from lab import iperf, pacer
from lab.ahead import ahead
from lab.peers import Joined

PERCENTILES: Mapping[str, float] = {"p50_us": 50.0, "p99_us": 99.0, "p999_us": 99.9}
KINDS = ("probe_idle", "probe_bulk", "probe_bulk_ahead")


def delays(joined: Joined, kind: str, seconds: float) -> list[float]:
    """Return the delays of one run in microseconds."""
    pair = joined.pair
    first = {pid for pids in joined.pids for pid in pids} | joined.pollers
    with ahead(first if kind == "probe_bulk_ahead" else ()):
        stream = pacer.probe(pair.a.host, pair.b.host, pair.b.host4)
        if kind == "probe_idle":
            time.sleep(seconds)
        else:
            iperf.measure(pair.a.host, pair.b.host, pair.b.host4, seconds=seconds)
        return stream.stop()


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the values do not exceed."""
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return cuts[round(percent * 10) - 1]


def figures(name: str, way: str, values: Sequence[float]) -> dict[str, float]:
    """Return the named figures of the delays over one way."""
    return {
        f"{name}.{way}.{key}": round(percentile(values, percent), 1)
        for key, percent in PERCENTILES.items()
    }
