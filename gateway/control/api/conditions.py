"""What the headers and the query of a request ask for beside its body. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.control.problems import ApiProblem, invalid

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
_ETAG = re.compile(r'"(\d{1,18})"')
_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,128}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_PAGING = ("limit", "after", "sort", "tenant")


@dataclass(frozen=True, slots=True)
class Listing:
    """Which part of a list is asked for: `filters` are field and value, or `tag.KEY` and value."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None
    sort: str = ""
    filters: dict[str, str] = field(default_factory=dict)


def etag(revision: int) -> str:
    """Return the entity tag of a resource at a revision (RFC 9110 section 8.8.3)."""
    return f'"{revision}"'


def expected_revision(if_match: str | None) -> int | None:
    """
    Return the revision that If-Match demands; None: whatever it is (RFC 9110 section 13.1.1).

    Raises ApiProblem 400 for what is no entity tag of ours.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        text = f"If-Match: must be one ETag, as in {etag(17)}, not {if_match[:80]!r}"
        raise ApiProblem(400, "bad_request", text, field="If-Match", value=if_match)
    return int(found[1])


def idempotency_key(header: str | None) -> str | None:
    """Return the Idempotency-Key, None if there is none. Raises ApiProblem 400."""
    if header is not None and _IDEMPOTENCY_KEY.fullmatch(header) is None:
        text = "Idempotency-Key: must have 1 to 128 characters of ASCII that print"
        raise ApiProblem(400, "bad_request", text, field="Idempotency-Key", value=header)
    return header


def listing(query: Iterable[tuple[str, str]], known: frozenset[str]) -> Listing:
    """
    Return what the query of a list asks for. `known` are the fields that can be filtered by.

    Raises ApiProblem 422 for what no list has, and for a parameter that stands twice.
    """
    given = once(query)
    limit = given.get("limit")
    if limit is not None and not (_NUMBER.fullmatch(limit) and 1 <= int(limit) <= MAX_LIMIT):
        raise invalid("limit", limit, f"must be 1 to {MAX_LIMIT}")
    filters = {name: value for name, value in given.items() if name not in _PAGING}
    for name, value in filters.items():
        if name not in known and not name.startswith("tag."):
            raise _unknown(name, value, known | {"tag.KEY", *_PAGING})
    return Listing(
        int(limit) if limit is not None else DEFAULT_LIMIT,
        given.get("after"),
        given.get("sort", ""),
        filters,
    )


def once(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters of a query. Raises ApiProblem 422 for one that stands twice, or NUL."""
    found: dict[str, str] = {}
    for name, value in query:
        if name in found:
            raise invalid(name, value, "stands twice in the query")
        if "\0" in name + value or not (name + value).isprintable():
            raise invalid(name, value, "has a character that does not print")
        found[name] = value
    return found


def flag(text: str | None, name: str) -> bool:
    """Return the value of a query's switch. Raises ApiProblem 422."""
    if text not in (None, "true", "false"):
        raise invalid(name, text, "must be true or false")
    return text == "true"


def judge_query(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise ApiProblem 422 for a parameter that the path does not have."""
    for name in given:
        if name not in known:
            raise _unknown(name, None, known)


def _unknown(name: str, value: str | None, known: Iterable[str]) -> ApiProblem:
    there = ", ".join(sorted(known))
    text = f"{name[:80]}: the path has no such parameter; it has: {there}"
    return ApiProblem(422, "unknown_parameter", text, field=name[:80], value=value)
