"""
From TOML to the wanted document, reporting every mistake at once.

A mistake in one value must not hide the others. So what `pydantic` refuses is taken out and the
rest is read again, until it is accepted; then the rules that need the whole document run on what is
left. Findings keep the places of the text as it was written.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.errors import ConfigError
from gateway.model.check import check
from gateway.model.locate import Path, line_of, lines_of
from gateway.model.problem import (
    FILE_KEYS,
    Problem,
    key_text,
    shown,
    unknown_key_text,
    value_at,
)
from gateway.model.resources import Document

Table = dict[str, object]
ReadFile = Callable[[str, str], str]  # a key such as psk_file, and the file that it names

TOO_DEEP = "nested too deeply"

_CODES = {
    "missing": "required",
    "extra_forbidden": "unknown_field",
    "enum": "not_one_of",
    "literal_error": "not_one_of",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "too_short": "required",
    "string_too_long": "too_long",
    "too_long": "too_long",
}
_TEXTS = {
    "missing": "is required",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dataclass_type": "must be a table",
    "string_type": "must be a string in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "too_short": "must not be empty",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A wanted document without mistakes, and what in it is probably not meant, with its place."""

    document: Document
    warnings: tuple[str, ...]


def parse_document(
    text: str,
    source: str,
    read_file: ReadFile | None = None,
) -> Loaded:
    """
    Return the wanted document of a TOML text.

    `source` names the text in messages. `read_file` returns what is in a file that a
    key such as `psk_file` names, or raises ValueError with what is wrong; without it such keys are
    refused.
    Raises ConfigError with every mistake, each as `SOURCE:LINE: key: what is wrong (value)`.
    """
    raw = _parse_toml(text, source)
    try:
        document, found = build_document(raw, read_file)
    except RecursionError:  # a table can be read at a depth at which it can not be copied
        raise ConfigError([f"{source}: {TOO_DEEP}"]) from None
    errors = [problem for problem in found if not problem.is_warning]
    if errors or any(problem.is_warning for problem in found):
        lines = lines_of(text)
        if errors:
            raise ConfigError(_placed(errors, lines, raw, source))
        return Loaded(document, tuple(_placed(found, lines, raw, source)))
    return Loaded(document, ())


def _parse_toml(text: str, source: str) -> Table:
    try:
        return tomllib.loads(text)
    except RecursionError:
        problem = TOO_DEEP
    except ValueError as error:  # also integers of more digits than Python reads
        problem = str(error)
    place, _, column = problem.rpartition("(at line ")[2].partition(", column ")
    if place.isdigit() and column.rstrip(")").isdigit():
        what = problem.rpartition(" (at line ")[0]
        text = f"{source}:{place}: column {column.rstrip(')')}: {what[:1].lower()}{what[1:]}"
        raise ConfigError([text])
    raise ConfigError([f"{source}: {problem[:1].lower()}{problem[1:]}"])


def _placed(
    problems: list[Problem] | tuple[Problem, ...], lines: dict[Path, int], raw: Table, source: str
) -> list[str]:
    """Return the texts of `problems` in the order of their lines."""
    placed = [(line_of(lines, problem.path), problem) for problem in problems]
    placed.sort(key=lambda item: item[0])
    texts = [
        f"{source}:{line}: {key_text(problem.path, raw)}: {problem}" for line, problem in placed
    ]
    return list(dict.fromkeys(texts))


def _read_files(raw: Table, read_file: ReadFile | None) -> list[Problem]:
    """Put what is in the files that keys name beside those keys. Return what went wrong."""
    problems = []
    for path in _setting_tables(raw):
        table = value_at(raw, path)
        if not isinstance(table, dict):
            continue
        for file_key, key in FILE_KEYS.items():
            name = table.get(file_key)
            if not isinstance(name, str):
                continue
            try:
                if key in table:
                    raise ValueError(f"{key} stands beside it; give one of them")
                if read_file is None:
                    raise ValueError(f"a file can not be read here; give {key}")
                table[key] = read_file(file_key, name)
            except ValueError as error:
                problems.append(Problem((*path, file_key), str(error), shown(name)))
    return problems


def _setting_tables(raw: Table) -> list[Path]:
    """Return the paths of all connections and tunnels, as far as they have their shape."""
    paths: list[Path] = []
    connections = raw.get("vpn_connection")
    for at, connection in enumerate(connections if isinstance(connections, list) else ()):
        paths.append(("vpn_connection", at))
        tunnels = connection.get("tunnel") if isinstance(connection, dict) else None
        for place in range(len(tunnels) if isinstance(tunnels, list) else 0):
            paths.append(("vpn_connection", at, "tunnel", place))
    return paths


