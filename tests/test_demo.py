"""The pictures of the demonstrations and their command line."""

from __future__ import annotations

import importlib

import pytest

from lab import demo
from lab.demos.picture import Link, draw

TEMPLATE = "gw -{office-1            }- a\n   -{office-2            }- b\n"


def test_a_picture_shows_what_every_tunnel_does_and_keeps_its_shape() -> None:
    drawn = draw(TEMPLATE, [Link("office-1", "down"), Link("office-2", "carries")])
    first, second = drawn.plain.splitlines()
    assert [len(first), len(second)] == [len(line) for line in TEMPLATE.splitlines()]
    assert " office-1 down " in first
    assert " office-2 carries " in second
    assert [str(span.style) for span in drawn.spans] == ["bold red", "bold green"]


def test_every_scenario_has_its_module() -> None:
    for scenario in demo.SCENARIOS:
        play = importlib.import_module(f"lab.demos.{scenario}")
        assert callable(play.show)
        assert callable(play.how_to_look)


def test_what_is_no_scenario_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        demo.main(["moon"])
    assert ended.value.code == 2
    assert "hybrid" in capsys.readouterr().err
