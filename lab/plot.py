"""A picture of distributions as SVG text: a row for each case, a dot for each time it was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_COLOURS = ("#1f77b4", "#d95f02", "#4d9221")
_LEFT, _WIDTH, _RIGHT, _TOP, _ROW, _BOTTOM = 180, 640, 30, 64, 46, 48


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis from 10**low to 10**high."""

    low: int
    high: int

    def x(self, value: float) -> float:
        """Return where a value stands; what is outside stands at the end."""
        place = math.log10(max(value, 10.0**self.low)) - self.low
        return _LEFT + _WIDTH * min(1.0, place / (self.high - self.low))


def strips(
    title: str, unit: str, rows: Mapping[str, Mapping[str, Sequence[float]]], least: float = 1.0
) -> str:
    """
    Return an SVG with a row for each case: its dots by series, and a bar at each median.

    `rows` are case, then series, then values. The axis begins at `least`; smaller values stand
    there. Raises ValueError if there is no value.
    """
    values = [value for row in rows.values() for series in row.values() for value in series]
    if not values:
        raise ValueError("nothing to draw")
    low = math.floor(math.log10(least))
    axis = Axis(low, max(low + 1, math.ceil(math.log10(max(*values, least)))))
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    height = _TOP + _ROW * len(rows) + _BOTTOM
    width = _LEFT + _WIDTH + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(_LEFT, 22, title, 'font-size="16"'),
        *_legend(names),
        *_scale(axis, unit, height - _BOTTOM),
        *(
            line
            for number, (case, row) in enumerate(rows.items())
            for line in _row(axis, case, row, names, _TOP + _ROW * number)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        x = _LEFT + 150 * number
        yield f'<circle cx="{x + 5}" cy="42" r="4" fill="{_colour(number)}"/>'
        yield _text(x + 15, 46, name)


def _scale(axis: Axis, unit: str, bottom: float) -> Iterator[str]:
    for power in range(axis.low, axis.high + 1):
        x = axis.x(10.0**power)
        yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#ccc"/>'
        yield _text(x, bottom + 18, f"{10.0**power:g}", 'text-anchor="middle"')
    middle = _LEFT + _WIDTH / 2
    yield _text(middle, bottom + 38, unit, 'text-anchor="middle"')


def _row(
    axis: Axis, case: str, row: Mapping[str, Sequence[float]], names: Sequence[str], top: float
) -> Iterator[str]:
    yield f'<path d="M{_LEFT} {top + _ROW}h{_WIDTH}" stroke="#eee"/>'
    yield _text(_LEFT - 10, top + _ROW / 2 + 5, case, 'text-anchor="end"')
    lane = _ROW / (len(names) + 1)
    for number, name in enumerate(names):
        y, values = top + lane * (number + 1), sorted(row.get(name, ()))
        for value in values:
            yield (
                f'<circle cx="{axis.x(value):.1f}" cy="{y:.1f}" r="3.5" '
                f'fill="{_colour(number)}" fill-opacity="0.5"/>'
            )
        if values:
            x = axis.x(values[len(values) // 2])
            yield f'<path d="M{x:.1f} {y - 6:.1f}v12" stroke="black" stroke-width="1.5"/>'


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
