"""The demonstrations from end to end: figures that hold, pictures, and nothing left behind."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from lab import demo
from lab.netns import directory_of

pytestmark = pytest.mark.system

# Lowest and highest of a figure. BFD of 300 ms x 3 needs 0.9 s, less up to an interval; the rest is
# granted to a machine that does other work.
BFD_MS = (300.0, 2500.0)
AT_ONCE_MS = (0.0, 300.0)
NONE = (0.0, 0.0)
FIGURES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "hybrid": {
        "tunnels_up": (2, 2),
        "tcp_gbps": (0.05, 1000),
        "twinspan_pair_gbps": (0.3, 1000),
        "silence_ms": BFD_MS,
        "silence_to_office_ms": BFD_MS,
        "silence_from_office_ms": BFD_MS,
        "stopped_silence_ms": AT_ONCE_MS,
        "return_lost": NONE,
        "drain_lost": NONE,
    },
    "region": {
        "tunnels_up": (2, 2),
        "tcp_gbps": (0.3, 1000),
        "silence_ms": BFD_MS,
        "drain_lost": NONE,
    },
    "hub": {
        "tunnels_up": (3, 3),
        "apart_isolated": (6, 6),
        "apart_open": NONE,
        "apart_one_kept": (4, 4),
        "reload_lost": NONE,
        "neighbour_lost": NONE,
    },
    "backup": {
        "tunnels_up": (2, 2),
        "line_cut_silence_ms": BFD_MS,
        "second_silence_ms": BFD_MS,
        "return_silence_ms": AT_ONCE_MS,
        "port_silence_ms": AT_ONCE_MS,
    },
}


@pytest.mark.parametrize("scenario", demo.SCENARIOS)
def test_a_demonstration_runs_to_its_end(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    file = tmp_path / "figures.json"
    assert demo.main([scenario, "--seconds", "1", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    wrong = {
        name: found[name]
        for name, (least, most) in FIGURES[scenario].items()
        if not least <= found[name] <= most
    }
    assert not wrong
    told = capsys.readouterr().out
    assert " carries =" in told
    assert " down x" in told
    assert "$ twinspan " in told
    assert not directory_of(f"demo{os.getpid()}").exists()
    assert not list(Path("/run/netns").glob(f"demo{os.getpid()}-*"))
