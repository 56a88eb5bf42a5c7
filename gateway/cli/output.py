"""
What commands print: `-o json|yaml|table|wide|name`, and `--watch`.

JSON and YAML hold the whole answer; tables are for people, and have colours on a terminal alone.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NoReturn

import typer

from gateway.cli.client import Unreachable

Json = dict[str, object]


class Format(StrEnum):
    """How a command prints its answer."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


OutputOption = Annotated[
    Format | None, typer.Option("--output", "-o", help="how to print it", show_default="table")
]
AsJson = Annotated[bool, typer.Option("--json", help="the same as -o json")]
Watch = Annotated[
    bool,
    typer.Option("--watch", "-w", help="go on: redraw, or without a terminal print what changes"),
]
INTERVAL_S = 2.0
_UNREACHABLE = "unreachable"  # what that line is about
# What YAML 1.1 takes for a boolean or a number (12:30), and many programs still read YAML 1.1.
_NOT_PLAIN = re.compile(r"y|n|yes|no|on|off|true|false|null|~|[-+.\d].*", re.IGNORECASE)
_RIGHT = ">"


def format_of(output: Format | None, as_json: bool = False) -> Format:
    """Return the format that the options ask for; `--json` is `-o json`."""
    return output or (Format.JSON if as_json else Format.TABLE)


def yaml_text(value: object) -> str:
    """Return a value as YAML, so quoted that readers of YAML 1.1 and 1.2 agree on it."""
    # Imported here: no other command needs it.
    from io import StringIO

    from ruamel.yaml import YAML
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.representer import SafeRepresenter

    def represent(representer: SafeRepresenter, text: str) -> ScalarNode:
        style = '"' if _NOT_PLAIN.fullmatch(text) else None
        return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    class Representer(SafeRepresenter):
        """Of this call: representers are registered on the class."""

    Representer.add_representer(str, represent)
    yaml = YAML(typ="safe", pure=True)
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # stub: None alone
    yaml.width = 1 << 30  # a line that is folded is hard to search for
    out = StringIO()
    yaml.dump(value, out)
    return out.getvalue()


def yaml_table(text: str) -> object:
    """Return what a text of YAML 1.2 holds; `off` is a text there. Raises ValueError."""
    # Imported here: no other command needs it.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        value: object = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return value


def data_text(value: object, form: Format) -> str:
    """Return a value as JSON or YAML."""
    if form is Format.YAML:
        return yaml_text(value).rstrip("\n")
    return json.dumps(value, indent=2, ensure_ascii=False)


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; a column whose head begins with ">" stands to the right."""
    # Imported here: it takes as long as the whole rest of `twinspan status`.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in head:
        justify: Literal["left", "right"] = "right" if name.startswith(_RIGHT) else "left"
        table.add_column(name.lstrip(_RIGHT), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        highlight=False,
        # In a pipe nothing is folded or cut off.
        width=None if is_terminal else 1 << 16,
        color_system="auto" if is_terminal else None,
    )
    with console.capture() as shown:
        console.print(table)
    return [line if is_terminal else line.rstrip() for line in shown.get().splitlines()]


_STYLES = {
    "up": "green",
    "redundancy": "green",
    "connecting": "yellow",
    "no_redundancy": "yellow",
    "warning": "yellow",
    "new": "yellow",
    "down": "red",
    "lost": "red",
    "error": "red",
    "critical": "red",
    "unknown": "red",
}


@dataclass(frozen=True, slots=True)
class View:
    """
    How the answer of a command is shown: its lines, its names, and its states by what they are of.

    The states are what `--watch` tells the changes of where there is no terminal.
    """

    lines: Callable[[Json], Sequence[str]]
    names: Callable[[Json], Sequence[str]]
    states: Callable[[Json], Mapping[str, str]]


def present(ask: Callable[[], Json], view: View, form: Format, *, watching: bool = False) -> None:
    """Print an answer in the form that is wanted, once or again and again."""
    if watching:
        is_drawn = sys.stdout.isatty() or form is not Format.TABLE
        watch(lambda: _by_line(ask(), view, form) if is_drawn else view.states(ask()))
    for line in _by_line(ask(), view, form).values():
        typer.echo(line)


def _by_line(answer: Json, view: View, form: Format) -> Mapping[str, str]:
    if form in (Format.JSON, Format.YAML):
        return {"": data_text(answer, form)}
    lines = view.names(answer) if form is Format.NAME else view.lines(answer)
    return {str(number): line for number, line in enumerate(lines)}


def watch(show: Callable[[], Mapping[str, str]]) -> NoReturn:
    """
    Show lines again and again, until Ctrl-C: in place on a terminal, else each line that is new.
    A control plane that is restarted does not end it.

    Each line has a key, what it is about, so that a change is one line, and an end too.
    """
    before: Mapping[str, str] = {}
    lines = show()
    try:
        while True:
            if sys.stdout.isatty():
                # Home, each line to its end, then the rest of the screen: without a flicker.
                body = "".join(f"{line}\x1b[K\n" for line in lines.values())
                typer.echo(f"\x1b[H{body}\x1b[J", nl=False)
            else:
                for line in changed_lines(before, lines):
                    typer.echo(line)
                before = lines
            sys.stdout.flush()
            time.sleep(INTERVAL_S)
            lines = _again(show, lines)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _again(show: Callable[[], Mapping[str, str]], before: Mapping[str, str]) -> Mapping[str, str]:
    """Return what there is now; while nobody answers, what there was, with that it is so."""
    try:
        return show()
    except Unreachable as error:
        return {**before, _UNREACHABLE: f"twinspan: {error}"}


def changed_lines(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the lines that are not as they were, and of what has gone its last line."""
    new = [line for key, line in now.items() if before.get(key) != line]
    return new + [f"gone: {line}" for key, line in before.items() if key not in now]
