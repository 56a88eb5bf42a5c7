"""When a path counts as dead, and when as alive again."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.health import LOSS_OVER, RECOVERY_MIN, Health, PathHealth

RTT_S = 0.01
answers = st.lists(st.booleans(), max_size=400)
missing_counts = st.integers(2, 50)


def run(path: PathHealth, answered: Iterable[bool], start: float = 0.0) -> list[Health]:
    """Send a probe a second, answered after 10 ms or not at all; return the health after each."""
    seen = []
    for second, is_answered in enumerate(answered):
        now = start + second
        number = path.sent(now)
        if is_answered:
            path.answered(number, RTT_S, now + RTT_S)
        seen.append(path.health)
    return seen


def healthy(missing: int = 3) -> PathHealth:
    path = PathHealth(missing)
    run(path, [True] * missing)
    return path


def test_a_path_is_healthy_from_its_first_answer_on() -> None:
    path = PathHealth(3)
    assert run(path, [False, False, True]) == [*[Health.UNANSWERED] * 2, Health.HEALTHY]
    assert path.since == path.answered_at == 2.0 + RTT_S


def test_a_path_is_unhealthy_when_the_probe_after_the_last_missing_one_is_due() -> None:
    path = healthy()
    assert run(path, [False] * 3, start=10.0) == [Health.HEALTHY] * 3
    path.sent(13.0)
    assert path.health is Health.UNHEALTHY
    assert path.since == 13.0
    assert path.answered_at == 2.0 + RTT_S


def test_one_answer_in_time_is_enough() -> None:
    assert run(healthy(), [False, False, True] * 20) == [Health.HEALTHY] * 60


def test_an_answer_to_a_later_probe_excuses_those_before() -> None:
    path = healthy()
    numbers = [path.sent(10.0 + second) for second in range(3)]
    path.answered(numbers[2], 0.5, 12.5)
    path.sent(13.0)
    assert path.health is Health.HEALTHY


def test_a_round_trip_longer_than_the_interval_is_no_loss() -> None:
    path = PathHealth(3)
    for second in range(50):
        path.sent(second)
        path.answered(second - 1, 2.5, second + 0.5)
        assert second < 2 or path.health is Health.HEALTHY
    assert path.loss == 0.0
    assert path.rtt_s == 2.5


def test_a_path_recovers_after_answers_in_a_row() -> None:
    path = healthy()
    run(path, [False] * 4)
    pattern = [True, True, False, True, True, True]
    assert run(path, pattern, 20.0) == [*[Health.UNHEALTHY] * 5, Health.HEALTHY]


def test_what_was_under_way_when_the_tunnel_went_down_says_nothing() -> None:
    path = healthy()
    before = [path.sent(10.0), path.sent(11.0)]
    path.pause()
    assert path.tries == 0
    path.sent(30.0)
    path.answered(before[0], 20.5, 30.5)
    assert path.rtt_s == pytest.approx(RTT_S)
    # Three are missing then, not five.
    assert run(path, [False] * 3, 31.0) == [*[Health.HEALTHY] * 2, Health.UNHEALTHY]


def test_a_pause_changes_no_judgement() -> None:
    path = healthy()
    run(path, [False] * 4)
    path.pause()
    assert run(path, [True] * 3) == [*[Health.UNHEALTHY] * 2, Health.HEALTHY]


def test_loss_is_counted_without_what_may_be_under_way() -> None:
    path = healthy()
    assert path.loss is None
    run(path, [True, False] * 10)
    # Of 23, the last three are left out: 3 + 17 with 8 missing.
    assert path.loss == pytest.approx(8 / 20)
    run(path, [False] * LOSS_OVER + [True] * 3)
    assert path.loss == 1.0


def test_the_mean_round_trip_follows_slowly() -> None:
    path = PathHealth(3)
    for second, rtt in enumerate([0.1, 0.1, 0.9]):
        path.answered(path.sent(second), rtt, second + rtt)
    assert path.rtt_s == pytest.approx(0.9)
    assert path.rtt_mean_s == pytest.approx(0.2)


@given(missing_counts, st.integers(0, 200))
def test_who_never_answers_is_never_unhealthy(missing: int, count: int) -> None:
    path = PathHealth(missing)
    assert set(run(path, [False] * count)) <= {Health.UNANSWERED}
    assert path.answered_at is None


@given(missing_counts, answers)
def test_fewer_missing_in_a_row_than_allowed_never_turn_a_path_down(
    missing: int, answered: list[bool]
) -> None:
    path = healthy(missing)
    pattern = [
        is_answered
        for is_answered, group in groupby(answered)
        for _ in range(len(list(group)) if is_answered else missing - 1)
    ]
    assert set(run(path, pattern)) <= {Health.HEALTHY}


@given(missing_counts, answers)
def test_a_path_is_left_after_so_many_missing_and_taken_after_enough_answers(
    missing: int, answered: list[bool]
) -> None:
    """The rule in other words: runs of lost and of answered probes decide, nothing else."""
    path, expected, silent, good = healthy(missing), Health.HEALTHY, 0, missing
    for is_answered, seen in zip(answered, run(path, answered), strict=True):
        if silent >= missing:
            expected = Health.UNHEALTHY
        silent, good = (0, good + 1) if is_answered else (silent + 1, 0)
        if good >= max(missing, RECOVERY_MIN):
            expected = Health.HEALTHY
        assert seen is expected


@given(missing_counts, answers)
def test_loss_is_the_share_that_was_missing(missing: int, answered: list[bool]) -> None:
    path = PathHealth(missing)
    run(path, answered)
    judged = answered[: max(0, len(answered) - missing)][-LOSS_OVER:]
    wanted = judged.count(False) / len(judged) if judged else None
    assert path.loss == (wanted if wanted is None else pytest.approx(wanted))
