"""The closing line of several runs is what pytest had said of them as one."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.total import AGAIN_MAX, again, closing, read

ROOT = Path(__file__).parent.parent
TESTS = """
import pathlib
import pytest
@pytest.fixture
def broken(): raise OSError
@pytest.fixture
def left(): yield; raise OSError
def test_passes(): pass
def test_fails(): assert False
def test_has_no_fixture(broken): pass
def test_leaves(left): pass
@pytest.mark.skip(reason="so")
def test_is_skipped(): pass
@pytest.mark.parametrize("n", range(4))
def test_many(n): assert False
def test_second():
    mark = pathlib.Path(__file__).with_suffix(".mark")
    again = mark.exists()
    mark.touch()
    assert again
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[ElementTree.Element]:
    """Run the tests twice; return what pytest writes of each run."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "test_some.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "-o", "junit_family=xunit1", "--junitxml", "out.xml"]
    found = []
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "pytest", *words], check=False, capture_output=True, cwd=folder
        )
        found.append(ElementTree.fromstring((folder / "out.xml").read_text()))
    return found


def of(run: ElementTree.Element, *names: str) -> str:
    """Return what is written of the tests of these names, as of a run of them alone."""
    alone = copy.deepcopy(run)
    for suite in alone.iter("testsuite"):
        for case in list(suite.iter("testcase")):
            if case.attrib["name"].partition("[")[0] not in names:
                suite.remove(case)
    return ElementTree.tostring(alone, encoding="unicode")


def test_all_that_failed_passed_or_was_skipped_is_counted(runs: list[ElementTree.Element]) -> None:
    names = ("test_passes", "test_fails", "test_has_no_fixture", "test_leaves", "test_is_skipped")
    outcomes = read([of(runs[0], *names), of(runs[1], "test_passes")])
    assert re.fullmatch(
        r"=+1 failed, 1 passed, 1 skipped, 2 errors in \d+\.\d\ds \(0:00:\d\d\)=+",
        closing(outcomes),
    )


def test_nothing_but_passed_is_said_when_all_pass(runs: list[ElementTree.Element]) -> None:
    outcomes = read([of(runs[0], "test_passes")])
    assert "=1 passed in " in closing(outcomes)
    assert again(outcomes) == []


def test_of_a_test_that_is_run_again_the_later_counts(runs: list[ElementTree.Element]) -> None:
    first = of(runs[0], "test_second", "test_passes")
    assert again(read([first])) == ["test_some.py"]
    assert "=2 passed in " in closing(read([first, of(runs[1], "test_second")]))
    # What fails both times has failed.
    wrong = [of(run, "test_fails") for run in runs]
    assert "=1 failed, 0 passed in " in closing(read(wrong))


def test_one_failure_brings_others_in_its_file_but_not_in_many_files(
    runs: list[ElementTree.Element],
) -> None:
    one = of(runs[0], "test_many")
    outcomes = read([one])
    assert len(outcomes.failed) == AGAIN_MAX + 1
    assert again(outcomes) == ["test_some.py"]
    others = [one.replace("test_some", f"test_other{number}") for number in range(AGAIN_MAX)]
    assert len(again(read(others))) == AGAIN_MAX
    assert again(read([one, *others])) == []


def test_a_run_that_was_interrupted_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "test_cut.py").write_text(
        "def test_passes(): pass\ndef test_is_cut(): raise KeyboardInterrupt\n"
    )
    words = ["-p", "no:cacheprovider", "-o", "junit_family=xunit1", "--junitxml", "cut.xml"]
    pytest_ = [sys.executable, "-m", "pytest", *words]
    subprocess.run(pytest_, check=False, capture_output=True, cwd=tmp_path)
    for option in ((), ("--again",)):
        total = [sys.executable, "-m", "tests.total", *option, str(tmp_path / "cut.xml")]
        done = subprocess.run(total, check=False, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2
        assert done.stdout == ""
        assert f"pytest was interrupted in a test of {tmp_path}/cut.xml" in done.stderr
