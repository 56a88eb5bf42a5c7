"""
Options of `create` and `update`, made from the JSON schema of what the API takes. Pure.

A text on the command line becomes the JSON value that its field wants; what it may be is judged by
the control plane alone, so that there is one judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from gateway.errors import ConfigError

Schema = Mapping[str, object]
PEM = "application/x-pem-file"
PASSWORD = "password"  # noqa: S105 # the name of a field of users, whose schema does not say so


class Shape(Enum):
    """What the value of a field is, as far as its text must be read differently."""

    TEXT = auto()
    INTEGER = auto()
    NUMBER = auto()
    FLAG = auto()
    LIST = auto()
    MAP = auto()
    TABLE = auto()  # no option: --set and --from-file


@dataclass(frozen=True, slots=True)
class FieldOption:
    """One field of a resource. `words` are the only texts it takes, or takes in place of a list."""

    key: str
    shape: Shape
    help: str
    is_required: bool
    words: tuple[str, ...] = ()
    is_secret: bool = False
    is_pem: bool = False  # of several lines: it is given as a file

    @property
    def option(self) -> str:
        """Its name on the command line. A secret is never an argument: others could read it."""
        is_file = self.is_secret or self.is_pem
        return "--" + self.key.replace("_", "-") + ("-file" if is_file else "")


def options_of(schema: Schema) -> list[FieldOption]:
    """Return the fields of an object's JSON schema in their order."""
    required = _texts(schema.get("required"))
    return [
        _field(key, _object(inner), _object(schema.get("$defs")), key in required)
        for key, inner in _object(schema.get("properties")).items()
    ]


def _field(key: str, inner: Schema, defs: Schema, is_required: bool) -> FieldOption:
    shapes = [_resolved(one, defs) for one in _choices(inner)]
    shapes = [one for one in shapes if one.get("type") != "null"]
    words = tuple(word for one in shapes for word in _words(one))
    shape = _shape([one for one in shapes if not _words(one)] or shapes)
    help = str(inner.get("description") or key.replace("_", " "))
    is_secret = key == PASSWORD or any(one.get("writeOnly") for one in shapes)
    is_pem = inner.get("contentMediaType") == PEM
    return FieldOption(key, shape, help, is_required, words, is_secret, is_pem)


def _choices(inner: Schema) -> list[Schema]:
    for key in ("anyOf", "oneOf"):
        if isinstance(found := inner.get(key), list):
            return [choice for one in found for choice in _choices(_object(one))]
    return [inner]


def _resolved(inner: Schema, defs: Schema) -> Schema:
    reference = inner.get("$ref")
    if isinstance(reference, str):
        return _object(defs.get(reference.rpartition("/")[2]))
    return inner


def _words(inner: Schema) -> list[str]:
    if "const" in inner:
        return [str(inner["const"])]
    return _texts(inner.get("enum"))


def _shape(shapes: Sequence[Schema]) -> Shape:
    types = {str(one.get("type")) for one in shapes}
    if types == {"array"}:
        items = [_object(one.get("items")) for one in shapes]
        is_table = any(item.get("type") == "object" or "$ref" in item for item in items)
        return Shape.TABLE if is_table else Shape.LIST
    if types == {"object"}:
        is_map = all(one.get("additionalProperties") not in (None, False) for one in shapes)
        return Shape.MAP if is_map else Shape.TABLE
    scalars = {"boolean": Shape.FLAG, "integer": Shape.INTEGER, "number": Shape.NUMBER}
    return scalars.get(next(iter(types)), Shape.TEXT) if len(types) == 1 else Shape.TEXT


def value_from(field: FieldOption, given: object) -> object:
    """Return the JSON value of a field from what the command line has for it."""
    if field.shape is Shape.LIST:
        text = str(given)
        return text if text in field.words else [one.strip() for one in text.split(",") if one]
    if field.shape is Shape.MAP:
        assert isinstance(given, list | tuple)
        return dict(pair(str(one), "--" + field.key.rstrip("s")) for one in given)
    return given


def pair(text: str, option: str) -> tuple[str, str]:
    """Return the two parts of `KEY=VALUE`. Raises ConfigError."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ConfigError([f"{option}: must be like KEY=VALUE ({text!r})"])
    return key, value


def set_fields(body: dict[str, object], assignments: Iterable[str]) -> None:
    """
    Put `KEY=VALUE` into a body; KEY may have dots. Raises ConfigError.

    The value is read as JSON where it is JSON, so that numbers, lists and null can be said.
    """
    for assignment in assignments:
        key, text = pair(assignment, "--set")
        *way, last = key.split(".")
        table = body
        for part in way:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError([f"--set: {part} is no table ({assignment!r})"])
            table = inner
        try:
            table[last] = json.loads(text)
        except (ValueError, RecursionError):
            table[last] = text


def _object(value: object) -> Schema:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
