"""
Two workers against one: how many more packets a gateway can carry, in each direction.

    hub, one worker  ======== 16 peers          hub, two workers ======== 16 peers
    hub, two workers ======== 1 peer, one SA    hub, two workers ======== 1 peer, an SA for each

The machine's cores also make and take the packets, so what arrives says little. Both hubs get the
same steady rate, and what counts is CPU time alone: a gateway can carry no more than its busiest
worker, so the packets for a second of that worker's time are its capacity. What workers cost each
other (locks, shared cache lines, packets for the other one) and how unevenly the peers fall on
them are in it; what the packets' makers take of the cores is not.

With one peer many flows of one tunnel come to both workers, on the SA that these share or each on
an SA of its own (RFC 9611); in UDP, and as plain ESP.
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
from lab.commands import LabError, end_cleanly, wait_for
from lab.figures import listed, tell
from lab.netns import Lab
from lab.twinspan import Twinspan, Value

WORKERS = (1, 2)
DIRECTIONS = ("out", "in")
SAS = ("shared", "own")
ENCAPS = {"": "prefer", "_raw": "never"}  # by what the figures' names end in
_FLOWS = 64  # of the one tunnel
_PEERS = 16
_RATE, _SIZE, _RUN = 60_000, 1400, 32
_RAW_RATE = 20_000  # plain ESP costs a system call and a path through the kernel for each packet
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
    rate: int = _RATE
    flows: str = f"256/{_PEERS}"  # one to each peer: the step of their addresses, how many

    def run(self, direction: str, seconds: float) -> Sample:
        """Send packets to or from the hub. Raises LabError if too many are lost."""
        here, there = self.hub.machine, self.branches.machine
        first = scale.BRANCH_NETS if direction == "out" else scale.HUB_NETS
        sender, receiver = (here, there) if direction == "out" else (there, here)
        before = self._threads()
        plan = f"{first + 1}/{self.flows}/{_RUN}"
        sent = pacer.send(sender, receiver, plan, self.rate, (_SIZE,), seconds)
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
    _start(hub, branches)
    return Side(hub, branches, workers)


def build_one(lab: Lab, encap: str, *, own: bool) -> Side:
    """Make a hub and one peer with two workers each, which share an SA or have their own."""
    hub, branches = scale.build(lab, 2)
    settings: dict[str, Value] = {"workers": 2, "per_resource_sas": own, "encap": encap}
    for end in (hub, branches):
        (one,) = end.document.connections
        one = replace(one, settings={**one.settings, **settings})
        end.write(replace(end.document, workers=2, connections=[one]))
    _start(hub, branches)
    if own:
        wait_for("an SA for each worker", lambda: len(hub.spis()) == 2 * 3, 20.0, every_s=0.3)
    rate = _RAW_RATE if encap == "never" else _RATE
    return Side(hub, branches, 2, rate, f"1/{_FLOWS}")


def _start(hub: Twinspan, branches: Twinspan) -> None:
    branches.start()
    hub.start()
    hub.wait_up(timeout_s=60.0)
    branches.wait_up(timeout_s=60.0)
    scale.take_packets(hub, branches)


def measure(rounds: int, seconds: float) -> dict[str, float]:
    """Return all figures: of each pair of hubs both stand at once and take turns."""
    with ExitStack() as stack:
        sides = {}
        for workers in WORKERS:
            print(f"starting a hub with {workers} workers", file=sys.stderr)
            lab = stack.enter_context(Lab(f"co{os.getpid()}w{workers}"))
            sides[f"workers{workers}"] = build(lab, workers)
        taken = _turns(sides, DIRECTIONS, rounds, seconds)
    for ending, encap in ENCAPS.items():
        with ExitStack() as stack:
            print(
                f"starting hubs with a shared SA, with SAs of their own ({encap})", file=sys.stderr
            )
            sides = {
                kind + ending: build_one(
                    stack.enter_context(Lab(f"co{os.getpid()}{kind[0]}")), encap, own=kind == "own"
                )
                for kind in SAS
            }
            taken |= _turns(sides, DIRECTIONS, rounds, seconds)
    return figures(taken)


def _turns(
    sides: Mapping[str, Side], directions: Sequence[str], rounds: int, seconds: float
) -> dict[str, list[Sample]]:
    """Let the hubs take turns; return the samples by direction and name: "out.shared"."""
    taken: dict[str, list[Sample]] = {}
    for direction in directions:
        for turn in range(rounds):
            for name, side in sides.items():
                one = side.run(direction, seconds)
                words = f"{one.kpps:.0f} kpps, busiest {100 * one.busiest:.0f} %"
                print(f"{direction}.{name} {turn + 1}/{rounds} {words}", file=sys.stderr)
                taken.setdefault(f"{direction}.{name}", []).append(one)
    return taken


def figures(taken: Mapping[str, Sequence[Sample]]) -> dict[str, float]:
    """Return the named figures: medians."""
    found: dict[str, float] = {}
    for name, samples in taken.items():
        found[f"{name}.kpps"] = round(statistics.median(each.kpps for each in samples), 1)
        found[f"{name}.busiest"] = round(statistics.median(each.busiest for each in samples), 3)
    for direction in DIRECTIONS:
        one, two = (found[f"{direction}.workers{workers}.kpps"] for workers in WORKERS)
        found[f"{direction}.times_one"] = round(two / one, 2)
        for ending in ENCAPS:
            shared, own = (found[f"{direction}.{kind}{ending}.kpps"] for kind in SAS)
            found[f"{direction}.times_shared{ending}"] = round(own / shared, 2)
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
