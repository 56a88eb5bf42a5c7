"""Counters that look as if nobody answers, or as if the path had gone."""

from __future__ import annotations

from gateway.node.one_way import OneWay, Sign

LIMIT_S = 3.0


def alarms(sent: str, heard: str) -> list[int]:
    """Return the seconds at which the peer would be asked; "x" is a second with packets."""
    one, found = OneWay(), []
    for second, (out, back) in enumerate(zip(sent, heard, strict=True), 1):
        at = float(second)
        sign = one.take(at - 1.0, at, LIMIT_S, sent=out == "x", heard=back == "x")
        assert (sign is Sign.LIFE) is (back == "x")
        if sign is Sign.DOUBT:
            found.append(second)
    return found


def test_traffic_in_both_directions_is_no_alarm() -> None:
    assert alarms("xxxxxxxxxx", "x.x..x.x.x") == []


def test_a_cut_path_is_an_alarm_after_the_limit() -> None:
    assert alarms("xxxxxxx", "x......") == [4, 5, 6, 7]


def test_silence_is_no_alarm_where_nothing_is_sent() -> None:
    assert alarms("x.......", "x.......") == []
    assert alarms("xx......", "x.......") == []


def test_seldom_packets_count_from_the_first_that_is_not_answered() -> None:
    assert alarms("x...x...x", ".........") == [5, 9]


def test_one_answer_begins_anew() -> None:
    assert alarms("xxxxxxxx", "x..x....") == [7, 8]


def test_what_came_steadily_and_stops_is_one_alarm() -> None:
    """The end that only answers sends nothing when the path is cut; nor when the flow has ended."""
    assert alarms("xxx.......", "xxx.......") == [6]
    assert alarms("..........", "xxx.......") == [6]
    assert alarms("..........", "xx.xx.....") == [8]


def test_what_comes_now_and_then_may_stop() -> None:
    assert alarms("..........", "x.x...x...") == []
