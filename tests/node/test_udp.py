"""Real sockets on loopback addresses, in a network namespace of the test's own."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from gateway.node.udp import (
    IkeSockets,
    SocketError,
    is_local,
    open_ike_socket,
    open_nat_t_socket,
    open_raw_esp_socket,
    outer_mtu,
)
from gateway.sa import Path
from tests.node.network import ip

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]

A, B = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")
V6 = IPv6Address("::1")


async def arrival(received: list[tuple[bytes, Path]]) -> tuple[bytes, Path]:
    """Wait for the next datagram."""
    async with asyncio.timeout(5):
        while not received:  # noqa: ASYNC110  # the sockets call back, they set no event
            await asyncio.sleep(0.001)
    return received.pop(0)


@pytest.mark.parametrize(("here", "there"), [(A, B), (V6, V6)])
async def test_a_datagram_arrives_with_its_path_and_is_answered_from_its_own_address(
    here: IPv4Address | IPv6Address, there: IPv4Address | IPv6Address
) -> None:
    received: list[tuple[bytes, Path]] = []
    sockets = IkeSockets(lambda datagram, path: received.append((datagram, path)))
    family = socket.AF_INET if here.version == 4 else socket.AF_INET6
    sockets.open(here)
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.bind((str(there), 0))
        peer.settimeout(5)
        port = peer.getsockname()[1]
        peer.sendto(b"question", (str(here), 500))

        datagram, path = await arrival(received)
        assert (datagram, path) == (b"question", Path(here, 500, there, port))

        sockets.send(b"answer", path)
        answer, source = peer.recvfrom(100)
        assert (answer, source[:2]) == (b"answer", (str(here), 500))
    sockets.close_all()


async def test_many_datagrams_at_once_all_arrive() -> None:
    received: list[tuple[bytes, Path]] = []
    sockets = IkeSockets(lambda datagram, path: received.append((datagram, path)))
    sockets.open(A)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for number in range(200):
            peer.sendto(number.to_bytes(2, "big"), (str(A), 500))
    seen = [int.from_bytes((await arrival(received))[0], "big") for _ in range(200)]
    assert seen == list(range(200))
    sockets.close_all()


async def test_what_can_not_be_sent_is_counted() -> None:
    sockets = IkeSockets(lambda datagram, path: None)
    sockets.open(A)
    sockets.send(b"x", Path(A, 500, IPv4Address("192.0.2.9"), 500))  # no route in here
    sockets.send(b"x", Path(B, 500, A, 500))  # no socket of that address
    assert sockets.send_errors["Network is unreachable"] + sockets.send_errors["no_socket"] == 2
    sockets.close_all()


def test_port_500_in_use_is_said_plainly() -> None:
    with open_ike_socket(A), pytest.raises(SocketError, match=r"127\.0\.0\.1 port 500: in use"):
        open_ike_socket(A)


def test_every_worker_gets_its_own_socket_on_4500() -> None:
    with open_nat_t_socket(A) as one, open_nat_t_socket(A) as other:
        assert one.getsockname() == other.getsockname() == ("127.0.0.1", 4500)
        assert not one.getblocking()
        assert one.getsockopt(socket.IPPROTO_UDP, 104) == 1  # UDP_GRO
        assert one.getsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS) == 1
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 16 << 20


@pytest.mark.parametrize("address", [A, V6])
def test_a_raw_esp_socket_receives_protocol_50_of_its_address_only(
    address: IPv4Address | IPv6Address,
) -> None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with (
        open_raw_esp_socket(address) as esp,
        socket.socket(family, socket.SOCK_RAW, 50) as peer,
    ):
        peer.sendto(b"\0\0\1\1esp packet", (str(address), 0))
        esp.settimeout(5)
        assert esp.recv(2048).endswith(b"esp packet")


def test_an_address_that_comes_later_can_be_bound_now() -> None:
    later = IPv4Address("192.0.2.77")
    assert not is_local(later)
    with open_ike_socket(later) as sock:
        ip("addr add 192.0.2.77/32 dev lo")
        assert is_local(later)
        assert sock.getsockname() == ("192.0.2.77", 500)


def test_the_path_mtu_is_that_of_the_route() -> None:
    ip("link add wan type veth peer name far")
    ip("link set wan mtu 1400 up")
    ip("link set far up")
    ip("addr add 192.0.2.1/24 dev wan")
    assert outer_mtu(IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")) == 1400
    assert outer_mtu(IPv4Address("192.0.2.1"), IPv4Address("203.0.113.1")) is None
    ip("-6 addr add 2001:db8::1/64 dev wan nodad")
    assert outer_mtu(V6.__class__("2001:db8::1"), IPv6Address("2001:db8::2")) == 1400
    assert outer_mtu(V6.__class__("2001:db8::1"), ip_address("2001:db9::2")) is None
