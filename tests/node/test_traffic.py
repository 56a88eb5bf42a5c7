"""Where a connection's traffic has gone, and what that is called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.node.journal import Level
from gateway.node.traffic import ConnectionFacts, TrafficWatch, Way

FIRST, SECOND = Way("office-1", True), Way("office-2", True)
BOTH = ConnectionFacts("office", (FIRST, SECOND), frozenset({"office-1"}), True)
DEAD = Way("office-1", False, "peer_unreachable")
MOVED = ConnectionFacts("office", (DEAD, SECOND), frozenset({"office-2"}), False)
NONE = ConnectionFacts(
    "office", (DEAD, Way("office-2", False, "deleted_by_peer")), frozenset(), False
)


def silent(left: Iterable[str], taken: Iterable[str]) -> float | None:
    return 3.217 if list(left) == ["office-1"] and set(taken) == {"office-2"} else None


def looks(*facts: ConnectionFacts) -> list[tuple[str, dict[str, object]]]:
    """Return what the last look says, after those before it."""
    watch = TrafficWatch(silent)
    said = [list(watch.look([each])) for each in facts]
    return [(each.event, dict(each.fields)) for each in said[-1]]


def test_the_first_look_says_nothing() -> None:
    assert looks(BOTH) == []
    assert looks(NONE) == []


def test_a_tunnel_that_fails_makes_a_failover_with_its_reason_and_silence() -> None:
    assert looks(BOTH, MOVED) == [
        ("redundancy lost", {"connection": "office", "down": "office-1"}),
        (
            "failover",
            {
                "connection": "office",
                "left": "office-1",
                "by": "office-2",
                "reason": "peer_unreachable",
                "silent_s": 3.217,
            },
        ),
    ]


def test_the_way_back_is_a_switchover() -> None:
    assert looks(BOTH, MOVED, BOTH) == [
        ("redundancy restored", {"connection": "office"}),
        ("switchover", {"connection": "office", "left": "office-2", "by": "office-1"}),
    ]


def test_what_is_taken_down_on_purpose_makes_a_switchover() -> None:
    taken = replace(MOVED, ways=(Way("office-1", False, "taken_down"), SECOND))
    assert [event for event, _ in looks(BOTH, taken)] == ["redundancy lost", "switchover"]
    drained = replace(MOVED, ways=(Way("office-1", True, "drain"), SECOND), is_redundant=True)
    assert [event for event, _ in looks(BOTH, drained)] == ["switchover"]


def test_a_probe_that_is_not_answered_makes_a_failover() -> None:
    silent = replace(MOVED, ways=(Way("office-1", True, "probe_failed"), SECOND))
    assert "failover" in [event for event, _ in looks(BOTH, silent)]


def test_a_connection_without_a_tunnel_is_down_until_one_is_back() -> None:
    (down,) = looks(MOVED, NONE)
    assert down == ("connection down", {"connection": "office", "reason": "deleted_by_peer"})
    assert looks(BOTH, NONE, NONE) == []
    watch = TrafficWatch(silent)
    (level,) = {each.level for facts in (MOVED, NONE) for each in watch.look([facts])}
    assert level is Level.ERROR
    assert [event for event, _ in looks(MOVED, NONE, MOVED)] == ["connection up"]


def test_back_by_another_tunnel_than_before_is_also_a_failover() -> None:
    assert [event for event, _ in looks(BOTH, NONE, MOVED)] == ["connection up", "failover"]


def test_tunnels_that_share_traffic_join_and_part() -> None:
    shared = replace(BOTH, active=frozenset({"office-1", "office-2"}))
    assert looks(BOTH, shared) == [
        ("switchover", {"connection": "office", "by": "office-1, office-2"})
    ]
    assert [event for event, _ in looks(shared, MOVED)] == ["redundancy lost", "failover"]


def test_a_connection_that_is_removed_is_forgotten() -> None:
    watch = TrafficWatch(silent)
    assert list(watch.look([BOTH])) == []
    assert list(watch.look([])) == []
    assert list(watch.look([MOVED])) == []
