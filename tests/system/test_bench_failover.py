"""`bench/failover.py` in short: its figures have their names and can be true."""

from __future__ import annotations

import json
import os
from xml.etree import ElementTree

import pytest

from bench import failover

pytestmark = pytest.mark.system

# Each with the silence that can be true, ms: the upper bound leaves room for a busy machine.
BOUNDS = {
    "path_cut.bfd300": (500, 2500),  # 0.9 s, less up to an interval
    "carrier": (0, 300),
    "drain": (0, 300),
    "path_cut.bfd50": (80, 1000),
    "static_probe": (400, 2000),  # 0.8 s, less up to an interval
}
WAYS = ("", ".to_office", ".from_office")


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Return what one time of each case gives, as a person gets it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    directory = tmp_path_factory.mktemp("bench")
    file, picture = directory / "failover.json", directory / "failover.svg"
    arguments = ["--cases", *BOUNDS, "--times", "1", "--json", str(file), "--plot", str(picture)]
    assert failover.main(arguments) == 0
    ElementTree.parse(picture)
    found: dict[str, float] = json.loads(file.read_text())
    return found


def test_every_case_has_its_figures(figures: dict[str, float]) -> None:
    ends = ("median_ms", "p95_ms", "max_ms", "lost_median", "lost_max", "lost_packets")
    assert set(figures) == {
        key
        for case in BOUNDS
        for key in (f"{case}.times", *(f"{case}{way}.{end}" for way in WAYS for end in ends))
    }


@pytest.mark.parametrize("case", BOUNDS)
def test_silence_is_measured_in_both_directions(figures: dict[str, float], case: str) -> None:
    least, most = BOUNDS[case]
    assert figures[f"{case}.times"] == 1
    for way in WAYS[1:]:
        assert least <= figures[f"{case}{way}.max_ms"] < most
    assert figures[f"{case}.max_ms"] == max(figures[f"{case}{way}.max_ms"] for way in WAYS[1:])


@pytest.mark.parametrize("case", ["path_cut.bfd300", "path_cut.bfd50"])
def test_what_is_lost_is_as_long_as_the_silence(figures: dict[str, float], case: str) -> None:
    """A thousand a second: as many lost as there were milliseconds, but for delays."""
    for way in WAYS[1:]:
        silence, lost = figures[f"{case}{way}.max_ms"], figures[f"{case}{way}.lost_packets"]
        assert lost == pytest.approx(silence, rel=0.2)


def test_a_drain_loses_nothing(figures: dict[str, float]) -> None:
    assert figures["drain.lost_packets"] == 0


def test_what_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--cases", "flood"], ["--times", "0"]):
        with pytest.raises(SystemExit) as ended:
            failover.main(arguments)
        assert ended.value.code == 2
    assert "--times: at least 1" in capsys.readouterr().err
