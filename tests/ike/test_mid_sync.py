"""
Message ID synchronisation (RFC 6311), which we do not announce: who tries it changes nothing.

Its request has message ID 0 outside the window, so a gateway that took it without having agreed to
it could be made to answer old messages again.
"""

from __future__ import annotations

import dataclasses

import pytest

from gateway.ike import message
from gateway.ike.events import IkeSaUp
from gateway.ike.exchanges.init import finish_keys
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.ike_sa import IkeSa, Keys
from gateway.ike.payloads import Notify
from gateway.ike.proposals import parse_proposal
from gateway.ike.states import State
from gateway.sa import Path
from gateway.secret import Secret
from tests.support.forge import Forger
from tests.support.pair import Flight, IkePair, Side, config_a, config_b

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


# ---- in every state ----


def newest(side: Side) -> IkeSa:
    return list(side.endpoint._context.sas.values())[-1]


def keys_of(side: Side) -> Keys:
    """Return the keys of its newest IKE SA; the responder may not have needed them yet."""
    return finish_keys(newest(side))


def said(flight: Flight) -> message.Message:
    """Return what a sealed message says, as its receiver opens it."""
    opener = keys_of(flight.sender.peer).open
    return message.open_sealed(flight.datagram, message.parse_header(flight.datagram), opener)


def resealed(flight: Flight, whole: message.Message) -> Flight:
    cipher = keys_of(flight.sender).seal
    return dataclasses.replace(
        flight, datagram=message.seal(whole, cipher, b"\xee" * cipher.iv_len)
    )


def test_who_announces_it_is_not_told_that_we_can() -> None:
    """In IKE_AUTH, where strongSwan always does (RFC 6311 section 4); AUTH does not cover it."""
    pair = IkePair()
    pair.start()
    pair.deliver_to_b()
    pair.deliver_to_a()
    able = Notify(NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED)
    for take in (pair.hold_to_b, pair.hold_to_a):
        flight = take()
        whole = said(flight)
        assert whole.exchange == ExchangeType.IKE_AUTH
        assert whole.notify(NotifyType.IKEV2_MESSAGE_ID_SYNC_SUPPORTED) is None
        pair.release(resealed(flight, dataclasses.replace(whole, payloads=(*whole.payloads, able))))
    assert pair.a.state == pair.b.state == "established"
    assert pair.has_traffic()
    test_a_request_with_message_id_0_is_dropped("a", (1000, 1000))


def back(path: Path) -> Path:
    """Return a path as the other end sees it."""
    return Path(path.remote, path.remote_port, path.local, path.local_port)


def until(state: State) -> tuple[IkePair, Side]:
    """Return a pair and the side of it whose IKE SA is in this state."""
    ike = (parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE),)
    hybrid = {"ike_proposals": ike, "fragment_size": 1500}
    wrong = {"psk": Secret(b"another one, which is as long")} if state is State.REFUSED else {}
    pair = IkePair(config_a(**hybrid), config_b(**hybrid, **wrong))
    pair.start()
    before_auth = {
        State.INIT_SENT: (0, pair.a),
        State.INIT_ANSWERED: (1, pair.b),
        State.INTERMEDIATE_SENT: (2, pair.a),
        State.AUTH_SENT: (4, pair.a),
        State.REFUSED: (5, pair.b),
    }
    steps, side = before_auth.get(state, (99, pair.b))
    for _ in range(steps):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    if state is State.CLOSING:
        pair.b.close()
    if state is State.REKEYED:
        pair.a.rekey_ike()
        while newest(pair.b).state is not State.ESTABLISHED or len(pair.b.all(IkeSaUp)) < 2:
            pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.clear()
    return pair, side


STATES = [state for state in State if state not in (State.IDLE, State.CLOSED)]


def as_peer(sa: IkeSa, *, is_response: bool) -> bytes:
    """Return what the peer of an IKE SA would say, sealed if there are keys for it."""
    said_ = sa.message(INFORMATIONAL, 0, (sync(7, 9),), is_response)
    whole = dataclasses.replace(said_, from_original_initiator=not sa.original_initiator)
    if sa.keys is None and sa.unfinished is None:
        return message.serialise_clear(whole)
    cipher = finish_keys(sa).open
    return message.seal(whole, cipher, b"\xee" * cipher.iv_len)


@pytest.mark.parametrize("is_response", [False, True])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_unasked_it_moves_no_window_in_any_state(state: State, is_response: bool) -> None:
    pair, side = until(state)
    sa = next(one for one in side.endpoint._context.sas.values() if one.state is state)
    before = windows(side)
    pair.release(Flight(side.peer, as_peer(sa, is_response=is_response), back(sa.path)))
    assert windows(side) == before
    assert not pair.waiting(side)
    assert sa.state is state


@pytest.mark.parametrize("state", [State.ESTABLISHED, State.CLOSING], ids=lambda one: one.name)
def test_where_message_id_0_is_the_next_it_is_a_request_as_any_other(state: State) -> None:
    """The peer has asked nothing yet: what it says is a notify that nobody knows."""
    pair = IkePair.established()
    if state is State.CLOSING:
        pair.a.close()
        pair.drop_to_b()
    (sa,) = pair.a.endpoint._context.sas.values()
    assert (sa.state, sa.window.expected) == (state, 0)
    pair.release(Flight(pair.b, as_peer(sa, is_response=False), back(sa.path)))
    assert sa.window.expected == 1
    assert said(pair.hold_to_b()).payloads == ()
