"""
What the control plane costs, and what it survives: resources, a real node, many nodes, etcd.

    sqlite   1,000 connections by the API: lists, creations, memory; a real gateway that has one
             tunnel of each, and a change until it is applied there
    fleet    50 simulated nodes that share as many connections and report every 5 s over TLS
    console  a browser at the overview of 1,000 tunnels, ten of them open, what changes meanwhile
    etcd     1,000 creations at two control processes, one of which is killed in the middle, as is
             the leading one of three members of etcd

The control process, its clients and the nodes share this machine's cores.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.beds import deaths, pages, planes
from lab.commands import LabError, end_cleanly
from lab.figures import tell
from lab.netns import Lab

PARTS = ("sqlite", "fleet", "console", "etcd")
FEWEST = 4  # connections: each client of etcd creates one


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to be, in the unit of its name; `is_most` says that it may be reached."""

    most: float
    is_most: bool = False

    def holds(self, value: float) -> bool:
        """Say whether a figure is as it should be."""
        return value <= self.most if self.is_most else value < self.most

    def __str__(self) -> str:
        return f"{self.most:g}" if self.is_most else f"< {self.most:g}"


TARGETS: Mapping[str, Target] = {
    "list.p95_ms": Target(100),
    "create.p95_ms": Target(50),
    "applied.p95_ms": Target(500),
    "document.build_s": Target(1),
    "document.answer_s": Target(1),
    "document.mib": Target(2),
    "control.rss_mib": Target(300),
    "fleet.cores": Target(0.25),
    "console.paint_worst_ms": Target(1000),
    "console.page_kib": Target(150),
    "console.pages_cores": Target(0.05),
    "console.seen_s": Target(1),
    "etcd.lost": Target(0, is_most=True),
    "etcd.double": Target(0, is_most=True),
    "etcd.gap_control_s": Target(5, is_most=True),
    "etcd.gap_member_s": Target(5, is_most=True),
}


def say(text: str) -> None:
    """Tell of the progress."""
    print(f"control: {text}", file=sys.stderr, flush=True)


def measure(chosen: argparse.Namespace, prefix: str) -> dict[str, float]:
    """Return the figures of the parts that were chosen, each in a lab of its own."""
    parts: Mapping[str, Callable[[Lab], planes.Found]] = {
        "sqlite": lambda lab: planes.tree(lab, chosen.connections, chosen.changes, say),
        "fleet": lambda lab: planes.fleet(
            lab, chosen.nodes, chosen.connections, chosen.seconds, say
        ),
        "console": lambda lab: pages.pages(lab, chosen.connections // 2, chosen.seconds / 3, say),
        "etcd": lambda lab: deaths.etcd(lab, chosen.connections, say),
    }
    found: dict[str, float] = {}
    for name in chosen.parts:
        with Lab(f"{prefix}{name[0]}") as lab:
            found |= parts[name](lab)
    return found


def table_of(found: Mapping[str, float]) -> Table:
    """Return the figures beside their targets."""
    table = Table("figure", "value", "target", "", title="the control plane")
    for name, value in found.items():
        target = TARGETS.get(name)
        verdict = "" if target is None else ("reached" if target.holds(value) else "missed")
        table.add_row(name, f"{value:g}", "" if target is None else str(target), verdict)
    return table


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was chosen. Ends the program if it can not be."""
    parser = argparse.ArgumentParser(prog="run bench control", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--connections", type=int, default=1000, help="of two tunnels each")
    parser.add_argument("--changes", type=int, default=50, help="that a real node applies")
    parser.add_argument("--nodes", type=int, default=50, help="simulated ones, up to 250")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which nodes report")
    chosen = parser.parse_args(arguments)
    bounds = (("connections", FEWEST, 5000), ("changes", 1, 1000), ("nodes", 2, 250))
    for name, least, most in (*bounds, ("seconds", 1, 3600)):
        if not least <= getattr(chosen, name) <= most:
            parser.error(f"--{name}: {least} to {most}, not {getattr(chosen, name)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    chosen = parse(arguments)
    end_cleanly()
    try:
        found = measure(chosen, f"ct{os.getpid()}")
    except LabError as error:
        print(f"control: {error}", file=sys.stderr)
        return 1
    tell(found, table_of(found), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
