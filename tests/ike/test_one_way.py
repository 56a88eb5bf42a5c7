"""The data plane sees traffic in one direction only: the peer is asked at once, but seldom."""

from __future__ import annotations

from gateway.ike.config import Timers
from gateway.ike.events import IkeSaDown, Send
from tests.support.pair import TUNNEL, IkePair, Side, config_a

LIVENESS_S, GIVEN_UP_S = 10.0, 6.5


def one_way(side: Side) -> None:
    side.take(side.endpoint.esp_one_way(TUNNEL, side.pair.now))


def test_a_silent_path_is_given_up_without_waiting_for_liveness() -> None:
    """ESP came until a moment ago; 3 s of it are what the data plane waits before it says so."""
    pair = IkePair.established()
    pair.advance(95.0)
    pair.a.esp_heard()
    pair.cut()
    pair.advance(3.0)
    one_way(pair.a)
    pair.advance(GIVEN_UP_S - 0.1)
    assert pair.a.ike_sas == 1
    pair.advance(0.2)
    assert pair.a.ike_sas == 0
    assert pair.a.all(IkeSaDown)[0].reason.code == "peer_unreachable"


def test_a_false_alarm_costs_one_message_and_then_rests() -> None:
    """UDP syslog: traffic that nobody answers. The peer is there, and says so."""
    pair = IkePair.established()
    for _ in range(100):
        pair.advance(1.0)
        pair.b.esp_heard()
        one_way(pair.a)
    assert pair.a.endpoint.counters["out.request.informational"] <= 100.0 / LIVENESS_S + 1
    assert pair.a.ike_sas == 1


def test_an_answered_check_does_not_excuse_a_path_that_is_cut_later() -> None:
    """ESP has come since: the flow has two directions, so its silence means something."""
    pair = IkePair.established()
    pair.advance(LIVENESS_S + 0.5)
    pair.a.esp_heard()
    pair.cut()
    pair.advance(3.0)
    one_way(pair.a)
    pair.advance(GIVEN_UP_S + 0.1)
    assert pair.a.ike_sas == 0


def test_esp_that_comes_after_all_ends_the_suspicion() -> None:
    pair = IkePair.established()
    pair.cut()
    one_way(pair.a)
    pair.advance(2.0)
    pair.cut(False)
    pair.a.esp_heard()
    pair.advance(60.0)
    assert pair.a.ike_sas == 1


def test_a_request_that_is_out_already_is_the_check() -> None:
    pair = IkePair.established()
    pair.advance(1.0)
    pair.cut()
    pair.a.rekey_child()
    pair.advance(3.0)
    one_way(pair.a)
    pair.advance(GIVEN_UP_S + 0.1)
    assert pair.a.ike_sas == 0


def test_where_liveness_is_off_nobody_is_asked() -> None:
    pair = IkePair.established(config_a(timers=Timers(liveness=0.0)))
    before = len(pair.a.all(Send))
    one_way(pair.a)
    assert len(pair.a.all(Send)) == before


def test_a_lossy_path_is_not_given_up() -> None:
    """The first six of seven messages of the check are lost; the answer to the last counts."""
    pair = IkePair.established()
    one_way(pair.a)
    for _ in range(6):
        pair.drop_to_b()
        pair.now = pair.a.endpoint.deadline
        pair.a.on_time()
    pair.deliver_all()
    pair.advance(5.0)
    assert pair.a.ike_sas == 1
