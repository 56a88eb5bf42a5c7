"""
A request that comes again in other fragments than before, since larger ones seemed to get lost (RFC
7383 sections 2.5.2 and 2.6.1): fragment 1 of it asks for the stored answer, as the same bytes do.

The peer here is ours but for that: it seals what it has asked once more, cut smaller.
"""

from __future__ import annotations

import dataclasses
from itertools import count

import pytest

from gateway.ike import fragments
from gateway.ike.exchanges.init import finish_keys
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import open_sealed, parse_header
from gateway.ike.proposals import parse_proposal
from tests.support.pair import Flight, IkePair, Side, config_a, config_b

LIMIT = 150  # bytes of a datagram
IVS = count(1 << 40)  # far from those that an endpoint uses


def newest(side: Side) -> IkeSa:
    return list(side.endpoint._context.sas.values())[-1]


def cut_anew(pair: IkePair, flight: Flight, limit: int = LIMIT) -> list[Flight]:
    """Return a's request, which b has not received yet, in smaller fragments."""
    header = parse_header(flight.datagram)
    whole = open_sealed(flight.datagram, header, finish_keys(newest(pair.b)).open)
    keys = newest(pair.a).keys
    assert keys is not None
    parts = fragments.split(whole, keys.seal, lambda size: next(IVS).to_bytes(size, "big"), limit)
    assert len(parts) > 1
    return [dataclasses.replace(flight, datagram=part) for part in parts]


def hybrid(**changes: object) -> tuple[object, object]:
    ike = (parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE),)
    esp = (parse_proposal("aes256gcm16-x25519-ke1_mlkem768-noesn", ProtocolId.ESP),)
    wanted = {"ike_proposals": ike, "esp_proposals": esp, **changes}
    return config_a(**wanted), config_b(**wanted)


def before(exchange: ExchangeType) -> IkePair:
    """Return a pair with a's request of an exchange on its way, in one piece."""
    a, b = hybrid(fragment_size=3000)
    pair = IkePair(a, b)  # type: ignore[arg-type]  # two configurations
    pair.start()
    if exchange in (ExchangeType.IKE_FOLLOWUP_KE, ExchangeType.CREATE_CHILD_SA):
        pair.deliver_all()
        pair.a.rekey_child()
    while pair.link.flights[0].exchange != exchange:
        pair.link.arrive(pair.link.flights.popleft())
    return pair


EXCHANGES = (
    ExchangeType.IKE_INTERMEDIATE,
    ExchangeType.IKE_AUTH,
    ExchangeType.CREATE_CHILD_SA,
    ExchangeType.IKE_FOLLOWUP_KE,
)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda one: one.name)
def test_the_answer_is_repeated_once_and_the_exchange_ends_well(exchange: ExchangeType) -> None:
    pair = before(exchange)
    request = pair.hold_to_b()
    parts = cut_anew(pair, request)
    pair.release(request)
    answer = pair.hold_to_a()  # <-- lost
    for part in reversed(parts):
        pair.release(part)
    assert pair.b.drops("message_id") == len(parts) - 1
    assert pair.b.drops("replayed") == pair.waiting(pair.b) == 1
    assert pair.link.flights[0].datagram == answer.datagram
    pair.deliver_all()
    assert pair.a.state == pair.b.state == "established"
    assert pair.has_traffic()


def test_so_it_is_after_a_restart() -> None:
    pair = before(ExchangeType.CREATE_CHILD_SA)
    request = pair.hold_to_b()
    parts = cut_anew(pair, request)
    pair.release(request)
    answer = pair.hold_to_a()
    pair.b.restart()
    pair.release(parts[0])
    assert pair.hold_to_a().datagram == answer.datagram


def test_who_has_not_the_keys_is_not_answered() -> None:
    pair = before(ExchangeType.CREATE_CHILD_SA)
    request = pair.hold_to_b()
    (first, *_) = cut_anew(pair, request)
    pair.release(request)
    pair.hold_to_a()
    for at in (32, 34, 50, len(first.datagram) - 1):
        wrong = bytearray(first.datagram)
        wrong[at] ^= 1
        pair.release(dataclasses.replace(first, datagram=bytes(wrong)))
    for length in (28, 32, 36, 40, len(first.datagram) - 1):
        pair.release(dataclasses.replace(first, datagram=first.datagram[:length]))
    assert pair.waiting(pair.b) == 0
    assert pair.b.drops("replayed") == 0


def test_an_older_request_is_not_answered_however_it_is_cut() -> None:
    pair = before(ExchangeType.CREATE_CHILD_SA)
    request = pair.hold_to_b()
    parts = cut_anew(pair, request)
    pair.release(request)
    pair.deliver_all()  # IKE_FOLLOWUP_KE comes after it
    for part in parts:
        pair.release(part)
    assert pair.waiting(pair.b) == 0


def test_nothing_is_answered_before_there_are_keys() -> None:
    """Whoever sees IKE_SA_INIT can send a fragment with its message ID."""
    pair = before(ExchangeType.IKE_INTERMEDIATE)
    (first, *_) = cut_anew(pair, pair.hold_to_b())
    other = IkePair(pair.a.config, pair.b.config)
    other.start()
    other.deliver_to_b()
    other.hold_to_a()
    datagram = bytearray(first.datagram)
    datagram[20:24] = bytes(4)
    other.release(dataclasses.replace(first, sender=other.a, datagram=bytes(datagram)))
    assert other.waiting(other.b) == 0
    assert other.b.drops("message_id") == 1


def test_without_fragmentation_agreed_on_there_is_none_to_be_cut() -> None:
    pair = before(ExchangeType.CREATE_CHILD_SA)
    request = pair.hold_to_b()
    parts = cut_anew(pair, request)
    newest(pair.b).fragmentation = False
    pair.release(request)
    pair.hold_to_a()
    pair.release(parts[0])
    assert pair.waiting(pair.b) == 0
    assert pair.b.drops("fragment") == 1
