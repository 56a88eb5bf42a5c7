"""Counters that look as if nobody answers."""

from __future__ import annotations

from gateway.node.one_way import OneWay

LIMIT_S = 3.0


def alarms(sent: str, heard: str) -> list[int]:
    """Return the seconds at which the peer would be asked; "x" is a second with packets."""
    one, found = OneWay(), []
    for second, (out, back) in enumerate(zip(sent, heard, strict=True), 1):
        one.take(second - 1.0, sent=out == "x", heard=back == "x")
        if one.lasts(float(second), LIMIT_S):
            found.append(second)
    return found


def test_traffic_in_both_directions_is_no_alarm() -> None:
    assert alarms("xxxxxxxxxx", "x.x..x.x.x") == []


def test_a_cut_path_is_an_alarm_after_the_limit() -> None:
    assert alarms("xxxxxxx", "xx.....") == [5, 6, 7]


def test_silence_is_no_alarm_where_nothing_is_sent() -> None:
    assert alarms("xx......", "xx......") == []
    assert alarms("xxx.....", "xx......") == []


def test_seldom_packets_count_from_the_first_that_is_not_answered() -> None:
    assert alarms("x...x...x", ".........") == [5, 9]


def test_one_answer_begins_anew() -> None:
    assert alarms("xxxxxxxx", "x..x....") == [7, 8]
