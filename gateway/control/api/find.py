"""Which resources a list has: filters, order, pages. Pure."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, TypeVar

from gateway.control.api.conditions import Listing
from gateway.control.api.render import ALLOCATED, default_of
from gateway.control.problems import invalid
from gateway.control.resources.kinds import Kind
from gateway.control.resources.record import Record

SORTS = ("name", "id", "created_at", "updated_at")
Table = dict[str, object]
NameOf = Callable[[str, str], str | None]  # of the resource of a kind and id


Place = tuple[str | float, str]
T = TypeVar("T")
KeyOf = Callable[[T], Place]


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """One page of a list. `after` is None at its end."""

    items: tuple[T, ...]
    after: str | None


def filters_of(kind: Kind) -> frozenset[str]:
    """Return the fields that a list of the kind can be filtered by; secrets can not."""
    fields = set(kind.spec.model_fields) - kind.secrets - {"tags"}
    return frozenset({*fields, "id", "name", *ALLOCATED.get(kind.name, ())})


def find(kind: Kind, records: Iterable[Record], asked: Listing, name_of: NameOf) -> Found[Record]:
    """Return the page of records that is asked for. Raises ApiProblem 422."""
    wanted = list(records)
    for field, value in asked.filters.items():
        wanted = [one for one in wanted if _fits(kind, one, field, value, name_of)]
    return page(wanted, asked, _record_key)


def find_rows(rows: Iterable[Table], asked: Listing) -> Found[Table]:
    """Return the page of answers that is asked for. Raises ApiProblem 422."""
    wanted = [
        row
        for row in rows
        if all(_text(row.get(field)) == value for field, value in asked.filters.items())
    ]
    return page(wanted, asked, _row_key)


def page(wanted: Iterable[T], asked: Listing, key_of: Callable[[str], KeyOf[T]]) -> Found[T]:
    """
    Return the page that is asked for of what is wanted, in its order.

    `key_of` returns what says where an item is in the order by a field. Raises ApiProblem 422.
    """
    field, descending = asked.sort.removeprefix("-") or "name", asked.sort.startswith("-")
    if field not in SORTS:
        text = f"must be one of {', '.join(SORTS)}, - before it: descending"
        raise invalid("sort", asked.sort, text)
    key = key_of(field)
    items, begin = sorted(wanted, key=key), 0
    if asked.after is not None:
        last = _read_cursor(asked, key(items[0]) if items else None)
        # After the last one, which may be gone by now.
        if descending:
            begin = len(items) - bisect_left(items, last, key=key)
        else:
            begin = bisect_right(items, last, key=key)
    if descending:
        items.reverse()
    shown = items[begin : begin + asked.limit]
    more = begin + asked.limit < len(items)
    return Found(tuple(shown), _cursor(asked.sort, key(shown[-1])) if more else None)


def _record_key(field: str) -> KeyOf[Record]:
    if field in ("id", "name"):
        return attrgetter(field, "id")  # in C: it is asked for each of thousands
    return lambda record: (float(record.value.get(field, 0)), record.id)


def _row_key(field: str) -> KeyOf[Table]:
    return lambda row: (str(row.get(field)), str(row["id"]))


def _cursor(sort: str, place: Place) -> str:
    text = json.dumps([sort, *place])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(asked: Listing, like: Place | None) -> Place:
    """Return the place that `after` names; `like` is one of this list. Raises ApiProblem 422."""
    text = asked.after or ""
    try:
        sort, value, id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        sort = None
    if (
        sort != asked.sort
        or not isinstance(value, str | float)
        or (like is not None and type(value) is not type(like[0]))
        or not isinstance(id, str)
    ):
        raise invalid("after", text, "is not what `next` of a page in this order was")
    return (value, id)


def _fits(kind: Kind, record: Record, field: str, value: str, name_of: NameOf) -> bool:
    if field.startswith("tag."):
        tags = record.spec.get("tags")
        return isinstance(tags, Mapping) and tags.get(field.removeprefix("tag.")) == value
    if field == "id":
        return record.id == value
    if field == "name":
        return record.name == value
    here = record.of(field)
    if here is None:
        here = default_of(kind, field)
    if target := _referred(kind, field):
        return here == value or (here is not None and name_of(target, str(here)) == value)
    if isinstance(here, list | tuple):
        return value in [_text(each) for each in here]
    return here is not None and _text(here) == value


def _referred(kind: Kind, field: str) -> str | None:
    found = kind.references.get(field)
    if found is None and field in ("node", "customer_gateway"):
        return field
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
