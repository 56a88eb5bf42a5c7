"""
Offloads as a property, scapy the judge: cut or merged, what comes out is bit for bit what went in.

Inbound: any packets of some flows, in any order, are sealed and sent to a data plane. What it
writes to the TUN, cut again as the kernel cuts it, must be each flow's packets in their order.
Outbound: what the kernel hands over as one must leave as the packets it stands for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.compat import raw
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

from tests.support.offload import TCPV4, TCPV6, UDP_L4, Offload, Plane, cut

OPTIONS: Sequence[Any] = [("NOP", None), ("NOP", None), ("Timestamp", (12345, 678))]
IP_OPTION = b"\x94\x04\x00\x00"  # router alert
ACK, PSH, FIN, SYN, RST, URG, ECE, CWR = 0x10, 0x08, 0x01, 0x02, 0x04, 0x20, 0x40, 0x80
SIZES = (1, 2, 7, 64, 535, 1000)


@dataclass(frozen=True, slots=True)
class Flow:
    """What all packets of a flow have in common."""

    number: int
    version: int
    tcp: bool
    df: bool = True
    tos: int = 0
    options: bool = False  # of TCP
    ip_options: bool = False  # IPv4 options, or IPv6 extension headers
    size: int = 1000

    def packet(self, payload: bytes, **changes: int) -> bytes:
        """Return a packet, all checksums right; `changes`: seq, ack, flags, urgent, ip_id."""
        return bytes(raw(self._ip(changes.get("ip_id", 0)) / self._l4(changes) / payload))

    def _ip(self, ip_id: int) -> Any:
        if self.version == 4:
            ip = IP(src="10.1.0.9", dst="10.2.0.9", id=ip_id, tos=self.tos, ttl=61)
            ip.flags = "DF" if self.df else 0
            if self.ip_options:
                ip.options = IP_OPTION
            return ip
        ip6 = IPv6(src="fd00:1::9", dst="fd00:2::9", tc=self.tos, fl=0x12345, hlim=61)
        return ip6 / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() if self.ip_options else ip6

    def _l4(self, changes: Mapping[str, int]) -> Any:
        ports: dict[str, Any] = {"sport": 40000 + self.number, "dport": 40001}
        if not self.tcp:
            return UDP(**ports)
        return TCP(
            **ports,
            seq=changes.get("seq", 0),
            ack=changes.get("ack", 77),
            flags=changes.get("flags", ACK),
            urgptr=changes.get("urgent", 0),
            window=501,
            options=OPTIONS if self.options else [],
        )

    @property
    def l4_at(self) -> int:
        """Return where the TCP or UDP header begins."""
        return {4: 20 + 4 * self.ip_options, 6: 40 + 16 * self.ip_options}[self.version]


@dataclass(frozen=True, slots=True)
class Step:
    """What one packet of a flow has of its own."""

    flow: int
    length: int = -1  # of the payload: -1 is the flow's size
    flags: int = 0  # beside ACK
    ack: int = 77
    skip: int = 0  # sequence numbers, or IPv4 ids, that are missing before it
    wrong: str = ""  # "l4" or "ip": that checksum is wrong; "zero": UDP without one


flows = st.builds(
    Flow,
    number=st.just(0),
    version=st.sampled_from([4, 6]),
    tcp=st.booleans(),
    df=st.booleans(),
    tos=st.sampled_from([0, 0xB8, 1, 2]),
    options=st.booleans(),
    ip_options=st.sampled_from([False, False, False, True]),
    size=st.sampled_from(SIZES),
)
# One thing at a time, or what one hides would be seen of the other no more.
FLAGS = (PSH, FIN, URG, SYN, RST, ECE, CWR, PSH | FIN, CWR | ECE)
LENGTHS = (0, 1, 3, 1300)
special = st.one_of(
    st.builds(Step, flow=st.just(0), length=st.sampled_from(LENGTHS)),
    st.builds(Step, flow=st.just(0), flags=st.sampled_from((PSH, PSH, *FLAGS))),
    st.builds(Step, flow=st.just(0), wrong=st.sampled_from(["l4", "ip", "zero"])),
    st.builds(Step, flow=st.just(0), skip=st.sampled_from([1, 1000])),
    st.builds(Step, flow=st.just(0), ack=st.just(99)),
    st.builds(
        Step,
        flow=st.just(0),
        length=st.sampled_from(LENGTHS),
        flags=st.sampled_from(FLAGS),
        wrong=st.sampled_from(["", "l4"]),
    ),
)
# Runs of packets of one flow, so that there is something to merge.
runs = st.tuples(st.sampled_from([0, 0, 1, 1, 2, 3]), st.integers(0, 5), special, st.integers(1, 2))
steps = st.lists(runs, min_size=4, max_size=24).map(
    lambda taken: [
        replace(step, flow=flow)
        for flow, before, last, times in taken
        for step in (*[Step(0)] * before, *[last] * times)
    ]
)


def packets_of(made: Sequence[Flow], taken: Sequence[Step]) -> list[tuple[int, bytes]]:
    """Return the packets of the steps, each with its flow."""
    seq, ip_id = [0xFFFFF000] * len(made), [0xFFF0] * len(made)
    found: list[tuple[int, bytes]] = []
    for step in taken:
        flow = made[step.flow]
        length = flow.size if step.length < 0 else step.length
        seq[step.flow] += step.skip
        ip_id[step.flow] += step.skip
        changes = {"seq": seq[step.flow] & 0xFFFFFFFF, "ip_id": ip_id[step.flow] & 0xFFFF}
        changes |= {"flags": ACK | step.flags, "urgent": 5 if step.flags & URG else 0}
        changes["ack"] = step.ack
        payload = bytes((i * 7 + len(found)) & 0xFF for i in range(length))
        packet = flow.packet(payload, **changes)
        found.append((step.flow, broken(flow, packet, step.wrong)))
        seq[step.flow] += length
        ip_id[step.flow] += 1
    return found


def broken(flow: Flow, packet: bytes, wrong: str) -> bytes:
    """Return the packet with a checksum that is wrong, or missing where it may be."""
    changed = bytearray(packet)
    if wrong == "ip" and flow.version == 4:
        changed[10] ^= 0x5A
    if wrong == "l4":
        changed[flow.l4_at + (16 if flow.tcp else 6)] ^= 0x5A
    if wrong == "zero" and not flow.tcp:
        changed[flow.l4_at + 6 : flow.l4_at + 8] = bytes(2)
    return bytes(changed)


def comparable(packet: bytes) -> bytes:
    """Return the packet without what may differ: the id of IPv4 with DF (RFC 6864 section 4.1)."""
    if packet[0] >> 4 == 4 and packet[6] & 0x40:
        return packet[:4] + packet[6:10] + packet[12:]
    return packet


def by_port(packets: Sequence[bytes], made: Sequence[Flow]) -> dict[int, list[bytes]]:
    """Return the packets by source port, in their order."""
    found: dict[int, list[bytes]] = {}
    for packet in packets:
        version = packet[0] >> 4
        flow = next(each for each in made if is_of(each, packet, version))
        found.setdefault(flow.number, []).append(comparable(packet))
    return found


def is_of(flow: Flow, packet: bytes, version: int) -> bool:
    port = (40000 + flow.number).to_bytes(2, "big")
    return flow.version == version and packet[flow.l4_at : flow.l4_at + 2] == port


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=st.lists(flows, min_size=4, max_size=4), taken=steps)
def test_what_is_merged_is_what_came_in(made: list[Flow], taken: list[Step]) -> None:
    made = [replace(flow, number=number) for number, flow in enumerate(made)]
    given_packets = [packet for _, packet in packets_of(made, taken)]
    with Plane() as plane:
        written = plane.deliver(given_packets)
    cut_again = [piece for offload, packet in written for piece in cut(offload, packet)]
    assert by_port(cut_again, made) == by_port(given_packets, made)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_packets_of_many_flows_in_turn_share_their_writes(version: int, tcp: bool) -> None:
    made = [Flow(number, version, tcp, size=200) for number in range(32)]
    taken = [Step(number) for _ in range(12) for number in range(32)]
    given_packets = [packet for _, packet in packets_of(made, taken)]
    with Plane() as plane:
        written = plane.deliver(given_packets)
    cut_again = [piece for offload, packet in written for piece in cut(offload, packet)]
    assert by_port(cut_again, made) == by_port(given_packets, made)
    # One write for each flow, but for flows that found all their slots in use: the tunnel's address
    # is in the hash, so how many these are differs from run to run.
    assert len(written) < len(given_packets) / 2


segmented = st.builds(
    Flow,
    number=st.just(0),
    version=st.sampled_from([4, 6]),
    tcp=st.booleans(),
    df=st.booleans(),
    tos=st.sampled_from([0, 0xB8, 1, 2]),
    options=st.booleans(),
    ip_options=st.booleans(),
    size=st.sampled_from([1, 2, 7, 536, 1000, 1448]),
)


def offload_of(flow: Flow, *, segment: bool) -> Offload:
    """Return the header of a packet whose checksum the kernel has left to us."""
    kind = (TCPV4 if flow.version == 4 else TCPV6) if flow.tcp else UDP_L4
    size = flow.size if segment else 0
    at = 16 if flow.tcp else 6
    return Offload(True, kind if segment else 0, size, flow.l4_at, at)


def half_summed(flow: Flow, packet: bytes) -> bytes:
    """Return the packet as the kernel leaves it: the checksum has the pseudo-header's sum."""
    at, protocol = flow.l4_at, (6 if flow.tcp else 17)
    addresses = packet[12:20] if flow.version == 4 else packet[8:40]
    pseudo = addresses + struct.pack("!II", len(packet) - at, protocol)
    total: int = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    field = at + (16 if flow.tcp else 6)
    return packet[:field] + total.to_bytes(2, "big") + packet[field + 2 :]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    flow=segmented,
    segments=st.integers(1, 20),
    short=st.integers(0, 1447),
    flags=st.sampled_from([0, PSH, FIN, PSH | FIN, URG, CWR | ECE, ECE, CWR | PSH | FIN | URG]),
)
def test_what_is_cut_is_what_the_super_packet_stands_for(
    flow: Flow, segments: int, short: int, flags: int
) -> None:
    length = segments * flow.size - short % flow.size
    payload = bytes((i * 11) & 0xFF for i in range(length))
    urgent = 3 if flags & URG else 0
    whole = flow.packet(payload, seq=0xFFFFFF00, flags=ACK | flags, urgent=urgent, ip_id=0xFFFE)
    offload = offload_of(flow, segment=True)
    wanted = cut(offload, whole)
    with Plane() as plane:
        assert plane.carry([(offload, half_summed(flow, whole))], len(wanted)) == wanted


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=st.lists(flows, min_size=4, max_size=4), taken=steps, finish=st.booleans())
def test_what_is_not_cut_leaves_as_it_is(made: list[Flow], taken: list[Step], finish: bool) -> None:
    made = [replace(flow, number=number) for number, flow in enumerate(made)]
    good = packets_of(made, [replace(step, wrong="") for step in taken])
    wanted = [packet for _, packet in (good if finish else packets_of(made, taken))]
    handed = [
        (offload_of(made[at], segment=False), half_summed(made[at], packet))
        if finish
        else (Offload(), packet)
        for at, packet in (good if finish else packets_of(made, taken))
    ]
    with Plane() as plane:
        left = plane.carry(handed, len(handed))
    at = [made[flow] for flow, _ in good]
    assert list(map(one_zero, at, left)) == list(map(one_zero, at, wanted))


