"""
New Child SAs by CREATE_CHILD_SA (RFC 7296 sections 1.3.1 and 2.25): what each end does when the
other is in the middle of something else, refuses, or asks for the same.
"""

from __future__ import annotations

import pytest

from gateway.ike.config import ChildSelectors, Start, Timers
from gateway.ike.events import ChildSaUp, Failed
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import Message, parse_header
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
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side, config_a, config_b
from tests.support.slots import SIX, six_a, six_b

INFORMATIONAL, CREATE_CHILD_SA = ExchangeType.INFORMATIONAL, ExchangeType.CREATE_CHILD_SA
PLAIN = parse_proposal("aes256gcm16-noesn", ProtocolId.ESP)
GROUP = parse_proposal("aes256gcm16-x25519-noesn", ProtocolId.ESP)
FURTHER = parse_proposal("aes256gcm16-x25519-ke1_ecp256-noesn", ProtocolId.ESP)
X25519 = (31).to_bytes(2, "big")
ONE = ChildSelectors(config_a().local_ts, config_a().remote_ts)
LINGER_S = 6.0  # a Child SA that was deleted is there for so long, for packets on their way
HELD_S = 600.0  # in which nothing more is asked, and nothing is rekeyed


def how(proposal: Proposal, **more: object) -> dict[str, object]:
    return {"esp_proposals": (proposal,), "timers": Timers(liveness=0.0), **more}


def plain() -> IkePair:
    """Return a pair whose Child SAs have no key exchange of their own; only a begins."""
    return IkePair.established(config_a(**how(PLAIN)), config_b(**how(PLAIN)))


def closed(proposal: Proposal = PLAIN) -> IkePair:
    """Return a pair with an IKE SA and no Child SA, and neither end that asks for one by itself."""
    pair = IkePair.established(config_a(**how(proposal)), config_b(**how(proposal)))
    close(pair.a)
    pair.advance(LINGER_S)
    assert not pair.a.plane.children
    return pair


def close(side: Side, slot: int = 0) -> None:
    side.take(side.endpoint.close_child(side.plane.sending[slot], side.pair.now))


def child(spi: int, of: ChildSelectors, nonce: bytes = b"n" * 32) -> tuple[Payload, ...]:
    """Return what asks for a Child SA or accepts one; `of` is as its initiator sees it."""
    return (
        SecurityAssociation((PLAIN.with_spi(spi.to_bytes(4, "big")),)),
        Nonce(nonce),
        TrafficSelectorsI(of.local),
        TrafficSelectorsR(of.remote),
    )


def ask(
    forger: Forger, spi: int = 0x11110001, of: ChildSelectors = ONE, *more: Payload, **how: bytes
) -> Message:
    """Ask a for a Child SA in b's name; return its answer."""
    mirrored = ChildSelectors(of.remote, of.local)
    forger.send(CREATE_CHILD_SA, *more, *child(spi, mirrored, **how))
    return forger.answer()


def is_busy(message: Message) -> bool:
    return message.notify(NotifyType.TEMPORARY_FAILURE) is not None


def is_made(message: Message) -> bool:
    return message.maybe(SecurityAssociation) is not None


def answer(pair: IkePair, *payloads: Payload) -> None:
    """Answer a's request, the oldest on its way, in b's name."""
    number = parse_header(pair.hold_to_b().datagram).message_id
    Forger.of(pair.b).send(CREATE_CHILD_SA, *payloads, message_id=number, is_response=True)


# ---- while something else is under way (section 2.25) ----


def test_none_is_made_while_we_rekey_the_ike_sa() -> None:
    pair = plain()
    forger = Forger.of(pair.b)
    pair.a.rekey_ike()
    pair.hold_to_b()
    assert is_busy(ask(forger))
    assert len(pair.a.plane.inbound) == 1


def test_none_is_made_on_an_ike_sa_that_is_replaced() -> None:
    pair = plain()
    forger = Forger.of(pair.b)
    pair.a.rekey_ike()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.hold_to_b()  # the Delete of the old one
    assert is_busy(ask(forger))
    assert len(pair.a.plane.inbound) == 1


def test_none_is_made_on_an_ike_sa_that_goes() -> None:
    pair = plain()
    forger = Forger.of(pair.b)
    pair.a.close()
    pair.hold_to_b()
    assert is_busy(ask(forger))


# ---- both ends ask for the same ----


def crossed() -> tuple[IkePair, Forger]:
    """Return a pair whose a has just made the Child SA that b may ask for at the same time."""
    pair = closed()
    forger = Forger.of(pair.b)
    pair.a.initiate()
    pair.deliver_to_b()
    pair.deliver_to_a()
    assert len(pair.a.plane.children) == 1
    return pair, forger


def test_a_request_that_crossed_the_answer_to_ours_is_put_off() -> None:
    """Only the peer knows both requests, so that lowest nonces leave two."""
    pair, forger = crossed()
    assert is_busy(ask(forger))
    assert len(pair.a.plane.children) == 1


