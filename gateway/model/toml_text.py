"""
Writes a wanted document, or pieces of one, as TOML: the opposite of `tomllib`, for what it needs.

Tables come in the order they have, plain values before the tables within them. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(table: Mapping[str, object]) -> str:
    """
    Return a table as the text of a TOML document, without dates.

    Raises ValueError for what TOML has no text for.
    """
    return "\n".join(_blocks(table, ())).lstrip("\n")


def tables_text(kind: str, tables: Sequence[Mapping[str, object]]) -> str:
    """Return some `[[kind]]` tables, to be put behind what a document already has."""
    return toml_text({kind: list(tables)})


def appended(text: str, tables: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """Return a document's text as it is, with `[[...]]` tables behind it in its kind of lines."""
    gap = "\n" if text.endswith("\n") else "\n\n"
    added = gap + "\n".join(tables_text(kind, those) for kind, those in tables.items())
    return text + (added.replace("\n", "\r\n") if "\r\n" in text else added)


def _blocks(table: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not _is_tables(value)}
    if plain:
        yield "".join(f"{_key(key)} = {_value(value)}\n" for key, value in plain.items())
    for key, value in table.items():
        if not _is_tables(value):
            continue
        inner = (*path, key)
        head = ".".join(_key(part) for part in inner)
        if isinstance(value, Mapping):
            yield "\n".join([f"[{head}]", *_blocks(value, inner)])
            continue
        assert isinstance(value, list | tuple)
        for element in value:
            yield _joined(f"[[{head}]]", element, inner)


def _joined(head: str, element: Mapping[str, object], path: tuple[str, ...]) -> str:
    return "\n".join([head, *_blocks(element, path)])


def _is_tables(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(isinstance(element, Mapping) for element in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _string(value)
        case list() | tuple():
            return f"[{', '.join(_value(element) for element in value)}]"
        case Mapping():
            pairs = ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items())
            return f"{{ {pairs} }}"
    raise ValueError(f"TOML has no text for a {type(value).__name__} here")


def _string(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's too, but DEL needs one there."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
