"""
Rekeys and deletes that cross in ways that only a peer of another make, or a user in between, brings
about (RFC 7296 sections 1.4.1, 2.8 and 2.25): the family of cases of strongSwan's exchange tests,
each with one key exchange, with two, and with an end that offers two to one that knows one.

What two of ours can do to each other is in `test_interleavings.py`, in every order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gateway.ike.config import Lifetime, Timers
from gateway.ike.events import ChildSaDown, ChildSaUp, IkeSaDown
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import (
    Delete,
    Nonce,
    Notify,
    Payload,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
)
from gateway.ike.proposals import Proposal, parse_proposal
from gateway.ike.selectors import parse_selector
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side, config_a, config_b

LINGER_S = 5.0
INFORMATIONAL, CREATE_CHILD_SA = ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA
ONE, TWO = "aes256gcm16-x25519-noesn", "aes256gcm16-x25519-ke1_ecp256-noesn"
PLAIN = parse_proposal("aes256gcm16-noesn", ProtocolId.ESP)


def esp(*texts: str, **more: object) -> dict[str, object]:
    return {"esp_proposals": tuple(parse_proposal(text, ProtocolId.ESP) for text in texts), **more}


def one(**more: object) -> IkePair:
    return IkePair.established(config_a(**esp(ONE, **more)), config_b(**esp(ONE, **more)))


def two(**more: object) -> IkePair:
    return IkePair.established(config_a(**esp(TWO, **more)), config_b(**esp(TWO, **more)))


def mixed(**more: object) -> IkePair:
    return IkePair.established(config_a(**esp(TWO, ONE, **more)), config_b(**esp(ONE, **more)))


Make = Callable[..., IkePair]
EVERY = pytest.mark.parametrize("make", [one, two, mixed])


def spi_of(side: Side, at: int = -1) -> bytes:
    """Return the inbound SPI of a Child SA that a side has made, as it stands in a Delete."""
    return side.all(ChildSaUp)[at].inbound.spi.to_bytes(4, "big")


def until_made(pair: IkePair, count: int = 2) -> None:
    """Deliver until a has made so many Child SAs; what it sends then is still on its way."""
    while len(pair.a.all(ChildSaUp)) < count:
        pair.link.arrive(pair.link.flights.popleft())


def assert_settles(pair: IkePair, most_s: float = 60.0) -> None:
    """Assert that both ends come to hold one and the same Child SA, by themselves."""
    pair.wait_for(pair.has_traffic, most_s)
    pair.advance(30.0)
    assert pair.has_traffic(), pair.story()
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert pair.a.endpoint.inbound_spis == pair.b.endpoint.inbound_spis == 1


# ---- while the Delete is awaited ----


@EVERY
@pytest.mark.parametrize("who", ["a", "b"])
def test_a_soft_limit_means_nothing_to_what_is_replaced(make: Make, who: str) -> None:
    pair = make()
    pair.a.rekey_child()
    until_made(pair)
    delete = pair.hold_to_b()
    side: Side = getattr(pair, who)
    old = side.all(ChildSaUp)[0]
    for spi in (old.inbound.spi, old.outbound.spi):
        side.take(side.endpoint.soft_limit(spi, pair.now))
    assert not pair.link.flights
    pair.release(delete)
    assert_settles(pair)
    assert len(pair.a.all(ChildSaUp)) == len(pair.b.all(ChildSaUp)) == 2


@EVERY
@pytest.mark.parametrize("who", ["a", "b"])
def test_a_user_deletes_the_new_one_before_the_old_is_deleted(make: Make, who: str) -> None:
    pair = make()
    pair.a.rekey_child()
    until_made(pair)
    delete_of_old = pair.hold_to_b()
    side: Side = getattr(pair, who)
    new = side.all(ChildSaUp)[-1].inbound.spi
    side.take(side.endpoint.close_child(new, pair.now))
    pair.release(delete_of_old)
    pair.deliver_all()
    pair.advance(60.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    pair.a.initiate()
    pair.b.take(pair.b.endpoint.allow("office", pair.now))
    assert_settles(pair)


@EVERY
def test_a_delete_that_is_never_answered_ends_the_ike_sa(make: Make) -> None:
    pair = make()
    pair.a.rekey_child()
    until_made(pair)
    pair.link.flights.clear()
    pair.cut()
    pair.advance(60.0)
    assert [down.reason.code for down in pair.a.all(IkeSaDown)] == ["peer_unreachable"]
    assert not pair.a.plane.inbound
    pair.cut(False)
    assert_settles(pair, 120.0)


@EVERY
def test_an_answer_that_deletes_the_wrong_one_deletes_nothing(make: Make) -> None:
    """What an answer to our Delete says is not asked for; the peer's own is a request."""
    pair = make()
    pair.a.rekey_child()
    until_made(pair)
    number = parse_header(pair.hold_to_b().datagram).message_id
    wrong = Delete(ProtocolId.ESP, (spi_of(pair.b),))
    Forger.of(pair.b).send(INFORMATIONAL, wrong, message_id=number, is_response=True)
    assert not pair.a.all(ChildSaDown)
    assert pair.a.plane.sending_on == pair.a.all(ChildSaUp)[-1].inbound.spi
    pair.advance(LINGER_S + 0.1)
    assert [down.spi_in for down in pair.a.all(ChildSaDown)] == [
        pair.a.all(ChildSaUp)[0].inbound.spi
    ]


