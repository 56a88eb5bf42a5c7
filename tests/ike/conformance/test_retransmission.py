"""
Retransmission in every exchange (TAHI groups 1.1.2, 1.2.2 and 1.3.2; RFC 7296 sections 2.1 and
2.2): the requester alone resends, byte for byte and on its schedule; the responder repeats its
answer and does nothing twice; who is never answered gives up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.ike.config import Timers
from gateway.ike.events import ChildSaUp, IkeSaDown, IkeSaUp, Send
from gateway.ike.iana import ExchangeType
from tests.ike.conformance.rows import HYBRID
from tests.ike.conformance.script import (
    Point,
    at_auth,
    at_child_delete,
    at_child_rekey,
    at_close,
    at_followup,
    at_ike_rekey,
    at_init,
    at_intermediate,
    at_liveness,
    at_new_child,
)
from tests.support.pair import Flight, IkePair

USUAL = Timers()


@dataclass(frozen=True)
class Exchange:
    """One exchange that a begins, and what is left when it is over."""

    group: str
    point: Point
    kind: ExchangeType
    pair: Callable[[], IkePair] = IkePair
    has_traffic: bool = True
    schedule: tuple[float, ...] = USUAL.retransmit_after

    def __str__(self) -> str:
        return f"{self.group} {self.point.__name__[3:]}"

    def begun(self) -> tuple[IkePair, list[Flight]]:
        """Return a pair, and the request of this exchange, taken off the link."""
        pair = self.pair()
        self.point(pair)
        requests = [pair.hold_to_b() for _ in range(pair.waiting(pair.a))]
        assert {one.exchange for one in requests} == {self.kind}
        return pair, requests

    def assert_over(self, pair: IkePair) -> None:
        """Assert that the exchange is done, once, and both ends hold the same."""
        pair.deliver_all()
        if not self.has_traffic:
            pair.advance(3.0)
            assert pair.a.plane.outbound is pair.b.plane.outbound is None
            assert pair.a.codes() == pair.b.codes() == []
            return
        assert pair.has_traffic(), pair.story()
        pair.advance(8.0)
        assert pair.has_traffic(), pair.story()
        assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()
        assert pair.a.ike_sas == pair.b.ike_sas == 1
        for kind in (IkeSaUp, ChildSaUp):
            assert len(pair.a.all(kind)) == len(pair.b.all(kind))


K = ExchangeType
EXCHANGES = (
    Exchange("1.1.2", at_init, K.IKE_SA_INIT),
    Exchange("1.1.2", at_intermediate, K.IKE_INTERMEDIATE, HYBRID),
    Exchange("1.1.2", at_auth, K.IKE_AUTH),
    Exchange("1.2.2", at_child_rekey, K.CREATE_CHILD_SA),
    Exchange("1.2.2", at_new_child, K.CREATE_CHILD_SA),
    Exchange("1.2.2", at_ike_rekey, K.CREATE_CHILD_SA),
    Exchange("1.2.2", at_followup, K.IKE_FOLLOWUP_KE, HYBRID),
    Exchange(
        "1.3.2",
        at_liveness,
        K.INFORMATIONAL,
        schedule=USUAL.liveness_retransmit_after,
    ),
    Exchange("1.3.2", at_child_delete, K.INFORMATIONAL, has_traffic=False),
    Exchange("1.3.2", at_close, K.INFORMATIONAL, has_traffic=False),
)
EVERY = pytest.mark.parametrize("exchange", EXCHANGES, ids=str)


def sent_again(pair: IkePair) -> list[Flight]:
    return [pair.hold_to_b() for _ in range(pair.waiting(pair.a))]


def bytes_of(flights: list[Flight]) -> list[bytes]:
    return [one.datagram for one in flights]


def answers_to(pair: IkePair, requests: list[Flight]) -> list[Flight]:
    """Let b have these datagrams, and hold what it answers."""
    for one in requests:
        pair.release(one)
    return [pair.hold_to_a() for _ in range(pair.waiting(pair.b))]


@EVERY
def test_as_initiator_a_lost_request_is_sent_again_byte_for_byte(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    again = requests
    for pause in exchange.schedule[:2]:
        pair.now += pause - 0.01
        pair.a.on_time()
        assert not pair.waiting(pair.a)
        pair.now += 0.01
        pair.a.on_time()
        again = sent_again(pair)
        assert bytes_of(again) == bytes_of(requests)
    for one in again:
        pair.release(one)
    exchange.assert_over(pair)


@EVERY
def test_as_initiator_a_lost_answer_is_asked_for_again(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    lost = answers_to(pair, requests)
    pair.now += exchange.schedule[0]
    pair.a.on_time()
    again = sent_again(pair)
    assert bytes_of(again) == bytes_of(requests)
    repeated = answers_to(pair, again)
    assert bytes_of(repeated) == bytes_of(lost)
    for one in repeated:
        pair.release(one)
    exchange.assert_over(pair)


@EVERY
def test_as_responder_a_doubled_request_is_carried_out_once(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    answers = answers_to(pair, requests)
    repeated = answers_to(pair, requests)
    assert bytes_of(repeated) == bytes_of(answers)
    assert pair.b.drops("replayed") == 1
    for one in answers:
        pair.release(one)
    exchange.assert_over(pair)


@EVERY
def test_as_initiator_a_doubled_answer_is_taken_once(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    answers = answers_to(pair, requests)
    for one in answers:
        pair.release(one)
    before, sent = len(pair.a.events), len(pair.a.all(Send))
    for one in answers:
        pair.release(one)
    assert len(pair.a.all(Send)) == sent
    assert len(pair.a.events) == before + len(answers)  # each is dropped, and nothing else
    exchange.assert_over(pair)


@EVERY
def test_as_responder_an_old_request_is_not_answered_any_more(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    for one in requests:
        pair.release(one)
    pair.deliver_all()
    if exchange.has_traffic:
        pair.a.rekey_child()
        pair.deliver_all()
    before = len(pair.b.all(Send))
    known = len(pair.b.endpoint._context.sas)
    for one in requests:
        pair.release(one)
    if exchange.has_traffic:
        assert len(pair.b.all(Send)) == before
    assert len(pair.b.endpoint._context.sas) == known
    exchange.assert_over(pair) if not exchange.has_traffic else pair.deliver_all()
    if exchange.has_traffic:
        assert pair.has_traffic()


@EVERY
def test_as_initiator_who_is_never_answered_gives_up_and_begins_again(exchange: Exchange) -> None:
    pair, requests = exchange.begun()
    pair.cut()
    before = len(pair.a.all(Send))
    pair.advance(sum(exchange.schedule) + 1.0)
    tries = [
        one.datagram for one in pair.a.all(Send)[before:] if one.datagram in bytes_of(requests)
    ]
    assert len(tries) <= len(requests) * (len(exchange.schedule) - 1)
    assert len(tries) >= len(requests) * 3
    assert pair.a.plane.outbound is None
    pair.cut(False)
    if exchange.has_traffic:
        ended = [down.reason.code for down in pair.a.all(IkeSaDown)]
        assert "peer_unreachable" in (*pair.a.codes(), *ended)
        pair.wait_for(pair.has_traffic, 600.0)
