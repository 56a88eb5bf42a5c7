"""Tunnels with several Child SAs: each slot is made, rekeyed, lost and asked for by itself."""

from __future__ import annotations

import pytest

from gateway.dataplane.interface import OUTBOUND_MAX
from gateway.ike.config import ChildSelectors, Lifetime, Start, TunnelConfig
from gateway.ike.events import (
    ChildSaAgain,
    ChildSaDown,
    ChildSaUp,
    IkeSaDown,
    IkeSaUp,
    OutboundDone,
    Send,
)
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import Delete
from gateway.ike.proposals import parse_proposal
from gateway.ike.reasons import DELETED_BY_PEER
from gateway.ike.selectors import ANY4, parse_selector
from gateway.ike.status import SlotStatus
from tests.support.forge import Forger
from tests.support.pair import TUNNEL, IkePair, Side, config_a, config_b
from tests.support.slots import SIX, mirrored, of, six_a, six_b

MESSAGES = 14  # IKE_SA_INIT, IKE_AUTH and five times CREATE_CHILD_SA, with their answers


def slots_of(side: Side) -> tuple[SlotStatus, ...]:
    return side.endpoint.tunnel_status(TUNNEL).slots


def assert_one_each(pair: IkePair, count: int = 6) -> None:
    """Assert that both ends have one Child SA in each slot, and traffic goes by each."""
    for side in pair.sides():
        assert sorted(one.slot for one in side.plane.children.values()) == list(range(count)), (
            pair.story()
        )
        assert side.plane.sending.keys() == set(range(count))
    for slot in range(count):
        assert pair.a.send_esp(slot), pair.story()
        assert pair.b.send_esp(slot), pair.story()


def begun_by_a(a: TunnelConfig, b: TunnelConfig) -> IkePair:
    """Return a pair whose ends both want to begin, but b's first message is lost."""
    pair = IkePair.started(a, b)
    pair.drop_to_a()
    return pair


def delete_from_b(pair: IkePair, slot: int) -> None:
    """Let b delete the Child SA of one slot, without b's own knowledge."""
    spi = next(spi for spi, one in pair.b.plane.children.items() if one.slot == slot)
    delete = Delete(ProtocolId.ESP, (spi.to_bytes(4, "big"),))
    Forger.of(pair.b).send(ExchangeType.INFORMATIONAL, delete)


def test_six_pairs_are_six_child_sas() -> None:
    pair = IkePair.established(six_a(), six_b())
    assert_one_each(pair)
    for side, pairs in ((pair.a, SIX), (pair.b, mirrored(SIX))):
        made = [ChildSelectors(one.local_ts, one.remote_ts) for one in side.all(ChildSaUp)]
        assert made == list(pairs)
        assert [one.slot for one in side.all(ChildSaUp)] == list(range(6))
        assert all(one.is_up and one.reason is None for one in slots_of(side))
    assert len(pair.link.seen) == MESSAGES


def test_as_many_as_the_data_plane_has_slots() -> None:
    many = tuple(
        ChildSelectors((parse_selector(f"10.1.{at}.0/24"),), (parse_selector("10.2.0.0/16"),))
        for at in range(OUTBOUND_MAX)
    )
    pair = IkePair.established(of(config_a(), many), of(config_b(), mirrored(many)))
    assert_one_each(pair, OUTBOUND_MAX)
    pair.b.rekey_child()
    pair.advance(30.0)
    assert_one_each(pair, OUTBOUND_MAX)


def test_one_pair_has_no_status_of_its_own() -> None:
    assert slots_of(IkePair.established().a) == ()


@pytest.mark.parametrize("lost", range(MESSAGES))
def test_any_lost_message_is_made_up_for(lost: int) -> None:
    pair = IkePair.started(six_a(), six_b())
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(10.0)
    assert_one_each(pair)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("delivered", range(4, MESSAGES))
