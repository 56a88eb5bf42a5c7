"""
The demonstration: twin tunnels to a customer's strongSwan, figures, one path cut.

    vpc --- 10.10.0.1 gateway .1 == 192.0.2.0/24 ===== .2 customer 10.20.0.1 --- office
    10.10.0.2      (twinspan) .1 == 198.51.100.0/24 == .2 (strongSwan)      10.20.0.2

Real daemons in network namespaces of this machine. strongSwan's kernel-libipsec has one TUN device
and sends by policy, where the newest of two equal Child SAs wins; so it begins with tunnel 2, and
both sides then use tunnel 1 until its path is cut.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab import cpu, impair, iperf, peers, probe, sites, topology
from lab.commands import LabError, end_cleanly, wait_for
from lab.netns import Lab, Namespace, directory_of, remove
from lab.peers import Joined
from lab.strongswan import StrongSwan, Timing
from lab.topology import Pair
from lab.twinspan import Twinspan, Value

_KEPT = "twinspan-demo"
_NAMES = (("gateway", "vpc"), ("customer", "office"))
_RUN_S = 3.0
_PROBE_RATE = 500
_CUT_MOST_S = 20.0
# Both ends give a silent tunnel up after at most 3 s: 1 s until they ask, 2 s without an answer.
_SETTINGS: dict[str, Value] = {
    "ike_proposals": ["aes256gcm16-prfsha384-x25519"],
    "esp_proposals": ["aes256gcm16-x25519"],
    "start": "respond",
    "liveness_s": 1,
    "liveness_timeout_s": 2,
}
_TIMING = Timing(timeout_s=0.5, base=1.0, tries=3)


@dataclass(frozen=True, slots=True)
class Speed:
    """What one way to join the sites carries."""

    forward_gbps: float
    reverse_gbps: float
    cpu_s_per_gbit: tuple[float, ...]  # of each gateway
    latency_ms: float


@dataclass(slots=True)
class Demo:
    """The machines of the demonstration and its daemons."""

    console: Console
    lab: Lab
    pair: Pair
    gateway: Twinspan
    customer: StrongSwan

    def joined(self) -> Joined:
        """Return the sites with the processes of the two gateways."""
        return Joined(self.pair, (tuple(self.gateway.pids()), (self.customer.pid,)))


def build(console: Console, lab: Lab) -> Demo:
    """Make the machines and start the two gateways; no tunnel is up yet."""
    pair, keys = topology.four_machines(lab, names=_NAMES), sites.Secrets()
    gateway = Twinspan(pair.a.gateway, sites.document(pair.a, pair.b, keys, settings=_SETTINGS))
    connections = [
        sites.swan_connection(pair.b, pair.a, keys, number, dpd_delay="1s", dpd_action="start")
        for number in (1, 2)
    ]
    customer = StrongSwan(pair.b.gateway, connections, _TIMING)
    gateway.start()
    customer.start()
    return Demo(console, lab, pair, gateway, customer)


def bring_up(demo: Demo) -> int:
    """Bring both tunnels up, the second one first, and return how many our gateway says are up."""
    for number in (2, 1):
        demo.customer.initiate(sites.tunnel_name(number))
    demo.gateway.wait_up()
    peers.reaches(demo.pair.a.host, demo.pair.b.host4)
    show_status(demo)
    return sum(tunnel.is_up for tunnel in demo.gateway.tunnels().values())


def show_status(demo: Demo) -> None:
    """Print what `twinspan status` prints."""
    text = demo.gateway.cli("status").rstrip()
    demo.console.print(
        f"\n$ twinspan status\n{text}\n", highlight=False, markup=False, soft_wrap=True
    )


def latency_ms(sender: Namespace, address: str) -> float:
    """Return the mean round trip of twenty pings."""
    out = sender.run("ping", "-n", "-q", "-c", "20", "-i", "0.05", address)
    found = re.search(r"= [\d.]+/([\d.]+)/", out)
    if found is None:
        raise LabError(f"ping says {out!r}")
    return float(found[1])


def speed(joined: Joined) -> Speed:
    """Measure TCP both ways, the CPU of each gateway for it, and the round trip."""
    pair = joined.pair
    latency = latency_ms(pair.a.host, pair.b.host4)
    before = [cpu.cpu_s(pids) for pids in joined.pids]
    forward = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, seconds=_RUN_S)
    reverse = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, "-R", seconds=_RUN_S)
    carried = forward.gigabits + reverse.gigabits
    used = [cpu.cpu_s(pids) - b for pids, b in zip(joined.pids, before, strict=True)]
    return Speed(forward.gbps, reverse.gbps, tuple(each / carried for each in used), latency)


def compared(way: str, prefix: str) -> Speed:
    """Return the speed of two equal gateways, joined in the way `way` in a lab of their own."""
    lab, joined = peers.join(way, prefix)
    with lab:
        return speed(joined)


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


def cut_first_path(demo: Demo) -> probe.Result:
    """Cut the path of tunnel 1 under a running probe; return what the probe saw."""
    sender, receiver = demo.pair.a.host, demo.pair.b.host
    running = probe.start(sender, receiver, demo.pair.b.host4, _PROBE_RATE)
    time.sleep(1.0)
    impair.cut(demo.pair.b.gateway, "wan1")
    first = sites.tunnel_name(1)
    try:
        wait_for(
            f"{first} to be given up",
            lambda: not demo.gateway.tunnels()[first].is_up,
            _CUT_MOST_S,
            every_s=0.2,
        )
        # The other end has its own clock for giving up; then a second of traffic to see it go on.
        peers.reaches(sender, demo.pair.b.host4, _CUT_MOST_S)
        time.sleep(1.0)
    finally:
        seen = running.stop()
    return seen


def failover(demo: Demo) -> float:
    """Show the cut and return the silence in ms. Raises LabError if traffic does not go on."""
    demo.console.print(
        f"\nCutting the path of {sites.tunnel_name(1)} silently, both ways, under "
        f"{_PROBE_RATE} probes a second ..."
    )
    seen = cut_first_path(demo)
    show_status(demo)
    if not seen.goes_on:
        raise LabError(
            f"traffic did not go on: {len(seen.lost)} of {seen.sent} probes lost\n"
            + demo.gateway.log_text()[-3000:]
        )
    second = sites.tunnel_name(2)
    before = demo.gateway.tunnels()[second].out_packets
    pair = demo.pair
    flow = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, seconds=2.0)
    carried = demo.gateway.tunnels()[second].out_packets - before
    demo.console.print(
        f"Traffic stood still for [bold]{seen.silence_ms:.0f} ms[/bold] ({len(seen.lost)} of "
        f"{seen.sent} probes lost) and goes on through {second}: {flow.gbps:.2f} Gbit/s, "
        f"{carried} packets."
    )
    return seen.silence_ms


def show(console: Console, lab: Lab, prefix: str) -> dict[str, float]:
    """Run the whole demonstration and return its figures."""
    console.print("[bold]Two sites, two paths, two gateways[/bold]: twinspan and strongSwan")
    demo = build(console, lab)
    tunnels_up = bring_up(demo)
    ping = demo.pair.a.host.run("ping", "-n", "-c", "3", "-i", "0.2", demo.pair.b.host4)
    console.print(ping.strip(), highlight=False)
    console.print("\nMeasuring (3 s each way and pair) ...")
    main = speed(demo.joined())
    theirs = compared("strongswan", f"{prefix}-s")
    ours = compared("twinspan", f"{prefix}-t")
    rows = (
        ("twinspan to strongSwan", main),
        ("strongSwan to strongSwan", theirs),
        ("twinspan to twinspan", ours),
    )
    console.print(speeds_table(rows))
    silence_ms = failover(demo)
    return {
        "tunnels_up": tunnels_up,
        "tcp_gbps": round(main.forward_gbps, 3),
        "tcp_reverse_gbps": round(main.reverse_gbps, 3),
        "strongswan_gbps": round(theirs.forward_gbps, 3),
        "silence_ms": round(silence_ms, 1),
        "cpu_s_per_gbit": round(main.cpu_s_per_gbit[0], 4),
        "latency_ms": round(main.latency_ms, 3),
        "twinspan_pair_gbps": round(ours.forward_gbps, 3),
        "twinspan_pair_cpu_s_per_gbit": round(ours.cpu_s_per_gbit[0], 4),
    }


def how_to_look(console: Console, lab: Lab) -> None:
    """Print the commands that show the demonstration from the inside."""
    runtime = lab.directory / "gateway-twinspan"
    swan = lab.directory / "customer-strongswan"
    console.print(
        f"""
