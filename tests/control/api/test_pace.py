"""How slowly a request may come: the rule by itself."""

from __future__ import annotations

import pytest

from gateway.control.api.pace import BODY_RATE, BODY_S, HEAD_S, Pace, Part


def test_a_head_has_its_time_however_many_bytes_come() -> None:
    pace = Pace(100.0)
    for second in range(int(HEAD_S)):
        pace.got(Part.HEAD, 1000)
        assert not pace.look(100.0 + second, is_reading=True)
    assert pace.look(100.1 + HEAD_S, is_reading=True)


@pytest.mark.parametrize(("rate", "is_late"), [(BODY_RATE // 2, True), (BODY_RATE, False)])
def test_a_body_must_come_at_a_least_rate(rate: int, is_late: bool) -> None:
    pace = Pace(0.0, Part.NOTHING)
    looks = []
    for second in range(3 * int(BODY_S)):
        pace.got(Part.BODY, rate)
        looks.append(pace.look(float(second), is_reading=True))
    assert any(looks) is is_late
    assert not any(looks[: int(BODY_S)])


def test_time_in_which_we_do_not_read_is_not_the_clients() -> None:
    pace = Pace(0.0)
    assert not pace.look(10 * HEAD_S, is_reading=False)
    assert not pace.look(11 * HEAD_S - 0.1, is_reading=True)
    assert pace.look(11 * HEAD_S + 0.1, is_reading=True)


def test_each_request_begins_anew_and_between_them_nothing_is_late() -> None:
    pace = Pace(0.0)
    assert not pace.look(HEAD_S - 1, is_reading=True)
    pace.got(Part.NOTHING, 100)
    assert not pace.look(100 * HEAD_S, is_reading=True)
    pace.got(Part.HEAD, 1)
    assert not pace.look(101 * HEAD_S - 1, is_reading=True)
    assert pace.look(101 * HEAD_S + 1, is_reading=True)
