"""The text that Prometheus reads."""

from __future__ import annotations

from gateway.prometheus.text import (
    Durations,
    Histogram,
    counts,
    family,
    histograms,
    labelled,
    number,
    text_of,
)


def test_a_metric_has_its_help_its_kind_and_its_samples() -> None:
    samples = [(labelled({"name": 'a"b\\c\nd', "id": 7}), 1.0), ("", 0.25)]
    assert text_of([family("x_total", "counter", "what x is", samples)]).splitlines() == [
        "# HELP x_total what x is",
        "# TYPE x_total counter",
        'x_total{name="a\\"b\\\\c\\nd",id="7"} 1',
        "x_total 0.25",
    ]


def test_numbers_are_whole_where_they_can_be() -> None:
    assert [number(one) for one in (3, 2.0, True, 1e15, 0.1)] == [
        "3",
        "2",
        "1",
        "1000000000000000",
        "0.1",
    ]


def test_a_histogram_counts_up_to_each_bound_and_the_bound_is_in_it() -> None:
    found = Histogram((0.1, 1.0))
    for value in (0.0625, 0.1, 0.5, 1.0, 7.0):
        found.add(value)
    assert histograms("x_seconds", "how long x took", [({"of": "y"}, found)]) == [
        "# HELP x_seconds how long x took",
        "# TYPE x_seconds histogram",
        'x_seconds_bucket{of="y",le="0.1"} 2',
        'x_seconds_bucket{of="y",le="1"} 4',
        'x_seconds_bucket{of="y",le="+Inf"} 5',
        'x_seconds_sum{of="y"} 8.6625',
        'x_seconds_count{of="y"} 5',
    ]


def test_durations_and_counts_are_in_the_order_of_their_labels() -> None:
    took = Durations("of", bounds=(1.0,))
    took.add(0.5, "b")
    took.add(2.0, "a")
    assert [line for line in took.lines("x", "t") if line.startswith("x_bucket")] == [
        'x_bucket{of="a",le="1"} 0',
        'x_bucket{of="a",le="+Inf"} 1',
        'x_bucket{of="b",le="1"} 1',
        'x_bucket{of="b",le="+Inf"} 1',
    ]
    found = [(("b", "1"), 2), (("a", "2"), 3)]
    assert counts("y", "counter", "t", ("k", "l"), found)[2:] == [
        'y{k="a",l="2"} 3',
        'y{k="b",l="1"} 2',
    ]