It still runs (the path of tunnel 1 is mended). To look around:
  TWINSPAN_RUNTIME_DIR={runtime} ./run twinspan status
  TWINSPAN_RUNTIME_DIR={runtime} ./run twinspan log
  ip netns exec {lab.prefix}-vpc ping 10.20.0.2
  ip netns exec {lab.prefix}-gateway ip route
  ip netns exec {lab.prefix}-gateway tcpdump -ni wan1 udp port 4500
  swanctl --list-sas --uri unix://{swan}/vici.sock
To take it down:
  ./run demo --remove""",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demonstration from the command line."""
    parser = argparse.ArgumentParser(prog="run demo", description="twin tunnels to strongSwan")
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--remove", action="store_true", help="take down what --keep left")
    chosen = parser.parse_args(arguments)
    if chosen.remove:
        remove(_KEPT)
        return 0
    prefix = _KEPT if chosen.keep else f"demo{os.getpid()}"
    if directory_of(prefix).exists():
        print("a kept demo still runs: ./run demo --remove takes it down", file=sys.stderr)
        return 1
    end_cleanly()
    return _run(prefix, keep=chosen.keep, json_file=chosen.json)


def _run(prefix: str, *, keep: bool, json_file: Path | None) -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    began = time.monotonic()
    try:
        with Lab(prefix, keep=keep) as lab:
            found = show(console, lab, prefix)
            if keep:
                impair.mend(lab.namespaces["customer"], "wan1")
                how_to_look(console, lab)
    except LabError as error:
        remove(prefix)
        print(f"demo: {error}", file=sys.stderr)
        return 1
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n")
    console.print(f"Done in {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
