"""The parts of `bench/throughput.py` that judge and draw, and a short run with real gateways."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from bench import throughput
from bench.load import bulk, delay, rates
from bench.load.draw import draw
from lab import pacer
from lab.commands import run
from lab.pacer import Paced
from lab.twinspan import ROOT


def wire(most: float, source: float = 1e9) -> rates.Trial:
    """Return a way that carries `most` packets a second, from a source with a limit too."""

    def trial(rate: int) -> Paced:
        sent = int(min(rate, source))
        return Paced(sent, int(min(sent, most)), 1.0)

    return trial


@pytest.mark.parametrize("most", [700, 19_000, 40_000, 41_000, 333_333, 1_500_000])
def test_the_highest_rate_is_found_to_five_percent(most: int) -> None:
    assert most * 0.95 <= 1e3 * rates.highest(wire(most)) <= most * 1.001


def test_a_source_at_its_limit_is_what_is_said() -> None:
    assert rates.highest(wire(1e9, source=250_000)) == 250.0


def test_a_way_that_carries_next_to_nothing_has_no_rate() -> None:
    assert rates.highest(wire(100)) == 0.0


def test_one_bad_try_does_not_decide() -> None:
    good, tries = wire(100_000), iter(range(1000))

    def trial(rate: int) -> Paced:
        return Paced(rate, 0, 1.0) if next(tries) % 3 == 0 else good(rate)

    assert rates.highest(trial) >= 95.0


def test_one_lucky_try_does_not_decide() -> None:
    real, tries = wire(100_000), iter(range(1000))

    def trial(rate: int) -> Paced:
        return Paced(rate, rate, 1.0) if next(tries) % 3 == 0 else real(rate)

    assert rates.highest(trial) <= 100.0


def test_percentiles_are_those_of_the_values() -> None:
    values = [float(number) for number in range(1001)]
    found = delay.figures("probe_idle", "plain", values)
    assert found == {
        "probe_idle.plain.p50_us": 500.0,
        "probe_idle.plain.p99_us": 990.0,
        "probe_idle.plain.p999_us": 999.0,
    }


def test_imix_is_of_the_usual_sizes() -> None:
    assert sum(bulk.IMIX) / len(bulk.IMIX) == pytest.approx(346.0)


def test_a_picture_is_written_in_both_forms(tmp_path: Path) -> None:
    found = {
        "tcp1.plain": 13.0,
        "tcp1.twinspan": 8.0,
        "tcp1.twinspan.cpu_s_per_gbit": 0.07,
        "rate64.twinspan.kpps": 168.0,
        "probe_bulk.plain.p99_us": 100.0,
        "probe_bulk.twinspan.p99_us": 11_009.0,
    }
    png, svg = tmp_path / "all.png", tmp_path / "all.svg"
    draw(found, ["plain", "twinspan"], [png, svg])
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    assert "<svg" in text
    assert text.count("<image") == 0  # bars are drawn, not painted


def test_figures_are_compared_with_each_other_way() -> None:
    found = {
        "tcp1.twinspan": 8.0,
        "tcp1.strongswan": 0.5,
        "rate64.twinspan.kpps": 150.0,
        "rate64.plain.kpps": 300.0,
        "probe_bulk.twinspan.p99_us": 150.0,
        "probe_bulk.plain.p99_us": 100.0,
    }
    assert throughput.ratios(found) == {
        "tcp1.times_strongswan": 16.0,
        "rate64.times_plain": 0.5,
        "probe_bulk.times_plain": 1.5,
    }


def test_less_than_iperf3_can_is_refused() -> None:
    with pytest.raises(SystemExit):
        throughput.main(["--seconds", "0.5"])


@pytest.mark.parametrize("wrong", [["0"], ["10", "1", "0", "43"], ["10", "1", "0", "9001"]])
def test_the_source_refuses_what_it_can_not_send(wrong: list[str]) -> None:
    out = run(str(pacer.program()), "send", "127.0.0.1", "7100", *wrong, check=False)
    assert out == ""


@pytest.mark.system
@pytest.mark.alone
def test_a_short_run_writes_what_the_readme_names(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    kinds = ("imix", "probe_bulk", "probe_bulk_ahead", "tcp1_jumbo")
    words = ("--ways", "plain", "twinspan", "--kinds", *kinds)
    short = ("--rounds", "1", "--seconds", "1", "--json", str(file))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run(sys.executable, "-m", "bench.throughput", *words, *short, env=env, timeout_s=240.0)
    found = json.loads(file.read_text())
    for way in ("plain", "twinspan"):
        assert found[f"imix.{way}.kpps"] > 10
        for kind in ("probe_bulk", "probe_bulk_ahead"):
            assert 0 < found[f"{kind}.{way}.p50_us"] <= found[f"{kind}.{way}.p999_us"]
        assert found[f"tcp1_jumbo.{way}"] > 0.1
    assert found["imix.cpu_s_per_gbit"] > 0
