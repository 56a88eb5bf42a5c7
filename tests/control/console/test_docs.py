"""docs/console.md shows the pictures that `./run demo --record` makes, all of them, and small."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs/images/console"
TOTAL_BYTES = 1_500_000


def shown(page: str) -> set[str]:
    return set(re.findall(r"images/console/([a-z-]+)\.webp", (ROOT / page).read_text()))


def test_every_picture_is_recorded_and_every_recorded_one_is_shown() -> None:
    recorded = set(re.findall(r'self\.show\(\s*"([a-z-]+)"', (ROOT / "lab/tour.py").read_text()))
    assert shown("docs/console.md") == recorded == {file.stem for file in PICTURES.iterdir()}
    assert shown("README.md") <= recorded


def test_all_pictures_together_are_small() -> None:
    assert sum(file.stat().st_size for file in PICTURES.iterdir()) < TOTAL_BYTES
    for file in PICTURES.iterdir():
        assert file.read_bytes()[8:12] == b"WEBP"
