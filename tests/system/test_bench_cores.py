"""The bench of workers: both share the work, and it finds what is promised."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench import cores
from lab.commands import run
from lab.twinspan import ROOT

pytestmark = pytest.mark.system


def test_two_workers_share_the_work(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ("--rounds", "1", "--seconds", "0.5", "--json", str(file))
    run(sys.executable, "-m", "bench.cores", *words, env=env, timeout_s=240.0)
    found = json.loads(file.read_text())
    assert set(found) == {
        f"{direction}.{key}"
        for direction in cores.DIRECTIONS
        for key in (
            *(f"workers{n}.{what}" for n in cores.WORKERS for what in ("kpps", "busiest")),
            *(
                f"{kind}{ending}.{what}"
                for kind in cores.SAS
                for ending in cores.ENCAPS
                for what in ("kpps", "busiest")
            ),
            *("times_one", "times_shared", "times_shared_raw"),
        )
    }
    # Outbound tunnels are dealt out evenly; inbound the kernel's hash of addresses decides.
    assert 0.5 <= found["out.workers2.busiest"] < 0.7
    assert 0.5 <= found["in.workers2.busiest"] < 0.95
    assert found["out.workers1.busiest"] == 1.0
    # One SA comes in by one worker, one for each worker by both.
    for ending in cores.ENCAPS:
        assert found[f"in.shared{ending}.busiest"] > 0.95
        assert 0.5 <= found[f"in.own{ending}.busiest"] < 0.95
