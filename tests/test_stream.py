"""`lab/stream.py`, `lab/plot.py` and the figures of `bench/failover.py`: what numbers become."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bench import failover
from lab import plot, stream

MS = 10**6
SVG = "{http://www.w3.org/2000/svg}"


def sent(count: int) -> list[int]:
    """Return the times of `count` datagrams, one a millisecond from 1 s on."""
    return [(1000 + seq) * MS for seq in range(count)]


def taken(times: list[int], *lost: int, delay: int = MS) -> list[tuple[int, int]]:
    return [(seq, at + delay) for seq, at in enumerate(times) if seq not in lost]


def test_a_whole_stream_has_one_period_of_silence_and_no_loss() -> None:
    times = sent(100)
    assert stream.judge(times, taken(times), MS) == stream.Result(100, 0, 1.0, True)


def test_lost_datagrams_are_silence_from_the_arrival_before_to_the_one_after() -> None:
    times = sent(200)
    seen = stream.judge(times, taken(times, *range(50, 80)), MS)
    assert (seen.lost, seen.silence_ms, seen.goes_on) == (30, 31.0, True)


def test_delay_is_silence_though_nothing_is_lost() -> None:
    times = sent(100)
    arrivals = [(seq, max(at, times[60]) if seq >= 20 else at) for seq, at in taken(times)]
    seen = stream.judge(times, arrivals, MS)
    assert (seen.lost, seen.silence_ms) == (0, (times[60] - times[19] - MS) / MS)


def test_a_pause_of_the_sender_is_no_silence() -> None:
    times = [at + (40 * MS if seq >= 50 else 0) for seq, at in enumerate(sent(100))]
    assert stream.judge(times, taken(times), MS).silence_ms == 1.0


def test_what_never_comes_back_is_silent_to_the_end() -> None:
    times = sent(100)
    seen = stream.judge(times, taken(times, *range(30, 100), delay=0), MS)
    assert (seen.lost, seen.silence_ms, seen.goes_on) == (70, 70.0, False)


def test_late_and_doubled_datagrams_are_neither_lost_nor_silence() -> None:
    times = sent(100)
    arrivals = taken(times)
    arrivals[10], arrivals[11] = arrivals[11], arrivals[10]
    arrivals.insert(20, arrivals[19])
    assert all(right >= left - 1 for (left, _), (right, _) in pairwise(arrivals))
    seen = stream.judge(times, arrivals, MS)
    assert seen.lost == 0
    assert seen.silence_ms <= 2.0


def sample(to_ms: float, to_lost: int, from_ms: float, from_lost: int) -> failover.Sample:
    return failover.Sample(
        stream.Result(1000, to_lost, to_ms, True), stream.Result(1000, from_lost, from_ms, True)
    )


def test_figures_take_the_worse_direction_of_each_time() -> None:
    samples = [sample(10.0, 9, 20.0, 19), sample(40.0, 39, 30.0, 29), sample(5.0, 0, 5.0, 0)]
    found = failover.figures("path_cut.bfd50", samples)
    assert found["path_cut.bfd50.times"] == 3
    assert found["path_cut.bfd50.median_ms"] == 20.0
    assert found["path_cut.bfd50.max_ms"] == 40.0
    assert found["path_cut.bfd50.from_office.max_ms"] == 30.0
    assert found["path_cut.bfd50.lost_packets"] == 96
    assert found["path_cut.bfd50.lost_max"] == 68
    assert found["path_cut.bfd50.to_office.lost_median"] == 9


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1.0), (3, 3.0), (19, 19.0), (20, 19.0), (21, 20.0), (100, 95.0)]
)
def test_p95_is_a_value_that_was_measured(count: int, expected: float) -> None:
    assert failover.p95([float(each) for each in range(count, 0, -1)]) == expected


def test_the_picture_has_a_dot_for_each_value_where_it_belongs() -> None:
    rows = {"a < b": {"there": [1.0, 10.0, 100.0], "back": [1000.0]}, "c": {"back": [0.2]}}
    root = ElementTree.fromstring(plot.strips("Title", "ms", rows))
    dots = [dot for dot in root.iter(f"{SVG}circle") if dot.get("fill-opacity")]
    x = [float(dot.attrib["cx"]) for dot in dots]
    assert len(x) == 5
    assert x[0] < x[1] < x[2] < x[3]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)  # a logarithmic axis
    assert x[4] == x[0]  # smaller than the axis: at its begin
    assert "a < b" in [text.text for text in root.iter(f"{SVG}text")]


def test_a_picture_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.strips("Title", "ms", {"a": {"there": []}})
