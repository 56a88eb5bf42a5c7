"""The results of trials by chance, as they stand in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import lasting

PAGE = "# Page\n\n<!-- made by ./run fuzz -->\n\nold\n\n<!-- end -->\n\nBehind.\n<!-- end -->\n"


def test_a_result_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    lasting.put(page, "./run fuzz", ["new", *lasting.table(("one", "two"), [("1", "2")])])
    rows = "| one | two |\n| --- | --- |\n| 1 | 2 |"
    assert page.read_text() == PAGE.replace("old", f"new\n{rows}")


def test_a_page_without_a_place_for_it_is_not_changed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(ValueError, match=r"has no line '<!-- made by \./run soak -->'"):
        lasting.put(page, "./run soak", ["new"])
    assert page.read_text() == PAGE


def test_it_says_what_was_tried() -> None:
    words = lasting.heading(0.5, 7)
    assert words.endswith("seed 7, 0.5 minutes:")
    assert ", commit " in words
