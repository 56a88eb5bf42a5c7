"""
The demonstrations: `./run demo SCENARIO`.

Real daemons in network namespaces of this machine, a picture of them with the tunnels as they are,
and what streams of 1,000 datagrams a second see when something fails.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lab.commands import LabError, end_cleanly
from lab.console import close_console
from lab.demos.stage import Stage
from lab.netns import Lab, directory_of, remove

SCENARIOS = {
    "hybrid": "a customer's two devices of strongSwan and BIRD, BGP with BFD (the default)",
    "region": "VPC to VPC, both gateways ours, made by twinspan link",
    "hub": "three branches at one gateway, kept from each other or not",
    "backup": "a direct line, and a VPN behind it",
}
_KEPT = "twinspan-demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a demonstration from the command line."""
    listed = "\n".join(f"  {name:<8} {text}" for name, text in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="run demo",
        epilog=f"scenarios:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, default="hybrid")
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument(
        "--seconds",
        type=int,
        default=3,
        choices=range(1, 61),
        metavar="S",
        help="how long each speed is measured (3)",
    )
    parser.add_argument(
        "--record", action="store_true", help="write the pictures of docs/console.md, nothing else"
    )
    parser.add_argument("--remove", action="store_true", help="take down what --keep left")
    chosen = parser.parse_args(arguments)
    if chosen.remove:
        close_console(directory_of(_KEPT))
        remove(_KEPT)
        return 0
    if chosen.record:
        end_cleanly()
        return _record(f"tour{os.getpid()}")
    prefix = _KEPT if chosen.keep else f"demo{os.getpid()}"
    if directory_of(prefix).exists():
        print("a kept demo still runs: ./run demo --remove takes it down", file=sys.stderr)
        return 1
    end_cleanly()
    return _run(chosen.scenario, prefix, chosen.seconds, keep=chosen.keep, json_file=chosen.json)


def _record(prefix: str) -> int:
    # Imported here: what only plays needs no browser.
    from lab import tour

    try:
        tour.record(tour.PICTURES, prefix, Console())
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _run(scenario: str, prefix: str, seconds: int, *, keep: bool, json_file: Path | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    play = importlib.import_module(f"lab.demos.{scenario}")
    began = time.monotonic()
    try:
        with Lab(prefix, keep=keep) as lab:
            stage = Stage(console, lab, prefix, seconds)
            play.show(stage)
            if keep:
                stage.plain(f"\nIt still runs. To look around:\n{play.how_to_look(stage)}")
                stage.plain("To take it down:\n  ./run demo --remove")
    except LabError as error:
        remove(prefix)
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if json_file is not None:
        json_file.write_text(json.dumps(stage.figures, indent=1) + "\n")
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
