"""The closing line of several runs is what pytest had said of them as one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.total import closing

TESTS = """
import pytest
@pytest.fixture
def broken(): raise OSError
def test_passes(): pass
def test_fails(): assert False
def test_has_no_fixture(broken): pass
@pytest.mark.skip(reason="so")
def test_is_skipped(): pass
"""


def report(folder: Path, name: str) -> str:
    """Return what pytest writes of one of the tests, or of all."""
    file = folder / "test_some.py"
    file.write_text(TESTS)
    words = ["-p", "no:cacheprovider", "-k", name, "--junitxml", str(folder / "out.xml"), str(file)]
    subprocess.run([sys.executable, "-m", "pytest", *words], check=False, capture_output=True)
    return (folder / "out.xml").read_text()


def test_all_that_failed_passed_or_was_skipped_is_counted(tmp_path: Path) -> None:
    line = closing([report(tmp_path, "test"), report(tmp_path, "passes")])
    assert re.fullmatch(
        r"=+1 failed, 2 passed, 1 skipped, 1 errors in \d+\.\d\ds \(0:00:\d\d\)=+", line
    )


def test_nothing_but_passed_is_said_when_all_pass(tmp_path: Path) -> None:
    assert "=1 passed in " in closing([report(tmp_path, "passes")])
