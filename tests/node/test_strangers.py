"""How much of the event loop strangers get, and that known peers do not wait for them."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address

import pytest

from gateway.node import udp
from gateway.node.journal import Journal, Level
from gateway.node.strangers import (
    BURST_S,
    PEERS_MOST,
    PER_PEER_BURST,
    PER_SITE_BURST,
    SHARE,
    Strangers,
)
from gateway.node.udp import IkeSockets, open_ike_socket
from gateway.sa import Path

PEER = ip_address("192.0.2.1")


class Clock:
    """Seconds that move when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float) -> Callable[[], None]:
        """Return work that takes so long."""

        def work() -> None:
            self.now += seconds

        return work


def at(number: int) -> IPv4Address:
    """Return an address of a site of its own."""
    return IPv4Address(int(IPv4Address("10.0.0.0")) + (number << 8))


def test_strangers_get_a_quarter_of_the_time_whatever_one_of_them_costs() -> None:
    for cost_s in (10e-6, 1e-3):
        clock = Clock()
        strangers = Strangers(clock)
        spent = 0.0
        end = clock.now + 10.0
        number = 0
        while clock.now < end:
            before, number = clock.now, number + 1
            strangers.let_in(at(number % 60_000), clock.spend(cost_s))
            spent += clock.now - before
            if not strangers.have_time(str(at(1))):
                clock.now += 1e-3  # the loop does something else
        assert spent / 10.0 == pytest.approx(SHARE, abs=0.02)


def test_after_quiet_a_burst_is_handled_and_the_rest_is_shed() -> None:
    clock = Clock()
    strangers = Strangers(clock)
    handled: list[None] = []
    for number in range(1000):
        strangers.let_in(at(number), lambda: handled.append(clock.spend(1e-3)()))
    assert len(handled) == pytest.approx(BURST_S / (1 - SHARE) / 1e-3, abs=2)
    assert strangers.shed == 1000 - len(handled)
    clock.now += 1.0
    assert strangers.have_time(str(at(1)))


def test_one_site_does_not_take_what_others_need() -> None:
    strangers = Strangers(Clock())
    handled: list[int] = []
    for _ in range(2000):
        strangers.let_in(at(1), lambda: handled.append(1))
    strangers.let_in(at(2), lambda: handled.append(2))
    assert handled.count(1) == PER_SITE_BURST
    assert handled[-1] == 2


def test_a_known_peer_comes_first_as_long_as_it_says_what_a_peer_may_say() -> None:
    clock = Clock()
    strangers = Strangers(clock)
    strangers.know({PEER: 1, ip_address("2001:db8::1"): 1})
    assert strangers.is_first("2001:db8::1")
    assert sum(strangers.is_first(str(PEER)) for _ in range(1000)) == PER_PEER_BURST
    strangers.let_in(PEER, lambda: clock.spend(1e-3)())  # but is handled where there is time
    assert strangers.shed == 0
    clock.now += 1.0
    assert strangers.is_first(str(PEER))
    strangers.know({PEER: 1})
    assert not strangers.is_first("2001:db8::1")


def test_an_address_of_many_peers_may_say_as_much_as_all_of_them_up_to_a_bound() -> None:
    """After a restart of ours, or of our data plane, hundreds of tunnels of one hub say much."""
    hub = at(1)
    for many, counted in ((3, 3), (1000, PEERS_MOST)):
        strangers = Strangers(Clock())
        strangers.know({PEER: 1, hub: many})
        said = sum(strangers.is_first(str(hub)) for _ in range(100 * PER_PEER_BURST))
        assert said == pytest.approx(counted * PER_PEER_BURST, abs=counted)


def test_one_source_does_not_silence_what_others_cause_in_the_log() -> None:
    log = io.StringIO()
    journal = Journal(log, lambda: 100.0, Level.DEBUG)
    for _ in range(50):
        journal.from_peer(Level.DEBUG, "dropped", at(1), reason="flags")
    journal.from_peer(Level.DEBUG, "dropped", at(2), reason="version")
    lines = log.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[-1] == "dropped reason=version left_out=45"


@pytest.mark.system
@pytest.mark.usefixtures("network")
async def test_known_peers_are_handled_before_strangers_that_came_first() -> None:
    local, known, other = (IPv4Address(f"127.0.0.{last}") for last in (1, 2, 3))
    received: list[tuple[bytes, Path]] = []
    strangers = Strangers()
    strangers.know({known: 1})
    sockets = IkeSockets(lambda datagram, path: received.append((datagram, path)), strangers)
    with (
        open_ike_socket(local) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as friend,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        friend.bind((str(known), 0))
        stranger.bind((str(other), 0))
        for number in range(PER_SITE_BURST + 100):
            stranger.sendto(b"noise %d" % number, (str(local), 500))
        friend.sendto(b"true", (str(local), 500))
        sockets._readable(sock, local)
    assert received[0][0] == b"true"
    assert [one for one, _ in received[1:3]] == [b"noise 0", b"noise 1"]
    assert len(received) - 1 + strangers.shed == PER_SITE_BURST + 100
    assert strangers.shed > 0


@pytest.mark.system
@pytest.mark.usefixtures("network")
async def test_a_peers_request_to_begin_that_waited_too_long_is_left_to_its_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a peer has begun is finished, however late it is."""
    local, known = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.2")
    received: list[bytes] = []
    strangers = Strangers()
    strangers.know({known: 1})
    sockets = IkeSockets(lambda datagram, path: received.append(datagram), strangers)
    head = b"\x05" * 8 + bytes(8) + bytes([33, 0x20])
    rest = bytes([8]) + bytes(4) + (28).to_bytes(4, "big")
    begins, goes_on = head + bytes([34]) + rest, head + bytes([35]) + rest
    with open_ike_socket(local) as sock, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind((str(known), 0))
        for stale_s in (4.0, -1.0):
            monkeypatch.setattr(udp, "STALE_S", stale_s)
            for datagram in (begins, goes_on):
                peer.sendto(datagram, (str(local), 500))
            sockets._readable(sock, local)
    assert received == [begins, goes_on, goes_on]
    assert strangers.shed == 1
