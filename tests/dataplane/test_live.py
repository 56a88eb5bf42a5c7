"""
Real packets through two data planes with static keys (picture in machines.py).

Each test runs twice: both planes in this process, and each in its own confined process.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path as FilePath

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation

from gateway._native import lib
from gateway.dataplane.build import has_ipsecmb
from gateway.dataplane.interface import EncapKind, Punt, PuntType
from gateway.dataplane.plane import LocalPlane
from gateway.dataplane.reach import SOCKET_NAME, connect, spawn_dataplane
from gateway.dataplane.remote import RemotePlane
from gateway.errors import DataPlaneError
from gateway.node.udp import open_nat_t_socket
from gateway.sa import Limits, Path, TrafficSelector
from lab.commands import Process
from lab.netns import Lab
from tests.dataplane.machines import TUNNEL, Machine, inside, install
from tests.dataplane.values import KEY, OPTIONS, plane_sa

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

A_TO_B, B_TO_A = 0x100, 0x101
OTHER_KEY = bytes(range(36, 72))
Pair = tuple[Machine, Machine]
OUTER = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")
INNER = IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(f"dp{os.getpid()}") as made:
        a, b = made.namespace("a"), made.namespace("b")
        for machine in (a, b):
            # The counts are exact, so the kernel must send nothing of its own.
            machine.sysctl("net.ipv6.conf.all.disable_ipv6=1")
            machine.sysctl("net.ipv6.conf.default.disable_ipv6=1")
        made.wire((a, "wire", [f"{OUTER[0]}/24"]), (b, "wire", [f"{OUTER[1]}/24"]))
        yield made


@pytest.fixture(params=["local", "remote"])
def bare(request: pytest.FixtureRequest, lab: Lab, tmp_path: FilePath) -> Iterator[Pair]:
    """Return both machines with their planes, and nothing in them."""
    planes: list[LocalPlane | RemotePlane] = []
    for name in ("a", "b"):
        if request.param == "local":
            planes.append(LocalPlane(1))
        else:
            (tmp_path / name).mkdir()
            planes.append(spawn_dataplane(tmp_path / name, ["--workers", "1"]))
    a, b = (
        Machine(lab.namespaces[name], plane, outer, inner)
        for name, plane, outer, inner in zip("ab", planes, OUTER, INNER, strict=True)
    )
    yield a, b
    for name, plane in zip("ab", planes, strict=True):
        plane.stop()
        with contextlib.suppress(OSError):  # a test may have closed the connection only
            connect(tmp_path / name / SOCKET_NAME).stop()


@pytest.fixture
def pair(bare: Pair) -> Pair:
    """Return both machines, joined by UDP encapsulation, without SAs."""
    a, b = bare
    a.join(b, EncapKind.UDP, OPTIONS)
    b.join(a, EncapKind.UDP, OPTIONS)
    return a, b


@pytest.fixture
def up(pair: Pair) -> Pair:
    """Return both machines with an SA each way."""
    a, b = pair
    install(a.plane, b.plane, plane_sa(A_TO_B))
    install(b.plane, a.plane, plane_sa(B_TO_A, key=OTHER_KEY))
    return a, b


def ping(source: Machine, to: Machine, *options: str) -> str:
    return source.namespace.run("ping", "-n", "-W", "2", *options, str(to.inner), check=False)


def sent(report: str) -> int:
    """Return how many echo requests ping says it has sent."""
    found = re.search(r"(\d+) packets transmitted", report)
    assert found, report
    return int(found[1])


def echo_replies(machine: Machine) -> int:
    """Return how many echo replies the machine's kernel got; ping itself may miss the last one."""
    names, values = (
        line.split()
        for line in machine.namespace.run("cat", "/proc/net/snmp").splitlines()
        if line.startswith("Icmp:")
    )
    return int(values[names.index("InEchoReps")])


def lost(source: Machine, to: Machine, *options: str) -> int:
    """Ping and return how many echo replies never came."""
    before = echo_replies(source)
    count = sent(ping(source, to, *options))
    return count - replies_since(before, source, count)


