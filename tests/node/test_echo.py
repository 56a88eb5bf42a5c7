"""Echo requests and their answers: scapy is the judge of the packets, the kernel of the rest."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6

from gateway.netns.wire import SOCKETS
from gateway.node.echo import NONCE_BYTES, Answer, EchoRequest, EchoSockets, reply_nonce
from gateway.sa import Address
from tests.node.far_end import FarEnd, reply_to
from tests.node.network import ip

MARK = b"\x01\x02\x03\x04\x05\x06\x07\x08"
NONCE = bytes(range(NONCE_BYTES))
OURS4, PEER4 = IPv4Address("169.254.10.1"), IPv4Address("169.254.10.2")
OURS6, PEER6 = IPv6Address("fd00:10::1"), IPv6Address("fd00:10::2")

sixteen = st.integers(0, 0xFFFF)
nonces = st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES)


@given(st.ip_addresses(v=4), st.ip_addresses(v=4), sixteen, sixteen, nonces)
def test_an_ipv4_request_is_what_scapy_makes_of_it(
    source: Address, target: Address, identifier: int, number: int, nonce: bytes
) -> None:
    packet = EchoRequest(source, target).packet(MARK, identifier, number, nonce)
    icmp = ICMP(type=8, id=identifier, seq=number)
    head = IP(src=str(source), dst=str(target), tos=0xC0, id=0, flags="DF", ttl=64)
    assert packet == bytes(head / icmp / (MARK + nonce))


@given(st.ip_addresses(v=6), st.ip_addresses(v=6), sixteen, sixteen, nonces)
def test_an_ipv6_request_is_what_scapy_makes_of_it(
    source: Address, target: Address, identifier: int, number: int, nonce: bytes
) -> None:
    packet = EchoRequest(source, target).packet(MARK, identifier, number, nonce)
    icmp = ICMPv6EchoRequest(id=identifier, seq=number, data=MARK + nonce)
    head = IPv6(src=str(source), dst=str(target), tc=0xC0, hlim=64)
    assert packet == bytes(head / icmp)


def test_the_nonce_of_a_reply_is_found() -> None:
    request = IP(EchoRequest(OURS4, PEER4).packet(MARK, 1, 2, NONCE))
    reply = bytes(reply_to(request))
    assert reply_nonce(4, reply) == NONCE
    assert reply_nonce(4, bytes(request)) is None
    assert reply_nonce(4, reply + b"x") is None
    for cut in range(len(reply)):
        assert reply_nonce(4, reply[:cut]) is None
    assert reply_nonce(6, b"\x81" + bytes(15) + NONCE) == NONCE
    assert reply_nonce(6, b"\x80" + bytes(15) + NONCE) is None


@given(st.sampled_from([4, 6]), st.binary(max_size=80))
def test_whatever_comes_is_no_error(version: int, data: bytes) -> None:
    nonce = reply_nonce(version, data)
    assert nonce is None or len(nonce) == NONCE_BYTES


@pytest.fixture
def sockets(network: None) -> Iterator[EchoSockets]:
    made = EchoSockets(lambda what: socket.socket(*SOCKETS[what]))
    for version in (4, 6):
        made.listen(version)
    yield made
    made.close()


@pytest.fixture
def ends(network: None) -> Iterator[tuple[FarEnd, FarEnd]]:
    made = (
        FarEnd("ts-a", f"{OURS4}/30", f"{OURS6}/126"),
        FarEnd("ts-b", "169.254.10.5/30"),
    )
    yield made
    for end in made:
        end.close()


def come(sockets: EchoSockets, count: int) -> list[Answer]:
    """Return so many answers; a busy kernel hands them on later than they were put."""
    answers: list[Answer] = []
    give_up_at = time.monotonic() + 5.0
    while len(answers) < count and time.monotonic() < give_up_at:
        answers += sockets.read(10)[0]
    return answers


@pytest.mark.system
@pytest.mark.parametrize(("ours", "peer"), [(OURS4, PEER4), (OURS6, PEER6)])
def test_an_answer_comes_with_device_address_and_time(
    sockets: EchoSockets, ends: tuple[FarEnd, FarEnd], ours: Address, peer: Address
) -> None:
    before = time.time()
    sockets.send("ts-a", EchoRequest(ours, peer), 70_000, NONCE)
    assert ends[0].answer() == 1
    answers = come(sockets, 1)
    assert sockets.read(10) == ([], True)
    assert [(each.source, each.nonce) for each in answers] == [(str(peer), NONCE)]
    assert answers[0].arrival == sockets.arrival("ts-a", ours)
    assert before <= answers[0].at <= time.time()


@pytest.mark.system
@pytest.mark.parametrize(
    ("ours", "target", "net"),
    [
        (OURS4, IPv4Address("10.20.0.9"), "10.20.0.0/16"),
        (OURS6, IPv6Address("fd20::9"), "fd20::/64"),
    ],
)
@pytest.mark.parametrize("route", ["", "dev ts-b", "unreachable"])
def test_a_request_goes_through_its_tunnel_whatever_the_routes_are(
    sockets: EchoSockets,
    ends: tuple[FarEnd, FarEnd],
    ours: Address,
    target: Address,
    net: str,
    route: str,
) -> None:
    if route:
        words = f"unreachable {net}" if route == "unreachable" else f"{net} {route}"
        ip(f"-{ours.version} route add {words}")
    ip("link set ts-a up")
    sockets.send("ts-a", EchoRequest(ours, target), 1, NONCE)
    assert ends[1].requests() == []
    assert ends[0].answer() == 1
    assert [(each.source, each.nonce) for each in come(sockets, 1)] == [(str(target), NONCE)]


@pytest.mark.system
def test_what_comes_by_another_device_shows_it(
    sockets: EchoSockets, ends: tuple[FarEnd, FarEnd]
) -> None:
    sockets.send("ts-a", EchoRequest(OURS4, PEER4), 1, NONCE)
    (request,) = ends[0].requests()
    ends[1].put(reply_to(request))
    (answer,) = come(sockets, 1)
    assert answer.arrival != sockets.arrival("ts-a", OURS4)


@pytest.mark.system
def test_the_kernel_drops_what_does_not_carry_our_mark(
    sockets: EchoSockets, ends: tuple[FarEnd, FarEnd]
) -> None:
    sockets.send("ts-a", EchoRequest(OURS4, PEER4), 1, NONCE)
    (request,) = ends[0].requests()
    reply = reply_to(request)
    mark = bytes(request[ICMP].payload)[:8]
    for at in range(8):
        wrong = bytearray(mark)
        wrong[at] ^= 1
        head = IP(src=str(PEER4), dst=str(OURS4))
        ends[0].put(head / ICMP(type=0, id=reply[ICMP].id) / (bytes(wrong) + NONCE))
    head = IP(src=str(PEER4), dst=str(OURS4))
    ends[0].put(head / ICMP(type=3, code=1) / (bytes(28) + mark + NONCE))
    ends[0].put(head / ICMP(type=0) / b"short")
    assert sockets.read(100) == ([], True)
    ends[0].put(reply)
    assert len(come(sockets, 1)) == 1


@pytest.mark.system
def test_what_is_left_over_is_told(sockets: EchoSockets, ends: tuple[FarEnd, FarEnd]) -> None:
    for number in range(5):
        sockets.send("ts-a", EchoRequest(OURS4, PEER4), number, os.urandom(NONCE_BYTES))
    assert ends[0].answer() == 5
    answers, is_all = sockets.read(3)
    assert (len(answers), is_all) == (3, False)
    answers, is_all = sockets.read(3)
    assert (len(answers), is_all) == (2, True)


@pytest.mark.system
def test_a_device_that_is_not_there_is_an_error(sockets: EchoSockets) -> None:
    with pytest.raises(OSError, match="No such device"):
        sockets.arrival("ts-none", OURS4)
    with pytest.raises(OSError, match="No such device"):
        sockets.send("ts-none", EchoRequest(OURS4, PEER4), 1, NONCE)
