"""What a measurement says: a table for a person, one flat object for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

_WIDE = 120  # columns, where nobody's terminal says


def listed(found: Mapping[str, object], title: str) -> Table:
    """Return a table with a line for each figure."""
    made = Table("figure", "value", title=title)
    for name, value in found.items():
        made.add_row(name, str(value))
    return made


def tell(found: Mapping[str, object], table: Table, file: Path | None) -> None:
    """Print the table, and write the figures as JSON if there is a file for them."""
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n")