def test_a_restart_while_they_are_made(delivered: int, who: str) -> None:
    pair = IkePair.started(six_a(), six_b())
    for _ in range(delivered):
        pair.link.arrive(pair.link.flights.popleft())
    getattr(pair, who).restart()
    pair.advance(20.0)
    assert_one_each(pair)


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_quiet_restart_is_not_noticed(who: str) -> None:
    pair = IkePair.established(six_a(), six_b())
    one: Side = getattr(pair, who)
    before = len(one.events)
    one.restart()
    assert {type(event) for event in one.events[before:]} <= {ChildSaAgain}
    assert_one_each(pair)
    one.rekey_child()
    pair.advance(30.0)
    assert_one_each(pair)


@pytest.mark.parametrize("who", ["a", "b"])
def test_one_of_six_is_rekeyed_alone(who: str) -> None:
    pair = IkePair.established(six_a(), six_b())
    one: Side = getattr(pair, who)
    before = dict(one.plane.sending)
    one.take(one.endpoint.soft_limit(before[3], pair.now))
    pair.advance(10.0)
    assert_one_each(pair)
    changed = {slot for slot, spi in one.plane.sending.items() if before[slot] != spi}
    assert changed == {3}
    assert one.all(ChildSaUp)[-1].replaces == before[3]


@pytest.mark.parametrize("lost", range(4))
def test_any_lost_message_of_a_rekey_of_one_is_made_up_for(lost: int) -> None:
    pair = IkePair.established(six_a(), six_b())
    pair.a.take(pair.a.endpoint.soft_limit(pair.a.plane.sending[4], pair.now))
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(15.0)
    assert_one_each(pair)


def test_both_ends_rekey_all_at_once() -> None:
    pair = IkePair.established(six_a(), six_b())
    pair.a.rekey_child()
    pair.b.rekey_child()
    pair.advance(60.0)
    assert_one_each(pair)
    assert pair.a.ike_sas == 1


def test_a_rekey_of_the_ike_sa_takes_all_along() -> None:
    pair = IkePair.established(six_a(), six_b())
    pair.a.rekey_ike()
    pair.advance(1.0)
    assert not pair.a.all(ChildSaDown)
    pair.b.rekey_child()
    pair.advance(30.0)
    assert_one_each(pair)


def test_short_lives_leave_one_in_each_slot() -> None:
    life = Lifetime(50.0)
    pair = IkePair.established(six_a(child_lifetime=life), six_b(child_lifetime=life))
    pair.advance(400.0)
    assert_one_each(pair)
    assert pair.a.ike_sas == 1


def test_one_that_the_peer_deletes_is_asked_for_again_and_the_others_stay() -> None:
    pair = IkePair.established(six_a(), six_b())
    others = {slot: spi for slot, spi in pair.a.plane.sending.items() if slot != 3}
    delete_from_b(pair, 3)
    assert [one.spi_in for one in pair.a.all(OutboundDone)] == [
        next(one.inbound.spi for one in pair.a.all(ChildSaUp) if one.slot == 3)
    ]
    assert pair.a.plane.sending == others
    assert [one.is_up for one in slots_of(pair.a)] == [True] * 3 + [False] + [True] * 2
    assert slots_of(pair.a)[3].reason == DELETED_BY_PEER
    pair.link.flights.clear()
    before = len(pair.a.all(Send))
    pair.advance(1.4, deliver=False)
    asked = parse_header(pair.a.all(Send)[before].datagram)
    assert (asked.exchange, asked.is_response) == (ExchangeType.CREATE_CHILD_SA, False)


def test_one_that_the_peer_refuses_does_not_take_the_others_down() -> None:
    without = (*SIX[:4], *SIX[5:])
    pair = IkePair.started(six_a(), of(config_b(), mirrored(without)))
    pair.advance(30.0)
    slots = slots_of(pair.a)
    assert [one.is_up for one in slots] == [True] * 4 + [False, True]
    assert slots[4].reason is not None
    assert slots[4].reason.code == "ts_unacceptable"
    assert slots[4].reason.ours == "10.1.2.0/24 === 10.2.2.0/24"
    assert len(pair.b.plane.children) == 5
    assert pair.a.ike_sas == 1
    # Asked for again with growing pauses.
    assert 3 <= pair.a.codes().count("ts_unacceptable") <= 6


