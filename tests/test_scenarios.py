"""docs/interop.md tells of strongSwan's scenarios, and each test that it names is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.scenarios import SCENARIOS, Scenario, judge, row

ROOT = Path(__file__).parents[1]
WANTED = sorted({test for scenario in SCENARIOS for test in scenario.tests})


@pytest.mark.parametrize("wanted", WANTED)
def test_each_test_is_there(wanted: str) -> None:
    file, _, start = wanted.partition("::")
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert any(name.startswith(start) for name in names)


def test_the_page_has_a_row_for_each_and_no_failure() -> None:
    page = (ROOT / "docs/interop.md").read_text()
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    found = {line[0]: line[1:] for line in lines if len(line) == 4}
    for scenario in SCENARIOS:
        against, tests, outcome = found[scenario.names]
        assert (against, tests) == row(scenario, {})[1:3]
        assert outcome.endswith(" passed") if scenario.tests else outcome == "-"


def test_what_failed_or_was_not_run_is_no_success() -> None:
    one = Scenario("one", "strongSwan", ("system/test_a::test_x",))
    assert judge(
        one, {"system/test_a::test_x[1]": "passed", "system/test_a::test_xy": "passed"}
    ) == ("2 passed")
    assert judge(one, {"system/test_a::test_x": "failure"}) == "system/test_a::test_x: failure"
    assert judge(one, {"system/test_a::test_y": "passed"}) == "system/test_a::test_x: was not run"
