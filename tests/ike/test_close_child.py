"""
A Child SA or an IKE SA closed by the operator, and open to whoever begins: it comes back only when
asked for. The IKE SA of a closed Child SA stays.
"""

from __future__ import annotations

import pytest

from gateway.ike.config import Start
from gateway.ike.events import ChildSaDown, ChildSaUp, IkeSaDown, IkeSaUp, OutboundDone
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from tests.support.pair import TUNNEL, IkePair, Side, config_a, config_b
from tests.support.slots import six_a, six_b

LONG_S = 300.0  # many times the longest pause before a missing Child SA is asked for


def close_child(side: Side, slot: int = 0) -> None:
    spi = side.plane.sending[slot]
    side.take(side.endpoint.close_child(spi, side.pair.now))


def closed_pair() -> IkePair:
    pair = IkePair.established()
    close_child(pair.a)
    pair.deliver_all()
    return pair


def test_a_rekey_that_crosses_the_delete_is_no_reason_not_to_ask_for_another() -> None:
    """
    RFC 7296 section 2.25.1: the rekey is refused with TEMPORARY_FAILURE. Its initiator sent on in
    the hope of it; now the Child SA is missed as after any other Delete.
    """
    pair = IkePair.established()
    close_child(pair.b)
    pair.a.rekey_child()
    # b: INFORMATIONAL { D }     a: CREATE_CHILD_SA { N(REKEY_SA), ... }
    pair.deliver_to_a()
    assert not pair.a.all(OutboundDone)
    pair.deliver_to_b()
    pair.deliver_all()
    assert [one.reason.code for one in pair.a.all(OutboundDone)] == ["deleted_by_peer"]
    pair.advance(10.0)
    assert [one.reason.code for one in pair.a.all(ChildSaDown)] == ["deleted_by_peer"]
    assert pair.has_traffic(), pair.story()
    assert len(pair.a.all(IkeSaUp)) == 1


@pytest.mark.parametrize("esp", ["aes256gcm16-x25519", "aes256gcm16-x25519-ke1_mlkem768"])
def test_a_rekey_that_is_under_way_when_it_is_closed_brings_no_other(esp: str) -> None:
    """What the peer has made in its place by then is deleted as well."""
    proposals = (parse_proposal(f"{esp}-noesn", ProtocolId.ESP),)
    pair = IkePair.established(config_a(esp_proposals=proposals), config_b(esp_proposals=proposals))
    pair.a.rekey_child()
    close_child(pair.a)
    pair.deliver_all()
    pair.advance(LONG_S)
    for side in pair.sides():
        assert side.state == "established", pair.story()
        assert not side.plane.children
    assert [one.reason.code for one in pair.a.all(ChildSaDown)] == ["closed"]
    assert pair.a.endpoint.inbound_spis == pair.b.endpoint.inbound_spis == 0
    pair.a.initiate()
    pair.deliver_all()
    assert pair.has_traffic(), pair.story()


def test_the_ike_sa_stays_and_nobody_asks_for_another() -> None:
    pair = closed_pair()
    pair.advance(LONG_S)
    for side in pair.sides():
        assert side.state == "established", pair.story()
        assert not side.plane.children
        assert not side.all(IkeSaDown)
        assert len(side.all(ChildSaUp)) == 1
    assert pair.a.endpoint.inbound_spis == pair.b.endpoint.inbound_spis == 0


def test_both_ends_say_why() -> None:
    pair = closed_pair()
    pair.advance(10.0)
    assert [one.reason.code for one in pair.a.all(OutboundDone)] == ["closed"]
    assert [one.reason.code for one in pair.a.all(ChildSaDown)] == ["closed"]
    assert [one.reason.code for one in pair.b.all(ChildSaDown)] == ["deleted_by_peer"]


def test_initiate_brings_it_back_on_the_same_ike_sa() -> None:
    pair = closed_pair()
    pair.advance(LONG_S)
    pair.a.initiate()
    pair.deliver_all()
    assert pair.a.send_esp(), pair.story()
    assert pair.b.send_esp()
    assert len(pair.a.all(IkeSaUp)) == 1


def test_the_peer_may_bring_it_back() -> None:
    pair = closed_pair()
    pair.b.initiate()
    pair.deliver_all()
    assert pair.a.send_esp(), pair.story()
    pair.advance(LONG_S)
    assert pair.a.send_esp()


def test_a_new_ike_sa_brings_it_back() -> None:
    pair = closed_pair()
    pair.b.crash()
    pair.advance(60.0)
    assert pair.a.send_esp(), pair.story()


def test_a_rekeyed_ike_sa_does_not() -> None:
    pair = closed_pair()
    pair.a.rekey_ike()
    pair.deliver_all()
    pair.advance(60.0)
    assert not pair.a.plane.children, pair.story()
    assert len(pair.a.all(IkeSaUp)) == 2


def test_of_several_the_others_carry_on() -> None:
    pair = IkePair.established(six_a(), six_b())
    close_child(pair.a, 3)
    pair.deliver_all()
    pair.advance(60.0)
    assert set(pair.a.plane.sending) == {0, 1, 2, 4, 5}, pair.story()
    pair.a.initiate()
    pair.deliver_all()
    assert set(pair.a.plane.sending) == set(range(6))


def test_one_that_is_gone_already_is_nothing_to_do() -> None:
    pair = closed_pair()
    pair.advance(10.0)
    assert pair.a.endpoint.close_child(0x1234, pair.now) == []


def terminate(side: Side) -> None:
    side.close()
    side.take(side.endpoint.allow(TUNNEL, side.pair.now))


def test_a_terminated_tunnel_waits_for_whoever_begins_and_then_holds_on() -> None:
    pair = IkePair.established(config_a(), config_b(start=Start.RESPOND))
    terminate(pair.a)
    pair.deliver_all()
    pair.advance(LONG_S)
    assert [side.state for side in pair.sides()] == ["idle", "idle"]
    pair.b.initiate()
    pair.deliver_all()
    assert pair.a.send_esp(), pair.story()
    pair.b.crash()
    pair.advance(120.0)
    assert pair.a.state == "established", pair.story()


def test_one_terminated_while_it_begins_does_not_hold_on() -> None:
    pair = IkePair.started(config_a(), config_b(start=Start.RESPOND))
    pair.deliver_to_b()
    pair.deliver_to_a()
    # a: IKE_AUTH is under way
    terminate(pair.a)
    pair.deliver_all()
    pair.advance(LONG_S)
    assert [side.state for side in pair.sides()] == ["idle", "idle"], pair.story()
    assert len(pair.b.all(IkeSaUp)) == 1
