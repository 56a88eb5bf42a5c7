"""`twinspan trace`: what IKE says with a peer, as a sequence chart in RFC 7296 notation."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import (
    DEFAULT_RUNTIME_DIR,
    Json,
    Refused,
    RuntimeDir,
    TunnelName,
    Unreachable,
    ask,
    ask_one,
    give_up,
)
from gateway.cli.remote.session import ContextOption, TenantOption
from gateway.cli.show import is_fleet_meant

_SENT, _RECEIVED, _BETWEEN = "|---->|", "|<----|", "|     |"
_LEFT = len(f"00:00:00.000 {_BETWEEN} ")  # columns of the chart itself
_FURTHER = " " * 8  # where a line that is folded goes on: deeper than any begins
_LEAST = 20  # columns of text: on a narrower terminal it is the terminal that folds
_PARTS = re.compile(r"[^\s-]*-|[^\s-]+\s*|\s+")  # of a text, between which it may be folded


class Output(Enum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def trace(
    tunnel: TunnelName,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="end after so many messages; 0: never")
    ] = 0,
    last: Annotated[
        bool, typer.Option("--last", help="what was said lately, and end; also of a fleet's tunnel")
    ] = False,
    brief: Annotated[bool, typer.Option("--brief", help="without what the payloads say")] = False,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="json: one object a line")
    ] = Output.TABLE,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="with --last: ask the control plane, not a gateway here")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Show the IKE messages of a tunnel as they come and go, decrypted: who says what, in the notation
    of RFC 7296, with proposals, identities and selectors. No key is shown. Ends with Ctrl-C.
    """
    if last:
        follow: Callable[[], Iterable[Json]] = partial(
            _remembered, runtime_dir, tunnel, context, tenant, fleet=fleet
        )
    else:
        follow = partial(_counted, runtime_dir, tunnel, count)
    try:
        for line in follow():
            if output is Output.JSON:
                typer.echo(json.dumps(line))
            else:
                shown = chart_lines(line, brief=brief, columns=_columns())
                typer.echo("\n".join(shown))
    except (Unreachable, Refused) as error:
        give_up(error)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _remembered(
    runtime_dir: Path, tunnel: str, context: str | None, tenant: str | None, *, fleet: bool
) -> Iterable[Json]:
    """Return what was said lately with the peer of a tunnel: of the gateway here, or a node."""
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        # Imported here: a node has no use for it.
        from gateway.cli.remote.asked import negotiation
        from gateway.cli.remote.session import speaking

        with speaking(context, tenant) as api:
            answer = negotiation(api, tunnel)
    else:
        answer = ask_one(runtime_dir, "negotiation", tunnel=tunnel)
    lines = answer["lines"]
    assert isinstance(lines, list)
    return lines


def _counted(runtime_dir: Path, tunnel: str, count: int) -> Iterator[Json]:
    """Yield what is traced, until there were so many messages."""
    messages = 0
    for line in ask(runtime_dir, {"command": "trace", "tunnel": tunnel}, None):
        assert isinstance(line, dict)
        if line["kind"] != "idle":
            yield line
        messages += line["kind"] == "message"
        if count and messages >= count:
            return


def _columns() -> int | None:
    """Return how wide the terminal is now; None in a pipe, where nothing is folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def chart_lines(line: Json, *, brief: bool, columns: int | None = None) -> list[str]:
    """
    Return what one line of the trace is in the chart: we stand left, the peer right.

    With `columns` no line is longer, where words and the algorithms of a proposal allow it.
    """
    lines = _whole_lines(line, brief=brief)
    if columns is None:
        return lines
    width = max(columns - _LEFT, _LEAST)
    between = f"{_BETWEEN} ".rjust(_LEFT)
    folded = []
    for one in lines:
        first, *further = _fold(one[_LEFT:], width)
        folded += [one[:_LEFT] + first, *(between + text for text in further)]
    return folded


def _fold(text: str, width: int) -> list[str]:
    """Return a text in lines of so many columns: between words, and after hyphens."""
    lines = [""]
    for part in _PARTS.findall(text):
        if lines[-1].strip() and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append(_FURTHER)
            part = part.lstrip()
        lines[-1] += part
    return [line.rstrip() for line in lines]


def _whole_lines(line: Json, *, brief: bool) -> list[str]:
    """Return the chart's lines, however long they are."""
    at = float(str(line["at"]))
    clock = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    lines = [f"{clock} {_BETWEEN} {line['lost']} lines lost"] if line.get("lost") else []
    if line["kind"] != "message":
        count = line.get("times", 1)
        times = f" ({count} times)" if count != 1 else ""
        lines.append(f"{clock} {_BETWEEN} {line['text']}{times}")
        sides = [f"{key}: {line[key]}" for key in ("ours", "theirs", "hint") if line.get(key)]
        return lines + [f"{'':<{len(clock)}} {_BETWEEN}     {side}" for side in sides]
    arrow = _SENT if line["sent"] else _RECEIVED
    lines.append(f"{clock} {arrow} {line['exchange']}: {line['line']}")
    details = line["details"]
    if not brief and isinstance(details, list):
        shown = [f"{line['local']} - {line['remote']}", *details]
        lines += [f"{'':<{len(clock)}} {_BETWEEN}     {detail}" for detail in shown]
    return lines
