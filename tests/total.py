"""
What several runs of pytest say together, read from the JUnit XML that each writes.

    python -m tests.total FILE...           the closing line, as of one run; fails if a test did
    python -m tests.total --again FILE...   the files whose tests are worth a second judgement

A machine that others share stands still at times, and with it everything that a test of silence or
loss observes. So where tests of a few files failed, these are judged once more, with nothing beside
them. What is wrong fails again; more files than a few are no accident and are not run again. Files
count, not tests: one of them tells a story, in which one failure brings others after it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

AGAIN_MAX = 3  # files, of a whole run
WORDS = {"failure": "failed", "passed": "passed", "skipped": "skipped", "error": "errors"}


class Outcomes(NamedTuple):
    """
    What became of each test, by file, class and name: `failure`, `error`, `skipped` or `passed`.

    Of a test that was run again the later run counts; expected failures count as skipped.
    """

    of: dict[tuple[str, str, str], str]
    seconds: float

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        return [test for test, outcome in self.of.items() if outcome in ("failure", "error")]


def read(texts: list[str]) -> Outcomes:
    """Read JUnit XML (family xunit1, which names files) in the order of the runs."""
    found: dict[tuple[str, str, str], str] = {}
    seconds = 0.0
    for text in texts:
        run: dict[tuple[str, str, str], str] = {}
        for suite in ElementTree.fromstring(text).iter("testsuite"):
            seconds += float(suite.attrib["time"])
            for case in suite.iter("testcase"):
                test = (case.get("file", ""), case.get("classname", ""), case.attrib["name"])
                run[test] = _worse(run.get(test, "passed"), _outcome(case))
        found.update(run)
    return Outcomes(found, seconds)


def is_cut(text: str) -> bool:
    """Say whether a test was begun and not judged: pytest was interrupted in the middle of it."""
    return any("name" not in case.attrib for case in ElementTree.fromstring(text).iter("testcase"))


def _outcome(case: ElementTree.Element) -> str:
    return next((child.tag for child in case if child.tag in WORDS), "passed")


def _worse(one: str, other: str) -> str:
    """Choose of two outcomes of one test in one run, as of its call and of its teardown."""
    return min(one, other, key=("failure", "error", "skipped", "passed").index)


def again(outcomes: Outcomes) -> list[str]:
    """Return the files to run once more, whole, because their tests tell a story in order."""
    files = {file for file, _, _ in outcomes.failed}
    return [] if "" in files or len(files) > AGAIN_MAX else sorted(files)


def closing(outcomes: Outcomes) -> str:
    """Return what pytest had said if the runs had been one."""
    counts = Counter(outcomes.of.values())
    said = ", ".join(
        f"{counts[outcome]} {word}"
        for outcome, word in WORDS.items()
        if counts[outcome] or outcome == "passed"
    )
    minutes, rest = divmod(round(outcomes.seconds), 60)
    took = f"{outcomes.seconds:.2f}s ({minutes // 60}:{minutes % 60:02}:{rest:02})"
    return f"{said} in {took}".center(80, "=")


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.total", description=__doc__)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("files", nargs="+", type=Path)
    wanted = parser.parse_args()
    if missing := [str(file) for file in wanted.files if not file.exists()]:
        parser.error(f"pytest ended before it wrote {', '.join(missing)}")
    texts = [file.read_text() for file in wanted.files]
    if cut := [str(file) for file, text in zip(wanted.files, texts, strict=True) if is_cut(text)]:
        parser.error(f"pytest was interrupted in a test of {', '.join(cut)}")
    outcomes = read(texts)
    if wanted.again:
        print("\n".join(again(outcomes)))
        return 0
    print(closing(outcomes))
    return 1 if outcomes.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
