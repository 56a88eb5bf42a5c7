"""The log: lines, ring, followers, and what strangers can make it say."""

from __future__ import annotations

import io
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.node.journal import Journal, Level


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_entry_is_one_logfmt_line() -> None:
    out = io.StringIO()
    Journal(out, Clock()).info("ike_sa up", tunnel="office-1", peer="a b", mtu=1438)
    assert out.getvalue() == 'ike_sa up tunnel=office-1 peer="a b" mtu=1438\n'


def test_a_priority_stands_before_the_line_for_systemd() -> None:
    out = io.StringIO()
    Journal(out, Clock(), priorities=True).error("bug")
    assert out.getvalue() == "<3>bug\n"


def test_debug_goes_to_the_ring_only() -> None:
    out = io.StringIO()
    journal = Journal(out, Clock())
    journal.debug("note", tunnel="a")
    journal.info("seen", tunnel="b")
    assert out.getvalue() == "seen tunnel=b\n"
    assert [entry.event for entry in journal.recent(10)] == ["note", "seen"]
    assert [entry.event for entry in journal.recent(10, "a")] == ["note"]
    assert journal.recent(0) == []
    assert [entry.event for entry in journal.recent(1)] == ["seen"]


def test_strangers_get_a_burst_and_then_one_line_a_second() -> None:
    clock, out = Clock(), io.StringIO()
    journal = Journal(out, clock)
    for _ in range(50):
        journal.from_peer(Level.WARNING, "failed")
    assert len(out.getvalue().splitlines()) == 10
    clock.now += 1.0
    journal.from_peer(Level.WARNING, "failed")
    assert out.getvalue().splitlines()[-1] == "failed left_out=40"


def test_one_event_does_not_use_up_the_budget_of_another() -> None:
    journal = Journal(io.StringIO(), Clock())
    for _ in range(50):
        journal.from_peer(Level.WARNING, "failed")
    journal.from_peer(Level.WARNING, "dropped")
    assert journal.recent(1)[0].event == "dropped"


def test_a_follower_gets_new_entries_and_a_slow_one_costs_no_memory() -> None:
    journal = Journal(io.StringIO(), Clock())
    journal.info("before")
    with journal.follow() as queue:
        for number in range(5000):
            journal.info("after", number=number)
        assert queue.get_nowait().fields == {"number": 0}
        assert queue.qsize() < 1000
    journal.info("later")
    assert queue.qsize() < 1000


def test_a_log_that_can_not_be_written_stops_nothing() -> None:
    out = io.StringIO()
    out.close()
    journal = Journal(out, Clock())
    journal.error("still here")
    assert journal.recent(1)[0].event == "still here"


@given(st.text())
def test_whatever_a_peer_is_named_the_log_stays_one_printable_line(name: str) -> None:
    out = io.StringIO()
    Journal(out, Clock()).info("ike_sa up", peer=name)
    line = out.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
