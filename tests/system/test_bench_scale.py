"""The bench of many tunnels, with few: that it runs and finds what is promised."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench import scale
from lab.commands import run
from lab.twinspan import ROOT

pytestmark = pytest.mark.system


def test_few_tunnels_come_up_and_carry_packets(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ("--tunnels", "4", "--rounds", "1", "--idle", "1", "--json", str(file))
    run(sys.executable, "-m", "bench.scale", *words, env=env, timeout_s=240.0)
    found = json.loads(file.read_text())
    assert set(scale.Figures.__slots__) < set(found)
    assert (found["tunnels_up"], found["reload_changed"]) == (4, 0)
    for kind in ("runs", "single"):
        assert found[f"packet.{kind}.1.times_one"] == 1.0
        assert found[f"packet.{kind}.2.ns"] > 100


@pytest.mark.parametrize(
    ("tunnels", "spread"), [(2, [1]), (20, [1, 10]), (100, [1, 10, 50]), (1000, [1, 10, 100, 500])]
)
def test_packets_are_spread_over_ever_more_tunnels(tunnels: int, spread: list[int]) -> None:
    assert scale.spread_over(tunnels) == spread
