"""
What somebody who has no keys, but sees or guesses addresses and SPIs, can do to others: nothing
that lasts.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest

from gateway.ike.config import Encap, Timers
from gateway.ike.context import EndpointLimits
from gateway.ike.events import Keepalive, Send
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import Message, parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import KeyExchange, Notify
from gateway.ike.proposals import parse_proposal
from gateway.sa import Path
from tests.ike.test_life import Masquerade
from tests.support.long_messages import held_fragments
from tests.support.pair import A_ADDRESS, B_ADDRESS, Flight, IkePair, config_a, config_b

ELSEWHERE = Path(B_ADDRESS, 4500, ip_address("203.0.113.66"), 4500)
FROM_A = Path(B_ADDRESS, 500, A_ADDRESS, 500)


def spoil(flight: Flight) -> Flight:
    """Return a copy whose check value is wrong: what somebody without the keys can make of it."""
    last = flight.datagram[-1]
    return dataclasses.replace(flight, datagram=flight.datagram[:-1] + bytes([last ^ 1]))


def test_forged_first_fragment_does_not_spoil_the_repeated_answer() -> None:
    """RFC 7383 section 2.6.1: fragment 1 asks for the answer again; the true one, that is."""
    pair, fragments = held_fragments()
    # a: IKE_AUTH { SKF 1/n }, { SKF 2/n } ... -->
    pair.release(fragments[0])
    pair.release(spoil(fragments[0]))
    for fragment in fragments[1:]:
        pair.release(fragment)
    # <-- b: IKE_AUTH { SKF 1/m } ... is lost, so a repeats its request
    answers = pair.waiting(pair.b)
    pair.link.flights.clear()
    pair.release(fragments[0])
    assert pair.waiting(pair.b) == answers


def test_replayed_request_from_elsewhere_does_not_put_off_keepalives() -> None:
    """What is sent to another address keeps no NAT mapping open (RFC 3948 section 4)."""
    quiet = Timers(liveness=0.0)
    pair = IkePair(
        config_a(encap=Encap.AUTO, timers=quiet),
        config_b(encap=Encap.AUTO, timers=quiet, remote=None),
    )
    Masquerade(pair)
    pair.start()
    pair.deliver_all()
    pair.b.rekey_child()
    pair.deliver_all()
    last = [one for one in pair.link.seen if one.sender is pair.b][-1].datagram
    elsewhere = Path(A_ADDRESS, 4500, ELSEWHERE.remote, 4500)
    for _ in range(10):
        pair.advance(10.0)
        pair.a.receive(last, elsewhere)
        pair.link.flights.clear()
    assert pair.a.drops("replayed") == 10
    assert len(pair.a.all(Keepalive)) == 5


def forged_init(pair: IkePair, number: int) -> bytes:
    """Return a's IKE_SA_INIT with another SPI."""
    request = parse_clear(pair.a.all(Send)[0].datagram)
    return serialise_clear(dataclasses.replace(request, spi_i=number.to_bytes(8, "big")))


def test_spoofed_configured_peer_can_not_take_every_half_open_place() -> None:
    """
    Whoever sends with a configured peer's address, but does not get our answers there, is asked for
    a cookie (RFC 7296 section 2.6) before the places of all the others are gone.
    """
    pair = IkePair(limits_b=EndpointLimits(half_open=20, half_open_per_address=3))
    pair.start()
    genuine = pair.hold_to_b()
    for number in range(1, 101):
        pair.b.receive(forged_init(pair, number), FROM_A)
    pair.link.flights.clear()
    assert pair.b.drops("half_open_limit") == 0
    assert pair.b.drops("cookie_demanded") == 97
    # The true peer gets the demand, and in.
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