def test_the_first_one_may_be_refused() -> None:
    pair = IkePair.started(six_a(), of(config_b(), mirrored(SIX[1:])))
    pair.advance(5.0)
    assert [one.is_up for one in slots_of(pair.a)] == [False] + [True] * 5
    assert slots_of(pair.a)[0].reason is not None


def test_a_refused_one_comes_up_when_the_peer_is_edited() -> None:
    pair = IkePair.started(six_a(), of(config_b(), mirrored(SIX[:5])))
    pair.advance(30.0)
    pair.b.reconfigure(six_b())
    pair.advance(60.0)
    assert_one_each(pair)
    assert all(one.reason is None for one in slots_of(pair.a))


def test_an_end_that_waits_leaves_the_others_to_the_peer_at_first() -> None:
    pair = begun_by_a(six_a(), six_b(start=Start.INITIATE))
    pair.advance(20.0)
    assert_one_each(pair)
    assert pair.a.ike_sas == pair.b.ike_sas == 1


def test_what_the_peer_that_began_does_not_ask_for_is_asked_for_here() -> None:
    """a knows one pair that covers all; b, which wants six, asks for the other five."""
    wide = (ChildSelectors((ANY4,), (ANY4,)),)
    pair = begun_by_a(of(config_a(), wide), six_b(start=Start.INITIATE))
    pair.deliver_all()
    assert [one.is_up for one in slots_of(pair.b)] == [True] + [False] * 5
    pair.advance(10.0)
    assert all(one.is_up for one in slots_of(pair.b))
    made = {ChildSelectors(one.local_ts, one.remote_ts) for one in pair.b.all(ChildSaUp)}
    assert made == set(mirrored(SIX))


@pytest.mark.parametrize("nonces", [(0x10, 0x20), (0x20, 0x10)])
def test_two_requests_for_one_slot_that_cross_leave_one_child_sa(nonces: tuple[int, int]) -> None:
    pair = begun_by_a(six_a(), six_b(start=Start.INITIATE))
    while pair.a.state != "established":
        pair.a.random.nonces.clear()
        pair.a.random.nonces_start(nonces[0])
        pair.b.random.nonces.clear()
        pair.link.arrive(pair.link.flights.popleft())
        pair.fire()
    # a has asked for the second pair; b waits, and then asks for it as well.
    pair.b.random.nonces_start(nonces[1])
    pair.advance(5.5, deliver=False)
    assert any(flight.sender is pair.b for flight in pair.link.flights)
    pair.advance(30.0)
    assert_one_each(pair)
    assert any(one.reason.code == "redundant" for one in pair.a.all(ChildSaDown)), pair.story()


def test_an_overdue_one_ends_alone() -> None:
    """b has other proposals now, so every rekey is refused; five of the six are younger."""
    life = Lifetime(100.0)
    pair = IkePair.established(six_a(child_lifetime=life), six_b(child_lifetime=life))
    pair.advance(60.0)
    for slot in range(5):
        pair.a.take(pair.a.endpoint.soft_limit(pair.a.plane.sending[slot], pair.now))
    pair.advance(10.0)
    other = (parse_proposal("aes128-sha256-x25519", ProtocolId.ESP),)
    pair.b.reconfigure(six_b(child_lifetime=life, esp_proposals=other))
    pair.advance(110.0)
    assert [one.is_up for one in slots_of(pair.a)] == [True] * 5 + [False], pair.story()
    assert "lifetime_over" in pair.a.codes()
    first = pair.a.all(IkeSaUp)[0].spi_i
    assert first not in [one.spi_i for one in pair.a.all(IkeSaDown)]
    assert pair.a.send_esp(4)
    pair.b.reconfigure(six_b(child_lifetime=life))
    pair.advance(60.0)
    assert_one_each(pair)


def test_a_changed_set_of_pairs_begins_anew() -> None:
    pair = IkePair.established(six_a(), six_b())
    pair.b.reconfigure(of(config_b(), mirrored(SIX[:2])))
    pair.a.reconfigure(of(config_a(), SIX[:2]))
    pair.advance(30.0)
    assert_one_each(pair, 2)
