"""
A negotiation as a sequence chart, as `twinspan trace` draws it: we stand left. Pure.

Each line is an item of a list with a small SVG of its own, so that it can be read at any width, by
a screen reader, and without scripts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

WIDTH, HEIGHT = 156, 28
_MIDDLE, _HEAD = HEIGHT // 2, 8
_ENDS = " SA down: "  # what the node says of an IKE SA or a Child SA that is no more


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the chart. `title` is what it is called, `text` what is in it."""

    at: str
    kind: str
    title: str
    text: str
    between: str  # the addresses of a message
    details: tuple[str, ...]
    picture: Markup


def steps(lines: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Return the steps of the API's answer, in its order."""
    return [_message(line) if line["kind"] == "message" else _event(line) for line in lines]


def _message(line: Mapping[str, Any]) -> Step:
    is_again = str(line["line"]).startswith("again, ")
    return Step(
        line["at"],
        "again" if is_again else "message",
        line["exchange"],
        line["line"],
        f"{line['local']} {'→' if line['sent'] else '←'} {line['remote']}",
        tuple(line["details"]),
        arrow(is_sent=line["sent"], is_again=is_again),
    )


def _event(line: Mapping[str, Any]) -> Step:
    times = f" ({line['times']} times)" if line.get("times", 1) != 1 else ""
    sides = [f"{side}: {line[side]}" for side in ("ours", "theirs") if line.get(side)]
    hint = [str(line["hint"])] if line.get("hint") else []
    text = f"{line['text']}{times}"
    kind = "over" if line["kind"] == "state" and _ENDS in text else line["kind"]
    return Step(line["at"], kind, "", text, "", (*sides, *hint), dot(kind))


def arrow(*, is_sent: bool, is_again: bool) -> Markup:
    """Return an arrow from us to the peer, or back."""
    begin, end, back = (0, WIDTH, -_HEAD) if is_sent else (WIDTH, 0, _HEAD)
    line = Markup('<path class="arrow{}" d="M{},{} H{}"/>').format(
        " again" if is_again else "", begin, _MIDDLE, end
    )
    head = Markup('<path class="arrow" d="M{x},{up} L{end},{y} L{x},{down}"/>').format(
        x=end + back, end=end, y=_MIDDLE, up=_MIDDLE - 5, down=_MIDDLE + 5
    )
    return _picture("sent" if is_sent else "received", line + head)


def dot(kind: str) -> Markup:
    """Return a sign at our end: what happened there."""
    circle = Markup('<circle class="{}" cx="0" cy="{}" r="5"/>').format(kind, _MIDDLE)
    return _picture(kind, circle)


def _picture(title: str, inside: Markup) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, inside
    )
