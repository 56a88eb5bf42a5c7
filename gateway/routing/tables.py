"""The route tables of a Border Gateway that the product knows. Pure."""

from __future__ import annotations

from enum import StrEnum


class Table(StrEnum):
    """A table: `propagated` has what attachments propagate and what peers announce."""

    STATIC = "static"
    PROPAGATED = "propagated"
    EFFECTIVE = "effective"


_EFFECTIVE = ("best", "shares")


def is_in(table: Table | None, origin: object, standing: object) -> bool:
    """Say whether a route of this origin and standing is in a table; None: in any."""
    if table is None:
        return True
    if table is Table.EFFECTIVE:
        return standing in _EFFECTIVE
    return (origin == "static") == (table is Table.STATIC)
