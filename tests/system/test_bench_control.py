"""The bench of the control plane, with small numbers: that it runs and finds what is promised."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench import control
from bench.beds.deaths import Creations
from lab.commands import run
from lab.twinspan import ROOT

pytestmark = pytest.mark.system

PARTS = ("sqlite", "fleet", "etcd")  # console waits half a minute for a simulated node's tunnel
SMALL = ("--connections", "16", "--changes", "3", "--nodes", "3", "--seconds", "6")


def test_all_parts_find_what_they_promise(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = (sys.executable, "-m", "bench.control", *SMALL, "--parts", *PARTS, "--json", str(file))
    run(*words, env=env, timeout_s=240.0)
    found = json.loads(file.read_text())
    targets = {name for name in control.TARGETS if not name.startswith("console.")}
    assert targets < set(found)
    assert (found["applied.tunnels"], found["document.tunnels"]) == (16, 16)
    assert (found["fleet.nodes"], found["fleet.tunnels"]) == (3, 32)
    assert found["fleet.reports"] >= 2 * 3  # the full one of each node, and one more
    assert (found["etcd.created"], found["etcd.lost"], found["etcd.double"]) == (16, 0, 0)
    assert all(value > 0 for name, value in found.items() if name.endswith(("_ms", "_mib", "_s")))


def test_a_gap_counts_where_it_ends() -> None:
    made = Creations(done_at=[6.5, 1.0, 2.0, 2.5, 6.0])
    assert made.gap_s(0.0, 7.0) == 3.5
    assert made.gap_s(2.2, 5.9) == 0.5  # what began before, and not what ends later
    assert made.gap_s(6.2, 9.0) == 0.5


@pytest.mark.parametrize("wrong", [["--connections", "3"], ["--nodes", "1"], ["--parts", "all"]])
def test_arguments_out_of_range_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        control.parse(wrong)
    assert error.value.code == 2


def test_a_target_is_missed_by_what_is_at_it_where_it_is_a_bound() -> None:
    assert control.TARGETS["list.p95_ms"].holds(99.9)
    assert not control.TARGETS["list.p95_ms"].holds(100.0)
    assert control.TARGETS["etcd.lost"].holds(0)
    assert not control.TARGETS["etcd.lost"].holds(1)
