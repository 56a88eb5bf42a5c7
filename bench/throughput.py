"""
Throughput through two gateways, beside plain forwarding, strongSwan and wireguard-go in one run.

    host a --- gw a ===== wan1 ===== gw b --- host b        one set of these for each way to join

The gateways' devices toward the hosts poll as network cards do (lab/card.py). All sets stand at
once, and for each kind of traffic the ways take turns, so that what else the machine does falls on
all of them. The figure is the median of the rounds. Packet sizes are those inside the tunnel (so
nobody has to fragment). What counts is what arrives.

CPU is user and system time of a gateway's processes (mean of the two gateways) per gigabit carried.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from rich.table import Table

from bench.load import bulk, delay, rates
from lab.commands import LabError, end_cleanly
from lab.figures import tell
from lab.peers import PEERS, Joined, join

T = TypeVar("T")
KINDS = (*bulk.KINDS, *rates.LOADS, *delay.KINDS)
POLLED, PLAIN = WIRES = ("polled", "plain")
_SEARCH_S = 1.0  # length of one try of a rate


def measure(
    ways: Sequence[str],
    kinds: Sequence[str],
    rounds: int,
    seconds: float,
    *,
    is_polled: bool = True,
) -> dict[str, float]:
    """Return all figures. Progress goes to standard error."""
    found: dict[str, float] = {}
    for mtu in (1500, bulk.JUMBO):
        wanted = [name for name in kinds if _mtu(name) == mtu]
        if not wanted:
            continue
        with ExitStack() as stack:
            joined = _join_all(stack, ways, mtu, is_polled=is_polled)
            for name in wanted:
                found |= _figures(name, joined, rounds, seconds)
    return found | ratios(found)


def _mtu(name: str) -> int:
    return bulk.KINDS[name].mtu if name in bulk.KINDS else 1500


def _join_all(
    stack: ExitStack, ways: Sequence[str], mtu: int, *, is_polled: bool
) -> dict[str, Joined]:
    joined = {}
    for way in ways:
        print(f"joining two sites by {way}, MTU {mtu}", file=sys.stderr)
        lab, joined[way] = join(way, f"tp{os.getpid()}{way[0]}", mtu, is_polled=is_polled)
        stack.callback(lab.close)
    return joined


def _figures(
    name: str, joined: Mapping[str, Joined], rounds: int, seconds: float
) -> dict[str, float]:
    """Return the figures of one kind of traffic."""
    found: dict[str, float] = {}
    if name in bulk.KINDS:
        kind = bulk.KINDS[name]
        taken = _in_turns(
            name,
            joined,
            rounds,
            lambda one: bulk.sample(one, kind, seconds),
            lambda got: bulk.words(name, got),
        )
        for way, samples in taken.items():
            found |= bulk.figures(name, way, samples)
    elif name in rates.LOADS:
        load = rates.LOADS[name]
        searched = _in_turns(
            name,
            joined,
            rounds,
            lambda one: rates.search(one, load, _SEARCH_S),
            lambda kpps: f"{kpps:.1f} kpps",
        )
        for way, kpps in searched.items():
            found[f"{name}.{way}.kpps"] = round(statistics.median(kpps), 2)
    else:
        probed = _in_turns(
            name,
            joined,
            rounds,
            lambda one: delay.delays(one, name, 2 * seconds),
            lambda values: f"p99 {delay.percentile(values, 99.0):.0f} us",
        )
        for way, runs in probed.items():
            found |= delay.figures(name, way, [value for run in runs for value in run])
    return found


def _in_turns(
    name: str,
    joined: Mapping[str, Joined],
    rounds: int,
    run: Callable[[Joined], T],
    words: Callable[[T], str],
) -> dict[str, list[T]]:
    """Return the results of each way, which take turns."""
    results: dict[str, list[T]] = {way: [] for way in joined}
    for turn in range(rounds):
        for way, one in joined.items():
            print(f"{name} {way} {turn + 1}/{rounds}", file=sys.stderr, end=" ", flush=True)
            results[way].append(run(one))
            print(words(results[way][-1]), file=sys.stderr)
    return results


def ratios(found: Mapping[str, float]) -> dict[str, float]:
    """Return ours divided by that of each other way: rates, and the p99 of the probes' delay."""
    made = {}
    for kind in KINDS:
        for ending in ("", ".kpps", ".p99_us"):
            ours = found.get(f"{kind}.twinspan{ending}")
            for other in ("plain", "strongswan", "wireguard_go"):
                theirs = found.get(f"{kind}.{other}{ending}")
                name = f"{kind}.times_{other}"
                if ours and theirs and name not in made:
                    made[name] = round(ours / theirs, 2)
    return made


def table(found: Mapping[str, float], ways: Sequence[str], kinds: Sequence[str]) -> Table:
    """Return the figures for a person."""
    made = Table(
        title="Two gateways, one machine; Gbit/s (kpps), CPU s per Gbit and gateway",
        caption="rate: highest with < 0.1 % lost; probe: one-way delay p50 / p99 / p99.9",
    )
    made.add_column("traffic")
    for way in ways:
        made.add_column(way.replace("_", "-"), justify="right")
    for kind in kinds:
        made.add_row(kind, *(_cell(found, f"{kind}.{way}") for way in ways))
    return made


def _cell(found: Mapping[str, float], name: str) -> str:
    if f"{name}.percent" in found:
        return f"{found[f'{name}.percent']:.2f} % lost"
    if f"{name}.p99_us" in found:
        return " / ".join(f"{found[f'{name}.{key}']:.0f}" for key in delay.PERCENTILES) + " us"
    if name not in found:
        return f"{found[f'{name}.kpps']:.1f} kpps"
    words = f"{found[name]:.2f}"
    if f"{name}.kpps" in found:
        words += f" ({found[f'{name}.kpps']:.0f})"
    if f"{name}.cpu_s_per_gbit" in found:
        words += f", {found[f'{name}.cpu_s_per_gbit']:.2f}"
    return words


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench throughput", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        *("--plot", "-p"),
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="draw them here, as .png or .svg",
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs a figure is the median of")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument(
        *("--wires", "-w"),
        choices=WIRES,
        default=WIRES[0],
        help="what the gateways' inner devices do: poll as cards do, or as veth pairs are",
    )
    parser.add_argument("--ways", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    chosen = parser.parse_args(arguments)
    if chosen.seconds < 1.0:
        parser.error(f"--seconds: at least 1, not {chosen.seconds}: iperf3 takes less for no end")
    end_cleanly()
    try:
        found = measure(
            chosen.ways,
            chosen.kinds,
            chosen.rounds,
            chosen.seconds,
            is_polled=chosen.wires == POLLED,
        )
    except LabError as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 1
    tell(found, table(found, chosen.ways, chosen.kinds), chosen.json)
    if chosen.plot:
        from bench.load.draw import draw  # matplotlib takes its time

        draw(found, chosen.ways, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
