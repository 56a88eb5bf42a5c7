"""
Pictures for the terminal: machines and addresses as text, the tunnels between them as they are now.

A template has `{NAME      }` where a tunnel is drawn, over as many characters. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.text import Text

_STYLES = {"carries": "bold green", "stands by": "blue", "down": "bold red"}
_LINES = {"carries": "=", "stands by": "-", "down": "x"}
_MARK = re.compile(r"\{([^} ]+) *\}")


@dataclass(frozen=True, slots=True)
class Link:
    """A tunnel or line and what it does now: "carries", "stands by" or "down"."""

    name: str
    does: str


def draw(template: str, links: Iterable[Link]) -> Text:
    """Return the picture with every link of the template in its colour."""
    found: Mapping[str, Link] = {link.name: link for link in links}
    made = Text()
    at = 0
    for mark in _MARK.finditer(template):
        made.append(template[at : mark.start()])
        link = found[mark[1]]
        label = f" {link.name} {link.does} "
        made.append(label.center(len(mark[0]), _LINES[link.does]), _STYLES[link.does])
        at = mark.end()
    made.append(template[at:])
    return made
