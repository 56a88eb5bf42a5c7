"""Child SAs for a worker each (RFC 9611): made, refused, rekeyed, lost and carried on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.ike.config import Lifetime, Start, TunnelConfig
from gateway.ike.events import (
    ChildSaAgain,
    ChildSaDown,
    ChildSaUp,
    IkeSaDown,
    OutboundReady,
    Spoken,
)
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.proposals import Proposal, parse_proposal
from tests.support.pair import ESP, TUNNEL, IkePair, Side, config_a, config_b

HYBRID = (parse_proposal("aes256gcm16-x25519-ke1_mlkem768-noesn", ProtocolId.ESP),)
MESSAGES = 8  # IKE_SA_INIT, IKE_AUTH and twice CREATE_CHILD_SA, with their answers


def for_each(a: int = 2, b: int = 2, **changes: object) -> tuple[TunnelConfig, TunnelConfig]:
    """Return the configurations of two ends that have so many workers, 0 = not wanted."""
    return config_a(**changes, resources=a), config_b(**changes, resources=b)


def established(a: int = 2, b: int = 2, **changes: object) -> IkePair:
    """Return a pair whose ends send on all that they have agreed on."""
    pair = IkePair.established(*for_each(a, b, **changes))
    pair.advance(2.0)
    return pair


def resources_of(side: Side) -> list[int]:
    """Return which workers' Child SAs a side has installed, 0 for the one of all."""
    return sorted(one.resource for one in side.plane.children.values())


def assert_each(pair: IkePair, count: int = 3) -> None:
    """Assert that both ends send on so many Child SAs, that each arrives, and no more are there."""
    for side in pair.sides():
        assert resources_of(side) == list(range(count)), pair.story()
        assert side.plane.sending.keys() == set(range(count)), pair.story()
        for slot in range(count):
            assert side.send_esp(slot), pair.story()
    suites = {(one.suite, one.local_ts, one.remote_ts) for one in pair.a.plane.children.values()}
    assert len({ts for _, *ts_ in suites for ts in ts_}) == 2  # the same selectors in all


def requests(side: Side, since: int = 0) -> list[str]:
    """Return what a side has asked for in CREATE_CHILD_SA, as a trace tells it."""
    return [
        one.line
        for one in side.all(Spoken)[since:]
        if one.is_sent and one.exchange.startswith("CREATE") and one.exchange.endswith("request")
    ]


# ---- agreeing ----


def test_there_is_one_for_each_worker_beside_the_first() -> None:
    pair = established()
    assert_each(pair)
    assert len(pair.link.seen) == MESSAGES
    assert [one.slot for one in pair.a.all(ChildSaUp)] == [0, 1, 2]


def test_the_notifies_name_the_resource() -> None:
    pair = IkePair(*for_each(1, 1))
    for side in pair.sides():
        side.start()
        side.endpoint.trace(frozenset({TUNNEL}))
    pair.fire()
    pair.deliver_all()
    lines = [one.line for one in pair.a.all(Spoken)]
    assert sum("SA_RESOURCE_INFO" in line for line in lines) == 4, lines
    told = [text for one in pair.a.all(Spoken) for text in one.details]
    assert sum("resource 00000001" in text for text in told) == 2, told


@pytest.mark.parametrize(("a", "b"), [(0, 0), (2, 0), (0, 2)])
def test_an_end_that_does_not_want_it_is_not_asked(a: int, b: int) -> None:
    pair = IkePair.established(*for_each(a, b))
    pair.advance(30.0)
    assert_each(pair, 1)
    exchanges = {flight.exchange for flight in pair.link.seen}
    assert ExchangeType.CREATE_CHILD_SA not in exchanges


def test_nothing_is_said_of_it_where_it_is_not_wanted() -> None:
    pair = IkePair(*for_each(0, 0))
    for side in pair.sides():
        side.start()
        side.endpoint.trace(frozenset({TUNNEL}))
    pair.fire()
    pair.deliver_all()
    pair.a.rekey_child()
    pair.deliver_all()
    assert not any("RESOURCE" in one.line for one in pair.a.all(Spoken))


