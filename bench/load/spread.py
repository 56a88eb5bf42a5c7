"""
What a packet costs the gateways, by how many tunnels the packets are spread over.

Packets of 512 bytes at a steady rate, in runs of 32 to each tunnel, as flows come, and one by one,
the worst there is: then no two neighbours share a tunnel, a system call or a cache line.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence

from lab import cpu, pacer
from lab.commands import LabError
from lab.twinspan import Twinspan

RUNS: Mapping[str, int] = {"runs": 32, "single": 1}
_RATE, _SIZE = 50_000, 512
_SECONDS = 1.5
_MOST_LOST = 0.05


def cost_ns(hub: Twinspan, branches: Twinspan, addresses: str) -> float:
    """Return the CPU nanoseconds of both gateways together for one packet. Raises LabError."""
    pids = [*hub.pids(), *branches.pids()]
    before = cpu.run_s(pids)
    ends = (hub.machine, branches.machine)
    sent = pacer.send(*ends, addresses, _RATE, (_SIZE,), _SECONDS)
    if sent.lost > _MOST_LOST:
        raise LabError(f"{addresses}: {100 * sent.lost:.1f} % of the packets are lost")
    return (cpu.run_s(pids) - before) / sent.sent * 1e9


def measure(
    hub: Twinspan, branches: Twinspan, first: str, step: int, counts: Sequence[int], rounds: int
) -> dict[str, float]:
    """
    Return the cost of a packet for each count of tunnels, and how many times that of one.

    The tunnels' destinations are `step` addresses apart. The counts take turns.
    """
    found: dict[str, float] = {}
    for kind, run in RUNS.items():
        taken: dict[int, list[float]] = {count: [] for count in counts}
        for turn in range(rounds):
            for count in counts:
                ns = cost_ns(hub, branches, f"{first}/{step}/{count}/{run}")
                print(f"{kind} {count} {turn + 1}/{rounds} {ns:.0f} ns", file=sys.stderr)
                taken[count].append(ns)
        middle = {count: statistics.median(values) for count, values in taken.items()}
        for count, value in middle.items():
            found[f"packet.{kind}.{count}.ns"] = round(value)
            found[f"packet.{kind}.{count}.times_one"] = round(value / middle[counts[0]], 2)
    return found
