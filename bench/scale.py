"""
Many tunnels between two of our gateways: memory, time until all are up, a reload, cost of a packet.

    hub 192.0.2.1, 198.51.100.1 ======== branches 203.0.112.1 to 203.0.113.244

Half as many VPN Connections as tunnels, each from both addresses of the hub to one address of the
branches. Memory is resident memory of the hub's gateway process and its data plane process.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from bench.load import spread
from lab import cpu
from lab.commands import LabError, end_cleanly, wait_for
from lab.figures import listed, tell
from lab.netns import Lab
from lab.twinspan import Connection, Document, Tunnel, TunnelView, Twinspan, Value

HUB = ("192.0.2.1", "198.51.100.1")
_FIRST_INNER = int(IPv4Address("169.254.100.0"))
_BRANCHES = IPv4Network("203.0.112.0/22")
# The networks at the branches as the hub knows them, and the other way round, one a connection.
BRANCH_NETS, HUB_NETS = IPv4Address("10.64.0.0"), IPv4Address("10.128.0.0")
HUB_LAN = "10.60.0.0/16"
MOST = 1000
_USUAL = 500
METRICS = ("192.0.2.1", 9469)
_SCRAPES = 9
_BETWEEN_S = 0.1


@dataclass(frozen=True, slots=True)
class Figures:
    """What the bench finds; each field is one figure of `--json`."""

    tunnels_up: int
    established_s: float
    resident_mib: float
    gateway_mib: float
    branches_resident_mib: float
    idle_cpu_percent: float
    scrape_ms: float
    scrape_cpu_ms: float
    scrape_mib: float
    reload_s: float
    reload_changed: int


def branch_net(number: int) -> str:
    """Return the network at that branch."""
    return f"{BRANCH_NETS + 256 * number}/24"


def inner(tunnel: int) -> IPv4Network:
    """Return the inner network of a tunnel."""
    return IPv4Network((_FIRST_INNER + 4 * tunnel, 30))


def tunnel_name(tunnel: int) -> str:
    """Return the name of a tunnel, which are counted through all connections."""
    return f"b{tunnel // 2}-{tunnel % 2 + 1}"


def connections(count: int, psk: Sequence[str], *, is_hub: bool) -> list[Connection]:
    """Return the VPN Connections of one side, for `count` tunnels in all."""
    return [_connection(number, psk[number], is_hub) for number in range(count // 2)]


def _connection(number: int, psk: str, is_hub: bool) -> Connection:
    branch = _branch(number)
    tunnels = []
    for position, hub in enumerate(HUB):
        network = inner(2 * number + position)
        settings: dict[str, Value] = {"inner_local": str(network[1 if is_hub else 2])}
        local, remote = (hub, branch) if is_hub else (branch, hub)
        name = tunnel_name(2 * number + position)
        tunnels.append(Tunnel(name, local, remote, str(network), psk, settings))
    # The hub reaches one network at each branch; the way back has one name for each connection too.
    remote_net = branch_net(number) if is_hub else f"{HUB_NETS + 256 * number}/24"
    start: dict[str, Value] = {"start": "initiate" if is_hub else "respond"}
    return Connection(f"b{number}", [remote_net], tunnels, start)


def _branch(number: int) -> str:
    return str(_BRANCHES[number + 1])


def build(lab: Lab, count: int) -> tuple[Twinspan, Twinspan]:
    """Return the two gateways, not started."""
    hub, branches = lab.namespace("hub"), lab.namespace("branches")
    for machine, lan in ((hub, "10.60.0.1/16"), (branches, "10.50.0.1/16")):
        machine.ip("link", "add", "lan", "type", "bridge")
        machine.address("lan", lan)
    lab.wire((hub, "wan", (f"{HUB[0]}/24",)), (branches, "wan", ("192.0.2.2/24",)))
    hub.address("wan", f"{HUB[1]}/32")
    addresses = [_branch(number) for number in range(count // 2)]
    branches.addresses("lo", [f"{address}/32" for address in addresses])
    hub.route(str(_BRANCHES), "via", "192.0.2.2")
    branches.route(f"{HUB[1]}/32", "via", HUB[0])
    psk = [os.urandom(32).hex() for _ in addresses]
    hub_side = connections(count, psk, is_hub=True)
    branch_side = connections(count, psk, is_hub=False)
    return (
        Twinspan(hub, Document("hub", HUB, [HUB_LAN], hub_side)),
        Twinspan(branches, Document("branches", addresses, ["10.50.0.0/16"], branch_side)),
    )


def wait_all_up(gateway: Twinspan, count: int, began: float, timeout_s: float = 180.0) -> None:
    """Wait until that many tunnels are up; says how many are. Raises LabError."""

    def all_up() -> bool:
        up = sum(tunnel.is_up for tunnel in gateway.tunnels().values())
        print(f"{up} up after {time.monotonic() - began:.1f} s", file=sys.stderr)
        return up == count

    wait_for(f"{count} tunnels", all_up, timeout_s, every_s=0.5)


def changed(before: dict[str, TunnelView], after: dict[str, TunnelView]) -> int:
    """Return how many tunnels have other SAs than before."""
    return sum(before[name].spis != after[name].spis for name in before)


def reload_one(hub: Twinspan, before: dict[str, TunnelView]) -> tuple[float, int]:
    """Change one tunnel's lifetime; return the seconds of the reload and what it touched."""
    first, *others = hub.document.connections
    tunnel = replace(
        first.tunnels[0], settings={**first.tunnels[0].settings, "child_lifetime_s": 1800}
    )
    altered = replace(first, tunnels=[tunnel, *first.tunnels[1:]])
    hub.write(replace(hub.document, connections=[altered, *others]))
    began = time.monotonic()
    hub.cli("reload")
    took = time.monotonic() - began
    hub.wait_up(timeout_s=30.0)
    return took, changed(before, hub.tunnels())


