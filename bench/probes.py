"""
Probes through many tunnels: what they cost, and how soon routes follow when a line is cut. Then
what it costs to measure round trip and loss of as many, inside and outside.

    gateway's Prober, Routes, Netlink --- 1,000 TUN devices --- a process that answers echo requests
    gateway's Measurer ------------------ the same, and the peers' public addresses on loopback

The data plane is left out: the devices' other side answers at once. Half of the tunnels are the
first of two of their connection; the cut silences these. CPU is that of the process that probes,
user and system, as a share of one core.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from gateway.dataplane.plane import LocalPlane
from gateway.model.document import build_document
from gateway.node.journal import Journal, Level
from gateway.node.measure import Measurer
from gateway.node.namespaces import Namespaces
from gateway.node.plan import NodePlan, plan
from gateway.node.probes import Prober
from gateway.node.routes import Routes
from gateway.node.steering import Steering
from gateway.node.tunnel import Tunnel, Tunnels
from lab.figures import listed, tell

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_LONG_S = 60.0


@dataclass(slots=True)
class Figures:
    """What the bench finds; each field is one figure of `--json`."""

    tunnels: int
    probes_per_s: float
    cpu_percent: float
    rtt_mean_ms: float
    wrongly_lost: int
    moved_after_cut_s: float
    moved_back_s: float
    echoes_per_s: float
    measure_cpu_percent: float
    inside_rtt_ms: float
    outside_rtt_ms: float
    wrong_loss: int


def document(count: int, probe: str, measure_s: float) -> NodePlan:
    """Return the plan of half as many static connections as tunnels, each with two."""
    connections = [
        {
            "name": f"c{number}",
            "border_gateway": "main",
            "customer_gateway": f"c{number}",
            "remote_cidrs": [f"10.{100 + number // 256}.{number % 256}.0/24"],
            "psk": "not-a-secret-in-this-bench",
            "probe": probe,
            "measure_s": measure_s,
            "tunnel": [
                {"inner_cidr": f"172.{16 + at}.{number // 64}.{number % 64 * 4}/30"}
                for at in range(2)
            ],
        }
        for number in range(count // 2)
    ]
    made, problems = build_document(
        {
            "gateway": {"public_addresses": ["192.0.2.1", "198.51.100.1"]},
            "border_gateway": [{"name": "main"}],
            "customer_gateway": [
                {
                    "name": one["name"],
                    "public_addresses": [f"203.0.{112 + at // 256}.{at % 256}"],
                }
                for at, one in enumerate(connections)
            ],
            "vpn_connection": connections,
        }
    )
    mistakes = [str(problem) for problem in problems if not problem.is_warning]
    if mistakes:
        raise SystemExit(f"probes: {mistakes[0]}")
    return plan(made)


def open_tun(name: str) -> int:
    """Return the descriptor of a new TUN device with carrier."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def answer_for_ever(fds: Sequence[int]) -> None:
    """Answer echo requests; SIGUSR1 silences the first tunnel of each connection, SIGUSR2 none."""
    silent: set[int] = set()
    signal.signal(signal.SIGUSR1, lambda *_: silent.update(fds[::2]))
    signal.signal(signal.SIGUSR2, lambda *_: silent.clear())
    poll = select.epoll()
    for fd in fds:
        poll.register(fd, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            packet = bytearray(os.read(fd, 2048))
            if fd not in silent and packet[0] == 0x45 and packet[9] == 1 and packet[20] == 8:
                packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
                packet[20] = 0
                checksum = int.from_bytes(packet[22:24], "big") + 0x0800  # RFC 1624
                packet[22:24] = ((checksum & 0xFFFF) + (checksum >> 16)).to_bytes(2, "big")
                os.write(fd, packet)


def start_answering(fds: Sequence[int]) -> int:
    """Return the pid of a process that answers."""
    pid = os.fork()
    if pid == 0:
        try:
            answer_for_ever(fds)
        finally:
            os._exit(1)
    return pid


async def measure(wanted: NodePlan, far_end: int, seconds: float) -> Figures:
    """Return the figures of one run in this process's network namespace."""
    journal = Journal(sys.stderr, time.time, level=Level.ERROR)
    namespaces, tunnels = Namespaces(Path("/nowhere"), journal), Tunnels()
    kernel = namespaces.own
    steering = Steering(journal, lambda: routes.move(wanted))
    routes = Routes(namespaces, tunnels, steering, journal)
    prober = Prober(tunnels, namespaces, steering, journal, time.monotonic, time.time)
    firsts = {one.name for one in wanted.tunnels[::2]}
    with LocalPlane(1) as plane:
        for number, one in enumerate(wanted.tunnels, 1):
            kernel.set_up(one.interface, up=True)
            assert one.inner_local is not None
            kernel.add_address(one.interface, one.inner_local)
            tunnels.add(Tunnel(number, one, plane, kernel, 0.0, active={0: 1}))
        routes.apply(wanted)
        prober.follow()
        await until(lambda: all_in(prober, wanted, "healthy"))
        began_at, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        took = time.monotonic() - began_at
        share = (time.process_time() - cpu) / took
        wrong = len(steering.standings)
        reports = [prober.of_tunnel(one.name) or {} for one in wanted.tunnels]
        means = [float(str(report["rtt_mean_ms"])) for report in reports]
        at = time.monotonic()
        os.kill(far_end, signal.SIGUSR1)
        await until(lambda: set(steering.standings) == firsts)
        cut_s = time.monotonic() - at
        os.kill(far_end, signal.SIGUSR2)
        at = time.monotonic()
        await until(lambda: not steering.standings)
        back_s = time.monotonic() - at
        prober.close()
        measured = await measure_ways(tunnels, namespaces, journal, seconds)
    namespaces.close()
    interval_s = wanted.tunnels[0].probe.interval_ms / 1000 if wanted.tunnels[0].probe else 1.0
    return Figures(
        tunnels=len(wanted.tunnels),
        probes_per_s=round(len(wanted.tunnels) / interval_s),
        cpu_percent=round(100 * share, 1),
        rtt_mean_ms=round(sum(means) / len(means), 2),
        wrongly_lost=wrong,
        moved_after_cut_s=round(cut_s, 2),
        moved_back_s=round(back_s, 2),
        **measured,
    )


async def measure_ways(
    tunnels: Tunnels, namespaces: Namespaces, journal: Journal, seconds: float
) -> dict[str, Any]:
    """Return the figures of measuring the tunnels; the peers' public addresses are here as well."""
    own_addresses(tunnels)
    sides = ("inside", "outside")
    measurer = Measurer(tunnels, namespaces, lambda name: None, journal, time.monotonic, time.time)

    def found(side: str) -> list[dict[str, Any]]:
        reports: list[Any] = [measurer.of_tunnel(tunnel.name) or {} for tunnel in tunnels]
        return [report[side] or {} for report in reports]

    measurer.follow()
    await until(lambda: all(one["state"] == "answered" for side in sides for one in found(side)))
    began_at, cpu = time.monotonic(), time.process_time()
    end = began_at + seconds
    while time.monotonic() < end:
        await asyncio.sleep(1.0)
        measurer.follow()
    share = (time.process_time() - cpu) / (time.monotonic() - began_at)
    rtts = {side: [one["rtt_ms"] for one in found(side)] for side in sides}
    wrong = sum(one["loss_percent"] > 0.0 for side in sides for one in found(side))
    measurer.close()
    every_s = next(one.plan.measure.every_s for one in tunnels if one.plan.measure)
    return {
        "echoes_per_s": round(2 * len(tunnels) / every_s, 1),
        "measure_cpu_percent": round(100 * share, 1),
        **{f"{side}_rtt_ms": round(sum(rtts[side]) / len(rtts[side]), 2) for side in sides},
        "wrong_loss": wrong,
    }


def own_addresses(tunnels: Tunnels) -> None:
    """Have every public address of both ends on loopback, which answers by itself."""
    plans = [tunnel.plan for tunnel in tunnels]
    addresses = {str(one) for plan in plans for one in (plan.local, plan.remote)}
    lines = [f"addr add {address}/32 dev lo" for address in sorted(addresses)]
    subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(["link set lo up", *lines]), text=True, check=True
    )


