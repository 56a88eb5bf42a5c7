"""The bench of probes, with few tunnels: that it runs and finds what is promised."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench import probes
from lab.commands import run
from lab.twinspan import ROOT

pytestmark = pytest.mark.system


def test_routes_follow_a_cut_within_a_second(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    words = ("--tunnels", "20", "--seconds", "1", "--measure", "1", "--json", str(file))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(sys.executable, "-m", "bench.probes", *words, env=env, timeout_s=240.0)
    found = json.loads(file.read_text())
    assert set(found) == set(probes.Figures.__slots__)
    assert (found["tunnels"], found["probes_per_s"], found["wrongly_lost"]) == (20, 100, 0)
    assert 0.5 < found["moved_after_cut_s"] < 1.5
    assert found["moved_back_s"] < 1.5
    assert (found["echoes_per_s"], found["wrong_loss"]) == (40.0, 0)
    assert 0.0 <= found["outside_rtt_ms"] < 500.0
