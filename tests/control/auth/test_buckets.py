"""Token buckets: a burst, a rate, bounded memory, and one key for each source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.auth.buckets import Buckets, Rate, source_of


def test_a_burst_and_then_the_rate() -> None:
    buckets = Buckets(Rate(burst=3, per_s=0.1))
    assert [buckets.take("a", 100.0) for _ in range(5)] == [0, 0, 0, 10, 10]
    assert buckets.take("a", 109.0) == 1
    assert buckets.take("a", 110.0) == 0
    assert buckets.take("b", 110.0) == 0


def test_what_was_taken_can_be_given_back() -> None:
    buckets = Buckets(Rate(burst=1, per_s=0.001))
    for _ in range(5):
        assert buckets.take("a", 1.0) == 0
        buckets.give_back("a")
    buckets.give_back("a")
    assert buckets.take("a", 1.0) == 0
    assert buckets.take("a", 1.0) > 0


def test_memory_is_bounded_and_who_is_active_stays_known() -> None:
    buckets = Buckets(Rate(burst=1, per_s=0.001), keys_max=10)
    for number in range(1000):
        buckets.take("loud", 1.0)
        buckets.take(str(number), 1.0)
    assert len(buckets) == 10
    assert buckets.take("loud", 1.0) > 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_never_more_than_burst_and_rate_allow(waits: list[float]) -> None:
    buckets, now, taken = Buckets(Rate(burst=5, per_s=0.5)), 0.0, 0
    for wait in waits:
        now += wait
        taken += buckets.take("a", now) == 0
    assert taken <= 5 + now * 0.5 + 1e-6


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_the_key_of_a_source(address: str, key: str) -> None:
    assert source_of(address) == key