def all_in(prober: Prober, wanted: NodePlan, state: str) -> bool:
    """Say whether the probes of all tunnels say that."""
    reports = (prober.of_tunnel(one.name) for one in wanted.tunnels)
    return all(report is not None and report["state"] == state for report in reports)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; it is looked at twenty times a second."""
    end = time.monotonic() + _LONG_S
    while not holds():
        if time.monotonic() > end:
            raise SystemExit("probes: waited in vain")
        await asyncio.sleep(0.05)


def run(count: int, probe: str, measure_s: float, seconds: float) -> Figures:
    """Return the figures, measured in a network namespace of this process's own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise SystemExit("probes: needs root")
    wanted = document(count, probe, measure_s)
    far_end = start_answering([open_tun(one.interface) for one in wanted.tunnels])
    try:
        return uvloop.run(measure(wanted, far_end, seconds))
    finally:
        os.kill(far_end, signal.SIGKILL)
        os.waitpid(far_end, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench probes", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--tunnels", type=int, default=1000, help="an even number")
    parser.add_argument("--probe", default="200x3", help="as in the gateway's document")
    parser.add_argument("--measure", type=float, default=5.0, help="measure_s of the document")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long CPU is measured")
    chosen = parser.parse_args(arguments)
    if chosen.tunnels % 2 or not 2 <= chosen.tunnels <= 2000:
        parser.error(f"--tunnels: an even number from 2 to 2000, not {chosen.tunnels}")
    found = asdict(run(chosen.tunnels, chosen.probe, chosen.measure, chosen.seconds))
    title = f"probes {chosen.probe} through {chosen.tunnels} tunnels"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
