"""`twinspan events`: what has changed on this gateway, when and why."""

from __future__ import annotations

import json
import time
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import (
    DEFAULT_RUNTIME_DIR,
    Json,
    Refused,
    RuntimeDir,
    Unreachable,
    ask,
    complete_tunnel,
    give_up,
)

RING = 10_000  # as many as a node keeps


class Output(Enum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


def events(
    tunnel: Annotated[
        str | None,
        typer.Option("--tunnel", help="only of this VPN Tunnel", autocompletion=complete_tunnel),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="and go on")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=RING)] = 50,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="json: one object a line")
    ] = Output.TABLE,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Show the last events of this gateway, oldest first, each with its code, both ends' values where
    they are known, and what to look at.
    """
    request: Json = {"command": "events", "lines": lines, "follow": follow}
    if tunnel is not None:
        request["tunnel"] = tunnel
    try:
        for event in ask(runtime_dir, request, None if follow else 30.0):
            assert isinstance(event, dict)
            as_json = output is Output.JSON
            typer.echo(json.dumps(event) if as_json else "\n".join(event_lines(event)))
    except (Unreachable, Refused) as error:
        give_up(error)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def event_lines(event: Json) -> list[str]:
    """Return an event for a person: one line, and one for each further thing that is known."""
    at, resource = event["at"], event["resource"]
    assert isinstance(at, int | float)
    assert isinstance(resource, dict)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    reason = f" [{event['reason']}]" if event["reason"] else ""
    head = f"{clock} {event['severity']:<7} {resource['name'] or '-'} {event['code']}{reason}:"
    more = [f"    {key}: {event[key]}" for key in ("ours", "theirs", "hint") if event[key]]
    return [f"{head} {event['text']}", *(more if event["severity"] != "info" else [])]
