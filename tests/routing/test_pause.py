"""How often BIRD is read: soon where it is cheap, and for a small part of the time in any case."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from gateway.node.journal import Journal
from gateway.routing.router import POLL_MAX_S, Router


@pytest.mark.parametrize(
    ("took_s", "count", "pause_s"),
    [
        (0.001, 1, 0.4),  # one small gateway: somebody who looks on sees a session go within 2 s
        (0.002, 100, 2.0),  # a hundred of them: 10 % of the time, as many as there may be
        (0.02, 1, 1.0),
        (0.2, 1, 10.0),  # a large one: a fiftieth of the time
        (60.0, 1, POLL_MAX_S),
    ],
)
def test_the_pause_is_short_where_reading_is_cheap(
    tmp_path: Path, took_s: float, count: int, pause_s: float
) -> None:
    router = Router(tmp_path, Journal(io.StringIO(), time.time), count=lambda: count)
    assert router._pause_s(took_s) == pytest.approx(pause_s)


def test_one_reading_in_which_somebody_stood_still_delays_none(tmp_path: Path) -> None:
    router = Router(tmp_path, Journal(io.StringIO(), time.time))
    took_s = (0.001, 1.0, 1.2, 0.001, 0.2, 0.2, 0.2)
    pauses = [router._pause_s(each) for each in took_s]
    assert pauses == pytest.approx([0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 10.0])