@pytest.mark.parametrize(("a", "b"), [(4, 2), (2, 4), (16, 1)])
def test_the_end_with_fewer_workers_says_when_it_is_enough(a: int, b: int) -> None:
    pair = established(a, b)
    assert_each(pair, min(a, b) + 1)
    pair.a.endpoint.trace(frozenset({TUNNEL}))
    pair.advance(100.0)
    assert requests(pair.a) == [], "asked again after TS_MAX_QUEUE"
    assert not pair.a.codes()
    assert not pair.b.codes()


def test_both_ends_may_begin_and_leave_it_to_the_one_that_did() -> None:
    pair = IkePair.started(*for_each())
    pair.b.reconfigure(replace(pair.b.config, start=Start.INITIATE))
    pair.advance(20.0)
    assert_each(pair)
    assert pair.a.ike_sas == pair.b.ike_sas == 1


def test_it_goes_with_a_key_exchange_for_the_first_one_too() -> None:
    pair = established(childless=True)
    assert_each(pair)


@pytest.mark.parametrize("esp", [ESP, HYBRID], ids=["x25519", "mlkem768"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("nonces", [(0x10, 0x20), (0x20, 0x10)])
def test_requests_that_cross_leave_one_for_each(
    nonces: tuple[int, int], count: int, esp: tuple[Proposal, ...]
) -> None:
    pair = established(count, count, esp_proposals=esp)
    for slot in range(1, count + 1):
        pair.a.take(pair.a.endpoint.close_child(pair.a.plane.sending[slot], pair.now))
        pair.deliver_all()
    pair.advance(5.0)
    assert_each(pair, 1)
    for side, nonce in zip(pair.sides(), nonces, strict=True):
        side.random.nonces.clear()
        side.random.nonces_start(nonce)
        side.initiate()
    assert pair.waiting(pair.a) == pair.waiting(pair.b) == 1
    pair.advance(10.0)
    assert_each(pair, count + 1)


# ---- loss, and a restart of the gateway process ----


@pytest.mark.parametrize("lost", range(MESSAGES))
def test_any_lost_message_is_made_up_for(lost: int) -> None:
    pair = IkePair.started(*for_each())
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(15.0)
    assert_each(pair)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("delivered", range(4, MESSAGES))
def test_a_restart_while_they_are_made(delivered: int, who: str) -> None:
    pair = IkePair.started(*for_each())
    for _ in range(delivered):
        pair.link.arrive(pair.link.flights.popleft())
    getattr(pair, who).restart()
    pair.advance(20.0)
    assert_each(pair)


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_restart_is_not_noticed(who: str) -> None:
    pair = established(4, 2)
    one: Side = getattr(pair, who)
    before = len(one.events)
    one.restart()
    assert {type(event) for event in one.events[before:]} <= {ChildSaAgain}
    pair.a.endpoint.trace(frozenset({TUNNEL}))
    pair.advance(60.0)
    assert_each(pair)
    assert requests(pair.a) == [], "what the peer takes is forgotten"


# ---- sending on them ----


def test_the_end_that_answers_sends_on_it_when_the_peer_must_have_it() -> None:
    """Until then its worker sends on the first one: nothing is lost on the way."""
    pair = IkePair.established(*for_each(1, 1))
    made = next(one for one in pair.b.all(ChildSaUp) if one.resource == 1)
    assert not made.use_outbound
    assert pair.b.plane.sending.keys() == {0}
    pair.advance(1.1)
    assert [one.spi_in for one in pair.b.all(OutboundReady)] == [made.inbound.spi]


def test_the_end_that_answers_sends_on_it_as_soon_as_it_is_used() -> None:
    pair = IkePair.established(*for_each(1, 1))
    assert pair.a.send_esp(1)
    assert pair.b.plane.sending.keys() == {0, 1}


def test_their_spis_fall_on_different_workers() -> None:
    pair = established()
    for _ in range(2):
        for side in pair.sides():
            spis = {one.resource: spi for spi, one in side.plane.children.items()}
            assert spis[1] % 2 != spis[2] % 2, pair.story()
        pair.a.rekey_child()
        pair.advance(20.0)
    assert_each(pair)


# ---- each by itself ----


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_each_is_rekeyed_alone(who: str, slot: int) -> None:
    pair = established()
    one: Side = getattr(pair, who)
    before = dict(one.plane.sending)
    one.take(one.endpoint.soft_limit(before[slot], pair.now))
    pair.advance(10.0)
    assert_each(pair)
    assert {at for at, spi in one.plane.sending.items() if before[at] != spi} == {slot}


@pytest.mark.parametrize("lost", range(4))
def test_any_lost_message_of_a_rekey_is_made_up_for(lost: int) -> None:
    pair = established()
    pair.a.take(pair.a.endpoint.soft_limit(pair.a.plane.sending[2], pair.now))
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(20.0)
    assert_each(pair)


def test_both_ends_rekey_all_at_once() -> None:
    pair = established()
    pair.a.rekey_child()
    pair.b.rekey_child()
    pair.advance(60.0)
    assert_each(pair)


def test_short_lives_leave_one_for_each() -> None:
    pair = established(child_lifetime=Lifetime(50.0))
    pair.advance(400.0)
    assert_each(pair)
    assert pair.a.ike_sas == 1


@pytest.mark.parametrize("who", ["a", "b"])
def test_without_the_first_the_others_carry_on_and_it_comes_again(who: str) -> None:
    pair = established()
    one: Side = getattr(pair, who)
    kept = {slot: spi for slot, spi in one.peer.plane.sending.items() if slot}
    one.take(one.endpoint.close_child(one.plane.sending[0], pair.now))
    pair.deliver_all()
    assert one.peer.plane.sending == kept
    pair.a.initiate()
    pair.advance(30.0)
    assert_each(pair)
    assert pair.a.ike_sas == 1


def test_one_that_the_peer_finds_idle_is_not_asked_for_again_soon() -> None:
    pair = established()
    pair.b.take(pair.b.endpoint.close_child(pair.b.plane.sending[2], pair.now))
    pair.advance(200.0)
    assert_each(pair, 2)
    pair.advance(200.0)
    assert_each(pair)


def test_a_rekey_of_the_ike_sa_takes_all_along() -> None:
    pair = established(4, 2)
    pair.a.rekey_ike()
    pair.advance(1.0)
    assert not pair.a.all(ChildSaDown)
    pair.a.endpoint.trace(frozenset({TUNNEL}))
    pair.advance(60.0)
    assert requests(pair.a) == []
    pair.b.rekey_child()
    pair.advance(30.0)
    assert_each(pair)


def test_a_new_ike_sa_brings_new_ones() -> None:
    pair = established()
    before = set(pair.a.plane.children)
    pair.b.crash()
    pair.advance(120.0)
    assert_each(pair)
    assert not before & set(pair.a.plane.children)


# ---- edits ----


@pytest.mark.parametrize("first", ["a", "b"])
def test_both_ends_are_edited_one_after_the_other(first: str) -> None:
    pair = IkePair.established(*for_each(0, 0))
    for side in (getattr(pair, first), getattr(pair, first).peer):
        side.reconfigure(replace(side.config, resources=2))
        pair.advance(20.0)
    assert_each(pair)
    assert not pair.a.all(IkeSaDown)


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("left", [0, 1])
def test_fewer_workers_keep_what_they_need(who: str, left: int) -> None:
    pair = established()
    one: Side = getattr(pair, who)
    one.reconfigure(replace(one.config, resources=left))
    pair.advance(30.0)
    assert_each(pair, 1 + left)
    pair.advance(600.0)
    assert_each(pair, 1 + left)
    assert pair.a.ike_sas == 1


def test_a_restart_with_fewer_workers() -> None:
    pair = established()
    pair.a.config = replace(pair.a.config, resources=1)
    pair.a.restart()
    pair.advance(30.0)
    assert_each(pair, 2)


# ---- the data plane is lost ----


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("delivered", range(4, MESSAGES + 1))
def test_a_lost_data_plane_while_they_are_made(delivered: int, who: str) -> None:
    pair = IkePair.started(*for_each())
    for _ in range(delivered):
        pair.link.arrive(pair.link.flights.popleft())
    getattr(pair, who).lose_plane()
    pair.advance(30.0)
    assert_each(pair)