def replies_since(before: int, machine: Machine, wanted: int) -> int:
    """
    Return how many echo replies have come.

    Where any has, ping itself waits for the last ones hardly longer than that one took.
    """
    give_up_at = time.monotonic() + 2.0
    while (came := echo_replies(machine) - before) and came < wanted:
        if time.monotonic() > give_up_at:
            break
        select.select([], [], [], 0.01)
    return came


def collect(machine: Machine, wanted: PuntType) -> Punt:
    """Return the next punt record of a type. The machine's plane has no event loop here."""
    got: list[Punt] = []
    machine.plane.on_punt(got.append)
    give_up_at = time.monotonic() + 10.0
    while True:
        for punt in got:
            if punt.type is wanted:
                return punt
        assert time.monotonic() < give_up_at, f"no {wanted.name} came, but {got}"
        machine.plane.poll(1.0)


def drops(machine: Machine, reason: str) -> int:
    return all_drops(machine).get(reason, 0)


def all_drops(machine: Machine) -> Mapping[str, int]:
    return machine.plane.tunnel_stats(TUNNEL).drops


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < give_up_at, what
        select.select([], [], [], 0.01)


def test_ping_goes_both_ways_and_is_counted(up: Pair) -> None:
    a, b = up
    assert lost(a, b, "-c", "20", "-i", "0.01") == 0
    assert lost(b, a, "-c", "20", "-i", "0.01", "-s", "1300") == 0
    for machine, spi in ((a, B_TO_A), (b, A_TO_B)):
        stats = machine.plane.tunnel_stats(TUNNEL)
        assert (stats.out_packets, stats.in_packets) == (40, 40)
        assert stats.out_bytes == stats.in_bytes == 20 * 84 + 20 * 1328
        # Header and IV 16, padding and trailer up to a multiple of 4, ICV 16 (RFC 4303, RFC 4106).
        assert stats.out_esp_bytes == stats.in_esp_bytes == 20 * (32 + 88) + 20 * (32 + 1332)
        assert 0 < time.monotonic() - stats.in_at < 60
        assert machine.plane.inbound_stats(spi).seq == 40
        assert machine.plane.outbound_stats(TUNNEL).packets == 40
        assert not stats.drops


def test_a_path_smaller_than_the_device_is_told_and_not_fragmented(up: Pair) -> None:
    a, b = up
    before = fragments_seen(b)
    a.namespace.ip("route", "add", f"{b.outer}/32", "dev", "wire", "mtu", "1000")
    try:
        assert lost(a, b, "-c", "1", "-s", "1100") == 1
        assert drops(a, "path_mtu") == 1
        assert collect(a, PuntType.PATH_MTU).tunnel == TUNNEL
        assert lost(a, b, "-c", "3", "-i", "0.01", "-s", "800") == 0
        assert fragments_seen(b) == before
        # IKE may be: a peer without IKE fragmentation has no other way.
        a.plane.send_ike(Path(a.outer, 4500, b.outer, 4500), bytes(range(256)) * 8)
        assert collect(b, PuntType.IKE).data == bytes(range(256)) * 8
        assert fragments_seen(b) > before
        assert lost(a, b, "-c", "1", "-s", "1100") == 1
    finally:
        a.namespace.ip("route", "del", f"{b.outer}/32", "dev", "wire")


def test_a_path_too_small_for_the_least_mtu_gets_fragments(up: Pair) -> None:
    a, b = up
    before, lost_before = fragments_seen(b), drops(a, "path_mtu")
    a.namespace.ip("route", "add", f"{b.outer}/32", "dev", "wire", "mtu", "552")
    try:
        assert lost(a, b, "-c", "3", "-i", "0.01", "-s", "548") == 0  # 576 bytes with its headers
        assert fragments_seen(b) >= before + 6
        assert drops(a, "path_mtu") == lost_before
        assert lost(a, b, "-c", "1", "-s", "700") == 1
        assert drops(a, "path_mtu") == lost_before + 1
    finally:
        a.namespace.ip("route", "del", f"{b.outer}/32", "dev", "wire")
    assert lost(a, b, "-c", "3", "-i", "0.01", "-s", "1100") == 0


