"""A wanted document without mistakes, as a table, and copies of it with single places changed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from enum import Enum

from gateway.model.document import Table, build_document
from gateway.model.locate import Path
from gateway.model.problem import Problem
from gateway.model.resources import Document

PSK = "correct-horse-battery-staple"


class Removed(Enum):
    """What `edited` takes for a value: take the key away."""

    REMOVED = 1


REMOVED = Removed.REMOVED

BASE: Table = {
    "gateway": {"name": "gw1", "public_addresses": ["192.0.2.1", "198.51.100.1"], "workers": 2},
    "border_gateway": [{"name": "main", "asn": 65000}],
    "vpc_attachment": [
        {
            "name": "vpc",
            "border_gateway": "main",
            "interface": "eth1",
            "cidrs": ["10.10.0.0/16"],
        }
    ],
    "customer_gateway": [
        {
            "name": "office",
            "public_addresses": ["203.0.113.9", "203.0.113.10"],
            "asn": 65010,
            "identity": "b.gw.test",
        }
    ],
    "vpn_connection": [
        {
            "name": "office",
            "border_gateway": "main",
            "customer_gateway": "office",
            "remote_cidrs": ["10.20.0.0/16"],
            "psk": PSK,
            "tunnel": [
                {"inner_cidr": "169.254.10.0/30"},
                {"inner_cidr": "169.254.10.4/30"},
            ],
        }
    ],
}

CONNECTION: Path = ("vpn_connection", 0)
FIRST: Path = ("vpn_connection", 0, "tunnel", 0)
SECOND: Path = ("vpn_connection", 0, "tunnel", 1)


def edited(*edits: tuple[Path, object]) -> Table:
    """Return a copy of BASE with each path set to its value; a position past the end appends."""
    table = copy.deepcopy(BASE)
    for path, value in edits:
        place(table, path, copy.deepcopy(value))
    return table


def place(table: Table, path: Path, value: object) -> None:
    """Set, append or remove what stands at `path`."""
    around: object = table
    for part in path[:-1]:
        around = around[part]  # type: ignore[index]  # tables and lists, by construction
    last = path[-1]
    if isinstance(around, list) and isinstance(last, int) and last == len(around):
        around.append(value)
    elif value is REMOVED:
        del around[last]  # type: ignore[attr-defined]  # as above
    else:
        around[last] = value  # type: ignore[index]  # as above


def document(*edits: tuple[Path, object]) -> Document:
    """Return the document of BASE with `edits`; it must be free of mistakes."""
    made, problems = build_document(edited(*edits))
    assert not errors(problems), problems
    return made


def errors(problems: Iterable[Problem]) -> list[tuple[Path, str]]:
    """Return place and text of each mistake."""
    return [(problem.path, str(problem)) for problem in problems if not problem.is_warning]


def warnings(problems: Iterable[Problem]) -> list[tuple[Path, str]]:
    """Return place and text of each warning."""
    return [(problem.path, str(problem)) for problem in problems if problem.is_warning]
