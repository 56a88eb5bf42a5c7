"""
A peer sends us to another gateway (RFC 5685), and the tunnel allows it: a begins at b, and c is the
other gateway.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.ike.context import EndpointLimits
from gateway.ike.events import Failed, IkeSaDown, IkeSaUp, Note
from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.message import Message, open_sealed, parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import Nonce, Notify, SecurityAssociation
from gateway.sa import Address, Path
from tests.support.forge import Forger
from tests.support.pair import B_ADDRESS, Flight, IkePair, Link, Side, config_a, config_b

C_ADDRESS = ip_address("203.0.113.9")
D_ADDRESS = ip_address("203.0.113.10")
NOBODY = Notify(NotifyType.REDIRECT, b"\x03\x0egw2.gw.example")


class Routed(Link):
    """A link where what a sends goes to whose address is on it."""

    def arrive(self, flight: Flight) -> None:
        pair = flight.sender.pair
        assert isinstance(pair, Three)
        if flight.sender is not pair.a:
            super().arrive(flight)
            return
        at = flight.path
        for side in (pair.b, pair.c):
            if side.config.local == at.remote:
                side.receive(flight.datagram, back(at))


class Three(IkePair):
    """A pair, and another gateway with the identity and the key of b."""

    def __init__(self, *, allow_redirect: bool = True) -> None:
        super().__init__(config_a(allow_redirect=allow_redirect), config_b())
        self.link = Routed()
        self.c = Side(self, "c", config_b(local=C_ADDRESS), EndpointLimits())

    @classmethod
    def begun(cls, *, allow_redirect: bool = True) -> Three:
        """Return gateways of which a has sent its first message."""
        three = cls(allow_redirect=allow_redirect)
        three.c.start()
        three.start()
        return three

    def sides(self) -> tuple[Side, ...]:
        return self.a, self.b, self.c

    @property
    def place(self) -> Address:
        """Return where a speaks to."""
        path = self.a.endpoint.tunnel_status("office").path
        assert path is not None
        return path.remote

    def is_at(self, side: Side) -> bool:
        """Return whether both ends are established there, and have the keys of each other."""
        ours, theirs = self.a.plane, side.plane
        if ours.outbound is None or theirs.outbound is None:
            return False
        is_there = ours.outbound.spi in theirs.inbound and theirs.outbound.spi in ours.inbound
        is_up = self.a.state == side.state == "established"
        return is_there and is_up and self.place == side.config.local


def back(path: Path) -> Path:
    return Path(path.remote, path.remote_port, path.local, path.local_port)


def to(address: Address, nonce: bytes = b"") -> Notify:
    kind = 1 if address.version == 4 else 2
    packed = address.packed
    return Notify(NotifyType.REDIRECT, bytes([kind, len(packed)]) + packed + nonce)


def request_of(three: Three) -> tuple[Message, Path]:
    """Return the IKE_SA_INIT request that a has sent last, and its path."""
    flight = next(one for one in reversed(three.link.seen) if one.sender is three.a)
    assert flight.exchange == ExchangeType.IKE_SA_INIT
    return parse_clear(flight.datagram), flight.path


def answer_init(three: Three, sent: Notify) -> None:
    """Answer that request with a REDIRECT; nothing else comes."""
    request, path = request_of(three)
    three.link.flights.clear()
    answer = Message(request.spi_i, bytes(8), request.exchange, 0, True, False, (sent,))
    three.a.receive(serialise_clear(answer), path)
    three.fire()


def send_on(three: Three, address: Address) -> None:
    """Answer the last IKE_SA_INIT with a REDIRECT that returns its nonce."""
    nonce = request_of(three)[0].one(Nonce).value
    answer_init(three, to(address, nonce))


def said(three: Three, kind: NotifyType) -> bytes | None:
    notify = request_of(three)[0].notify(kind)
    return None if notify is None else notify.data


def send_later(side: Side, sent: Notify) -> None:
    """Let the gateway of an established IKE SA send a on."""
    Forger.of(side).send(ExchangeType.INFORMATIONAL, sent)
    sa = next(one for one in side.endpoint._context.sas.values() if one.is_usable)
    sa.window.next_request += 1


def established() -> Three:
    three = Three.begun()
    three.deliver_all()
    assert three.is_at(three.b)
    return three


# ---- IKE_SA_INIT ----


def test_the_first_message_says_that_we_can_be_sent_on() -> None:
    assert said(Three.begun(), NotifyType.REDIRECT_SUPPORTED) == b""
    assert said(Three.begun(allow_redirect=False), NotifyType.REDIRECT_SUPPORTED) is None


def test_in_ike_sa_init_it_is_followed_at_once() -> None:
    three = Three.begun()
    send_on(three, C_ADDRESS)
    assert request_of(three)[1].remote == C_ADDRESS
    assert said(three, NotifyType.REDIRECTED_FROM) == b"\x01\x04" + B_ADDRESS.packed
    assert said(three, NotifyType.REDIRECT_SUPPORTED) is None
    assert C_ADDRESS in three.a.endpoint.peer_addresses
    three.deliver_all()
    assert three.is_at(three.c)
    assert three.a.codes() == []
    assert three.a.endpoint.counters["redirect.followed"] == 1


@pytest.mark.parametrize("nonce", [b"", bytes(32)])
def test_without_our_nonce_it_is_nothing(nonce: bytes) -> None:
    three = Three.begun()
    request = three.link.flights[0]
    answer_init(three, to(C_ADDRESS, nonce))
    assert three.a.drops("unprotected_error") == 1
    assert request_of(three)[1].remote == B_ADDRESS
    three.link.flights.append(request)
    three.deliver_all()
    assert three.is_at(three.b)
    assert three.a.codes() == []


def test_where_it_is_not_allowed_the_address_is_told() -> None:
    three = Three.begun(allow_redirect=False)
    send_on(three, C_ADDRESS)
    three.advance(0.6, deliver=False)
    (failed,) = three.a.all(Failed)
    assert (failed.reason.code, failed.reason.theirs) == ("redirect_refused", str(C_ADDRESS))


@pytest.mark.parametrize(
    "value",
    [
        b"\x03\x0egw2.gw.example",
        b"\x02\x10" + ip_address("2001:db8::9").packed,
        b"\x01\x04" + ip_address("192.0.2.1").packed,  # ours
        b"\x01\x04" + ip_address("127.0.0.1").packed,
        b"\x01\x04" + ip_address("224.0.0.1").packed,
        b"\x01\x03\x01\x01\x01",
        b"\x01\x00",
    ],
)
def test_only_an_address_where_a_peer_can_be_is_followed(value: bytes) -> None:
    three = Three.begun()
    nonce = request_of(three)[0].one(Nonce).value
    answer_init(three, Notify(NotifyType.REDIRECT, value + nonce))
    three.advance(0.6, deliver=False)
    assert three.a.codes() == ["redirect_unusable"]
    assert request_of(three)[1].remote == B_ADDRESS


@pytest.mark.parametrize("value", [b"", b"\x01", b"\x01\x04\x01"])
def test_half_of_one_is_nothing(value: bytes) -> None:
    three = Three.begun()
    answer_init(three, Notify(NotifyType.REDIRECT, value))
    assert three.a.drops("unprotected_error") == 1
    assert request_of(three)[1].remote == B_ADDRESS
    assert three.a.state == "connecting"


def test_a_loop_ends_with_the_addresses_told() -> None:
    three = Three.begun()
    for at in (C_ADDRESS, D_ADDRESS, C_ADDRESS, D_ADDRESS, C_ADDRESS):
        send_on(three, at)
        assert request_of(three)[1].remote == at
    send_on(three, D_ADDRESS)
    three.advance(0.6, deliver=False)
    (failed,) = three.a.all(Failed)
    assert failed.reason.code == "redirect_loop"
    assert failed.reason.theirs.split(", ") == [str(C_ADDRESS), str(D_ADDRESS)] * 3
    three.link.flights.clear()
    three.advance(10.0)  # after a pause at the configured address
    assert three.is_at(three.b)
    three.advance(300.0)
    send_later(three.b, to(C_ADDRESS))
    three.deliver_all()
    assert three.is_at(three.c)


def test_who_does_not_answer_there_is_left_for_the_configured_address() -> None:
    three = Three.begun()
    send_on(three, D_ADDRESS)
    three.wait_for(lambda: three.is_at(three.b), 120.0)
    assert three.a.codes() == ["peer_unreachable"]


def test_closed_and_begun_again_it_is_at_the_configured_address() -> None:
    three = Three.begun()
    send_on(three, C_ADDRESS)
    three.deliver_all()
    assert three.is_at(three.c)
    three.a.close()
    three.deliver_all()
    three.a.initiate()
    three.deliver_all()
    assert three.is_at(three.b)


# ---- IKE_AUTH ----


def in_ike_auth(three: Three, sent: Notify) -> None:
    """Let b's answer to IKE_AUTH have a REDIRECT in place of a Child SA."""
    for _ in range(3):
        three.link.arrive(three.link.flights.popleft())
    flight = three.hold_to_a()
    forger = Forger.of(three.b)
    opened = open_sealed(flight.datagram, parse_header(flight.datagram), forger._cipher(False))
    kept = [one for one in opened.payloads if not isinstance(one, SecurityAssociation)]
    flight.datagram = forger.seal(replace(opened, payloads=(*kept, sent)))
    three.release(flight)


