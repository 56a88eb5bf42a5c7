"""
Two workers against one: how many more packets a gateway can carry, in each direction.

    hub, one worker  ======== 16 peers          hub, two workers ======== 16 peers

The machine's cores also make and take the packets, so what arrives says little. Both hubs get the
same steady rate, and what counts is CPU time alone: a gateway can carry no more than its busiest
worker, so the packets for a second of that worker's time are its capacity. What workers cost each
other (locks, shared cache lines, packets for the other one) and how unevenly the peers fall on
them are in it; what the packets' makers take of the cores is not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench import scale
from lab import cpu, pacer
from lab.commands import LabError, end_cleanly
from lab.figures import listed, tell
from lab.netns import Lab
from lab.twinspan import Twinspan

WORKERS = (1, 2)
DIRECTIONS = ("out", "in")
_PEERS = 16
_RATE, _SIZE, _RUN = 60_000, 1400, 32
_MOST_LOST = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """Packets of one run for a second of the busiest worker, and its part of the work."""

    kpps: float
    busiest: float


@dataclass(frozen=True, slots=True)
class Side:
    """A hub with its peers."""

    hub: Twinspan
    branches: Twinspan
    workers: int

    def run(self, direction: str, seconds: float) -> Sample:
        """Send packets to or from the hub. Raises LabError if too many are lost."""
        here, there = self.hub.machine, self.branches.machine
        first = scale.BRANCH_NETS if direction == "out" else scale.HUB_NETS
        sender, receiver = (here, there) if direction == "out" else (there, here)
        before = self._threads()
        plan = f"{first + 1}/256/{_PEERS}/{_RUN}"
        sent = pacer.send(sender, receiver, plan, _RATE, (_SIZE,), seconds)
        if sent.lost > _MOST_LOST:
            raise LabError(f"{self.workers} workers, {direction}: {100 * sent.lost:.1f} % lost")
        used = sorted(at - before.get(tid, 0.0) for tid, at in self._threads().items())
        working = used[-self.workers :]
        return Sample(sent.arrived / working[-1] / 1e3, working[-1] / sum(working))

    def _threads(self) -> dict[int, float]:
        """Return the CPU seconds of the data plane's threads; its workers use most."""
        pids = [pid for pid in self.hub.pids() if pid != self.hub.pid]
        return {tid: used for pid in pids for tid, used in cpu.threads_s(pid).items()}


def build(lab: Lab, workers: int) -> Side:
    """Make a hub with that many workers and its peers, all tunnels up."""
    hub, branches = scale.build(lab, 2 * _PEERS)
    hub.write(replace(hub.document, workers=workers))
    branches.start()
    hub.start()
    hub.wait_up(timeout_s=60.0)
    branches.wait_up(timeout_s=60.0)
    scale.take_packets(hub, branches)
    return Side(hub, branches, workers)


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Return all figures: both hubs stand at once and take turns."""
    taken: dict[tuple[str, int], list[Sample]] = {}
    with ExitStack() as stack:
        sides = []
        for workers in WORKERS:
            print(f"starting a hub with {workers} workers", file=sys.stderr)
            lab = stack.enter_context(Lab(f"co{os.getpid()}w{workers}"))
            sides.append(build(lab, workers))
        for direction in DIRECTIONS:
            for turn in range(rounds):
                for side in sides:
                    one = side.run(direction, seconds)
                    words = f"{one.kpps:.0f} kpps, busiest {100 * one.busiest:.0f} %"
                    print(
                        f"{direction} {side.workers} {turn + 1}/{rounds} {words}", file=sys.stderr
                    )
                    taken.setdefault((direction, side.workers), []).append(one)
    return figures(taken)


def figures(taken: Mapping[tuple[str, int], Sequence[Sample]]) -> dict[str, float]:
    """Return the named figures: medians."""
    found: dict[str, float] = {}
    for (direction, workers), samples in taken.items():
        name = f"{direction}.workers{workers}"
        found[f"{name}.kpps"] = round(statistics.median(each.kpps for each in samples), 1)
        found[f"{name}.busiest"] = round(statistics.median(each.busiest for each in samples), 3)
    for direction in DIRECTIONS:
        one, two = (found[f"{direction}.workers{workers}.kpps"] for workers in WORKERS)
        found[f"{direction}.times_one"] = round(two / one, 2)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench cores", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--rounds", type=int, default=5, help="runs a figure is the median of")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    chosen = parser.parse_args(arguments)
    end_cleanly()
    try:
        found = measure(chosen.rounds, chosen.seconds)
    except LabError as error:
        print(f"cores: {error}", file=sys.stderr)
        return 1
    title = "Packets of 1400 bytes a second of the busiest worker"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