def fragments_seen(machine: Machine) -> int:
    """Return how many IP fragments have come to a machine."""
    lines = machine.namespace.run("cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Ip:"))
    return int(values[names.index("ReasmReqds")])


def test_tcp_stream_goes_both_ways_unchanged(up: Pair) -> None:
    a, b = up
    content = os.urandom(8 << 20)
    for source, to in ((a, b), (b, a)):
        server = inside(to.namespace, listening(to.inner))
        with server:
            client = inside(source.namespace, lambda: socket.socket())
            with client:
                client.settimeout(20)
                client.connect((str(to.inner), 5001))
                accepted, _ = server.accept()
                with accepted:
                    received = exchange(client, accepted, content)
        assert received == content
    assert a.plane.worker_stats(0).counters["merged"] > 0, "segments were carried one by one"


def listening(address: IPv4Address) -> Callable[[], socket.socket]:
    return lambda: socket.create_server((str(address), 5001))


def exchange(client: socket.socket, accepted: socket.socket, content: bytes) -> bytes:
    """Send `content` one way and return what arrives, without a second thread."""
    client.setblocking(False)
    accepted.setblocking(False)
    rest, received = memoryview(content), bytearray()
    while len(received) < len(content):
        readable, writable, _ = select.select([accepted], [client] if rest else [], [], 20)
        assert readable or writable, f"the stream stands still at {len(received)} bytes"
        if writable:
            rest = rest[client.send(rest[: 1 << 20]) :]
        if readable:
            received += accepted.recv(1 << 20)
    return bytes(received)


@pytest.mark.parametrize("one", [lib.GW_BACKEND_OPENSSL, lib.GW_BACKEND_IPSECMB])
@pytest.mark.parametrize("other", [lib.GW_BACKEND_OPENSSL, lib.GW_BACKEND_IPSECMB])
def test_the_back_ends_understand_each_other(pair: Pair, one: int, other: int) -> None:
    if not has_ipsecmb():
        pytest.skip("built without ipsec-mb")
    a, b = pair
    there, back = plane_sa(A_TO_B), plane_sa(B_TO_A, key=OTHER_KEY)
    a.plane.set_outbound(TUNNEL, replace(there, backend=one))
    b.plane.add_inbound(TUNNEL, replace(there, backend=other))
    b.plane.set_outbound(TUNNEL, replace(back, backend=other))
    a.plane.add_inbound(TUNNEL, replace(back, backend=one))
    assert lost(a, b, "-c", "10", "-i", "0.01") == 0


def test_no_packet_is_lost_when_the_sas_are_replaced(up: Pair) -> None:
    a, b = up
    before = echo_replies(a)
    flood = a.namespace.start("ping", "ping", "-n", "-c", "400", "-i", "0.002", str(b.inner))
    for generation in range(1, 20):
        key = os.urandom(36)
        install(a.plane, b.plane, plane_sa(A_TO_B + 2 * generation, key=key))
        install(b.plane, a.plane, plane_sa(B_TO_A + 2 * generation, key=key[::-1]))
    assert sent(finished(flood)) == replies_since(before, a, 400) == 400
    for generation in range(19):
        b.plane.del_inbound(A_TO_B + 2 * generation)
    assert b.plane.state().tunnels == {TUNNEL: (A_TO_B + 38,)}


def finished(process: Process) -> str:
    process.child.wait(60)
    return process.log.read_text()


