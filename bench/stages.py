"""
Where a packet's time goes in the gateway, by stage and direction.

`instructions`: callgrind counts what our code and the libraries execute for each inner packet. Two
data planes are joined by UDP on the loopback device and called batch by batch, without threads, so
the counts are the same in every run. The machine that valgrind plays has no AVX-512: AES-GCM costs
several times as many instructions there as it does in truth. The kernel is not in it.

`clock`: perf samples both gateways of the laboratory under load, kernel included. Nanoseconds an
inner packet; they move with what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.beds import callgrind, clock
from bench.beds.callgrind import Profile, Where
from bench.load import bulk
from lab import iperf
from lab.commands import end_cleanly
from lab.peers import join


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of traffic: arguments of `tests/c/stages.c`, and of `throughput` the same one."""

    reads: int
    payload: int
    segments: int = 0
    flows: int = 1
    flow: str | None = None


# Payloads: of UDP the packet less 28 bytes, of TCP a segment of a 1500-byte path.
KINDS = {
    "tcp": Kind(60, 1348, 46, flow="tcp1"),
    "udp64": Kind(1920, 36, flow="udp64"),
    "udp512": Kind(1920, 484, flow="udp512"),
    "udp1400": Kind(1920, 1372, flow="udp1400"),
    "imix": Kind(1920, 0),
    "udp64_32flows": Kind(1920, 36, flows=32),
}
_DIRECTIONS = {"out": "gw_outbound_batch", "in": "gw_inbound_batch"}
_CALLS = ("read", "writev", "recvmmsg", "sendmmsg", "poll")
_BY_FILE = {
    "checksum.h": "checksums",
    "packet.c": "parse, selectors",
    "selector.c": "parse, selectors",
    "gso.c": "cut",
    "mss.c": "cut",
    "merge.c": "merge",
    "to_tun.c": "merge",
    "esp.c": "ESP around it",
    "esp.h": "ESP around it",
    "replay.c": "replay window",
    "cipher.c": "cipher calls",
    "backend.h": "cipher calls",
    "aead_ipsecmb.c": "cipher calls",
    "aead_openssl.c": "cipher calls",
    "send.c": "messages out",
    "inbound.c": "messages in",
    "open.c": "runs, limits",
    "outbound.c": "runs, limits",
    "rate.h": "runs, limits",
    "sa.c": "runs, limits",
    "internal.h": "counters",
}
_CLOCK_S = 3.0
_TCP_BYTES = 1348


def stage_of(where: Where) -> str:
    """Return the stage that a function belongs to."""
    if where.file.startswith(("libIPSec_MB", "libcrypto")):
        return "AES-GCM"
    if "memcpy" in where.function or "memmove" in where.function:
        return "copy"
    return _BY_FILE.get(where.file, "libc")


def per_packet(profile: Profile, packets: int) -> tuple[dict[str, float], float]:
    """Return instructions by stage, and system calls, for each of `packets`."""
    stages: Counter[str] = Counter()
    for where, instructions in profile.instructions.items():
        stages[stage_of(where)] += instructions
    calls = sum(n for name, n in profile.calls.items() if name.split("@")[0] in _CALLS)
    return {name: n / packets for name, n in stages.items()}, calls / packets


def count(names: Sequence[str]) -> dict[str, float]:
    """Return `instructions.KIND.DIRECTION.STAGE`, `.all` and `calls.KIND.DIRECTION`."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        program = callgrind.build(Path(scratch))
        for name in names:
            kind = KINDS[name]
            words = list(map(str, (kind.reads, kind.payload, kind.segments, kind.flows)))
            for direction, function in _DIRECTIONS.items():
                print(f"{name} {direction}", file=sys.stderr)
                profile, packets = callgrind.count(program, words, function)
                stages, calls = per_packet(profile, packets)
                at = f"instructions.{name}.{direction}"
                found |= {f"{at}.{stage}": round(n, 1) for stage, n in stages.items()}
                found[f"{at}.all"] = round(sum(stages.values()), 1)
                found[f"calls.{name}.{direction}"] = round(calls, 4)
    return found


def watch(names: Sequence[str]) -> dict[str, float]:
    """Return `clock.KIND.DIRECTION.STAGE` and `.all`, in nanoseconds an inner packet."""
    found: dict[str, float] = {}
    lab, joined = join("twinspan", f"st{os.getpid()}", is_polled=True)
    pair = joined.pair
    with closing(lab), tempfile.TemporaryDirectory() as scratch:
        for name in names:
            flow = KINDS[name].flow
            if flow is None:
                continue

            def carry(words: Sequence[str] = bulk.KINDS[flow].words) -> float:
                one = iperf.measure(
                    pair.a.host, pair.b.host, pair.b.host4, *words, seconds=_CLOCK_S
                )
                return 1e3 * one.kpps * one.seconds or one.gigabits * 1e9 / 8 / _TCP_BYTES

            for direction, pids in zip(_DIRECTIONS, joined.pids, strict=True):
                print(f"{name} {direction}", file=sys.stderr)
                seconds, packets = clock.sample(pids, Path(scratch) / "perf", carry)
                at = f"clock.{name}.{direction}"
                found |= {f"{at}.{stage}": round(s * 1e9 / packets) for stage, s in seconds.items()}
                found[f"{at}.all"] = round(sum(seconds.values()) * 1e9 / packets)
    return found


def table(found: dict[str, float], part: str, title: str) -> Table:
    """Return the figures of one part for a person: a row for each stage."""
    keys = [key.split(".", 3)[1:] for key in found if key.startswith(f"{part}.")]
    columns = list(dict.fromkeys((name, direction) for name, direction, _ in keys))
    stages = sorted({stage for *_, stage in keys}, key=lambda stage: (stage == "all", stage))
    made = Table(title=title)
    made.add_column("stage")
    for name, direction in columns:
        made.add_column(f"{name} {direction}", justify="right")
    for stage in stages:
        cells = (found.get(f"{part}.{name}.{direction}.{stage}", 0) for name, direction in columns)
        made.add_row(stage, *(f"{cell:.0f}" if cell else "" for cell in cells))
    if part == "instructions":
        made.add_row("system calls", *(f"{found[f'calls.{n}.{d}']:.2f}" for n, d in columns))
    return made


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="./run bench stages", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parts = ("instructions", "clock")
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Count and measure, print the tables, write the figures."""
    options = arguments(argv)
    end_cleanly()
    console = Console(width=None if sys.stdout.isatty() else 200)
    found: dict[str, float] = {}
    if "instructions" in options.parts:
        found |= count(options.kinds)
        console.print(table(found, "instructions", "Instructions an inner packet, by callgrind"))
    if "clock" in options.parts:
        found |= watch(options.kinds)
        console.print(table(found, "clock", "Nanoseconds an inner packet and gateway, by perf"))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
