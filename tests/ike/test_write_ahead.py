"""
A gateway process is killed at every step of every exchange, and its peer notices nothing.

A step is what lies between two things that can be seen from outside: records are kept, an event is
carried out, a datagram leaves. `Once` sees in all of them that no message ID and no IV is used for
two messages, and `Plane` that no outbound SA is installed twice.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ike.config import Timers
from gateway.ike.events import IkeSaDown, IkeSaUp
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from tests.support import slots
from tests.support.pair import IkePair, Side, config_a, config_b

STEPS_MOST = 150
Begin = Callable[[IkePair], None]


def hybrid() -> IkePair:
    """Return a pair with additional key exchanges (RFC 9370) in everything."""
    ike = (parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE),)
    esp = (parse_proposal("aes256gcm16-x25519-ke1_mlkem768-noesn", ProtocolId.ESP),)
    wanted = {"ike_proposals": ike, "esp_proposals": esp}
    return IkePair.established(config_a(**wanted), config_b(**wanted))


def cbc() -> IkePair:
    """Return a pair whose IKE SA has no AEAD, so no count of IVs."""
    ike = (parse_proposal("aes256-sha256-x25519", ProtocolId.IKE),)
    return IkePair.established(config_a(ike_proposals=ike), config_b(ike_proposals=ike))


def quiet() -> IkePair:
    """Return a pair of which a asks early whether b lives."""
    timers = replace(config_a().timers, liveness=2.0)
    return IkePair.established(config_a(timers=timers), config_b())


def two() -> IkePair:
    pairs = slots.SIX[:2]
    mirrored = slots.mirrored(pairs)
    return IkePair.established(slots.of(config_a(), pairs), slots.of(config_b(), mirrored))


def for_a_worker(side: Side) -> None:
    """Have a Child SA beside the first, for the only worker (RFC 9611)."""
    side.reconfigure(replace(side.config, resources=1))


def both(act: Callable[[Side], None]) -> Begin:
    """Return what lets both ends do the same at once."""

    def begin(pair: IkePair) -> None:
        act(pair.a)
        act(pair.b)

    return begin


EXCHANGES: dict[str, tuple[Callable[[], IkePair], Begin]] = {
    "rekey child": (IkePair.established, lambda pair: pair.a.rekey_child()),
    "rekey ike": (IkePair.established, lambda pair: pair.a.rekey_ike()),
    "rekey child, ml-kem": (hybrid, lambda pair: pair.a.rekey_child()),
    "rekey ike, ml-kem": (hybrid, lambda pair: pair.a.rekey_ike()),
    "rekey child, cbc": (cbc, lambda pair: pair.a.rekey_child()),
    "rekey two children": (two, lambda pair: pair.a.rekey_child()),
    "a child for a worker": (IkePair.established, both(for_a_worker)),
    "both rekey child": (IkePair.established, both(Side.rekey_child)),
    "both rekey ike": (IkePair.established, both(Side.rekey_ike)),
    "liveness": (quiet, lambda pair: pair.advance(3.0)),
}


def settle(pair: IkePair, one: Side, *, is_lossless: bool) -> bool:
    """
    Deliver all, with a packet of ESP each way between any two messages; return whether `one` was
    killed.
    """
    for _ in range(400):
        pair.fire()
        if not pair.link.flights:
            break
        pair.link.arrive(pair.link.flights.popleft())
        assert not is_lossless or pair.has_traffic(), pair.story()
    was_killed = one.steps_left <= 0
    one.steps_left = math.inf
    pair.advance(30.0)
    return was_killed


def assert_one_line(pair: IkePair) -> None:
    """Assert that the IKE SA of the beginning, or what its rekeys made of it, serves both ends."""
    for side in pair.sides():
        assert len([up for up in side.all(IkeSaUp) if up.replaces is None]) == 1, pair.story()
        assert {down.reason.code for down in side.all(IkeSaDown)} <= {"rekeyed", "redundant"}
        assert not side.codes(), pair.story()
    assert pair.a.state == pair.b.state == "established"
    assert pair.has_traffic(), pair.story()


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("name", EXCHANGES)
def test_killed_at_any_step_of_an_exchange(name: str, who: str) -> None:
    make, begin = EXCHANGES[name]
    for step in range(1, STEPS_MOST):
        pair = make()
        one: Side = getattr(pair, who)
        one.steps_left = step
        begin(pair)
        was_killed = settle(pair, one, is_lossless=True)
        assert_one_line(pair)
        if not was_killed:
            return  # that was the last step
    raise AssertionError(f"{name} has more than {STEPS_MOST} steps")


@pytest.mark.parametrize("who", ["a", "b"])
def test_killed_at_any_step_of_the_set_up(who: str) -> None:
    """What is not established is forgotten, and what one end has established is replaced."""
    for step in range(1, STEPS_MOST):
        pair = IkePair()
        one: Side = getattr(pair, who)
        one.steps_left = step
        pair.start()
        was_killed = settle(pair, one, is_lossless=False)
        pair.advance(200.0)
        assert pair.a.state == pair.b.state == "established", (step, pair.story())
        assert pair.has_traffic(), pair.story()
        if not was_killed:
            return
    raise AssertionError("the set-up has more steps")


@pytest.mark.parametrize("who", ["a", "b"])
def test_killed_at_any_step_of_the_end(who: str) -> None:
    """a is closed by its operator, whose word the shell keeps: here it begins again."""
    for step in range(1, STEPS_MOST):
        pair = IkePair.established()
        one: Side = getattr(pair, who)
        one.steps_left = step
        pair.a.close()
        was_killed = settle(pair, one, is_lossless=False)
        if one is pair.b or not was_killed:
            assert pair.a.state == "idle", (step, pair.story())
            assert not pair.a.plane.inbound
            assert not pair.a.store.records
        pair.a.initiate()
        pair.advance(200.0)
        assert pair.a.state == pair.b.state == "established", (step, pair.story())
        assert pair.has_traffic(), pair.story()
        if not was_killed:
            return
    raise AssertionError("the end has more steps")


STEP = st.tuples(
    st.sampled_from(["rekey_child", "rekey_ike", "deliver", "lose", "wait", "killed", "traffic"]),
    st.booleans(),
    st.integers(1, 12),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=25), st.booleans())
def test_killed_again_and_again_whatever_is_under_way(
    steps: list[tuple[str, bool, int]], is_hybrid: bool
) -> None:
    pair = hybrid() if is_hybrid else IkePair.established()
    for what, is_a, count in steps:
        side = pair.a if is_a else pair.b
        if what == "killed":
            side.steps_left = count
        elif what == "deliver" and pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
        elif what == "lose" and pair.link.flights:
            pair.link.flights.popleft()
        elif what == "wait":
            pair.advance(count / 4)
        elif what == "traffic":
            pair.has_traffic()
        elif what in ("rekey_child", "rekey_ike"):
            getattr(side, what)()
        assert side.plane.sending_on is not None, pair.story()
    for side in pair.sides():
        side.steps_left = math.inf
    pair.advance(60.0)
    assert pair.a.state == pair.b.state == "established"
    assert pair.has_traffic(), pair.story()


def test_records_that_could_not_be_kept_are_all_said_again() -> None:
    pair = IkePair.established()
    pair.a.store.records.clear()
    assert pair.a.endpoint.changes() == []
    pair.a.endpoint.not_kept()
    ((key, record),) = pair.a.endpoint.changes()
    assert key == pair.a.all(IkeSaUp)[0].spi_i
    assert record


def test_esp_that_comes_steadily_changes_no_record() -> None:
    """Or a thousand busy tunnels would write a thousand records a second."""
    pair = IkePair.established()
    for _ in range(5):
        pair.now += 1.0
        pair.a.endpoint.esp_heard(config_a().name, pair.now)
        assert pair.a.endpoint.changes() == []


def test_a_record_has_the_esp_keys_only_until_the_next() -> None:
    pair = IkePair.established()
    (inbound,) = pair.a.plane.inbound.values()
    key = base64.b64encode(inbound.encr_key.reveal()).decode()
    assert key in json.dumps(pair.a.store.newest())
    pair.advance(20.0)  # a liveness check changes it
    assert key not in json.dumps(pair.a.store.newest())


def test_a_peer_whose_esp_came_until_the_crash_is_not_given_up_after_it() -> None:
    """When it was heard last is in no record: an answer that is long in coming proves nothing."""
    timers: Timers = config_a().timers
    pair = IkePair.established()
    pair.link.is_cut = True  # for IKE only
    pair.a.rekey_child()
    for _ in range(int(timers.liveness) + 2):
        pair.advance(1.0, deliver=False)
        pair.a.esp_heard()
    pair.a.restart()
    pair.fire()
    assert pair.a.state == "established"
    pair.link.is_cut = False
    pair.advance(30.0)
    assert_one_line(pair)