def test_in_ike_auth_the_ike_sa_is_given_up_for_another() -> None:
    three = Three.begun()
    in_ike_auth(three, to(C_ADDRESS))
    three.deliver_all()
    assert three.is_at(three.c)
    assert three.a.codes() == []
    assert len(three.a.all(IkeSaUp)) == 1
    assert [down.reason.code for down in three.b.all(IkeSaDown)] == ["deleted_by_peer"]


def test_in_ike_auth_a_name_ends_the_attempt() -> None:
    three = Three.begun()
    in_ike_auth(three, NOBODY)
    assert three.a.codes() == ["redirect_unusable"]
    assert three.a.endpoint.inbound_spis == 0


def test_in_ike_auth_of_a_tunnel_that_is_being_closed_nothing_is_begun() -> None:
    three = Three.begun()
    for _ in range(2):
        three.link.arrive(three.link.flights.popleft())
    three.a.close()
    three.link.arrive(three.link.flights.popleft())
    three.link.flights.appendleft(three.hold_to_a())
    flight = three.hold_to_a()
    forger = Forger.of(three.b)
    opened = open_sealed(flight.datagram, parse_header(flight.datagram), forger._cipher(False))
    flight.datagram = forger.seal(replace(opened, payloads=(*opened.payloads, to(C_ADDRESS))))
    three.release(flight)
    three.advance(60.0)
    assert not three.c.all(IkeSaUp)
    three.a.initiate()
    three.deliver_all()
    assert three.is_at(three.b)


