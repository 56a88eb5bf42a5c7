"""
Silence on the way between two sites when a path, a tunnel or a process fails, in both directions.

    host a --- gw a ===== wan1, wan2 ===== gw b --- host b

Two of our gateways with twin tunnels, the first preferred. A stream of 1,000 UDP datagrams a second
flows each way while something fails; the silence is the longest time in which nothing arrives, from
the failure until traffic is settled again. Each case is tried many times, one after the other, with
everything repaired in between.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from bench.beds import Bed, Trial, line, strongswan, twins, vms
from lab import plot, stream, tcp
from lab.commands import LabError, end_cleanly, go_first
from lab.figures import tell
from lab.netns import Lab

_QUICK_TIMES = 3
_TAIL_S = 0.5  # what follows a switch at once belongs to it
DIRECTIONS = ("to_office", "from_office")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one failure cost, in each direction."""

    to_office: stream.Result
    from_office: stream.Result

    def silence_ms(self, direction: str | None = None) -> float:
        """Return the silence of a direction, or of the worse one."""
        return max(one.silence_ms for one in self._of(direction))

    def lost(self, direction: str | None = None) -> int:
        """Return the datagrams lost in a direction, or in both."""
        return sum(one.lost for one in self._of(direction))

    def _of(self, direction: str | None) -> tuple[stream.Result, ...]:
        named = {"to_office": self.to_office, "from_office": self.from_office}
        return tuple(named.values()) if direction is None else (named[direction],)


# Each bed with the cases that are tried in it.
BEDS: Mapping[str, tuple[Callable[[Lab], Bed], tuple[str, ...]]] = {
    "bfd300": (
        partial(twins.build, "300x3"),
        (
            *("nothing", "path_cut.bfd300", "carrier", "drain", "edit"),
            *("gateway_restart", "gateway_killed", "plane_restart", "plane_killed", "bird_killed"),
        ),
    ),
    "bfd50": (partial(twins.build, "50x3"), ("path_cut.bfd50",)),
    "hold": (partial(twins.build, "off", settings={"bgp_hold_s": 9}), ("bgp_hold",)),
    "probes": (partial(twins.build, None, settings={"probe": "200x3"}), ("static_probe",)),
    "static": (partial(twins.build, None), ("liveness",)),
    "vms": (vms.build, ("vm_lost", "vm_bird_killed")),
    "line": (line.build, ("line_lost",)),
    "strongswan": (strongswan.build, ("strongswan.path_cut",)),
}
CASES = tuple(case for _, cases in BEDS.values() for case in cases)
# Three minutes a time: only when asked for by name.
_USUAL = tuple(case for case in CASES if not case.startswith("strongswan"))


def once(bed: Bed, trial: Trial) -> Sample:
    """
    Let something fail and return what it cost; all is repaired afterwards, not yet settled.

    Raises LabError if traffic does not come back, or if a TCP connection does not live through it.
    """
    bed.settle()
    a, b = bed.pair.a, bed.pair.b
    with tcp.talk(a.host, b.host, b.host4) as talk:
        flows = stream.both_ways((a.host, a.host4), (b.host, b.host4))
        since_ns = time.time_ns()
        try:
            try:
                trial.fail()
                time.sleep(_TAIL_S)
            finally:
                trial.repair()
            sample = Sample(*flows.stop(since_ns))
        except BaseException:
            flows.kill()
            raise
    if not (sample.to_office.goes_on and sample.from_office.goes_on):
        raise LabError("traffic did not come back")
    if talk.error or talk.heard != talk.said:
        lacking = talk.said - talk.heard
        raise LabError(f"the TCP connection did not survive: {talk.error or f'lacks {lacking}'}")
    return sample


def measure(cases: Sequence[str], times: int) -> dict[str, list[Sample]]:
    """Try each case that many times. Progress goes to standard error."""
    found: dict[str, list[Sample]] = {}
    for name, (build, cases_here) in BEDS.items():
        chosen = [case for case in cases_here if case in cases]
        if not chosen:
            continue
        print(f"joining two sites: {name}", file=sys.stderr)
        with Lab(f"fo{os.getpid()}{name}") as lab:
            bed = build(lab)
            for case in chosen:
                found[case] = []
                for turn in range(times):
                    found[case].append(once(bed, bed.trials[case]))
                    print(f"{case} {turn + 1}/{times} {_words(found[case][-1])}", file=sys.stderr)
    return found


def _words(one: Sample) -> str:
    return ", ".join(
        f"{way.replace('_', ' ')} {one.silence_ms(way):.0f} ms silent, {one.lost(way)} lost"
        for way in DIRECTIONS
    )


def p95(values: Sequence[float]) -> float:
    """Return the smallest value that at least 95 % of the values do not exceed."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def figures(case: str, samples: Sequence[Sample]) -> dict[str, float]:
    """Return the named figures of one case; without a direction, the worse one of each time."""
    found: dict[str, float] = {f"{case}.times": len(samples)}
    for direction in (None, *DIRECTIONS):
        name = case if direction is None else f"{case}.{direction}"
        silences = [one.silence_ms(direction) for one in samples]
        lost = [one.lost(direction) for one in samples]
        found |= {
            f"{name}.median_ms": round(statistics.median(silences), 1),
            f"{name}.p95_ms": round(p95(silences), 1),
            f"{name}.max_ms": round(max(silences), 1),
            f"{name}.lost_median": statistics.median(lost),
            f"{name}.lost_max": max(lost),
            f"{name}.lost_packets": sum(lost),
        }
    return found


def table(found: Mapping[str, float], cases: Sequence[str]) -> Table:
    """Return the figures for a person."""
    made = Table(title="Silence in ms (the worse direction of each time) and datagrams lost")
    for head in ("what fails", "times", "median", "p95", "max"):
        made.add_column(head, justify="left" if head == "what fails" else "right")
    for head in ("max to office", "max from office", "lost, median", "lost, max"):
        made.add_column(head, justify="right")
    for case in cases:
        keys = ("times", "median_ms", "p95_ms", "max_ms", "to_office.max_ms", "from_office.max_ms")
        values = (found[f"{case}.{key}"] for key in (*keys, "lost_median", "lost_max"))
        made.add_row(case, *(f"{value:.0f}" for value in values))
    return made


def picture(samples: Mapping[str, Sequence[Sample]]) -> str:
    """Return the distribution as SVG."""
    rows = {
        case: {way.replace("_", " "): [one.silence_ms(way) for one in tried] for way in DIRECTIONS}
        for case, tried in samples.items()
    }
    return plot.strips("Silence when something fails", "ms without an arrival", rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench failover", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the distribution here")
    parser.add_argument("--times", type=int, default=20, help="how often each case is tried")
    parser.add_argument("--quick", action="store_true", help=f"the same as --times {_QUICK_TIMES}")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=_USUAL, metavar="CASE")
    chosen = parser.parse_args(arguments)
    times = _QUICK_TIMES if chosen.quick else chosen.times
    if times < 1:
        parser.error("--times: at least 1")
    end_cleanly()
    go_first()
    try:
        samples = measure(chosen.cases, times)
    except LabError as error:
        print(f"failover: {error}", file=sys.stderr)
        return 1
    found = {key: value for case in samples for key, value in figures(case, samples[case]).items()}
    tell(found, table(found, list(samples)), chosen.json)
    if chosen.plot is not None:
        chosen.plot.write_text(picture(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