GATEWAY = """
import signal, sys
from gateway.dataplane.reach import connect
plane = connect(sys.argv[1])
plane.keep([(b"sa", sys.argv[2].encode())])
print("connected", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("bare", ["remote"], indirect=True)
def test_the_gateway_process_is_killed_and_comes_back_without_a_lost_packet(
    up: Pair, tmp_path: FilePath
) -> None:
    a, b = up
    place = tmp_path / "a" / SOCKET_NAME
    a.plane.close()
    before = echo_replies(b)
    flood = b.namespace.start("ping", "ping", "-n", "-c", "300", "-i", "0.005", str(a.inner))
    for generation in range(3):
        argv = [sys.executable, "-c", GATEWAY, str(place), f"record {generation}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as gateway:
            assert gateway.stdout is not None
            assert gateway.stdout.readline() == "connected\n"
            gateway.kill()
    with connect(place) as again:
        assert again.kept() == {b"sa": b"record 2"}
        assert again.state().tunnels == {TUNNEL: (B_TO_A,)}
        assert again.state().names == {TUNNEL: "t"}
        assert sent(finished(flood)) == replies_since(before, b, 300) == 300
        assert again.tunnel_stats(TUNNEL).in_packets == 300
        again.stop()


def sniffer(machine: Machine) -> socket.socket:
    """Return a socket that sees every IPv4 packet of the machine's wire."""

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        sock.bind(("wire", 0x0800))
        sock.settimeout(10)
        return sock

    return inside(machine.namespace, make)


def next_esp(sock: socket.socket) -> bytes:
    """Return the next packet that carries ESP, from its IP header on."""
    while True:
        packet = IP(sock.recv(65535))
        is_udp = packet.proto == 17 and packet[UDP].dport == 4500
        if packet.proto == 50 or (is_udp and bytes(packet[UDP].payload)[:4] != bytes(4)):
            return bytes(packet)


@pytest.mark.parametrize("encap", list(EncapKind))
@pytest.mark.parametrize("esn", [False, True])
def test_scapy_opens_what_is_on_the_wire(bare: Pair, encap: EncapKind, esn: bool) -> None:
    a, b = bare
    a.join(b, encap, OPTIONS)
    b.join(a, encap, OPTIONS)
    sa = plane_sa(A_TO_B)
    install(a.plane, b.plane, replace(sa, sa=replace(sa.sa, esn=esn)))
    with sniffer(b) as wire:
        ping(a, b, "-c", "1", "-W", "1", "-s", "100", "-p", "5a")
        packet = IP(next_esp(wire))
    assert (packet.src, packet.dst) == (str(a.outer), str(b.outer))
    nat = UDP(sport=4500, dport=4500) if encap is EncapKind.UDP else None
    judge = SecurityAssociation(  # type: ignore[no-untyped-call]  # scapy has no types
        ESP, A_TO_B, crypt_algo="AES-GCM", crypt_key=KEY, tunnel_header=IP(), nat_t_header=nat
    )
    inner = judge.decrypt(packet, esn_en=esn, esn=0)  # type: ignore[no-untyped-call]  # as above
    assert (inner.src, inner.dst) == (str(a.inner), str(b.inner))
    assert inner[ICMP].type == 8
    assert bytes(inner[ICMP].payload)[16:] == b"\x5a" * 84


