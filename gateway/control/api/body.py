"""
The body of a request: JSON text that means one thing only. Pure.

What parsers disagree on is refused: duplicate keys, NaN, text that is not UTF-8, half a surrogate
pair. NUL is refused too: what is stored may end in a file, where it would cut a line short.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator

from gateway.control.problems import ApiProblem, FieldError

Table = dict[str, object]

MAX_BODY = 1 << 20  # bytes
MAX_DEPTH = 32  # of lists and tables in each other; the deepest resource needs 5
MEDIA_TYPES = ("application/json", "application/merge-patch+json")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")


def judge_media_type(header: str | None) -> None:
    """Raise ApiProblem 415 for the Content-Type of what is no JSON."""
    kind, *parameters = (part.strip().lower() for part in (header or "").split(";"))
    charset = [part.partition("=")[2].strip('"') for part in parameters if "charset" in part]
    if kind not in MEDIA_TYPES or charset not in ([], ["utf-8"]):
        text = f"Content-Type: must be {MEDIA_TYPES[0]}, in UTF-8, not {(header or 'none')[:80]!r}"
        raise ApiProblem(415, "unsupported_media_type", text)


def parse_body(body: bytes) -> Table:
    """Return the JSON object that a body is. Raises ApiProblem 400, 422."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_table,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise _malformed(f"is not UTF-8: byte {error.start}") from None
    except RecursionError:
        raise _malformed(f"is nested more than {MAX_DEPTH} deep") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"{place}: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except ValueError as error:  # a number of more digits than Python reads, or the hooks below
        raise _malformed(str(error)) from None
    if not isinstance(value, dict):
        raise _malformed("must be a JSON object")
    _judge_texts(value)
    return value


def _malformed(text: str) -> ApiProblem:
    return ApiProblem(400, "malformed_json", f"the body {text}")


def _table(pairs: list[tuple[str, object]]) -> Table:
    table: Table = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"has the key {key[:80]!r} twice in one object")
        table[key] = value
    return table


def _no_constant(name: str) -> object:
    raise ValueError(f"has {name}, which is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"has the number {digits[:80]}, which is too large")
    return number


def _judge_texts(value: object) -> None:
    """Raise ApiProblem for what is nested too deeply, and for text that can not be kept."""
    errors = []
    for path, text in _texts(value):
        if found := _UNUSABLE.search(text):
            what = f"has the character U+{ord(found[0]):04X}, which no text may have"
            errors.append(FieldError("character_not_allowed", path, what))
    if errors:
        raise ApiProblem(422, "character_not_allowed", errors[0].detail, errors=tuple(errors))


def _texts(value: object) -> Iterator[tuple[str, str]]:
    """Yield each string in a value with its place, names of keys too."""
    waiting: list[tuple[str, object, int]] = [("", value, 0)]
    while waiting:
        path, here, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise _malformed(f"is nested more than {MAX_DEPTH} deep")
        if isinstance(here, str):
            yield path, here
        elif isinstance(here, dict):
            for key, each in here.items():
                yield path, key
                place = f"{path}.{key}" if path else key
                waiting.append((place, each, depth + 1))
        elif isinstance(here, list):
            waiting += [(f"{path}[{at}]", each, depth + 1) for at, each in enumerate(here)]
