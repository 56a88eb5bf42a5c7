"""Which resources a list has: filters, order, pages. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.control.api.conditions import Listing
from gateway.control.api.render import ALLOCATED, default_of
from gateway.control.problems import invalid
from gateway.control.resources.kinds import Kind
from gateway.control.resources.record import Record

SORTS = ("name", "id", "created_at", "updated_at")
NameOf = Callable[[str, str], str | None]  # of the resource of a kind and id


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a list. `after` is None at its end."""

    records: tuple[Record, ...]
    after: str | None


def filters_of(kind: Kind) -> frozenset[str]:
    """Return the fields that a list of the kind can be filtered by; secrets can not."""
    fields = set(kind.spec.model_fields) - kind.secrets - {"tags"}
    return frozenset({*fields, "id", "name", *ALLOCATED.get(kind.name, ())})


def find(kind: Kind, records: Iterable[Record], asked: Listing, name_of: NameOf) -> Found:
    """Return the page that is asked for. Raises ApiProblem 422."""
    key = _order(asked.sort)
    wanted = [
        record
        for record in records
        if all(_fits(kind, record, field, value, name_of) for field, value in asked.filters.items())
    ]
    wanted.sort(key=key, reverse=asked.sort.startswith("-"))
    begin = 0 if asked.after is None else _begin(wanted, key, asked)
    page = wanted[begin : begin + asked.limit]
    more = begin + asked.limit < len(wanted)
    return Found(tuple(page), _cursor(asked.sort, key(page[-1])) if more else None)


Place = tuple[str | float, str]


def _order(sort: str) -> Callable[[Record], Place]:
    name = sort.removeprefix("-") or "name"
    if name not in SORTS:
        raise invalid("sort", sort, f"must be one of {', '.join(SORTS)}, - before it: descending")

    def key(record: Record) -> Place:
        if name == "id":
            return (record.id, record.id)
        if name == "name":
            return (record.name, record.id)
        return (float(record.value.get(name, 0)), record.id)

    return key


def _begin(wanted: list[Record], key: Callable[[Record], Place], asked: Listing) -> int:
    """Return where the page begins: after the last one, which may be gone by now."""
    last = _place(asked)
    descending = asked.sort.startswith("-")
    return next(
        (
            at
            for at, record in enumerate(wanted)
            if (key(record) < last if descending else key(record) > last)
        ),
        len(wanted),
    )


def _cursor(sort: str, place: Place) -> str:
    text = json.dumps([sort, *place])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(asked: Listing) -> Place:
    text = asked.after or ""
    try:
        sort, value, id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, TypeError, RecursionError):
        sort = None
    is_number = asked.sort.removeprefix("-") in ("created_at", "updated_at")
    if (
        sort != asked.sort
        or not isinstance(value, float if is_number else str)
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
