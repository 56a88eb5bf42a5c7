"""What the gateways carry, beside other pairs of gateways on the same machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from lab import cpu, iperf, peers
from lab.commands import LabError
from lab.netns import Namespace
from lab.peers import Joined


@dataclass(frozen=True, slots=True)
class Speed:
    """What one way to join the sites carries."""

    forward_gbps: float
    reverse_gbps: float
    cpu_s_per_gbit: tuple[float, ...]  # of each gateway
    latency_ms: float


def latency_ms(sender: Namespace, address: str) -> float:
    """Return the mean round trip of twenty pings."""
    out = sender.run("ping", "-n", "-q", "-c", "20", "-i", "0.05", address)
    found = re.search(r"= [\d.]+/([\d.]+)/", out)
    if found is None:
        raise LabError(f"ping says {out!r}")
    return float(found[1])


def speed(joined: Joined, seconds: float) -> Speed:
    """Measure TCP both ways, the CPU of each gateway for it, and the round trip."""
    pair = joined.pair
    latency = latency_ms(pair.a.host, pair.b.host4)
    before = [cpu.cpu_s(pids) for pids in joined.pids]
    forward = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, seconds=seconds)
    reverse = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, "-R", seconds=seconds)
    carried = forward.gigabits + reverse.gigabits
    used = [cpu.cpu_s(pids) - b for pids, b in zip(joined.pids, before, strict=True)]
    return Speed(forward.gbps, reverse.gbps, tuple(each / carried for each in used), latency)


def compared(way: str, prefix: str, seconds: float) -> Speed:
    """Return the speed of two equal gateways, joined in the way `way` in a lab of their own."""
    lab, joined = peers.join(way, prefix)
    with lab:
        return speed(joined, seconds)


def speeds_table(rows: Sequence[tuple[str, Speed]]) -> Table:
    """Return the figures for a person."""
    table = Table(title="TCP, one stream, AES-256-GCM, MTU 1500; all machines share this one")
    table.add_column("gateways")
    for head in ("to office", "from office", "CPU s per Gbit, each gateway", "round trip"):
        table.add_column(head, justify="right")
    for name, one in rows:
        cost = ", ".join(f"{each:.2f}" for each in one.cpu_s_per_gbit)
        table.add_row(
            name,
            f"{one.forward_gbps:.2f} Gbit/s",
            f"{one.reverse_gbps:.2f} Gbit/s",
            cost,
            f"{one.latency_ms:.2f} ms",
        )
    return table