def attack(a: Machine, b: Machine, *datagrams: bytes) -> None:
    """Send datagrams from a's address, but another port, to b's port 4500."""
    with inside(a.namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((str(a.outer), 0))
        for datagram in datagrams:
            sock.sendto(datagram, (str(b.outer), 4500))


def test_replayed_and_forged_packets_are_dropped_and_counted(up: Pair) -> None:
    a, b = up
    with sniffer(b) as wire:
        ping(a, b, "-c", "1")
        good = bytes(IP(next_esp(wire))[UDP].payload)
    seq = int.from_bytes(good[4:8], "big")
    later = good[:4] + (seq + 5).to_bytes(4, "big") + good[8:]
    attack(a, b, good, good, later, good[:20])
    wait_until("the drops are counted", lambda: sum(all_drops(b).values()) == 4)
    assert all_drops(b) == {"replay": 2, "icv": 1, "esp_short": 1}
    # Nothing of that moved the window or the path.
    assert b.plane.inbound_stats(A_TO_B).seq == seq
    assert lost(a, b, "-c", "3", "-i", "0.01") == 0


def test_esp_for_an_unknown_spi_is_reported_and_counted(pair: Pair) -> None:
    a, b = pair
    attack(a, b, (0x0BADBAD0).to_bytes(4, "big") + bytes(60))
    punt = collect(b, PuntType.UNKNOWN_SPI)
    assert (punt.spi, punt.tunnel) == (0x0BADBAD0, 0)
    assert punt.path is not None
    assert (punt.path.local, punt.path.remote) == (b.outer, a.outer)
    assert b.plane.worker_stats(0).drops["unknown_spi"] == 1


def test_first_packet_of_an_inbound_sa_is_reported(up: Pair) -> None:
    a, b = up
    ping(a, b, "-c", "2", "-i", "0.01")
    punt = collect(b, PuntType.FIRST_INBOUND)
    assert (punt.tunnel, punt.spi) == (TUNNEL, A_TO_B)


def test_soft_limit_is_reported_once_and_the_hard_limit_stops_the_sa(pair: Pair) -> None:
    a, b = pair
    limits = Limits(soft_packets=3, hard_packets=6)
    b.plane.add_inbound(TUNNEL, plane_sa(A_TO_B))
    a.plane.set_outbound(TUNNEL, plane_sa(A_TO_B, limits))
    install(b.plane, a.plane, plane_sa(B_TO_A, key=OTHER_KEY))
    assert lost(a, b, "-c", "9", "-i", "0.01", "-W", "1") == 3
    got: list[Punt] = []
    a.plane.on_punt(got.append)
    while a.plane.poll(0.2):
        continue
    reported = [(punt.type, punt.tunnel, punt.spi) for punt in got]
    assert reported.count((PuntType.SOFT_LIMIT, TUNNEL, A_TO_B)) == 1
    assert reported.count((PuntType.HARD_LIMIT, TUNNEL, A_TO_B)) == 1
    assert drops(a, "hard_limit") == 3


def test_packet_outside_the_selectors_leaves_neither_end(pair: Pair) -> None:
    a, b = pair
    narrow = (TrafficSelector(ip_address("10.9.0.0"), ip_address("10.9.255.255")),)
    install(a.plane, b.plane, plane_sa(A_TO_B))
    b.plane.set_outbound(TUNNEL, replace(plane_sa(B_TO_A, key=OTHER_KEY), local=narrow))
    a.plane.add_inbound(TUNNEL, plane_sa(B_TO_A, key=OTHER_KEY))
    assert lost(a, b, "-c", "2", "-i", "0.01", "-W", "1") == 2
    assert drops(b, "selector_out") == 2
    b.plane.set_outbound(TUNNEL, plane_sa(B_TO_A + 2, key=KEY[::-1]))
    a.plane.add_inbound(TUNNEL, replace(plane_sa(B_TO_A + 2, key=KEY[::-1]), remote=narrow))
    assert lost(a, b, "-c", "2", "-i", "0.01", "-W", "1") == 2
    assert drops(a, "selector_in") == 2


def test_slots_divide_the_traffic_and_are_replaced_one_by_one(pair: Pair) -> None:
    a, b = pair
    for slot, protocol in ((3, 17), (31, 1)):
        sa = plane_sa(A_TO_B + 2 * slot)
        whole = sa.remote[0]
        narrow = TrafficSelector(whole.first, whole.last, protocol)
        b.plane.add_inbound(TUNNEL, sa)
        a.plane.set_outbound(TUNNEL, replace(sa, remote=(narrow,)), slot)
    install(b.plane, a.plane, plane_sa(B_TO_A, key=OTHER_KEY))
    assert lost(a, b, "-c", "10", "-i", "0.01") == 0
    assert a.plane.outbound_stats(TUNNEL, 31).packets == 10
    assert a.plane.outbound_stats(TUNNEL, 3).packets == 0
    newer = plane_sa(A_TO_B + 2, key=OTHER_KEY)
    b.plane.add_inbound(TUNNEL, newer)
    a.plane.set_outbound(TUNNEL, newer, 31)
    a.plane.clear_outbound(TUNNEL, 3)
    assert lost(a, b, "-c", "5", "-i", "0.01") == 0
    assert b.plane.inbound_stats(A_TO_B + 2).packets == 5
    with pytest.raises(DataPlaneError, match="slot 32"):
        a.plane.set_outbound(TUNNEL, newer, 32)


def test_nothing_leaves_in_clear_text_without_an_sa(up: Pair) -> None:
    a, b = up
    a.plane.clear_outbound(TUNNEL)
    with sniffer(b) as wire:
        assert lost(a, b, "-c", "2", "-i", "0.01", "-W", "1") == 2
        wire.setblocking(False)
        with pytest.raises(BlockingIOError):
            next_esp(wire)
    assert drops(a, "no_sa") == 2


def test_a_cleared_sa_stops_the_tunnel_and_a_new_one_starts_it(up: Pair) -> None:
    a, b = up
    a.plane.clear_outbound(TUNNEL)
    with pytest.raises(DataPlaneError):
        a.plane.outbound_stats(TUNNEL)
    assert lost(a, b, "-c", "1", "-W", "1") == 1
    install(a.plane, b.plane, plane_sa(A_TO_B + 2, key=KEY[::-1]))
    assert lost(a, b, "-c", "1") == 0


def test_carrier_follows_and_a_deleted_tunnel_takes_its_device_along(up: Pair) -> None:
    a, _ = up
    assert "LOWER_UP" in a.namespace.ip("link", "show", "tun0")
    a.plane.set_carrier(TUNNEL, False)
    assert "NO-CARRIER" in a.namespace.ip("link", "show", "tun0")
    a.plane.del_tunnel(TUNNEL)
    assert "tun0" not in a.namespace.ip("link", "show")
    assert a.plane.state().tunnels == {}
    with pytest.raises(DataPlaneError):
        a.plane.inbound_stats(B_TO_A)


def test_the_path_follows_a_peer_whose_port_changes(up: Pair) -> None:
    a, b = up
    ping(a, b, "-c", "1")
    with sniffer(b) as wire:
        b.plane.del_socket(b.outer, 4500, EncapKind.UDP)  # b misses this packet
        ping(a, b, "-c", "1", "-W", "1")
        missed = bytes(IP(next_esp(wire))[UDP].payload)
    again = inside(b.namespace, lambda: open_nat_t_socket(b.outer))
    b.plane.add_socket(again.detach(), 0, b.outer, 4500, EncapKind.UDP)
    before = echo_replies(a)
    attack(a, b, missed)
    punt = collect(b, PuntType.PATH_CHANGED)
    wait_until("its answer, by the path as it was", lambda: echo_replies(a) > before)
    assert punt.tunnel == TUNNEL
    assert punt.path is not None
    assert (punt.path.remote, punt.path.local) == (a.outer, b.outer)
    assert punt.path.remote_port not in (0, 4500)
    b.plane.set_path(TUNNEL, Path(b.outer, 4500, a.outer, 4500), EncapKind.UDP)
    assert lost(a, b, "-c", "2", "-i", "0.01") == 0


def test_keepalive_is_one_byte_on_the_path(up: Pair) -> None:
    a, b = up
    with sniffer(b) as wire:
        a.plane.send_keepalive(TUNNEL)
        packet = IP(next_esp(wire))
    assert bytes(packet[UDP].payload) == b"\xff"
    wait_until("it is counted", lambda: b.plane.worker_stats(0).drops.get("keepalive") == 1)


def test_options_change_while_the_tunnel_runs(up: Pair) -> None:
    a, b = up
    a.plane.set_options(TUNNEL, replace(OPTIONS, mtu=1000))
    report = ping(a, b, "-c", "1", "-s", "1100", "-M", "do", "-W", "1")
    assert "mtu = 1000" in report or "mtu=1000" in report
    assert drops(a, "too_big") == 1
