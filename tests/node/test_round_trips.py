"""What is said of a path whose requests were answered, were not, or never are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.node.round_trips import FORGET_S, LATE_S, WINDOW_S, Figures, RoundTrips, State

EVERY_S = 5.0


def sent(trips: RoundTrips, took: list[float | None], at: float = 0.0) -> float:
    """Send a request every 5 s and answer it after so long; return when all is known."""
    for one in took:
        trip = trips.sent(at)
        if one is not None:
            trips.answered(trip, one)
        at += EVERY_S
    return at - EVERY_S + LATE_S


def test_what_was_answered_is_told_as_mean_least_most_and_jitter() -> None:
    trips = RoundTrips()
    read_at = sent(trips, [0.010, 0.020, 0.012])
    figures = trips.figures(read_at, is_well=True)
    assert figures.state is State.ANSWERED
    assert figures.mean_s == pytest.approx(0.014)
    assert (figures.min_s, figures.max_s, figures.loss) == (0.010, 0.020, 0.0)
    assert figures.jitter_s == pytest.approx(0.009)


def test_missing_answers_are_loss_once_they_are_late() -> None:
    trips = RoundTrips()
    read_at = sent(trips, [0.01, None, 0.01, None])
    assert trips.figures(read_at, is_well=True).loss == 0.5
    assert trips.figures(read_at - 0.1, is_well=True).loss == pytest.approx(1 / 3)
    late = trips.sent(20.0)
    trips.answered(late, LATE_S + 0.1)
    assert trips.figures(20.0 + LATE_S, is_well=True).loss == 0.6


def test_who_never_answers_has_no_loss() -> None:
    trips = RoundTrips()
    assert trips.figures(0.0, is_well=True) == Figures(State.WAITING)
    trips.sent(0.0)
    assert trips.figures(LATE_S - 0.1, is_well=True) == Figures(State.WAITING)
    for at in (LATE_S, 3 * WINDOW_S):
        assert trips.figures(at, is_well=False) == Figures(State.NO_ANSWER)


def test_a_path_that_falls_silent_is_all_loss() -> None:
    trips = RoundTrips()
    sent(trips, [0.01])
    read_at = sent(trips, [None] * 20, at=EVERY_S)
    lost = Figures(State.LOST, loss=1.0)
    assert trips.figures(read_at, is_well=True) == lost
    read_at = sent(trips, [None] * 60, at=read_at)
    assert read_at > FORGET_S
    assert trips.figures(read_at, is_well=False) == lost
    assert trips.figures(read_at, is_well=True) == Figures(State.NO_ANSWER)


def test_only_the_last_minute_counts() -> None:
    trips = RoundTrips()
    sent(trips, [0.5, None, None])
    read_at = sent(trips, [0.01] * 12, at=WINDOW_S + 10.0)
    figures = trips.figures(read_at, is_well=True)
    assert (figures.max_s, figures.loss, figures.jitter_s) == (0.01, 0.0, 0.0)


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 2 * LATE_S)), max_size=40), st.booleans())
def test_figures_are_always_within_bounds(took: list[float | None], is_well: bool) -> None:
    trips = RoundTrips()
    figures = trips.figures(sent(trips, took), is_well=is_well)
    if figures.state is State.ANSWERED:
        assert figures.min_s is not None
        assert figures.mean_s is not None
        assert figures.max_s is not None
        assert 0.0 <= figures.min_s <= figures.mean_s * (1 + 1e-9)
        assert figures.mean_s <= figures.max_s * (1 + 1e-9) <= LATE_S * (1 + 1e-9)
        assert figures.loss is not None
        assert 0.0 <= figures.loss < 1.0
    else:
        assert figures.mean_s is None
        assert figures.loss in (None, 1.0)
