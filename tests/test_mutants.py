"""The changes that `./run mutants` makes, and that each explanation is of one that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import c_code
from tests.mutants.__main__ import MODULES, REPLAY, files_of, path_of
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


def test_c_is_changed_but_for_comments_and_macros() -> None:
    source = "/* 1 < 2 */\nif (a->b < 3 && GW_WORDS - 1u)\n"
    assert [text.partition(" becomes ")[2] for text, _ in c_code.changes(source)] == [
        "if (a->b <= 3 && GW_WORDS - 1u)",
        "if (a->b < 4 && GW_WORDS - 1u)",
        "if (a->b < 3 || GW_WORDS - 1u)",
        "if (a->b < 3 && GW_WORDS + 1u)",
        "if (a->b < 3 && GW_WORDS - 2u)",
    ]


@pytest.mark.parametrize("module", MODULES)
def test_what_is_explained_is_a_change_of_the_code_as_it_is(module: str) -> None:
    keys = {one.key for one in changes(path_of(module).read_text())}
    assert EXPLAINED.get(module, {}).keys() <= keys
    assert all(Path(name).exists() for name in files_of(module))


def test_so_is_what_is_explained_of_the_replay_window() -> None:
    texts = {text for text, _ in c_code.changes(c_code.SOURCE.read_text())}
    assert EXPLAINED.get(REPLAY, {}).keys() <= texts
