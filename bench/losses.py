"""
Where the packets of a paced stream are lost between two gateways, and what waited for a CPU.

    host a --- gw a ===== wan1 ===== gw b --- host b        one set of these for each way to join

One UDP flow at a given rate, on the wires of `throughput`. Every counter of the kernel at which
packets can end is read before and after. One that a device or a backlog counts may hold many
packets, as receive offload has merged them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from lab import cpu, iperf, pacer
from lab.commands import LabError, end_cleanly
from lab.figures import listed, tell
from lab.netns import Namespace
from lab.peers import PEERS, Joined, join

_SECONDS = 1.0
_WIRES = frozenset({"lo", "lan", "wan1"})  # any other device of a gateway is a tunnel's
_BACKLOG = Path("/proc/net/softnet_stat")


def places(joined: Joined) -> Iterator[tuple[str, int]]:
    """Yield where packets can end, in their order from site a to site b, and how many have."""
    a, b = joined.pair.a, joined.pair.b
    yield "host_a.queue", _queue_drops(a.host, "eth0")
    yield "gw_a.lan", _dropped(a.gateway, "rx", "lan")
    yield "gw_a.tun", _dropped(a.gateway, "tx")
    yield "gw_a.wan", _dropped(a.gateway, "tx", "wan1")
    yield "backlog", sum(int(line.split()[1], 16) for line in _BACKLOG.read_text().splitlines())
    yield "gw_b.wan", _dropped(b.gateway, "rx", "wan1")
    yield "gw_b.socket", iperf.udp_counters(b.gateway)["RcvbufErrors"]
    yield "gw_b.tun", _dropped(b.gateway, "rx")
    yield "gw_b.lan", _dropped(b.gateway, "tx", "lan")
    yield "host_b.eth0", _dropped(b.host, "rx", "eth0")


def _queue_drops(machine: Namespace, device: str) -> int:
    words = ("tc", "-s", "-j", "qdisc", "show", "dev", device)
    return sum(int(one["drops"]) for one in json.loads(machine.run(*words)))


def _dropped(machine: Namespace, direction: str, device: str = "") -> int:
    """Return what a device has dropped; without a name, all devices of tunnels."""
    links = json.loads(machine.ip("-s", "-j", "link"))
    return sum(
        int(one["stats64"][direction]["dropped"])
        for one in links
        if one["ifname"] == device or not (device or one["ifname"] in _WIRES)
    )


def waits(joined: Joined) -> Iterator[tuple[str, float]]:
    """Yield how many seconds threads that could run have waited for a CPU so far."""
    yield "pollers", cpu.waited_s(joined.pollers)
    for name, pids in zip(("gw_a", "gw_b"), joined.pids, strict=False):
        yield name, cpu.waited_s(pids)


def look(joined: Joined, way: str, rate: int, size: int) -> dict[str, float]:
    """Return the figures of one second."""
    ends, waited = Counter(dict(places(joined))), dict(waits(joined))
    hosts = (joined.pair.a.host, joined.pair.b.host, joined.pair.b.host4)
    run = pacer.send(*hosts, rate, (size,), _SECONDS)
    found = {
        f"{way}.kpps": round(run.kpps, 1),
        f"{way}.lost": run.sent - run.arrived,
        f"{way}.source_away_ms": round(run.away_s * 1e3, 1),
    }
    for place, count in places(joined):
        if count > ends[place]:
            found[f"{way}.lost.{place}"] = count - ends[place]
    for name, seconds in waits(joined):
        found[f"{way}.waited_ms.{name}"] = round((seconds - waited[name]) * 1e3)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench losses", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--ways", nargs="+", choices=list(PEERS), default=["plain", "twinspan"])
    parser.add_argument("--kpps", type=float, default=400.0, help="thousand packets a second")
    parser.add_argument("--size", type=int, default=1400, help="bytes of a packet, 64 to 1400")
    parser.add_argument("--times", type=int, default=3, help="seconds that are looked at")
    chosen = parser.parse_args(arguments)
    if not 64 <= chosen.size <= 1400:
        parser.error(f"--size: 64 to 1400 bytes, not {chosen.size}")
    end_cleanly()
    found: dict[str, float] = {}
    try:
        for way in chosen.ways:
            with ExitStack() as stack:
                lab, joined = join(way, f"lo{os.getpid()}", is_polled=True)
                stack.callback(lab.close)
                for number in range(chosen.times):
                    one = look(joined, way, round(chosen.kpps * 1e3), chosen.size)
                    found |= {key.replace(way, f"{way}.{number + 1}", 1): one[key] for key in one}
    except LabError as error:
        print(f"losses: {error}", file=sys.stderr)
        return 1
    title = f"{chosen.size} bytes, {chosen.kpps:g} thousand packets a second"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
