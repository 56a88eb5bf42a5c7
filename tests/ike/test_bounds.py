"""
What a peer, or who copies its messages, can make us hold or send: never more than so much
(reference: RFC 7296 sections 2.1, 2.4 and 2.6; whoever is authenticated may still be hostile).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from gateway.ike.agenda import STALE_MAX, Agenda
from gateway.ike.config import Timers
from gateway.ike.context import EndpointLimits
from gateway.ike.events import Send
from gateway.ike.exchanges.informational import EARLY_MAX
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import Delete, Nonce, Notify, Payload
from gateway.ike.proposals import parse_proposal
from gateway.ike.repeat import AT_ONCE
from gateway.ike.states import State
from gateway.sa import Path
from tests.support.forge import Forger
from tests.support.long_messages import held_fragments
from tests.support.pair import A_ADDRESS, B_ADDRESS, Flight, IkePair, config_a, config_b

QUIET = Timers(liveness=0.0)
VICTIM = ip_address("203.0.113.66")


def seen_by_b(flight: Flight) -> Path:
    path = flight.path
    return Path(path.remote, path.remote_port, path.local, path.local_port)


def answers(pair: IkePair, before: int) -> list[Send]:
    return pair.b.all(Send)[before:]


# ---- what is held ----


def test_a_peer_that_begins_again_and_again_leaves_nothing_behind() -> None:
    pair = IkePair.established(config_a(timers=QUIET), config_b(timers=QUIET))
    for _ in range(300):
        pair.now += 1.0
        pair.a.crash()
        pair.deliver_all()
    assert pair.b.state == "established"
    endpoint = pair.b.endpoint
    assert len(endpoint._context.sas) == 1
    assert len(endpoint._entrance._by_init) == 1
    assert len(endpoint._entrance._half_open) == 0
    assert len(endpoint._agenda._at) <= 2
    assert len(endpoint._agenda._heap) <= STALE_MAX + 4
    assert endpoint.inbound_spis == 1
    assert pair.has_traffic()


def test_deadlines_that_hold_no_more_are_let_go_and_the_others_kept_in_order() -> None:
    agenda = Agenda()
    for number in range(1000):
        agenda.set(number % 10, 5000.0 - number)
        agenda.set("gone", float(number))
    agenda.set("gone", float("inf"))
    assert len(agenda._heap) <= 2 * 10 + STALE_MAX
    assert agenda.next == 4001.0
    assert agenda.take_due(5000.0) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert agenda.take_due(1e9) == []


def test_replaced_ike_sas_that_are_never_deleted_are_few() -> None:
    pair = IkePair.established()
    for _ in range(30):
        pair.a.rekey_ike()
        pair.deliver_to_b()
        pair.deliver_to_a()
        pair.link.flights.clear()  # the Delete of the old one
    states = [sa.state for sa in pair.b.endpoint._context.sas.values()]
    assert states.count(State.ESTABLISHED) == 1
    assert states.count(State.REKEYED) == EndpointLimits().ike_sas_per_tunnel
    assert len(states) == 1 + EndpointLimits().ike_sas_per_tunnel
    assert pair.b.ike_sas == 1 + EndpointLimits().ike_sas_per_tunnel
    assert pair.has_traffic()
    pair.advance(150.0)
    assert pair.b.ike_sas == 1


def test_deletes_of_what_may_be_to_come_are_remembered_in_bounded_number() -> None:
    pair = IkePair.established()
    pair.b.rekey_child()
    held = pair.hold_to_a()
    forger = Forger.of(pair.a)
    for start in range(0, 5000, 1000):
        spis = tuple((0x20000000 + start + at).to_bytes(4, "big") for at in range(1000))
        forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, spis))
    (sa,) = pair.b.endpoint._context.sas.values()
    assert len(sa.deleted_early) == EARLY_MAX
    pair.link.flights.clear()
    pair.release(held)
    pair.deliver_all()
    assert pair.has_traffic()


# ---- what is sent again ----


def test_a_request_that_comes_too_often_is_not_answered_each_time() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    request = pair.hold_to_b()
    pair.release(request)
    before = len(pair.b.all(Send))
    for _ in range(100):
        pair.release(request)
    assert len(answers(pair, before)) == AT_ONCE
    assert pair.b.drops("replayed") == 100
    assert pair.b.endpoint.counters["retransmission.response"] == AT_ONCE
    pair.now += 0.4  # as soon as any peer resends
    pair.release(request)
    assert len(answers(pair, before)) == AT_ONCE + 1
    pair.deliver_all()
    assert pair.has_traffic()


def test_the_same_holds_before_authentication() -> None:
    pair = IkePair.started()
    request = pair.hold_to_b()
    for _ in range(100):
        pair.release(request)
    assert len(pair.b.all(Send)) == 1 + AT_ONCE
    pair.deliver_all()
    assert pair.has_traffic()


def test_a_copied_request_does_not_send_a_long_answer_to_somebody_else() -> None:
    """RFC 7383 section 2.6.1: fragment 1 alone has all fragments of the answer sent again."""
    pair, fragments = held_fragments()
    for fragment in fragments:
        pair.release(fragment)
    length = sum(len(flight.datagram) for flight in pair.link.flights)
    assert length > len(fragments[0].datagram)
    there = seen_by_b(fragments[0])
    elsewhere = dataclasses.replace(there, remote=VICTIM)
    before = len(pair.b.all(Send))
    pair.b.receive(fragments[0].datagram, elsewhere)
    assert answers(pair, before) == []
    # From where it was answered first, and from where a NAT has put that peer meanwhile.
    for path in (there, dataclasses.replace(there, remote_port=4711)):
        before = len(pair.b.all(Send))
        pair.b.receive(fragments[0].datagram, path)
        again = answers(pair, before)
        assert sum(len(one.datagram) for one in again) == length
        assert {one.path for one in again} == {path}


def test_an_answer_that_is_no_longer_follows_its_request() -> None:
    """A NAT may have changed its mind between a request and its retransmission."""
    pair = IkePair.established()
    pair.a.take(pair.a.endpoint.esp_one_way("office", pair.now))
    request = pair.hold_to_b()
    pair.release(request)
    before = len(pair.b.all(Send))
    pair.b.receive(request.datagram, dataclasses.replace(seen_by_b(request), remote_port=4711))
    (again,) = answers(pair, before)
    assert again.path.remote_port == 4711
    assert len(again.datagram) <= len(request.datagram)


def test_words_in_the_clear_make_us_ask_once_a_second_at_most() -> None:
    pair = IkePair.established()
    status = pair.a.endpoint.tunnel_status("office")
    word = serialise_clear(
        dataclasses.replace(
            Forger.of(pair.b).message(ExchangeType.INFORMATIONAL, ()),
            payloads=(Notify(NotifyType.INVALID_IKE_SPI),),
        )
    )
    path = status.path
    assert path is not None
    asked = 0
    for _ in range(100):
        pair.now += 0.1
        before = len(pair.a.all(Send))
        pair.a.receive(word, path)
        pair.deliver_all()
        asked += len(pair.a.all(Send)) - before
    assert 8 <= asked <= 10


# ---- amplification ----

Change = Callable[[tuple[Payload, ...]], tuple[Payload, ...]]
SHORT: dict[str, Change] = {
    "as it is": lambda payloads: payloads,
    "short nonce": lambda payloads: tuple(
        Nonce(one.value[:16]) if isinstance(one, Nonce) else one for one in payloads
    ),
    "no notifies": lambda payloads: tuple(one for one in payloads if not isinstance(one, Notify)),
}


@pytest.mark.parametrize("how", SHORT)
@pytest.mark.parametrize("remote", [A_ADDRESS, None])
@pytest.mark.parametrize("group", ["x25519", "ecp384", "modp2048"])
def test_no_answer_to_who_may_not_be_there_is_longer_than_its_question(
    group: str, remote: object, how: str
) -> None:
    ike = {"ike_proposals": (parse_proposal(f"aes256gcm16-prfsha384-{group}", ProtocolId.IKE),)}
    pair = IkePair.started(config_a(**ike), config_b(remote=remote, **ike))
    flight = pair.hold_to_b()
    whole = parse_clear(flight.datagram)
    request = serialise_clear(dataclasses.replace(whole, payloads=SHORT[how](whole.payloads)))
    pair.b.receive(request, Path(B_ADDRESS, 500, A_ADDRESS, 500))
    (answer,) = pair.b.all(Send)
    assert len(answer.datagram) <= len(request)
    demanded = parse_clear(answer.datagram).notify(NotifyType.COOKIE)
    assert (demanded is None) == (how != "short nonce")
    if demanded is None:
        return
    assert not pair.b.endpoint._context.sas
    said = (demanded, *SHORT[how](whole.payloads))
    pair.b.receive(
        serialise_clear(dataclasses.replace(whole, payloads=said)),
        Path(B_ADDRESS, 500, A_ADDRESS, 500),
    )
    assert len(pair.b.endpoint._context.sas) == 1


def test_bad_answers_to_who_may_not_be_there_cost_no_key_exchange() -> None:
    """The length is judged before the key is made."""
    pair = IkePair.started()
    whole = parse_clear(pair.hold_to_b().datagram)
    short = SHORT["short nonce"](whole.payloads)
    made = len(pair.b.random.privates)
    for number in range(1, 51):
        spi = number.to_bytes(8, "big")
        request = serialise_clear(dataclasses.replace(whole, spi_i=spi, payloads=short))
        pair.b.receive(request, Path(B_ADDRESS, 500, A_ADDRESS, 500))
    assert pair.b.drops("cookie_demanded") == 50
    assert len(pair.b.random.privates) == made


# ---- cookies are not switched on and off ----


def test_who_was_asked_for_a_cookie_is_not_let_in_without_it_a_moment_later() -> None:
    """It would sign the request with the cookie, and we would have answered the one without."""
    limits = EndpointLimits(cookie_from=1)
    pair = IkePair(config_a(), config_b(remote=None), limits_b=limits)
    pair.start()
    genuine = pair.hold_to_b()
    other = dataclasses.replace(parse_clear(genuine.datagram), spi_i=b"\x07" * 8)
    from_victim = Path(B_ADDRESS, 500, VICTIM, 500)
    pair.b.receive(serialise_clear(other), from_victim)  # takes the one place
    pair.now += 29.9
    pair.release(genuine)
    demand = pair.link.flights.pop()
    pair.now += 0.2
    pair.b.on_time()  # the place is free again
    pair.link.flights.clear()
    pair.release(genuine)
    assert pair.b.drops("cookie_demanded") == 2
    assert len(pair.b.endpoint._context.sas) == 0
    pair.link.flights.clear()
    pair.release(demand)
    pair.deliver_all()
    assert parse_header(pair.a.all(Send)[-1].datagram).message_id > 0
    assert pair.b.state == "established"
