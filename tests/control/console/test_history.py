"""The last hour of a tunnel: rates from counters, gaps where nothing is known, bounded memory."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.control.console.history import POINTS, Counters, History


def sample(history: History, now: float, tunnels: Mapping[str, Counters | None]) -> None:
    """Take a whole sample."""
    assert list(history.sample(now, tunnels.items())) == list(tunnels)


def test_rates_are_of_two_points_and_never_negative() -> None:
    history = History()
    counters = {"t": {"in_bps": 8, "out_bps": 9, "in_packets": 100, "out_packets": 50, "drops": 1}}
    sample(history, 1000.0, counters)
    counters["t"] = {**counters["t"], "in_packets": 300, "out_packets": 20, "drops": 1}
    sample(history, 1010.0, counters)
    found = history.of("t")
    assert found["at"] == [1000.0, 1010.0]
    assert found["in_bps"] == [8.0, 8.0]
    assert found["in_pps"] == [None, 20.0]
    assert found["out_pps"] == [None, None]
    assert found["drops_ps"] == [None, 0.0]


def test_only_the_last_hour_of_tunnels_that_are_there_is_kept() -> None:
    history = History()
    for number in range(POINTS + 5):
        sample(history, float(number), {key: {"in_bps": number} for key in ("a", "b")})
    assert history.of("a")["at"] == [float(n) for n in range(5, POINTS + 5)]
    assert history.of("a")["in_bps"][0] == 5.0
    sample(history, 1e4, {"a": None})
    assert history.of("a")["in_bps"][-1] is None
    assert set(history.of("b")["in_bps"]) == {None}


def test_a_sample_is_seen_once_it_is_whole() -> None:
    history = History()
    sample(history, 1.0, {"a": {"in_bps": 1}, "b": {"in_bps": 2}})
    taking = history.sample(2.0, {"a": {"in_bps": 3}, "b": {"in_bps": 4}}.items())
    assert next(taking) == "a"
    assert history.of("a")["at"] == [1.0]
    assert list(taking) == ["b"]
    assert [history.of(id)["in_bps"] for id in ("a", "b")] == [[1.0, 3.0], [2.0, 4.0]]
