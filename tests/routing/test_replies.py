"""
BIRD's replies, recorded from BIRD 2.0.12: two sessions up, a third whose interface is missing, a
prefix limit that is reached, routes that are refused; then one path lost.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing import replies
from gateway.routing.replies import (
    Line,
    ReplyError,
    line_of,
    parse_bfd,
    parse_preferred,
    parse_routes,
    parse_sessions,
)

RECORDED = Path(__file__).parent / "recorded"
NAMES = sorted(file.stem for file in RECORDED.glob("*.txt"))


def lines_of(text: str) -> list[Line]:
    return replies.lines_of(text.encode("utf-8", "surrogatepass").splitlines())


def recorded(name: str) -> list[Line]:
    return lines_of((RECORDED / f"{name}.txt").read_text())


def test_a_session_that_is_up_shows_its_counts_and_its_limit() -> None:
    first, second, third = parse_sessions(recorded("protocols"))
    assert (first.protocol, first.state, first.is_up) == ("bgp_office-1", "Established", True)
    assert (first.imported, first.filtered, first.exported) == (1, 2, 1)
    assert (first.local_asn, first.asn, first.neighbor_id) == (65000, 65010, "2.2.2.2")
    assert (first.hold_s, first.limit_hit, first.error) == (30.0, True, "")
    assert second.is_up
    assert (third.state, third.is_up, third.limit_hit) == ("Idle", False, False)


def test_a_session_that_was_lost_shows_why() -> None:
    first, second, _ = parse_sessions(recorded("protocols-down"))
    assert (first.state, first.error) == ("Idle", "Error: Link down")
    assert (second.is_up, second.error) == (True, "")


def test_the_best_routes_of_each_protocol_are_counted() -> None:
    preferred = parse_preferred(recorded("protocols"))
    assert preferred["bgp_office-1"] == 1
    assert preferred["bgp_office-2"] == 0
    assert preferred["static_office-1"] == 1


def test_bfd_sessions_are_read_in_every_state() -> None:
    down, up = parse_bfd(recorded("bfd-down"))
    assert (down.address, down.interface, down.is_up) == ("169.254.11.2", "ts-1", False)
    assert (up.is_up, up.interval_s, up.timeout_s) == (True, 0.3, 0.9)
    assert [session.is_up for session in parse_bfd(recorded("bfd"))] == [True, True]


def test_routes_carry_their_attributes_and_the_prefix_of_the_line_before() -> None:
    routes = parse_routes(recorded("routes"))
    office = [route for route in routes if route.prefix == ip_network("10.20.0.0/24")]
    assert [route.protocol for route in office] == ["bgp_office-1", "bgp_office-2"]
    assert [route.is_best for route in office] == [True, False]
    assert office[0].as_path == ("65010",)
    assert (office[0].local_pref, office[0].med) == (99899, 100)
    assert office[1].vias == (("169.254.12.2", "ts-2"),)
    announced = next(route for route in routes if route.protocol == "announce_1_4")
    assert announced.vias == (("", "lan"),)
    assert announced.preference == 200


def test_refused_routes_are_marked() -> None:
    refused = parse_routes(recorded("filtered"), filtered=True)
    assert {str(route.prefix) for route in refused} == {"0.0.0.0/0", "10.10.7.0/24"}
    assert all(route.is_filtered for route in refused)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_last_line_of_a_reply_is_the_last(name: str) -> None:
    assert [line.is_last for line in recorded(name)][:-1] == [False] * (len(recorded(name)) - 1)
    assert recorded(name)[-1].is_last


@pytest.mark.parametrize("text", ["", "12", "abcd ok", "00000", "1002:x"])
def test_what_is_no_reply_is_refused(text: str) -> None:
    with pytest.raises(ReplyError, match="not a reply"):
        line_of(text, 0)


def parse_all(text: str) -> None:
    """Read a text as every kind of reply; each gives a value or ReplyError."""
    try:
        lines = lines_of(text)
    except ReplyError:
        return
    for parse in (parse_sessions, parse_bfd, parse_routes, parse_preferred):
        try:
            parse(lines)
        except ReplyError:
            continue


@given(st.text(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_a_value_or_an_error(text: str) -> None:
    parse_all(text)


@given(st.sampled_from(NAMES), st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_reply_gives_a_value_or_an_error(name: str, data: st.DataObject) -> None:
    text = (RECORDED / f"{name}.txt").read_text()
    at = data.draw(st.integers(0, len(text)))
    gone = data.draw(st.integers(0, 40))
    parse_all(text[:at] + data.draw(st.text(max_size=8)) + text[at + gone :])