# ---- INFORMATIONAL ----


def test_later_it_is_answered_and_the_tunnel_goes_there() -> None:
    three = established()
    send_later(three.b, to(C_ADDRESS))
    three.deliver_all()
    assert three.is_at(three.c)
    assert [down.reason.code for down in three.a.all(IkeSaDown)] == ["redirected"]
    assert [down.reason.code for down in three.b.all(IkeSaDown)] == ["deleted_by_peer"]
    assert three.a.codes() == []
    three.advance(30.0)
    assert three.is_at(three.c)
    assert three.a.endpoint.inbound_spis == 1


@pytest.mark.parametrize("sent", [NOBODY, to(ip_address("2001:db8::9"))])
def test_later_where_it_can_not_go_it_stays(sent: Notify) -> None:
    three = established()
    send_later(three.b, sent)
    three.advance(30.0)
    assert three.is_at(three.b)
    assert three.a.codes() == ["redirect_unusable"]


def test_later_where_it_is_not_allowed_it_stays_and_says_so() -> None:
    three = Three.begun(allow_redirect=False)
    three.deliver_all()
    send_later(three.b, to(C_ADDRESS))
    three.advance(30.0)
    assert three.is_at(three.b)
    assert any(str(C_ADDRESS) in note.text for note in three.a.all(Note))
    assert three.a.endpoint.counters["redirect.refused"] == 1


def test_who_has_not_begun_is_not_sent_on() -> None:
    pair = IkePair.established(config_a(), config_b(allow_redirect=True))
    sent = to(C_ADDRESS)
    Forger.of(pair.a).send(ExchangeType.INFORMATIONAL, sent)
    assert pair.b.state == "established"
    assert pair.b.endpoint.counters["redirect.refused"] == 1


def test_a_restart_and_rekeys_leave_it_where_it_was_sent() -> None:
    three = established()
    send_later(three.b, to(C_ADDRESS))
    three.deliver_all()
    three.a.restart()
    three.deliver_all()
    assert three.is_at(three.c)
    three.a.rekey_ike()
    three.deliver_all()
    three.a.restart()
    three.a.rekey_child()
    three.advance(60.0)
    assert three.is_at(three.c)
    lifetime = Notify(NotifyType.AUTH_LIFETIME, (100).to_bytes(4, "big"))
    send_later(three.c, lifetime)
    three.advance(100.0)  # authenticates again, where it is
    assert three.is_at(three.c)
    assert [up.path.remote for up in three.a.all(IkeSaUp)][-2:] == [C_ADDRESS, C_ADDRESS]
    assert three.a.codes() == []


def test_a_restart_before_the_new_one_is_up_begins_at_the_configured_address() -> None:
    three = established()
    send_later(three.b, to(C_ADDRESS))
    three.a.restart()
    three.advance(60.0)
    assert three.is_at(three.b)
    assert three.a.codes() == []


def test_when_the_other_gateway_dies_the_configured_address_is_tried() -> None:
    three = established()
    send_later(three.b, to(C_ADDRESS))
    three.deliver_all()
    three.c.is_frozen = True
    three.c.config = replace(three.c.config, local=D_ADDRESS)  # nothing arrives there any more
    three.wait_for(lambda: three.is_at(three.b), 120.0)
    assert [down.reason.code for down in three.a.all(IkeSaDown)] == [
        "redirected",
        "peer_unreachable",
    ]
