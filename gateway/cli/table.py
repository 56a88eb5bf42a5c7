"""
Text for people: tables, numbers with units, durations. No library: `twinspan status` must start
fast.
"""

from __future__ import annotations

from collections.abc import Sequence

_COLOURS = {"green": "\x1b[32m", "red": "\x1b[31m", "yellow": "\x1b[33m", "bold": "\x1b[1m"}
_RESET = "\x1b[0m"
VALUE_MOST = 120  # characters of one end's value in a line of text


def paint(text: str, colour: str, *, colours: bool) -> str:
    """Return `text` in a colour, if the terminal has them."""
    return f"{_COLOURS[colour]}{text}{_RESET}" if colours else text


def width_of(text: str) -> int:
    """Return the columns that `text` takes, without its colour codes."""
    for code in (*_COLOURS.values(), _RESET):
        text = text.replace(code, "")
    return len(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a column whose head begins with ">" stands to the right."""
    right = [name.startswith(">") for name in head]
    names = [name.lstrip(">") for name in head]
    widths = [max(width_of(row[i]) for row in (names, *rows)) for i in range(len(head))]
    return [_line(row, widths, right) for row in (names, *rows)]


def table_by_gateway(
    head: Sequence[str], rows: Sequence[Sequence[str]], owners: Sequence[str]
) -> list[str]:
    """Return a table; where the rows have several Border Gateways, `owners`, with them in front."""
    if len(set(owners)) < 2:
        return table(head, rows)
    wide = [(owner, *row) for owner, row in zip(owners, rows, strict=True)]
    return table(("BORDER GATEWAY", *head), wide)


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = []
    for text, width, is_right in zip(row, widths, right, strict=True):
        room = " " * (width - width_of(text))
        cells.append(room + text if is_right else text + room)
    return "  ".join(cells).rstrip()


def amount(value: float, unit: str = "") -> str:
    """Return a number with a decimal prefix and three digits: `1.23 G` and the unit."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor * 0.9995:
            return f"{_three_digits(value / factor)} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def _three_digits(value: float) -> str:
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units: `3d 4h`, `2m 10s`."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def shortened(value: object) -> str:
    """
    Return one end's value for a line of text: "-" for none; of a long list, as four proposals with
    all their algorithms are, the beginning. `twinspan explain` has all of it.
    """
    text = str(value or "-")
    return text if len(text) <= VALUE_MOST else f"{text[:VALUE_MOST]}..."
