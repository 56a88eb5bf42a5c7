"""
The data plane process ends and another takes its place: its ESP SAs are gone, the IKE SAs are not.

It ends between any two messages of any exchange. What follows is one rekey for each Child SA, in
the IKE SA that was there; `Plane` sees that no lost key is used again.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ike.events import ChildSaDown, ChildSaUp, IkeSaDown
from tests.ike.test_write_ahead import EXCHANGES, STEP, hybrid, two
from tests.support.pair import TUNNEL, IkePair, Side


def assert_carries(pair: IkePair, slots: int = 1) -> None:
    """Assert that the same Child SAs are in use at both ends, and nothing else is left."""
    for slot in range(slots):
        assert pair.a.send_esp(slot), pair.story()
        assert pair.b.send_esp(slot), pair.story()
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == slots, pair.story()
    assert not pair.a.plane.gone | pair.b.plane.gone, pair.story()


@pytest.mark.parametrize("who", ["a", "b"])
def test_one_round_trip_brings_other_keys(who: str) -> None:
    pair = IkePair.established()
    one: Side = getattr(pair, who)
    one.lose_plane()
    assert one.plane.sending_on is None
    pair.link.arrive(pair.link.flights.popleft())
    pair.link.arrive(pair.link.flights.popleft())
    assert one.send_esp(), pair.story()
    assert one.peer.send_esp(), pair.story()
    pair.advance(10.0)
    assert_carries(pair)
    assert not one.all(IkeSaDown)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_lost_between_any_two_messages_of_an_exchange(name: str, who: str) -> None:
    make, begin = EXCHANGES[name]
    slots = 2 if name in ("rekey two children", "a child for a worker") else 1
    for count in range(100):
        pair = make()
        begin(pair)
        for _ in range(min(count, len(pair.link.flights) * count)):
            if pair.link.flights:
                pair.link.arrive(pair.link.flights.popleft())
        is_over = not pair.link.flights
        one: Side = getattr(pair, who)
        one.lose_plane()
        pair.deliver_all()
        pair.advance(20.0)
        assert_carries(pair, slots)
        assert {down.reason.code for down in one.all(IkeSaDown)} <= {"rekeyed", "redundant"}
        if is_over and count:
            return
    raise AssertionError(f"{name} never ends")


def test_each_slot_has_a_rekey_of_its_own() -> None:
    pair = two()
    before = len(pair.a.all(ChildSaUp))
    pair.a.lose_plane()
    pair.advance(10.0)
    assert len(pair.a.all(ChildSaUp)) == before + 2
    assert_carries(pair, 2)


def test_an_sa_that_the_peer_has_made_and_not_yet_used_is_rekeyed_in_place_of_the_old_one() -> None:
    """b has begun a rekey, a waits for the first packet on the new Child SA."""
    pair = IkePair.established()
    pair.b.rekey_child()
    pair.deliver_to_a()
    made = pair.a.all(ChildSaUp)[-1]
    pair.a.lose_plane()
    pair.deliver_all()
    assert pair.a.all(ChildSaUp)[-1].replaces == made.inbound.spi
    pair.advance(10.0)
    assert_carries(pair)


def test_a_request_that_is_lost_is_sent_again() -> None:
    pair = IkePair.established()
    pair.a.lose_plane()
    pair.drop_to_b()
    pair.advance(10.0)
    assert_carries(pair)


def test_a_tunnel_without_an_ike_sa_has_nothing_to_rekey() -> None:
    pair = IkePair()
    pair.a.endpoint.configure([pair.a.config], pair.now)
    pair.a.endpoint.children_lost()
    assert pair.a.endpoint.rekey_child(TUNNEL, pair.now) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=25), st.booleans())
def test_lost_again_and_again_whatever_is_under_way(
    steps: list[tuple[str, bool, int]], is_hybrid: bool
) -> None:
    pair = hybrid() if is_hybrid else IkePair.established()
    for what, is_a, count in steps:
        side = pair.a if is_a else pair.b
        if what == "killed":
            side.lose_plane()
        elif what == "deliver" and pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
        elif what == "lose" and pair.link.flights:
            pair.link.flights.popleft()
        elif what == "wait":
            pair.advance(count / 4)
        elif what == "traffic":
            pair.a.send_esp()
            pair.b.send_esp()
        elif what in ("rekey_child", "rekey_ike"):
            getattr(side, what)()
    pair.advance(120.0)
    assert pair.a.send_esp(), pair.story()
    assert pair.b.send_esp(), pair.story()
    assert not [down for down in pair.a.all(ChildSaDown) if down.reason.code == "stale"]