def crossed(make: Make, *, a_loses: bool) -> IkePair:
    """Return a pair whose rekeys of one Child SA have crossed; nothing is deleted yet."""
    pair = make()
    lowest, other = ((1, 3), (2, 4)) if a_loses else ((2, 4), (1, 3))
    pair.a.random.nonces_start(*lowest)
    pair.b.random.nonces_start(*other)
    pair.a.rekey_child()
    pair.b.rekey_child()
    return pair


@EVERY
@pytest.mark.parametrize("a_loses", [True, False])
@pytest.mark.parametrize("which", ["old", "first new", "last new"])
def test_a_peer_that_deletes_the_wrong_one_of_three(make: Make, a_loses: bool, which: str) -> None:
    """Whatever b takes away, the two are of one mind again without an end of the IKE SA."""
    pair = crossed(make, a_loses=a_loses)
    for _ in range(4 if make is two else 2):  # the requests, the answers, and further ones
        if pair.waiting(pair.a):
            pair.deliver_to_b()
        if pair.waiting(pair.b):
            pair.deliver_to_a()
    made = pair.b.all(ChildSaUp)
    assert len(made) == (2 if make is two else 3)
    chosen = {"old": made[0], "first new": made[1], "last new": made[-1]}[which]
    pair.b.take(pair.b.endpoint.close_child(chosen.inbound.spi, pair.now))
    pair.deliver_all()
    pair.advance(30.0)
    assert not pair.a.all(IkeSaDown)
    pair.a.initiate()
    pair.b.initiate()
    assert_settles(pair)


# ---- peers of another make ----


def child_request(spi: int, nonce: bytes, *more: Payload) -> tuple[Payload, ...]:
    return (
        *more,
        SecurityAssociation((PLAIN.with_spi(spi.to_bytes(4, "big")),)),
        Nonce(nonce),
        TrafficSelectorsI((parse_selector("10.1.0.0/16"),)),
        TrafficSelectorsR((parse_selector("10.2.0.0/16"),)),
    )


def plain(**more: object) -> IkePair:
    """Return a pair without a key exchange of the Child SA's own, so that a can be forged."""
    without = esp("aes256gcm16-noesn", timers=Timers(liveness=0.0), **more)
    return IkePair.established(config_a(**without), config_b(**without))


def rekey_of(spi: bytes) -> Notify:
    return Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, spi)


def test_a_peer_that_rekeys_twice_before_it_deletes() -> None:
    """As Windows does: the last one is sent on once the old is deleted, and no SPI is left over."""
    pair = plain()
    forger = Forger.of(pair.a)
    old = spi_of(pair.a, 0)
    for number in (1, 2):
        forger.send(CREATE_CHILD_SA, *child_request(0x11110000 + number, b"n" * 32, rekey_of(old)))
        assert forger.answer().notify(NotifyType.CHILD_SA_NOT_FOUND) is None
    assert len(pair.b.plane.inbound) == 3
    forger.send(INFORMATIONAL, Delete(ProtocolId.ESP, (old,)))
    assert forger.answer().all(Delete)[0].spis == (spi_of(pair.b, 0),)
    last = pair.b.all(ChildSaUp)[-1].inbound.spi
    assert pair.b.plane.sending_on == last
    forger.send(INFORMATIONAL, Delete(ProtocolId.ESP, ((0x11110001).to_bytes(4, "big"),)))
    assert len(forger.answer().all(Delete)) == 1
    pair.advance(LINGER_S + 0.1, deliver=False)
    assert set(pair.b.plane.inbound) == {last}
    assert pair.b.endpoint.inbound_spis == 1
    assert pair.b.ike_sas == 1


