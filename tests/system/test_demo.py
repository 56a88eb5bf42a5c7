"""The demonstration of two regions from end to end: figures that hold, and nothing left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lab import demo
from lab.netns import directory_of

pytestmark = pytest.mark.system


def test_two_regions_are_joined_and_switch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    file = tmp_path / "region.json"
    assert demo.main(["region", "--json", str(file)]) == 0
    found = json.loads(file.read_text())
    assert found["tunnels_up"] == 2
    assert found["tcp_gbps"] > 0.3
    assert 300 < found["silence_ms"] < 2500  # BFD 300 ms x 3, and a machine that does other work
    assert found["drain_lost"] == 0
    told = capsys.readouterr().out
    for part in ("twinspan link west.toml east.toml", "west-east-1 down", "west-east-2 carries"):
        assert part in told
    assert not directory_of(f"demo{os.getpid()}").exists()
    assert not [path for path in Path("/run/netns").glob(f"demo{os.getpid()}-*")]
