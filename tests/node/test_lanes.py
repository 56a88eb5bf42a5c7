"""Which queue a packet waits in: asked of the kernel, with the program in a real TUN device."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from io import StringIO

import pytest
from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.packet import Packet

from gateway.node.bpf import BpfError
from gateway.node.journal import Journal
from gateway.node.lanes import FLOW_LANES, Lane, Lanes, steered
from gateway.node.netlink import Netlink
from gateway.node.tun import TunQueues, open_tun

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]

CS6, CS7, EF = 48 << 2, 56 << 2, 46 << 2
CONTROL = FLOW_LANES
_IPV4, _IPV6 = 0x0800, 0x86DD


class Device:
    """A device of a tunnel with one worker, with carrier; packets go into it as they are."""

    def __init__(self, kernel: Netlink, lanes: Lanes) -> None:
        self.tun: TunQueues = open_tun("ts-lanes", lanes.of(1))
        kernel.set_tunnel_behaviour("ts-lanes", 100)
        kernel.set_no_queueing("ts-lanes")
        fcntl.ioctl(self.tun.queues[0].fd, 0x400454E2, struct.pack("=i", 1))  # TUNSETCARRIER
        kernel.set_up("ts-lanes", up=True)
        kernel.settle_carrier("ts-lanes")
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)

    def queue_of(self, packet: Packet) -> int:
        """Return the number of the queue in which a packet waits."""
        data = raw(packet)
        kind = _IPV4 if data[0] >> 4 == 4 else _IPV6
        self._sock.sendto(data, ("ts-lanes", kind))
        descriptors = [queue.fd for queue in self.tun.queues]
        (ready,), _, _ = select.select(descriptors, [], [], 5)
        assert os.read(ready, 65536)[10:] == data
        return descriptors.index(ready)

    def close(self) -> None:
        self._sock.close()
        self.tun.close()


@pytest.fixture
def device(network: None) -> Iterator[Device]:
    kernel, lanes = Netlink(), Lanes(Journal(StringIO(), time.time))
    made = Device(kernel, lanes)
    lanes.close()  # the device keeps its program
    yield made
    made.close()
    kernel.close()


def flow(number: int) -> tuple[int, int]:
    return 1024 + number * 7, 5000 + number % 3


def datagrams(tos: int, number: int = 1) -> list[Packet]:
    """Return a datagram of a flow, of either IP version."""
    sport, dport = flow(number)
    body = UDP(sport=sport, dport=dport) / b"hello"
    return [
        IP(src="10.1.0.9", dst="10.2.0.9", tos=tos) / body,
        IPv6(src="fd00:1::9", dst="fd00:2::9", tc=tos) / body,
    ]


@pytest.mark.parametrize("tos", [CS6, CS6 | 1, CS7, CS7 | 3])
def test_what_is_marked_for_control_has_its_lane(device: Device, tos: int) -> None:
    for packet in datagrams(tos):
        assert device.queue_of(packet) == CONTROL


@pytest.mark.parametrize("tos", [0, EF, 40 << 2, 49 << 2, 62 << 2, 63 << 2])
def test_nothing_else_has_it(device: Device, tos: int) -> None:
    for packet in datagrams(tos):
        assert device.queue_of(packet) < CONTROL


def test_a_flow_stays_in_its_lane_whatever_its_packets_are(device: Device) -> None:
    sport, dport = flow(1)
    for head in (IP(src="10.1.0.9", dst="10.2.0.9"), IPv6(src="fd00:1::9", dst="fd00:2::9")):
        lanes = {
            device.queue_of(head / TCP(sport=sport, dport=dport, flags=flags, seq=seq) / body)
            for flags, seq, body in (("S", 1, b""), ("A", 2, b"x" * 900), ("FA", 902, b""))
        }
        assert len(lanes) == 1


def test_options_do_not_move_a_flow(device: Device) -> None:
    plain = IP(src="10.1.0.9", dst="10.2.0.9") / UDP(sport=1000, dport=2000) / b"hello"
    longer = plain.copy()
    longer.options = [b"\x01\x01\x01\x00"]
    assert device.queue_of(plain) == device.queue_of(longer)


def test_flows_are_spread_over_the_lanes(device: Device) -> None:
    found = (Counter[int](), Counter[int]())
    for number in range(200):
        for counter, packet in zip(found, datagrams(0, number), strict=True):
            counter[device.queue_of(packet)] += 1
    for counter in found:
        assert set(counter) == set(range(FLOW_LANES))
        assert max(counter.values()) < 2 * 200 / FLOW_LANES


def fragment(flags: str, offset: int, body: bytes) -> Packet:
    head = IP(src="10.1.0.9", dst="10.2.0.9", proto=17, id=9, flags=flags, frag=offset)
    return head / body


def test_all_fragments_of_a_datagram_wait_in_one_lane(device: Device) -> None:
    first = struct.pack("!4H", 999, 53, 56, 0) + b"x" * 16
    parts = [fragment("MF", 0, first), fragment("MF", 3, b"y" * 24), fragment("", 6, b"z" * 8)]
    assert len({device.queue_of(part) for part in parts}) == 1


@pytest.mark.parametrize(
    "packet",
    [
        IP(src="10.1.0.9", dst="10.2.0.9") / ICMP() / b"hello",
        IP(src="10.1.0.9", dst="10.2.0.9", proto=17) / b"x",  # no room for ports
        IPv6(src="fd00:1::9", dst="fd00:2::9", nh=6) / b"",
        IPv6(src="fd00:1::9", dst="fd00:2::9") / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2),
    ],
)
def test_what_has_no_ports_goes_with_the_flows(device: Device, packet: Packet) -> None:
    assert device.queue_of(packet) < CONTROL


def test_each_worker_of_a_tunnel_has_its_lanes() -> None:
    lanes = steered(2)
    assert lanes[-1] == Lane(0, is_urgent=True)
    assert [lane.share for lane in lanes[:-1]] == [0, 1] * FLOW_LANES
    assert not any(lane.is_urgent for lane in lanes[:-1])


def test_without_a_program_each_worker_has_a_queue_and_the_operator_is_told() -> None:
    def refuse(program: bytes) -> int:
        raise BpfError("not permitted: CAP_BPF is needed")

    log = StringIO()
    lanes = Lanes(Journal(log, time.time), refuse)
    assert lanes.of(1).lanes == (Lane(0),)
    assert lanes.of(2).lanes == (Lane(0), Lane(1))
    assert lanes.of(2).program is None
    (note,) = lanes.notes
    assert "CAP_BPF" in note
    assert log.getvalue().count("CAP_BPF") == 1


# A process as its unit makes it, which then runs another program.
_BECOMES = """
import os
from gateway.node import bpf
bpf.keep_from_children()
{}
os.execv("/bin/grep", ["grep", "CapEff", "/proc/self/status"])
"""
_AS_A_UNIT = ("setpriv", "--reuid=65534", "--inh-caps=-all,+bpf", "--ambient-caps=-all,+bpf")


@pytest.mark.parametrize(
    ("step", "capabilities"), [("", 0), ("bpf.give_to_next()", 1 << 39)], ids=["child", "next"]
)
def test_only_the_next_version_of_the_gateway_process_gets_its_right_to_load_programs(
    step: str, capabilities: int
) -> None:
    command = [*_AS_A_UNIT, sys.executable, "-c", _BECOMES.format(step)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(said.split()[1], 16) == capabilities