def test_bad_key_exchange_values_cost_no_key_pair_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6989: a value outside of the group is refused, before work that the sender is spared."""
    made: list[int] = []
    pair = IkePair()
    monkeypatch.setattr(pair.b.random, "private_key", lambda group: made.append(group))
    pair.start()
    genuine = pair.hold_to_b()
    request = parse_clear(genuine.datagram)
    for number in range(1, 101):
        bad = KeyExchange(request.one(KeyExchange).group, bytes(32))
        payloads = tuple(bad if isinstance(one, KeyExchange) else one for one in request.payloads)
        spi = number.to_bytes(8, "big")
        forged = dataclasses.replace(request, spi_i=spi, payloads=payloads)
        pair.b.receive(serialise_clear(forged), FROM_A)
    assert pair.b.drops("refused") == 5
    assert pair.b.drops("cookie_demanded") == 95
    assert not made
    pair.link.flights.clear()
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


@pytest.mark.parametrize("group", ["x25519", "ecp384", "modp2048"])
def test_the_secret_is_computed_when_the_peer_goes_on(group: str) -> None:
    """Half of what a key exchange costs is left undone for who never sends IKE_AUTH."""
    ike = {"ike_proposals": (parse_proposal(f"aes256gcm16-prfsha384-{group}", ProtocolId.IKE),)}
    pair = IkePair.started(config_a(**ike), config_b(**ike))
    pair.deliver_to_b()
    (half_open,) = pair.b.endpoint._context.sas.values()
    assert half_open.keys is None
    pair.deliver_all()
    assert half_open.keys is not None
    assert half_open.unfinished is None
    assert pair.has_traffic()


def test_what_is_not_sealed_with_its_keys_leaves_a_half_open_ike_sa_as_it_is() -> None:
    """Its keys are computed for the first message that claims them; the genuine one still fits."""
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    genuine = pair.hold_to_b()
    junk = genuine.datagram[:-1] + bytes([genuine.datagram[-1] ^ 1])
    for _ in range(3):
        pair.b.receive(junk, genuine.path)
    assert pair.b.drops("bad_icv") == 3
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


def test_no_key_pair_is_used_for_two_ike_sas() -> None:
    """A shared private value would make one IKE SA's secret cost the other (section 2.12)."""
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.b.receive(forged_init(pair, 1), FROM_A)
    first, second = (parse_clear(event.datagram).one(KeyExchange) for event in pair.b.all(Send))
    assert first.public != second.public


def test_noise_of_strangers_does_not_keep_a_configured_peer_from_its_answer() -> None:
    """
    A peer that guessed another group can not connect without INVALID_KE_PAYLOAD (section 1.2), so
    strangers must not use up the answers that it needs.
    """
    groups = "aes256gcm16-prfsha384-x25519-ecp384", "aes256gcm16-prfsha384-ecp384"
    a, b = ({"ike_proposals": (parse_proposal(text, ProtocolId.IKE),)} for text in groups)
    pair = IkePair.started(config_a(**a), config_b(**b))
    for number in range(1, 101):
        pair.b.receive(forged_init(pair, number), ELSEWHERE)
    assert pair.b.drops("unknown_peer") == 100
    pair.deliver_all()
    assert pair.has_traffic()


def test_error_in_the_clear_is_forgotten_when_a_better_answer_has_come() -> None:
    """RFC 7296 section 2.21.1: only an error that nothing better has followed is believed."""
    limits = EndpointLimits(cookie_from=0)
    pair = IkePair(config_a(), config_b(remote=None), limits_b=limits)
    pair.start()
    pair.deliver_to_b()
    request = parse_clear(pair.a.all(Send)[0].datagram)
    error = Message(
        request.spi_i,
        bytes(8),
        ExchangeType.IKE_SA_INIT,
        0,
        True,
        False,
        (Notify(NotifyType.NO_PROPOSAL_CHOSEN),),
    )
    pair.a.receive(serialise_clear(error), Path(A_ADDRESS, 500, B_ADDRESS, 500))
    # <-- b: IKE_SA_INIT { N(COOKIE) }
    pair.deliver_to_a()
    # a: IKE_SA_INIT { N(COOKIE), SA, KE, Ni } --> is lost, and sent again
    pair.drop_to_b()
    pair.advance(1.0)
    assert pair.a.codes() == []
    assert pair.has_traffic()


def test_ike_sa_that_is_gone_says_nothing_more() -> None:
    """The peer has restarted while a request was on its way: INITIAL_CONTACT ended that IKE SA."""
    pair = IkePair.established(config_a(), config_b(timers=Timers(liveness=0.0)))
    (old,) = pair.b.endpoint._context.sas
    pair.advance(5.0)
    pair.b.rekey_ike()
    pair.link.flights.clear()
    pair.a.crash()
    pair.deliver_all()
    assert old not in pair.b.endpoint._context.sas
    before = len(pair.b.all(Send))
    pair.advance(5.0)
    later = [parse_header(one.datagram) for one in pair.b.all(Send)[before:]]
    assert old not in {spi for header in later for spi in (header.spi_i, header.spi_r)}


def test_who_is_no_stranger_is_known_by_address_with_how_many_tunnels_are_there() -> None:
    pair = IkePair()
    second = config_a(name="office-2", local=ip_address("192.0.2.9"))
    pair.b.take(pair.b.endpoint.configure([config_b(remote=None)], pair.now))
    pair.a.take(pair.a.endpoint.configure([config_a(), second], pair.now))
    assert pair.a.endpoint.peer_addresses == {B_ADDRESS: 2}
    assert pair.b.endpoint.peer_addresses == {}
    pair.deliver_all()
    assert pair.b.state == "established"
    assert pair.a.endpoint.peer_addresses == {B_ADDRESS: 2}
    assert pair.b.endpoint.peer_addresses == {A_ADDRESS: 1, second.local: 1}
