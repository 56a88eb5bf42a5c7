"""`bench/failover.py` once, with one case: its figures have their names and can be true."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import failover

pytestmark = pytest.mark.system

CASE = "path_cut.bfd300"


def test_a_path_cut_is_measured_in_both_directions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BFD needs 0.9 s, less up to an interval; the upper bound leaves room for a busy machine."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    file, picture = tmp_path / "failover.json", tmp_path / "failover.svg"
    arguments = ["--cases", CASE, "--times", "1", "--json", str(file), "--plot", str(picture)]
    assert failover.main(arguments) == 0
    found = json.loads(file.read_text())
    ways = ("", ".to_office", ".from_office")
    ends = ("median_ms", "p95_ms", "max_ms", "lost_median", "lost_max", "lost_packets")
    assert set(found) == {f"{CASE}.times"} | {f"{CASE}{way}.{end}" for way in ways for end in ends}
    assert found[f"{CASE}.times"] == 1
    for way in ways[1:]:
        silence = found[f"{CASE}{way}.max_ms"]
        assert 500 < silence < 2500
        # A thousand a second: as many lost as there were milliseconds, but for delays.
        assert found[f"{CASE}{way}.lost_packets"] == pytest.approx(silence, rel=0.2)
    assert found[f"{CASE}.max_ms"] == max(found[f"{CASE}{way}.max_ms"] for way in ways[1:])
    output = capsys.readouterr()
    assert CASE in output.out
    assert f"{CASE} 1/1" in output.err
    ElementTree.parse(picture)


def test_what_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--cases", "flood"], ["--times", "0"]):
        with pytest.raises(SystemExit) as ended:
            failover.main(arguments)
        assert ended.value.code == 2
    assert "--times: at least 1" in capsys.readouterr().err
