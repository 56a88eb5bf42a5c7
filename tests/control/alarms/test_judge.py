"""When an alarm is raised and cleared, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.alarms.judge import Condition, Facts, Judge, Name
from gateway.control.alarms.settings import AlarmSettings
from gateway.control.alarms.signs import LATCHES, Signs
from gateway.control.events.kept import Kept
from gateway.model.codes import CODES, Severity
from gateway.model.events import Event, Resource

TUNNEL = Resource("vpn_tunnel", "office-1", "tun-a")
DOWN = Condition("tunnel_down", TUNNEL, "main", "down", hold_s=30.0)
OTHER = replace(DOWN, resource=Resource("vpn_tunnel", "office-2", "tun-b"))
SETTINGS = AlarmSettings()


@dataclass
class Run:
    """A judge whose word is carried out. `log` are the times of what it said."""

    now: float = 1000.0
    judge: Judge = field(default_factory=Judge)
    alarms: set[Name] = field(default_factory=set)
    log: list[tuple[float, str, str]] = field(default_factory=list)
    due_s: float = 0.0

    def at(self, now: float, *conditions: Condition, unknown: tuple[str, ...] = ()) -> None:
        facts = Facts(conditions, frozenset(unknown))
        verdict = self.judge.judge(facts, self.alarms, now, clear_s=10.0)
        for each in verdict.raised:
            assert each.name not in self.alarms
            self.alarms.add(each.name)
            self.log.append((now, "raised", each.resource.name))
        for name in verdict.cleared:
            self.alarms.remove(name)
            self.log.append((now, "cleared", name[2]))
        self.due_s = verdict.due_s


def test_a_blip_raises_nothing() -> None:
    run = Run()
    run.at(0, DOWN)
    run.at(29, DOWN)
    run.at(30)
    run.at(31, DOWN)
    run.at(60, DOWN)
    assert run.log == []
    run.at(61, DOWN)
    assert run.log == [(61, "raised", "office-1")]


def test_it_is_raised_once_and_cleared_when_it_has_been_over_for_a_while() -> None:
    run = Run()
    for now in range(0, 100):
        run.at(now, DOWN)
    run.at(100)
    run.at(105, DOWN)  # not over after all
    run.at(106)
    run.at(115)
    assert run.log == [(30, "raised", "office-1")]
    run.at(116)
    assert run.log[1:] == [(116, "cleared", "tun-a")]


def test_it_counts_from_when_it_began_where_that_is_known() -> None:
    """So a process that has just taken over does not begin to count anew."""
    run = Run()
    run.at(1000, replace(DOWN, since=980.0))
    assert run.due_s == 10.0
    run.at(1010, replace(DOWN, since=980.0))
    assert run.log == [(1010, "raised", "office-1")]


def test_a_clock_that_is_ahead_delays_nothing() -> None:
    run = Run()
    run.at(0, replace(DOWN, since=5000.0))
    run.at(30, replace(DOWN, since=5000.0))
    assert run.log == []
    run.at(31, replace(DOWN, since=0.0))
    assert run.log == [(31, "raised", "office-1")]


def test_of_what_is_not_known_nothing_is_concluded() -> None:
    run = Run()
    run.at(0, DOWN)
    run.at(40, DOWN, unknown=("tun-a",))
    assert run.log == []
    run.at(41, DOWN)
    run.at(42, unknown=("tun-a",))
    run.at(100, unknown=("tun-a",))
    assert run.log == [(41, "raised", "office-1")]
    run.at(101)
    run.at(111)
    assert run.log[1:] == [(111, "cleared", "tun-a")]


def test_it_says_when_to_look_again() -> None:
    run = Run()
    run.at(0, DOWN, replace(OTHER, since=-20.0))
    assert run.due_s == 10.0
    run.at(10, DOWN, OTHER)
    run.at(30, DOWN, OTHER)
    assert run.due_s == float("inf")
    run.at(35, DOWN)
    assert run.due_s == 10.0


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=60))
def test_alarms_alternate_and_follow_the_condition(steps: list[tuple[int, bool, bool]]) -> None:
    run, now = Run(), 0
    for step, holds, is_known in steps:
        now += step
        run.at(now, *([DOWN] if holds else []), unknown=() if is_known else ("tun-a",))
    words = [word for _, word, _ in run.log]
    assert words == ["raised", "cleared"] * (len(words) // 2) + ["raised"] * (len(words) % 2)


# ---- what events say ----


def _event(at: float, code: str, id: str = "tun-a", reason: str = "peer_unreachable") -> Kept:
    resource = Resource("vpn_tunnel", "office-1", id)
    return Kept(Event(at, code, Severity.WARNING, resource, code, reason), "main", "n")


def _names(signs: Signs, now: float) -> list[str]:
    return [each.code for each in signs.conditions(SETTINGS, now)]


def test_a_tunnel_that_goes_down_again_and_again_is_flapping() -> None:
    signs = Signs()
    for at in range(10, 20):  # nobody is alarmed by what somebody wants
        signs.take(_event(at, "tunnel_down", reason="taken_down"))
    for at in (0, 100, 200, 200):  # the last one is told twice
        signs.take(_event(at, "tunnel_down"))
        signs.take(_event(at + 1, "tunnel_up"))
    assert _names(signs, 300) == []
    signs.take(_event(300, "tunnel_down"))
    (flapping,) = signs.conditions(SETTINGS, 300)
    assert (flapping.code, flapping.tenant) == ("tunnel_flapping", "main")
    assert flapping.text == "office-1 went down 4 times within 600 s"
    assert _names(signs, 600) == ["tunnel_flapping"]
    assert _names(signs, 601) == []
    assert _names(signs, 5000) == []
    assert signs.due_s(SETTINGS, 5000) == float("inf")


@pytest.mark.parametrize(
    ("code", "end"), [(code, end) for code, ends in LATCHES.items() for end in sorted(ends)]
)
def test_what_an_event_raises_lasts_until_another_ends_it(code: str, end: str) -> None:
    signs = Signs()
    signs.take(_event(0, code))
    assert _names(signs, 1e6) == [code]
    signs.take(_event(1, end, "tun-b"))
    assert _names(signs, 1e6) == [code]
    signs.take(_event(1, end))
    assert _names(signs, 1e6) == []


def test_an_alarm_of_another_process_goes_on() -> None:
    signs = Signs()
    signs.remember(DOWN)
    signs.remember(replace(DOWN, code="bgp_prefix_limit"))
    assert _names(signs, 0) == ["bgp_prefix_limit"]


def test_every_alarm_has_its_code_in_the_list() -> None:
    assert {"tunnel_down", "tunnel_flapping", "bgp_prefix_limit", "node_lost"} <= CODES.keys()