def test_a_peer_that_asks_for_the_same_again_and_deletes_the_first() -> None:
    """A duplicate is no rekey: both carry traffic, and with the first one gone the other does."""
    pair = plain()
    pair.advance(60.0)
    forger = Forger.of(pair.a)
    forger.send(CREATE_CHILD_SA, *child_request(0x11110001, b"n" * 32))
    assert forger.answer().maybe(SecurityAssociation) is not None
    assert len(pair.b.plane.inbound) == 2
    forger.send(INFORMATIONAL, Delete(ProtocolId.ESP, (spi_of(pair.a, 0),)))
    forger.answer()
    assert pair.b.plane.sending_on == pair.b.all(ChildSaUp)[-1].inbound.spi
    pair.advance(LINGER_S + 0.1, deliver=False)
    assert len(pair.b.plane.inbound) == 1


def test_a_peer_that_asks_for_the_same_right_after_ike_auth_gets_it() -> None:
    """IKE_AUTH is no request that its own could have crossed."""
    pair = plain()
    forger = Forger.of(pair.b)
    ts = (parse_selector("10.2.0.0/16"),), (parse_selector("10.1.0.0/16"),)
    offered = SecurityAssociation((PLAIN.with_spi(b"\x11\x11\x11\x11"),))
    nonce = Nonce(b"n" * 32)
    both = TrafficSelectorsI(ts[0]), TrafficSelectorsR(ts[1])
    forger.send(CREATE_CHILD_SA, offered, nonce, *both)
    assert forger.answer().maybe(SecurityAssociation) is not None
    assert len(pair.a.plane.inbound) == 2


@pytest.mark.parametrize(
    ("nonce", "b_deletes_its_own"),
    [
        (b"\x00" * 16, False),  # shorter, and lower
        (b"\x80" + b"\x62" * 15, False),  # a prefix would be lower as well
        (b"\xff" * 16, True),
        (b"\x00" * 256, False),
        (b"\xff" * 256, True),
    ],
)
def test_nonces_of_another_length_decide_a_collision(nonce: bytes, b_deletes_its_own: bool) -> None:
    """Octet by octet, not as numbers (section 2.8.1)."""
    pair = plain()
    pair.b.random.nonces_start(0x90, 0xA0)
    pair.b.rekey_child()
    request = pair.hold_to_a()
    forger = Forger.of(pair.a)
    old = spi_of(pair.a, 0)
    forger.send(CREATE_CHILD_SA, *child_request(0x11110001, nonce, rekey_of(old)))
    assert forger.answer().maybe(SecurityAssociation) is not None
    answer: tuple[Payload, ...] = (
        SecurityAssociation((_first(PLAIN).with_spi(b"\x22\x22\x22\x22"),)),
        Nonce(b"\xfe" * 32),
        TrafficSelectorsI((parse_selector("10.2.0.0/16"),)),
        TrafficSelectorsR((parse_selector("10.1.0.0/16"),)),
    )
    number = parse_header(request.datagram).message_id
    forger.send(CREATE_CHILD_SA, *answer, message_id=number, is_response=True)
    deleted = forger.answer().all(Delete)[0].spis
    own = spi_of(pair.b)
    assert deleted == ((own,) if b_deletes_its_own else (spi_of(pair.b, 0),))


def _first(proposal: Proposal) -> Proposal:
    return Proposal(proposal.protocol, proposal.transforms, proposal.spi, 1)


def test_equal_nonces_in_a_collision_harm_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No end has the lowest: both new ones stay, and traffic flows at every moment."""
    pair = one()
    for side in pair.sides():
        drawn = side.random.bytes
        monkeypatch.setattr(
            side.random,
            "bytes",
            lambda count, drawn=drawn: b"\x42" * 32 if count == 32 else drawn(count),
        )
    pair.a.rekey_child()
    pair.b.rekey_child()
    while pair.link.flights:
        pair.link.arrive(pair.link.flights.popleft())
        assert pair.has_traffic()
    pair.advance(LINGER_S + 0.1)
    assert pair.has_traffic()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert set(_pairs(pair.a)) == {(spi_out, spi_in) for spi_in, spi_out in _pairs(pair.b)}


def _pairs(side: Side) -> Iterator[tuple[int, int]]:
    for spi, up in side.plane.children.items():
        yield spi, up.outbound.spi


def test_a_peer_that_never_rekeys_and_never_deletes_is_rekeyed_by_us() -> None:
    """It ignores every limit of its own (section 2.8): ours hold."""
    life = Lifetime(60.0)
    pair = IkePair.established(
        config_a(**esp(ONE), child_lifetime=Lifetime(86400.0)),
        config_b(**esp(ONE), child_lifetime=life),
    )
    for _ in range(40):
        pair.advance(15.0)
        assert pair.has_traffic()
    assert pair.b.endpoint.counters["rekey_child.done"] >= 9
    assert pair.a.endpoint.counters["rekey_child.done"] == 0
