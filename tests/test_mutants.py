"""The changes that `./run mutants` makes, and that each explanation is of one that there is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import c_code
from tests.mutants.__main__ import MODULES, Result, files_of, lines, path_of
from tests.mutants.changes import changes
from tests.mutants.explained import EXPLAINED

SOURCE = '''
KINDS = {1, 2}

def f(a: int, b: int) -> int:
    """Words are not changed: 1 < 2."""
    assert a
    if a < b and not b:
        g()
    return a + 1
'''


def found(source: str) -> list[str]:
    return [one.key.rpartition(": ")[2] for one in changes(source)]


def test_each_part_of_a_function_is_changed_once() -> None:
    assert found(SOURCE) == [
        "without 1",
        "without 2",
        "1 becomes 2",
        "2 becomes 3",
        "becomes if not (a < b and (not b)):",
        "a < b and (not b) becomes a < b or not b",
        "a < b and (not b) becomes not b",
        "a < b and (not b) becomes a < b",
        "a < b becomes a <= b",
        "not b becomes b",
        "left out",
        "return a + 1 becomes return None",
        "a + 1 becomes a - 1",
        "1 becomes 2",
    ]


def test_a_change_is_what_it_says() -> None:
    one = next(one for one in changes(SOURCE) if one.key.endswith("a + 1 becomes a - 1"))
    names: dict[str, object] = {}
    exec(compile(one.tree(), "changed", "exec"), names)
    f = names["f"]
    assert callable(f)
    assert f(5, 3) == 4


def test_a_change_knows_the_function_whose_body_it_is_in() -> None:
    source = """
LIMIT = 3

class Window:
    size: int = 4

    def take(self, more: int = 1) -> int:
        def inner() -> int:
            return 2

        return inner() + more
"""
    assert [one.function for one in changes(source) if not one.key.endswith("None")] == [
        None,  # LIMIT
        None,  # the size
        None,  # a default: it is made with the function
        "Window.take",  # of the inner one: its code is a part of the outer one's
        "Window.take",
    ]


CODE = """
from functools import lru_cache

class Box:
    @property
    def size(self):
        return 7

@lru_cache
def double(value):
    return value * 2

def is_small(value):
    return value < 10

def unused():
    return 1
"""
TESTS = """
import changed
from changed import double

def test_some():
    assert changed.Box().size == 7
    assert double(3) == 6
    assert changed.is_small(3)
"""
TRY = """
import sys
from pathlib import Path
from tests.mutants import changes, quick
path = Path("changed.py")
found = list(changes.changes(path.read_text()))
for one in quick.noticed("changed", path.resolve(), found, ["test_it.py"], 2):
    print(one.key)
"""


def test_what_the_quick_way_notices(tmp_path: Path) -> None:
    (tmp_path / "changed.py").write_text(CODE)
    (tmp_path / "test_it.py").write_text(TESTS)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", TRY],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{root}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.splitlines()) == [
        "double: return value * 2: 2 becomes 3",
        "double: return value * 2: return value * 2 becomes return None",
        "double: return value * 2: value * 2 becomes value + 2",
        "is_small: return value < 10: return value < 10 becomes return None",
        "size: return 7: 7 becomes 8",
        "size: return 7: return 7 becomes return None",
    ]


def test_c_is_changed_but_for_comments_and_macros() -> None:
    source = "/* 1 < 2 */\nif (a->b < 3 && GW_WORDS - 1u)\n"
    assert [text.partition(" becomes ")[2] for text, _ in c_code.changes(source)] == [
        "if (a->b <= 3 && GW_WORDS - 1u)",
        "if (a->b < 4 && GW_WORDS - 1u)",
        "if (a->b < 3 || GW_WORDS - 1u)",
        "if (a->b < 3 && GW_WORDS + 1u)",
        "if (a->b < 3 && GW_WORDS - 2u)",
    ]


def test_of_c_functions_are_chosen_and_statements_left_out() -> None:
    source = """
static int
one(int a)
{
	return a < 3;
}

static int
two(int *a, const struct b *b)
{
	int more = f(b);

	if (b != NULL &&
		g(b))
		*a = more;
	b->c(a,
		more);
	return 0;
}
"""
    found = [text for text, _ in c_code.changes(source, ("two",))]
    assert found == [
        "two: if (b != NULL && becomes if (b == NULL &&",
        "two: if (b != NULL && becomes if (b != NULL ||",
        "two: return 0; becomes return 1;",
        "two: *a = more; is left out",
        "two: b->c(a, more); is left out",
    ]


def test_a_result_takes_the_place_of_the_one_before() -> None:
    before = [
        "| `gateway.ike.states` | 36 | 36 | 0 | 2026-01-02, commit 0123456789 |",
        "| `csrc/replay.c` | 57 | 56 | 1 | 2026-01-02, commit 0123456789 |",
        "- `states`: `one`: why",
        "- `replay.c`: `two`: why",
    ]
    result = Result("csrc/replay.c", changes=62, tried=62, unnoticed=["three"])
    text = list(lines([result], before))
    first, second = [line for line in text if line.startswith("| `")]
    assert first == before[0]
    assert second.startswith("| `csrc/replay.c` | 62 | 61 | 1 | 20")
    assert [line for line in text if line.startswith("-")] == [
        "- `states`: `one`: why",
        "- `replay.c`: `three`: **not explained**",
    ]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_explained_is_a_change_of_the_code_as_it_is(module: str) -> None:
    keys = {one.key for one in changes(path_of(module).read_text())}
    assert EXPLAINED.get(module, {}).keys() <= keys
    assert all(Path(name).exists() for name in files_of(module))


@pytest.mark.parametrize("part", c_code.PARTS, ids=lambda part: str(part.source))
def test_so_is_what_is_explained_of_c(part: c_code.Part) -> None:
    texts = {text for text, _ in c_code.changes(part.text, part.functions)}
    assert EXPLAINED.get(part.name, {}).keys() <= texts
