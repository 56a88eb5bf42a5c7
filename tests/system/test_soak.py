"""The soak test, shortly: it counts, and it tells what is not right."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest

from lab import soak
from lab.commands import run
from lab.twinspan import ROOT

pytestmark = pytest.mark.system


def test_in_a_short_soak_no_gateway_drops_anything(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ("--minutes", "0.1", "--seed", "1", "--json", str(file))
    run(sys.executable, "-m", "lab.soak", *words, env=env, timeout_s=240.0, check=False)
    found = json.loads(file.read_text())
    assert set(found) == {field.name for field in dataclasses.fields(soak.Figures)}
    assert found["rekeys"] >= 1
    assert found["datagrams"] > 10_000
    # A busy machine may lose some at its hosts; no gateway does.
    assert not found["dropped"]
    assert found["lost"] < found["datagrams"] // 100


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"lost": 3}, "3 of 1000 datagrams are lost"),
        ({"dropped": {"icv": 2}}, "2 packets were dropped: icv"),
        (
            {"first_mib": {"gwa data plane": 50.0}, "grown_mib": {"gwa data plane": 9.5}},
            "gwa data plane has grown by 9.5 MiB",
        ),
    ],
)
def test_what_is_not_right_is_said(wrong: dict[str, object], words: str) -> None:
    good = soak.Figures(
        1.0, 5, 0.5, 2.0, 1000, 0, 20.0, {}, {"gwa gateway": 70.0}, {"gwa gateway": 0.3}
    )
    assert soak.judge(good) == []
    said = "\n".join(soak.page(dataclasses.replace(good, **wrong), 1))  # type: ignore[arg-type]
    assert f"| verdict | {words} |" in said
    assert soak.judge(dataclasses.replace(good, **wrong)) == [words]  # type: ignore[arg-type]
