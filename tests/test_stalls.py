"""What is said of a machine that stands still."""

from __future__ import annotations

import time

from lab import stalls


def test_what_is_late_adds_up_and_what_is_usual_does_not() -> None:
    found = stalls.Stalls()
    for late_s in (0.001, 0.2, 0.005, 0.1):
        found.add(late_s)
    assert (found.longest_ms, round(found.total_ms)) == (200.0, 300)


def test_a_block_is_watched_while_it_runs() -> None:
    with stalls.noted() as found:
        time.sleep(0.02)
    assert found.longest_ms <= found.total_ms
