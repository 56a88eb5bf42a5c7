"""The last hour of a tunnel: rates from counters, gaps where nothing is known, bounded memory."""

from __future__ import annotations

from gateway.control.console.history import POINTS, History


def test_rates_are_of_two_points_and_never_negative() -> None:
    history = History()
    counters = {"t": {"in_bps": 8, "out_bps": 9, "in_packets": 100, "out_packets": 50, "drops": 1}}
    history.sample(1000.0, counters)
    counters["t"] = {**counters["t"], "in_packets": 300, "out_packets": 20, "drops": 1}
    history.sample(1010.0, counters)
    found = history.of("t")
    assert found["at"] == [1000.0, 1010.0]
    assert found["in_bps"] == [8.0, 8.0]
    assert found["in_pps"] == [None, 20.0]
    assert found["out_pps"] == [None, None]
    assert found["drops_ps"] == [None, 0.0]


def test_only_the_last_hour_of_tunnels_that_are_there_is_kept() -> None:
    history = History()
    for number in range(POINTS + 5):
        history.sample(float(number), {key: {"in_bps": number} for key in ("a", "b")})
    assert history.of("a")["at"] == [float(n) for n in range(5, POINTS + 5)]
    assert history.of("a")["in_bps"][0] == 5.0
    history.sample(1e4, {"a": None})
    assert history.of("a")["in_bps"][-1] is None
    assert set(history.of("b")["in_bps"]) == {None}
