"""What is written as TOML is read back as it was."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.toml_text import appended, tables_text, toml_text

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.toml"))

# A lone surrogate has no UTF-8, so no document holds one.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
scalars = st.booleans() | st.integers(-(2**62), 2**62) | texts | st.floats(allow_nan=False)
tables = st.recursive(
    st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=4),
    lambda inner: st.dictionaries(
        texts, scalars | inner | st.lists(inner, min_size=1, max_size=3), max_size=4
    ),
    max_leaves=12,
)


@given(tables)
def test_every_table_comes_back_as_it_was(table: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(table)) == table


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_examples_come_back_as_they_were(file: Path) -> None:
    table = tomllib.loads(file.read_text())
    assert tomllib.loads(toml_text(table)) == table


def test_tables_can_stand_behind_a_document() -> None:
    document = '[[route]]\nprefix = "10.0.0.0/8"\n[gateway]\nname = "a"\n'
    both = tomllib.loads(document + tables_text("route", [{"prefix": "10.1.0.0/16"}]))
    assert both["route"] == [{"prefix": "10.0.0.0/8"}, {"prefix": "10.1.0.0/16"}]


def test_what_has_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no text for a date"):
        toml_text({"when": date(2026, 1, 1)})


@pytest.mark.parametrize("text", ["", "a = 1", "a = 1\n", "a = 1 # why\r\n"])
def test_what_is_appended_leaves_the_text_as_it_is(text: str) -> None:
    both = appended(text, {"route": [{"prefix": "10.1.0.0/16"}], "x": [{"y": 2}]})
    assert both.startswith(text)
    assert tomllib.loads(both) == {
        **tomllib.loads(text),
        "route": [{"prefix": "10.1.0.0/16"}],
        "x": [{"y": 2}],
    }
    assert both.count("\n") == both.count("\r\n") or "\r" not in text
