"""
Throughput through two gateways, beside plain forwarding, strongSwan and wireguard-go in one run.

    host a --- gw a ===== wan1 ===== gw b --- host b        one set of these for each way to join

All sets stand at once, and for each kind of traffic the ways take turns, so that what else the
machine does falls on all of them. The figure is the median of the rounds. UDP sizes are of the
packet inside the tunnel (so nobody has to fragment), as fast as iperf3 can; what counts is what
arrives. `loss500` and `loss1000` are the loss of paced UDP of 1400 bytes at 500 and 1000 Mbit/s.

CPU is user and system time of a gateway's processes (mean of the two gateways) per gigabit carried.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import cpu, iperf
from lab.commands import LabError, end_cleanly
from lab.peers import PEERS, Joined, join

# Lengths are of the UDP payload: 28 bytes less than the packet.
KINDS: Mapping[str, tuple[str, ...]] = {
    "tcp1": (),
    "tcp4": ("-P", "4"),
    "tcp1_reverse": ("-R",),
    "udp64": ("-u", "-b", "0", "-l", "36"),
    "udp512": ("-u", "-b", "0", "-l", "484"),
    "udp1400": ("-u", "-b", "0", "-l", "1372"),
    "loss500": ("-u", "-b", "500M", "-l", "1372"),
    "loss1000": ("-u", "-b", "1000M", "-l", "1372"),
}
_UDP_BYTES = {"udp64": 64, "udp512": 512, "udp1400": 1400, "loss500": 1400, "loss1000": 1400}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one kind of traffic."""

    gbps: float
    kpps: float
    loss_percent: float
    cpu_s_per_gbit: float  # of one gateway


def sample(joined: Joined, kind: str, seconds: float) -> Sample:
    """Run one kind of traffic from site a to site b and return what it carried and cost."""
    before = [cpu.cpu_s(pids) for pids in joined.pids]
    pair = joined.pair
    flow = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, *KINDS[kind], seconds=seconds)
    used = [cpu.cpu_s(pids) - b for pids, b in zip(joined.pids, before, strict=True)]
    size = _UDP_BYTES.get(kind)
    gbps = flow.gbps if size is None else flow.kpps * size * 8 / 1e6
    return Sample(
        gbps=gbps,
        kpps=flow.kpps,
        loss_percent=100.0 * (1.0 - flow.arrived / flow.sent) if flow.sent else 0.0,
        cpu_s_per_gbit=statistics.fmean(used) / (gbps * flow.seconds) if used and gbps else 0.0,
    )


def figures(kind: str, way: str, samples: Sequence[Sample]) -> dict[str, float]:
    """Return the named figures of one kind of traffic over one way: medians."""
    name = f"{kind}.{way}"
    loss = statistics.median(each.loss_percent for each in samples)
    if kind.startswith("loss"):
        return {f"{name}.percent": round(loss, 2)}
    named = {name: round(statistics.median(each.gbps for each in samples), 4)}
    if kind in _UDP_BYTES:
        named[f"{name}.kpps"] = round(statistics.median(each.kpps for each in samples), 2)
    if way != "plain":
        cost = round(statistics.median(each.cpu_s_per_gbit for each in samples), 4)
        named[f"{name}.cpu_s_per_gbit"] = cost
        if way == "twinspan":
            named[f"{kind}.cpu_s_per_gbit"] = cost
    return named


def ratios(found: Mapping[str, float]) -> dict[str, float]:
    """Return how many times faster than the others our gateway is, for each kind of traffic."""
    made = {}
    for kind in KINDS:
        ours = found.get(f"{kind}.twinspan")
        for other in ("plain", "strongswan", "wireguard_go"):
            theirs = found.get(f"{kind}.{other}")
            if ours and theirs:
                made[f"{kind}.times_{other}"] = round(ours / theirs, 2)
    return made


def measure(
    ways: Sequence[str], kinds: Sequence[str], rounds: int, seconds: float
) -> dict[str, float]:
    """Return all figures. Progress goes to standard error."""
    with ExitStack() as stack:
        joined: dict[str, Joined] = {}
        for way in ways:
            print(f"joining two sites by {way}", file=sys.stderr)
            lab, joined[way] = join(way, _prefix(way))
            stack.callback(lab.close)
        found: dict[str, float] = {}
        for kind in kinds:
            samples: dict[str, list[Sample]] = {way: [] for way in ways}
            for turn in range(rounds):
                for way in ways:
                    print(f"{kind} {way} {turn + 1}/{rounds}", file=sys.stderr, end=" ", flush=True)
                    samples[way].append(sample(joined[way], kind, seconds))
                    print(_words(kind, samples[way][-1]), file=sys.stderr)
            for way in ways:
                found |= figures(kind, way, samples[way])
    return found | ratios(found)


def _prefix(way: str) -> str:
    return f"tp{os.getpid()}{way[0]}"


def _words(kind: str, one: Sample) -> str:
    if kind.startswith("loss"):
        return f"{one.loss_percent:.2f} % lost"
    rate = f"{one.gbps:.2f} Gbit/s"
    return rate if kind not in _UDP_BYTES else f"{rate}, {one.kpps:.0f} kpps"


def table(found: Mapping[str, float], ways: Sequence[str], kinds: Sequence[str]) -> Table:
    """Return the figures for a person."""
    made = Table(title="Two gateways, one machine; Gbit/s (kpps), CPU s per Gbit and gateway")
    made.add_column("traffic")
    for way in ways:
        made.add_column(way.replace("_", "-"), justify="right")
    for kind in kinds:
        made.add_row(kind, *(_cell(found, f"{kind}.{way}") for way in ways))
    return made


def _cell(found: Mapping[str, float], name: str) -> str:
    if f"{name}.percent" in found:
        return f"{found[f'{name}.percent']:.2f} % lost"
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
    parser.add_argument("--rounds", type=int, default=2, help="runs a figure is the median of")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one run")
    parser.add_argument("--ways", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    chosen = parser.parse_args(arguments)
    end_cleanly()
    try:
        found = measure(chosen.ways, chosen.kinds, chosen.rounds, chosen.seconds)
    except LabError as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 1
    Console(width=120 if not sys.stdout.isatty() else None).print(
        table(found, chosen.ways, chosen.kinds)
    )
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
