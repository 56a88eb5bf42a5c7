"""A gateway process that is restarted goes on with the IKE SAs it had, whatever was under way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis.strategies import binary, sampled_from

from gateway.ike.config import Encap, Start
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import (
    ChildSaAgain,
    ChildSaDown,
    ChildSaUp,
    IkeSaDown,
    IkeSaUp,
    OutboundDone,
    Send,
)
from gateway.ike.kept import data
from gateway.ike.message import parse_header
from tests.support.fixed import FixedRandom
from tests.support.pair import IkePair, Side, config_a, config_b


def assert_works(pair: IkePair) -> None:
    """Assert that the tunnel carries traffic and that every exchange works from both ends."""
    assert pair.has_traffic(), pair.story()
    for side in pair.sides():
        side.rekey_child()
        pair.deliver_all()
        side.rekey_ike()
        pair.deliver_all()
        assert pair.has_traffic(), pair.story()
    pair.advance(30.0)
    assert pair.a.state == pair.b.state == "established"
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()
    assert pair.has_traffic()


@pytest.mark.parametrize("who", ["a", "b"])
def test_quiet_restart_is_not_noticed(who: str) -> None:
    pair = IkePair.established()
    one: Side = getattr(pair, who)
    before = len(one.events)
    one.restart()
    assert [type(event) for event in one.events[before:]] == [ChildSaAgain]
    assert pair.waiting(one) == 0
    assert_works(pair)
    assert not pair.a.all(IkeSaDown) or pair.a.all(IkeSaDown)[0].reason.code == "rekeyed"


def test_where_no_record_is_kept_any_more_each_goes_with_the_next_change() -> None:
    """The data plane process was replaced: what the next one keeps begins empty."""
    endpoint = (pair := IkePair.established()).a.endpoint
    ((place, record),) = pair.a.store.records.items()
    endpoint.none_kept()
    assert endpoint.changes() == []
    endpoint.keep_rest()
    ((found, again),) = endpoint.changes()
    assert found == place
    assert {**json.loads(again), "children": []} == {**json.loads(record), "children": []}
    endpoint.keep_rest()
    assert endpoint.changes() == []
    endpoint.none_kept()
    endpoint.rekey_child(pair.a.config.name, pair.now)
    assert [found for found, _ in endpoint.changes()] == [place]
    endpoint.keep_rest()
    assert endpoint.changes() == []


def test_both_ends_restart() -> None:
    pair = IkePair.established()
    pair.a.restart()
    pair.b.restart()
    assert_works(pair)


@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("delivered", range(5))
@pytest.mark.parametrize("who", ["a", "b"])
def test_restart_in_the_middle_of_a_rekey(action: str, delivered: int, who: str) -> None:
    """a rekeys; after any of the four messages one end is restarted."""
    pair = IkePair.established()
    getattr(pair.a, action)()
    for _ in range(delivered):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    getattr(pair, who).restart()
    pair.advance(20.0)
    assert_works(pair)


@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("delivered", range(7))
def test_restart_in_the_middle_of_a_collision(action: str, delivered: int) -> None:
    pair = IkePair.established()
    getattr(pair.a, action)()
    getattr(pair.b, action)()
    for _ in range(delivered):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    pair.a.restart()
    pair.advance(60.0)
    assert_works(pair)


def test_rekey_that_was_begun_before_the_restart_is_finished() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()
    pair.a.restart()
    while pair.link.flights:
        pair.link.arrive(pair.link.flights.popleft())
        assert pair.has_traffic(), pair.story()
    assert pair.a.endpoint.counters["rekey_child.done"] == 1


def test_rekey_of_the_ike_sa_that_was_refused_is_tried_again() -> None:
    """TEMPORARY_FAILURE (RFC 7296 section 2.25): the old keys live on, but not to their end."""
    pair = IkePair.established()
    pair.b.rekey_child()
    # <-- b: CREATE_CHILD_SA { N(REKEY_SA) ... } is on its way when a rekeys the IKE SA
    pair.a.rekey_ike()
    pair.a.restart()
    pair.deliver_to_b()
    # <-- b: CREATE_CHILD_SA { N(TEMPORARY_FAILURE) }
    pair.deliver_all()
    assert pair.a.endpoint.counters.get("rekey_ike.done", 0) == 0
    pair.b.is_frozen = True  # its next attempt would meet ours again: the test's dice are loaded
    pair.advance(60.0)
    pair.b.is_frozen = False
    assert pair.a.endpoint.counters["rekey_ike.done"] == 1
    assert_works(pair)


def test_rekeyed_child_sa_that_was_not_used_yet_is_used_after_the_restart() -> None:
    """
    b has answered a rekey, and still sends on the old Child SA when it is restarted: its record has
    the keys to send on the new one.
    """
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()
    pair.b.restart()
    # <-- b: CREATE_CHILD_SA, then a: INFORMATIONAL { D } -->
    pair.deliver_all()
    assert pair.has_traffic(), pair.story()
    assert not pair.b.endpoint.counters.get("out.request.create_child_sa")
    assert_works(pair)


def test_restart_while_closing_still_closes() -> None:
    pair = IkePair.established()
    pair.a.close()
    pair.drop_to_b()
    pair.a.restart()
    pair.advance(1.0)
    assert [down.reason.code for down in pair.b.all(IkeSaDown)] == ["deleted_by_peer"]


def test_restart_while_it_is_set_up_begins_again() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.a.restart()
    pair.fire()
    pair.deliver_all()
    assert_works(pair)


def test_outstanding_request_is_repeated_byte_for_byte() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    request = pair.hold_to_b().datagram
    pair.a.restart()
    pair.advance(0.6, deliver=False)
    assert pair.hold_to_b().datagram == request


def test_restored_ike_sa_never_uses_an_iv_again() -> None:
    """The IV follows the header of the SK payload; under one key none may come twice."""
    pair = IkePair.established()
    for _ in range(6):
        pair.advance(10.5)
        pair.a.restart()
    ivs = [
        event.datagram[32:40]
        for event in pair.a.all(Send)
        if parse_header(event.datagram).exchange == 37
    ]
    sent = {event.datagram for event in pair.a.all(Send)}
    assert len(ivs) >= 5
    assert len(set(ivs)) == len([one for one in sent if parse_header(one).exchange == 37])


def test_changed_tunnel_is_closed_on_restore() -> None:
    pair = IkePair.established()
    pair.a.config = config_a(encap=Encap.AUTO)
    pair.a.restart()
    assert pair.a.all(OutboundDone)[0].reason.code == "reconfigured"
    pair.advance(12.0)
    assert pair.a.all(ChildSaDown)[0].reason.code == "reconfigured"
    assert_works(pair)


def test_removed_tunnel_is_closed_on_restore() -> None:
    pair = IkePair.established()
    pair.a.endpoint = IkeEndpoint(pair.a.random, pair.now, is_kept=True)
    events, mistakes = pair.a.endpoint.restore(pair.a.store.found(), pair.now)
    assert mistakes == []
    pair.a.take(events)
    pair.advance(1.0)
    assert pair.b.ike_sas == 0
    assert not pair.a.plane.inbound


def test_inbound_spis_of_restored_child_sas_are_taken() -> None:
    pair = IkePair.established()
    spi = pair.a.all(ChildSaUp)[0].inbound.spi
    pair.a.random = FixedRandom(ord("a"))
    pair.a.restart()
    for _ in range(10):
        pair.a.rekey_child()
        pair.deliver_all()
    fresh = [event.inbound.spi for event in pair.a.all(ChildSaUp)[1:]]
    assert spi not in fresh


def test_duplicates_are_sorted_out_after_a_restart() -> None:
    pair = IkePair(config_a(), config_b(start=Start.INITIATE))
    pair.start()
    pair.deliver_all()
    assert len(pair.a.all(IkeSaUp)) == 2
    pair.a.restart()
    pair.b.restart()
    pair.advance(20.0)
    assert_works(pair)


@given(binary(max_size=200))
def test_bytes_that_are_no_record_are_refused(record: bytes) -> None:
    events, (mistake,) = IkeEndpoint(FixedRandom(1), 0.0).restore([record], 0.0)
    assert events == []
    assert mistake.startswith("not a record: ")


@given(sampled_from(["tunnel", "state", "spis", "keys", "suite", "window", "children", "times"]))
def test_record_with_a_missing_or_wrong_part_is_refused(key: str) -> None:
    pair = IkePair.established()
    changes: tuple[object, ...] = (None, 7, [], "x")
    for change in changes:
        saved = pair.a.store.newest()
        saved[key] = change
        endpoint = IkeEndpoint(FixedRandom(1), 0.0)
        endpoint.configure([config_a()], 0.0)
        if key == "tunnel" or (key == "children" and change == []):
            continue
        events, (mistake,) = endpoint.restore([json.dumps(saved).encode()], pair.now)
        assert events == []
        assert "not a record: " in mistake


def test_record_of_another_version_is_refused() -> None:
    _, (mistake,) = IkeEndpoint(FixedRandom(1), 0.0).restore([b'{"version": 3}'], 0.0)
    assert "version 3" in mistake


def test_one_record_that_can_not_be_read_is_lost_alone() -> None:
    pair = IkePair(config_a(), config_b(start=Start.INITIATE))
    pair.start()
    pair.deliver_all()
    assert len(pair.a.all(IkeSaUp)) == 2
    good, bad = pair.a.store.found()
    spoilt = json.loads(bad)
    del spoilt["rival"]
    endpoint = IkeEndpoint(pair.a.random, pair.now, is_kept=True)
    endpoint.configure([config_a()], pair.now)
    _, mistakes = endpoint.restore([b"", json.dumps(spoilt).encode(), good], pair.now)
    assert len(mistakes) == 2
    assert mistakes[1] == "tunnel office: not a record: KeyError('rival')"
    status = endpoint.tunnel_status("office")
    assert [status.spi_i, status.spi_r] == [data(spi) for spi in json.loads(good)["spis"]]
