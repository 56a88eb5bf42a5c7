"""
iperf3 between two machines of the laboratory.

What arrives of UDP is counted by the receiving machine's kernel, its own drops for want of buffer
included: on a busy machine iperf3's receiver loses more than the gateways do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from lab.commands import LabError, wait_for
from lab.netns import Namespace


@dataclass(frozen=True, slots=True)
class Flow:
    """What one run carried, as the receiving end counted it; the counts are of datagrams."""

    gbps: float
    kpps: float  # datagrams that arrived a second, in thousands; 0 for TCP
    seconds: float
    retransmits: int
    sent: int = 0
    lost: int = 0  # did not reach iperf3
    arrived: int = 0  # reached the machine that iperf3 receives on

    @property
    def gigabits(self) -> float:
        """Return how much was delivered."""
        return self.gbps * self.seconds


def measure(
    sender: Namespace,
    receiver: Namespace,
    address: str,
    *arguments: str,
    seconds: float = 4.0,
    port: int = 5201,
) -> Flow:
    """Return the flow of one run; `arguments` go to the iperf3 that sends."""
    server = receiver.start(f"iperf{port}", "iperf3", "-s", "-1", "-p", str(port))
    try:
        wait_for("iperf3 to listen", lambda: _listens(receiver, port), 5.0)
        words = ["iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-J", *arguments]
        # 3 s to connect, then its own end; UDP overload makes the end late.
        words += ["--connect-timeout", "3000"]
        sink = sender if "-R" in arguments else receiver
        before = datagrams(sink)
        out = sender.run(*words, timeout_s=seconds + 20.0, check=False)
        return _flow(out, datagrams(sink) - before)
    finally:
        server.stop(2.0)


def _listens(machine: Namespace, port: int) -> bool:
    return f":{port}" in machine.run("ss", "-Hltn")


def datagrams(machine: Namespace) -> int:
    """Return how many datagrams have come to the UDP sockets of a machine."""
    counted = udp_counters(machine)
    return counted["InDatagrams"] + counted["RcvbufErrors"]


def udp_counters(machine: Namespace) -> dict[str, int]:
    """Return what the kernel of a machine counts of UDP over IPv4."""
    lines = machine.run("cat", "/proc/net/snmp").splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Udp:"))
    return dict(zip(names, map(int, values), strict=True))


def _flow(out: str, arrived: int) -> Flow:
    try:
        result = json.loads(out)
    except json.JSONDecodeError as error:
        raise LabError(f"iperf3 answers no JSON: {out[:300]!r}") from error
    if "error" in result:
        raise LabError(f"iperf3: {result['error']}")
    end = result["end"]
    if "sum" in end:
        total = end["sum"]
        # iperf3 greets with a datagram of its own, which is none of the count.
        arrived = min(arrived, total["packets"])
        size = result["start"]["test_start"]["blksize"]
        rate = arrived / total["seconds"]
        return Flow(
            gbps=rate * size * 8 / 1e9,
            kpps=rate / 1e3,
            seconds=total["seconds"],
            retransmits=0,
            sent=total["packets"],
            lost=total["lost_packets"],
            arrived=arrived,
        )
    received = end["sum_received"]
    return Flow(
        gbps=received["bits_per_second"] / 1e9,
        kpps=0.0,
        seconds=received["seconds"],
        retransmits=end["sum_sent"].get("retransmits", 0),
    )