def test_it_can_not_have_when_all_its_retransmissions_are_over() -> None:
    pair, forger = crossed()
    pair.now += sum(pair.a.config.timers.retransmit_after) + 0.001
    assert is_made(ask(forger))


def test_it_can_not_have_before_there_was_an_ike_sa() -> None:
    """What IKE_AUTH made nobody has asked for by another exchange."""
    assert is_made(ask(Forger.of(plain().b)))


def test_what_the_peer_asked_for_itself_it_may_ask_for_again() -> None:
    pair = closed()
    forger = Forger.of(pair.b)
    assert is_made(ask(forger, 0x11110001))
    assert is_made(ask(forger, 0x11110002))


def test_what_we_are_deleting_it_may_ask_for() -> None:
    pair, forger = crossed()
    close(pair.a)
    pair.hold_to_b()
    assert is_made(ask(forger))


def test_other_selectors_have_nothing_to_do_with_it() -> None:
    pair = IkePair.established(six_a(**how(PLAIN)), six_b(**how(PLAIN)))
    for slot in (1, 2):
        close(pair.a, slot)
        pair.advance(LINGER_S)
    forger = Forger.of(pair.b)
    assert is_made(ask(forger, 0x11110001, SIX[1]))
    assert is_made(ask(forger, 0x11110002, SIX[2]))


def test_who_was_put_off_and_has_it_meanwhile_reports_nothing() -> None:
    pair = closed()
    pair.a.initiate()
    pair.hold_to_b()
    assert is_made(ask(Forger.of(pair.b)))
    before = len(pair.a.all(Failed))
    Forger.of(pair.b).send(
        CREATE_CHILD_SA,
        Notify(NotifyType.TEMPORARY_FAILURE),
        message_id=Forger.of(pair.a).next_id - 1,
        is_response=True,
    )
    pair.fire()
    assert len(pair.a.all(Failed)) == before
    assert not pair.link.flights
    assert pair.a.endpoint.inbound_spis == 1


def test_of_two_that_crossed_only_what_is_in_use_counts() -> None:
    """The lowest nonce decides between them (section 2.8.1), but not against what was rekeyed."""
    pair = closed()
    pair.a.initiate()
    request = pair.hold_to_b()
    forger = Forger.of(pair.b)
    assert is_made(ask(forger, 0x11110001, nonce=b"\xff" * 32))
    old = Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\x11\x11\x00\x01")
    assert is_made(ask(forger, 0x11110002, ONE, old, nonce=bytes(32)))
    pair.link.flights.append(request)
    answer(pair, *child(0x11110003, ONE))
    assert pair.a.all(ChildSaUp)[-1].outbound.spi == 0x11110003
    assert not pair.link.flights


def crossed_halfway() -> tuple[IkePair, Side]:
    """
    Return a pair whose ends have answered each other's request for the same, with a further key
    exchange to come (RFC 9370), and the one with the lowest nonce, which goes no further.
    """
    pair = closed(FURTHER)
    for side in pair.sides():
        side.initiate()
    for side in (pair.a, pair.b, pair.a, pair.b):
        pair.release(pair.hold_to(side))
    (further,) = pair.link.flights
    assert further.exchange == ExchangeType.IKE_FOLLOWUP_KE
    return pair, further.sender.peer


def test_ours_that_has_gone_further_holds_up_the_same_alone() -> None:
    both = {**how(FURTHER), "esp_proposals": (FURTHER, PLAIN)}
    pair = IkePair.established(six_a(**both), six_b(**both))
    for slot in (1, 2):
        close(pair.a, slot)
        pair.advance(LINGER_S)
    pair.a.initiate()
    pair.deliver_to_b()
    pair.deliver_to_a()
    assert pair.hold_to_b().exchange == ExchangeType.IKE_FOLLOWUP_KE
    forger = Forger.of(pair.b)
    assert is_busy(ask(forger, 0x11110001, SIX[1]))
    assert is_made(ask(forger, 0x11110002, SIX[2]))


def test_of_two_that_crossed_halfway_one_is_made() -> None:
    pair, _ = crossed_halfway()
    pair.deliver_all()
    assert pair.has_traffic()
    for side in pair.sides():
        assert len(side.plane.children) == side.endpoint.inbound_spis == 1


def test_who_gives_way_asks_again_if_the_other_does_not_go_on() -> None:
    pair, gives_way = crossed_halfway()
    gives_way.peer.is_frozen = True
    pair.link.flights.clear()
    pair.advance(60.0, deliver=False)
    assert pair.hold_to(gives_way.peer).exchange == CREATE_CHILD_SA


@pytest.mark.parametrize(
    ("notify", "has_one"),
    [
        (NotifyType.TEMPORARY_FAILURE, False),
        (NotifyType.TS_UNACCEPTABLE, True),
        (NotifyType.TS_MAX_QUEUE, False),  # it is not one of several
    ],
)
def test_any_other_refusal_is_reported(notify: NotifyType, has_one: bool) -> None:
    pair = closed()
    pair.a.initiate()
    if has_one:
        request = pair.hold_to_b()
        assert is_made(ask(Forger.of(pair.b)))
        pair.link.flights.append(request)
    before = len(pair.a.all(Failed))
    answer(pair, Notify(notify))
    assert len(pair.a.all(Failed)) == before + 1
    assert pair.a.endpoint.inbound_spis == has_one


