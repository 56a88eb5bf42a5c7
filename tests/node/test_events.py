"""The events of a node: which entries of the journal they are, their ring, their file."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.codes import Severity
from gateway.model.events import TEXT_MAX, Event, EventError, Resource, event_of_json
from gateway.node.chronicle import Chronicle
from gateway.node.event_log import FILE, OLD, PER_FILE, RING, EventLog
from gateway.node.journal import Journal, Level

NOW = 1_764_086_400.25
FIRST = int(NOW * 1000)


def _event(code: str = "tunnel_up", name: str = "office-1") -> Event:
    return Event(NOW, code, Severity.INFO, Resource("vpn_tunnel", name), "Tunnel up")


def _log(place: Path) -> EventLog:
    return EventLog(place, lambda: NOW)


def _journal(log: EventLog) -> Journal:
    journal = Journal(io.StringIO(), lambda: NOW)
    journal.listeners.append(Chronicle(log.add, "gw1").take)
    return journal


# ---- from the journal ----


def test_a_tunnel_that_goes_down_is_an_event_with_its_reason_and_both_ends_values(
    tmp_path: Path,
) -> None:
    log = _log(tmp_path)
    _journal(log).warning(
        "tunnel down",
        tunnel="office-1",
        reason="no_proposal_chosen",
        text="no proposal in common for IKE",
        ours="aes256gcm16",
        theirs="3des",
    )
    (event,) = log.recent(10)
    assert (event.at, event.code, event.severity) == (NOW, "tunnel_down", Severity.WARNING)
    assert event.resource == Resource("vpn_tunnel", "office-1")
    assert (event.reason, event.ours, event.theirs) == (
        "no_proposal_chosen",
        "aes256gcm16",
        "3des",
    )
    assert event.text == "no proposal in common for IKE"
    assert "PFS" in event.hint  # the code's, since the entry has none of its own


def test_a_tunnel_that_somebody_takes_down_is_nothing_to_worry_about(tmp_path: Path) -> None:
    log = _log(tmp_path)
    journal = _journal(log)
    journal.warning("tunnel down", tunnel="office-1", reason="closed", text="closed on request")
    assert [each.severity for each in log.recent(1)] == [Severity.INFO]


def test_what_is_no_change_of_state_is_no_event(tmp_path: Path) -> None:
    log = _log(tmp_path)
    journal = _journal(log)
    journal.debug("note", tunnel="office-1", text="resent")
    journal.from_peer(Level.DEBUG, "dropped", reason="bad_icv", path="a")
    journal.info("child_sa rekeyed", tunnel="office-1")
    assert log.recent(10) == []


def test_a_failure_that_repeats_itself_is_one_event_until_something_changes(
    tmp_path: Path,
) -> None:
    log = _log(tmp_path)
    journal = _journal(log)
    for reason in ("peer_unreachable", "peer_unreachable", "authentication_failed"):
        journal.warning("failed", tunnel="office-1", reason=reason, text="")
    journal.info("tunnel up", tunnel="office-1", interface="tun0", mtu=1438)
    journal.warning("failed", tunnel="office-1", reason="authentication_failed", text="")
    assert [(each.code, each.reason) for each in log.recent(10)] == [
        ("tunnel_failed", "peer_unreachable"),
        ("tunnel_failed", "authentication_failed"),
        ("tunnel_up", ""),
        ("tunnel_failed", "authentication_failed"),
    ]


@pytest.mark.parametrize(
    ("standing", "cause", "code", "reason"),
    [
        ("demoted", "drain", "traffic_leaves", "drain"),
        ("demoted", "failback, damped", "tunnel_damped", "failback"),
        ("withdrawn", "probe", "traffic_leaves", "probe_failed"),
        ("normal", "none", "traffic_returns", ""),
    ],
)
def test_a_standing_says_what_moves_the_traffic(
    tmp_path: Path, standing: str, cause: str, code: str, reason: str
) -> None:
    log = _log(tmp_path)
    _journal(log).info("standing", tunnel="office-1", standing=standing, cause=cause)
    assert [(each.code, each.reason) for each in log.recent(1)] == [(code, reason)]


def test_what_is_about_no_tunnel_is_about_the_node(tmp_path: Path) -> None:
    log = _log(tmp_path)
    _journal(log).error("bird ended", how="signal 9", pid=7)
    (event,) = log.recent(1)
    assert event.resource == Resource("node", "gw1")
    assert event.text == "BIRD lost (how signal 9, pid 7)"


# ---- the ring ----


def test_numbers_grow_by_one_and_begin_with_the_time(tmp_path: Path) -> None:
    log = _log(tmp_path)
    assert [log.add(_event()).sequence for _ in range(3)] == [FIRST, FIRST + 1, FIRST + 2]


def test_events_are_taken_in_pieces(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for _ in range(5):
        log.add(_event())
    assert [each.sequence - FIRST for each in log.take(0, 2)] == [0, 1]
    assert [each.sequence - FIRST for each in log.take(FIRST + 1, 10)] == [2, 3, 4]
    assert log.take(FIRST + 4, 10) == []


def test_the_ring_is_bounded_and_what_was_lost_is_skipped(tmp_path: Path) -> None:
    log = _log(tmp_path)
    for _ in range(RING + 5):
        log.add(_event())
    assert [each.sequence - FIRST for each in log.take(FIRST, 2)] == [5, 6]
    assert len(log.recent(RING * 2)) == RING


def test_a_follower_gets_what_is_new(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.add(_event())
    with log.follow() as queue:
        log.add(_event("tunnel_down"))
        assert queue.get_nowait().code == "tunnel_down"
        assert queue.empty()


# ---- the file ----


def test_a_restart_goes_on_where_the_process_before_ended(tmp_path: Path) -> None:
    first = _log(tmp_path)
    sent = [first.add(_event(name=f"t{number}")) for number in range(4)]
    first.acknowledge(sent[1].sequence)
    again = _log(tmp_path)  # without a word of goodbye from the first one
    assert again.recent(10) == sent
    assert again.acknowledged == sent[1].sequence
    assert again.add(_event()).sequence == sent[-1].sequence + 1


def test_a_line_that_a_crash_has_cut_is_left_out_and_joined_to_nothing(tmp_path: Path) -> None:
    first = _log(tmp_path)
    kept = first.add(_event())
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"at": 17640864')
    again = _log(tmp_path)
    assert again.recent(10) == [kept]
    later = again.add(_event("tunnel_down"))
    assert _log(tmp_path).recent(10) == [kept, later]


def test_the_files_hold_no_more_than_the_ring(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.add(_event())
    log.acknowledge(FIRST)
    for _ in range(3 * PER_FILE + 9):
        log.add(_event())
    lines = {name: (tmp_path / name).read_bytes().count(b"\n") for name in (FILE, OLD)}
    assert lines == {FILE: 10 + 1, OLD: PER_FILE + 1}
    again = _log(tmp_path)
    assert again.last == log.last
    assert again.acknowledged == FIRST


def test_a_directory_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "none", lambda: NOW)
    assert log.add(_event()).sequence == FIRST
    assert len(log.recent(5)) == 1


# ---- as JSON ----


def test_an_event_survives_json() -> None:
    event = Event(
        NOW,
        "failover",
        Severity.WARNING,
        Resource("vpn_connection", "office", "conn-abc"),
        "Traffic has moved",
        "peer_unreachable",
        "a",
        "b",
        "look",
        7,
    )
    assert event_of_json(json.loads(json.dumps(event.as_json()))) == event


def test_texts_of_others_are_cut_and_cleaned() -> None:
    table = _event().as_json() | {"text": "a\x1b[31m" + "b" * 5000, "severity": "?", "ours": 7}
    event = event_of_json(table)
    assert event.text.startswith("a [31m")
    assert len(event.text) == TEXT_MAX
    assert event.severity is Severity.INFO
    assert event.ours == ""


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists) | st.integers())
def test_any_json_is_an_event_or_an_error(value: object) -> None:
    fields = ("at", "code", "severity", "resource", "text", "sequence")
    tables = [value, {"at": NOW, "code": "tunnel_up"} | {"resource": value}]
    tables += [_event().as_json() | {key: value} for key in fields]
    for table in tables:
        with contextlib.suppress(EventError):
            event_of_json(table)
