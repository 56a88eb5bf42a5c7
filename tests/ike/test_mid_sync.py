"""
Message ID synchronisation (RFC 6311), which we do not announce: who tries it changes nothing.

Its request has message ID 0 outside the window, so a gateway that took it without having agreed to
it could be made to answer old messages again.
"""

from __future__ import annotations

import pytest

from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.payloads import Notify
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side

INFORMATIONAL = ExchangeType.INFORMATIONAL


def sync(send: int, receive: int) -> Notify:
    """Return what a member of a cluster says: a nonce, its next request, the next it expects."""
    data = b"\x01\x02\x03\x04" + send.to_bytes(4, "big") + receive.to_bytes(4, "big")
    return Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC, data)


def windows(side: Side) -> list[tuple[int, int]]:
    sas = side.endpoint._context.sas.values()
    return [(sa.window.next_request, sa.window.expected) for sa in sas]


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("ids", [(0, 0), (1000, 1000), (0xFFFFFFFF, 0)])
def test_a_request_with_message_id_0_is_dropped(who: str, ids: tuple[int, int]) -> None:
    pair = IkePair.established()
    liar = pair.a if who == "a" else pair.b
    pair.a.rekey_child()
    pair.b.rekey_child()
    pair.deliver_all()
    before = windows(liar.peer)
    Forger.of(liar).send(INFORMATIONAL, sync(*ids), message_id=0)
    assert not pair.waiting(liar.peer)
    assert windows(liar.peer) == before
    pair.a.rekey_child()
    pair.b.rekey_child()
    pair.deliver_all()
    assert pair.has_traffic()


def test_an_answer_with_message_id_0_is_dropped() -> None:
    pair = IkePair.established()
    pair.b.rekey_child()
    pair.deliver_all()
    before = windows(pair.b)
    Forger.of(pair.a).send(INFORMATIONAL, sync(7, 9), message_id=0, is_response=True)
    assert not pair.waiting(pair.b)
    assert windows(pair.b) == before


def test_in_a_request_in_its_turn_it_is_a_notify_that_nobody_knows() -> None:
    pair = IkePair.established()
    forger = Forger.of(pair.a)
    (before,) = windows(pair.b)
    forger.send(INFORMATIONAL, sync(50, 60))
    assert forger.answer().payloads == ()
    assert windows(pair.b) == [(before[0], before[1] + 1)]
    assert pair.has_traffic()