# ---- what the answer says ----


def test_another_group_is_tried_three_times_and_no_spi_is_left_over() -> None:
    pair = closed(GROUP)
    pair.a.initiate()
    for left in (3, 2, 1, 0):
        assert pair.waiting(pair.a) == 1, left
        answer(pair, Notify(NotifyType.INVALID_KE_PAYLOAD, X25519))
    assert not pair.link.flights
    assert pair.a.codes()[-1:] == ["invalid_ke_payload"]
    assert pair.a.endpoint.inbound_spis == 0


def test_what_was_deleted_before_its_answer_came_is_asked_for_again() -> None:
    pair = closed()
    pair.a.initiate()
    forger = Forger.of(pair.b)
    forger.send(INFORMATIONAL, Delete(ProtocolId.ESP, (b"\x11\x11\x00\x01",)))
    request = pair.hold_to_b()
    forger.answer()
    pair.link.flights.append(request)
    answer(pair, *child(0x11110001, ONE))
    assert not pair.a.plane.children
    assert pair.a.endpoint.inbound_spis == 0
    pair.advance(30.0, deliver=False)
    assert pair.waiting(pair.a) >= 1


def test_such_a_delete_is_about_the_answers_to_come_and_no_later_ones() -> None:
    pair = closed()
    pair.a.initiate()
    forger = Forger.of(pair.b)
    forger.send(INFORMATIONAL, Delete(ProtocolId.ESP, (b"\x11\x11\x00\x01",)))
    request = pair.hold_to_b()
    forger.answer()
    pair.link.flights.append(request)
    answer(pair, Notify(NotifyType.NO_PROPOSAL_CHOSEN))
    pair.a.initiate()
    answer(pair, *child(0x11110001, ONE))
    assert [one.outbound.spi for one in pair.a.plane.children.values()] == [0x11110001]


# ---- Child SAs for a worker each (RFC 9611) ----


@pytest.mark.parametrize("notify", [NotifyType.TS_MAX_QUEUE, NotifyType.NO_ADDITIONAL_SAS])
def test_a_peer_with_enough_of_them_is_not_asked_for_more(notify: NotifyType) -> None:
    several = how(PLAIN, resources=3)
    pair = IkePair(config_a(**several), config_b(**several, start=Start.RESPOND))
    pair.start()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.deliver_to_b()
    pair.deliver_to_a()
    answer(pair, Notify(notify))
    assert not pair.a.all(Failed)
    pair.b.is_frozen = True
    pair.advance(HELD_S, deliver=False)
    assert not [one for one in pair.link.flights if one.exchange == CREATE_CHILD_SA]
    assert len(pair.a.all(ChildSaUp)) == 1


def test_with_the_first_one_of_the_peer_the_others_are_asked_for() -> None:
    several = how(PLAIN, resources=2)
    pair = IkePair.started(config_a(**several), config_b(**several, start=Start.INITIATE))
    pair.drop_to_a()
    pair.advance(1.0)
    for slot in (0, 1, 2):
        close(pair.a, slot)
        pair.deliver_all()
    forger = Forger.of(pair.a)
    forger.send(CREATE_CHILD_SA, *child(0x11110001, ONE))
    assert is_made(forger.answer())
    assert not pair.waiting(pair.b)
    pair.a.is_frozen = True
    pair.advance(10.0, deliver=False)
    assert pair.hold_to_a().exchange == CREATE_CHILD_SA


def test_that_it_refuses_one_for_another_reason_is_reported() -> None:
    several = how(PLAIN, resources=3)
    pair = IkePair(config_a(**several), config_b(**several))
    pair.start()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.deliver_to_b()
    pair.deliver_to_a()
    answer(pair, Notify(NotifyType.NO_PROPOSAL_CHOSEN))
    assert pair.a.codes() == ["no_proposal_chosen"]


def test_those_that_have_come_meanwhile_do_not_hold_up_the_next() -> None:
    pair = IkePair.established(six_a(**how(PLAIN)), six_b(**how(PLAIN)))
    for slot in range(1, 6):
        close(pair.a, slot)
        pair.advance(LINGER_S)
    pair.a.rekey_child()
    pair.a.initiate()
    rekey = pair.hold_to_b()
    forger = Forger.of(pair.b)
    for slot in range(1, 5):
        assert is_made(ask(forger, 0x11110000 + slot, SIX[slot]))
    pair.release(rekey)
    pair.deliver_to_a()
    pair.deliver_to_b()  # the Delete of what was rekeyed
    pair.deliver_to_a()
    asked = [one for one in pair.link.flights if one.exchange == CREATE_CHILD_SA]
    assert len(asked) == 1, pair.story()