def kill_plane(hub: Twinspan) -> dict[str, float]:
    """
    Kill the hub's data plane; return after how many seconds the last tunnel had other keys, after
    how many half of them, and how many have.
    """
    (pid,) = set(hub.pids()) - {hub.pid}
    os.kill(pid, signal.SIGKILL)
    # By the log: each status of so many tunnels would hold up what is measured.
    wait_for("another data plane", lambda: "data_plane replaced" in hub.log_text(), 60.0)
    found = hub.status()["data_plane_replaced"]
    assert isinstance(found, dict)
    hub.wait_up(timeout_s=60.0)
    return {
        "plane_killed_silent_s": float(str(found["silent_s"])),
        "plane_killed_half_silent_s": float(str(found["half_silent_s"])),
        "plane_killed_renewed": int(str(found["renewed"])),
    }


def scrape(hub: Twinspan, branches: Twinspan, idle: float) -> tuple[float, float, float]:
    """
    Return the median of milliseconds that a scrape of the hub takes, those of a core beyond what is
    used while idle (a share of a core), and its MiB.
    """
    times, size = [], 0.0
    began_at, used_s = time.monotonic(), cpu.cpu_s([hub.pid])
    for _ in range(_SCRAPES):
        url = "http://{}:{}/metrics".format(*METRICS)
        words = (
            "-sf",
            "--compressed",
            "-o",
            "/dev/null",
            "-w",
            "%{time_total} %{size_download}",
            url,
        )
        seconds, size_text = branches.machine.run("curl", *words, timeout_s=30.0).split()
        times.append(float(seconds) * 1000)
        size = float(size_text) / 2**20
        time.sleep(_BETWEEN_S)
    used_s = cpu.cpu_s([hub.pid]) - used_s - idle * (time.monotonic() - began_at)
    return sorted(times)[_SCRAPES // 2], used_s / _SCRAPES * 1000, size


def spread_over(count: int) -> list[int]:
    """Return over how many of `count` tunnels packets are spread: of each pair one carries them."""
    return [*(n for n in (1, 10, 100) if n < count // 2), count // 2]


def take_packets(hub: Twinspan, branches: Twinspan) -> None:
    """Let both machines take what is sent to any of the networks behind them."""
    branches.machine.route("local", f"{BRANCH_NETS}/14", "dev", "lo")
    hub.machine.route("local", f"{HUB_NETS}/14", "dev", "lo")


def packets(hub: Twinspan, branches: Twinspan, count: int, rounds: int) -> dict[str, float]:
    """Return what a packet costs, by how many of the tunnels carry packets at once."""
    take_packets(hub, branches)
    return spread.measure(hub, branches, str(BRANCH_NETS + 1), 256, spread_over(count), rounds)


def measure(
    prefix: str, count: int, rounds: int, idle_s: float
) -> tuple[Figures, dict[str, float]]:
    """Return the figures of one run with `count` tunnels, and those with another data plane."""
    with Lab(prefix) as lab:
        hub, branches = build(lab, count)
        print(f"starting two gateways with {count} tunnels", file=sys.stderr)
        branches.start(timeout_s=120.0)
        began = time.monotonic()
        hub.start(timeout_s=120.0, options=("--metrics", "{}:{}".format(*METRICS)))
        wait_all_up(hub, count, began)
        established_s = time.monotonic() - began
        pids = hub.pids()
        before = cpu.cpu_s(pids)
        time.sleep(idle_s)
        idle = (cpu.cpu_s(pids) - before) / idle_s
        scrape_ms, scrape_cpu_ms, scrape_mib = scrape(hub, branches, idle)
        views = hub.tunnels()
        took, touched = reload_one(hub, views)
        figures = Figures(
            tunnels_up=sum(view.is_up for view in views.values()),
            established_s=round(established_s, 2),
            resident_mib=round(cpu.resident_mib(pids), 1),
            gateway_mib=round(cpu.resident_mib([hub.pid]), 1),
            branches_resident_mib=round(cpu.resident_mib(branches.pids()), 1),
            idle_cpu_percent=round(100.0 * idle, 2),
            scrape_ms=round(scrape_ms, 1),
            scrape_cpu_ms=round(scrape_cpu_ms, 1),
            scrape_mib=round(scrape_mib, 2),
            reload_s=round(took, 3),
            reload_changed=touched,
        )
        killed = kill_plane(hub)  # what was measured before is of the process before
        return figures, killed | packets(hub, branches, count, rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench scale", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--tunnels", type=int, default=_USUAL, help=f"an even number up to {MOST}")
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs a packet's cost is the median of"
    )
    parser.add_argument("--idle", type=float, default=5.0, help="seconds without any traffic")
    chosen = parser.parse_args(arguments)
    if chosen.idle < 1:
        parser.error(f"--idle: at least 1, not {chosen.idle:g}")
    if chosen.tunnels % 2 or not 2 <= chosen.tunnels <= MOST:
        parser.error(f"--tunnels: an even number from 2 to {MOST}, not {chosen.tunnels}")
    end_cleanly()
    try:
        figures, packet = measure(f"sc{os.getpid()}", chosen.tunnels, chosen.rounds, chosen.idle)
    except LabError as error:
        print(f"scale: {error}", file=sys.stderr)
        return 1
    found = {name: getattr(figures, name) for name in Figures.__slots__} | packet
    title = f"{chosen.tunnels} tunnels between two of our gateways"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