def one_zero(flow: Flow, packet: bytes) -> bytes:
    """Return the packet with a TCP checksum of all ones as zero: they mean the same."""
    field = flow.l4_at + 16
    if flow.tcp and packet[field : field + 2] == b"\xff\xff":
        return packet[:field] + bytes(2) + packet[field + 2 :]
    return packet


KEEPALIVE = b"\xff"


@pytest.mark.parametrize(
    ("packets", "last", "wanted"),
    [
        (20, 100, [20]),
        (1, 100, []),
        (20, 90, []),  # ends with a shorter one already
        (70, 100, [63, 70]),  # a message has 64 segments, a batch as many packets
    ],
)
def test_a_kernel_that_spoils_equal_segments_gets_none_without_an_end(
    packets: int, last: int, wanted: list[int]
) -> None:
    flow = Flow(0, 4, tcp=False)
    sizes = [100] * (packets - 1) + [last]
    given_packets = [flow.packet(bytes(size)) for size in sizes]
    with Plane(gso_tail=True) as plane:
        datagrams = plane.emit([(Offload(), packet) for packet in given_packets], packets)
        ends = [at for at, datagram in enumerate(datagrams) if datagram == KEEPALIVE]
        opened = [plane.open(datagram) for datagram in datagrams if datagram != KEEPALIVE]
    assert opened == given_packets
    # What is behind each is one datagram further on for every end before it.
    assert [at - i for i, at in enumerate(ends)] == wanted