def build_document(
    raw: Table, read_file: ReadFile | None = None
) -> tuple[Document, tuple[Problem, ...]]:
    """
    Return the document of a parsed TOML or JSON table, and everything found wrong with it.

    With mistakes, the document holds what was left of the table and serves no other purpose.
    `read_file` is as for `parse_document()`.
    """
    rest = _Rest(copy.deepcopy(raw))
    rest.found += _read_files(rest.table, read_file)
    while not isinstance(made := _validate(rest.table), Document):
        rest.take_out(made)
    rest.add(check(made, rest.incomplete))
    return made, tuple(dict.fromkeys(rest.found))


@dataclass(slots=True)
class _Rest:
    """What is left of a table while unusable values are taken out, and what was found."""

    table: Table
    found: list[Problem] = field(default_factory=list)
    dropped: set[Path] = field(default_factory=set)  # where they stood at first
    incomplete: set[str] = field(default_factory=set)  # the keys that were, or held, them

    def take_out(self, errors: list[ErrorDetails]) -> None:
        """Report each error once, and take out what it is about."""
        reported = {problem.path for problem in self.found}
        drops: set[Path] = set()
        for error in errors:
            path, drop = _place(error, self.table)
            problem = problem_of(error, self._at_first(path), value_at(self.table, path))
            if problem.path not in reported:
                self.found.append(problem)
                reported.add(problem.path)
            drops.add(drop)
        originals = {self._at_first(drop) for drop in drops}
        for drop in sorted(drops, key=_drop_order, reverse=True):
            self.incomplete.add(next(part for part in reversed(drop) if isinstance(part, str)))
            _remove(self.table, drop)
        self.dropped |= originals

    def add(self, findings: Iterable[Problem]) -> None:
        """Report what the rules found, except at places of which something was said before."""
        reported = {problem.path for problem in self.found}
        for finding in findings:
            path = self._at_first(finding.path)
            inherited = (*path[:2], path[-1])  # a tunnel's setting may be its connection's
            if not {path, inherited} & reported:
                self.found.append(replace(finding, path=path))

    def _at_first(self, path: Path) -> Path:
        """Return where `path` was before elements were taken out of their lists."""
        if not self.dropped:
            return path
        out: Path = ()
        for part in path:
            if isinstance(part, int):
                left = (at for at in count() if (*out, at) not in self.dropped)
                part = next(islice(left, part, None))
            out = (*out, part)
        return out


def _validate(raw: Table) -> Document | list[ErrorDetails]:
    try:
        return Document.model_validate(raw)
    except ValidationError as error:
        return error.errors(include_url=False, include_input=False)


def _drop_order(path: Path) -> tuple[tuple[int, str], ...]:
    return tuple((part, "") if isinstance(part, int) else (-1, part) for part in path)


def _place(error: ErrorDetails, raw: Table) -> tuple[Path, Path]:
    """
    Return the path that an error is about, and what to take out so that the rest can be read.

    `pydantic` puts names of union members into its paths; what the table does not hold is left out.
    """
    path: Path = ()
    for part in error["loc"]:
        if _holds(value_at(raw, path), part):
            path = (*path, part)
    if error["type"] == "missing":
        return (*path, error["loc"][-1]), path
    return path, path


def _holds(here: object, part: str | int) -> bool:
    if isinstance(here, dict):
        return part in here
    return isinstance(here, list) and isinstance(part, int) and part < len(here)


def _remove(raw: Table, path: Path) -> None:
    around = value_at(raw, path[:-1])
    if isinstance(around, dict):
        around.pop(cast(str, path[-1]), None)
    elif isinstance(around, list):
        del around[cast(int, path[-1])]


def problem_of(error: ErrorDetails, path: Path, value: object) -> Problem:
    """Return what `pydantic` found at `path`, in our words, with its code."""
    kind = error["type"]
    context = error.get("ctx", {})
    code = _CODES.get(kind, "wrong_type" if kind.endswith("_type") else "invalid_value")
    if kind == "extra_forbidden":
        return Problem(path, unknown_key_text(path), code=code)
    if kind in ("enum", "literal_error"):
        text = "must be one of " + str(context["expected"]).replace("'", '"')
    elif kind == "value_error":
        text = str(context["error"])
    elif kind in ("greater_than_equal", "less_than_equal"):
        least = kind == "greater_than_equal"
        limit = context["ge" if least else "le"]
        text = f"must be at {'least' if least else 'most'} {limit}"
    elif kind == "tuple_type" and isinstance(value, dict):
        keys = ".".join(part for part in path if isinstance(part, str))
        text = f"must be a list of tables: write [[{keys}]]"
    else:
        text = _TEXTS.get(kind, error["msg"][:1].lower() + error["msg"][1:])
    return Problem(path, text, "" if kind == "missing" else shown(value, path), code=code)
