"""The line of every key is found, whatever shape of TOML holds it."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.locate import Path, line_of, lines_of

TEXT = '''\
# a comment with [brackets] and = "quotes"
top = 1

[gateway]            # comment
name = "a # b"
"quoted key" = 'lit\\'
list = [             # a list
  "one", # [2]
  "tw\\"o",

  "three"]
[[border]]
name = "first"
[[border]]
name = """
multi
[line]
x = 1 \\\\"""
after = 5
inline = { a = 1, b = { c = [1, 2], d.e = "}" } }
[[border.tunnel]]
x = 1
[[border.tunnel]]
x.y . z = 2
[border.sub]
deep = [[1], [
  2,
  3]]
[other."dotted.key"]
z = \'\'\'
\'quoted\'
\'\'\'
end = 1979-05-27T07:32:00Z
'''
PLACES: list[tuple[Path, int]] = [
    (("top",), 2),
    (("gateway",), 4),
    (("gateway", "name"), 5),
    (("gateway", "quoted key"), 6),
    (("gateway", "list"), 7),
    (("gateway", "list", 0), 8),
    (("gateway", "list", 1), 9),
    (("gateway", "list", 2), 11),
    (("border",), 12),
    (("border", 0), 12),
    (("border", 0, "name"), 13),
    (("border", 1), 14),
    (("border", 1, "name"), 15),
    (("border", 1, "after"), 19),
    (("border", 1, "inline", "b", "c", 1), 20),
    (("border", 1, "inline", "b", "d", "e"), 20),
    (("border", 1, "tunnel", 0, "x"), 22),
    (("border", 1, "tunnel", 1), 23),
    (("border", 1, "tunnel", 1, "x", "y", "z"), 24),
    (("border", 1, "sub"), 25),
    (("border", 1, "sub", "deep", 1, 1), 28),
    (("other", "dotted.key"), 29),
    (("other", "dotted.key", "end"), 33),
]


@pytest.mark.parametrize(("path", "line"), PLACES)
def test_place_is_found(path: Path, line: int) -> None:
    assert lines_of(TEXT)[path] == line


def test_line_of_what_is_not_there_is_that_of_what_is_around_it() -> None:
    lines = lines_of(TEXT)
    assert line_of(lines, ("border", 1, "tunnel", 1, "psk")) == 23
    assert line_of(lines, ("border", 1, "name", "x", 3)) == 15
    assert line_of(lines, ("nothing",)) == 1
    assert line_of(lines, ()) == 1


def test_windows_line_ends_count_once() -> None:
    assert lines_of("a = 1\r\n[b]\r\nc = 2\r\n")[("b", "c")] == 3


def paths_in(value: object, path: Path = ()) -> set[Path]:
    """Return the path of everything in a parsed document."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= paths_in(inner, (*path, key))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            found |= paths_in(inner, (*path, at))
    return found


def test_nothing_that_tomllib_reads_is_missed() -> None:
    missed = paths_in(tomllib.loads(TEXT)) - set(lines_of(TEXT))
    assert missed == {("other",)}  # a table that only the header of a table below it names


KEYS = st.sampled_from(["a", "b", "c", '"a b"', "'x.y'", "a.b", "b . c", '"\\u0041"'])
SCALARS = st.sampled_from(
    [
        "1",
        "true",
        "-2.5e3",
        "nan",
        '"s"',
        '"a]b}c,#d"',
        "'l\\'",
        '"\\""',
        '"""x\n"y"\n"""',
        "'''\n'''",
        '"""a""""',
        "'''a'''''",
        "2020-01-01",
        "0x1F",
        '""',
        "''",
        '"""\\\n   z"""',
    ]
)
INLINE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + " ,\n # c ]\n".join(items) + "\n]")
        | st.lists(st.tuples(KEYS, inner), max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key}={value}" for key, value in pairs) + " }"
        )
    ),
    max_leaves=6,
)
LINES = (
    st.tuples(KEYS, INLINE).map(lambda pair: f"{pair[0]} = {pair[1]} # end")
    | KEYS.map(lambda key: f"[ {key} ]")
    | KEYS.map(lambda key: f" [[{key}]]  # t")
    | st.just("")
    | st.just("# [x]")
)


@settings(max_examples=300)
@given(st.lists(LINES, max_size=12))
def test_every_path_of_any_document_has_a_line(parts: list[str]) -> None:
    text = "\n".join(parts)
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = lines_of(text)
    last = text.count("\n") + 1
    for path in paths_in(parsed):
        is_implied = any(known[: len(path)] == path for known in lines if len(known) > len(path))
        assert path in lines or is_implied
        assert 1 <= line_of(lines, path) <= last
