"""`twinspan events`: what has changed on this gateway, when and why."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
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
    ask_one,
    complete_tunnel,
    give_up,
)
from gateway.cli.output import Format, OutputOption, format_of
from gateway.cli.remote.session import ContextOption, TenantOption
from gateway.cli.show import is_fleet_meant

RING = 10_000  # as many as a node keeps
_WORD = re.compile(r"[\w-]+")  # as names of resources are


def events(
    tunnel: Annotated[
        str | None,
        typer.Option("--tunnel", help="only of this VPN Tunnel", autocompletion=complete_tunnel),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="and go on")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=RING, help="so many at first")
    ] = 50,
    code: Annotated[
        str | None, typer.Option("--code", help="only this code, of a control plane")
    ] = None,
    severity: Annotated[
        str | None, typer.Option("--severity", help="info, warning or error, of a control plane")
    ] = None,
    output: OutputOption = None,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="of the control plane, also where a gateway runs")
    ] = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Show the last events, oldest first, each with its code, both ends' values where they are known,
    and what to look at: of this gateway, or where none runs or with --fleet, of the control plane.
    """
    form = format_of(output)
    if is_fleet_meant(runtime_dir, context, fleet=fleet):
        # Imported here: a node has no use for it.
        from gateway.cli.remote.events import show_events

        filters = {"resource": tunnel, "code": code, "severity": severity}
        return show_events(filters, lines, form, follow=follow, context=context, tenant=tenant)
    return _show_local(runtime_dir, tunnel, lines, form, follow=follow)


def _show_local(
    runtime_dir: Path, tunnel: str | None, lines: int, form: Format, *, follow: bool
) -> None:
    request: Json = {"command": "events", "lines": lines, "follow": follow}
    if tunnel is not None:
        request["tunnel"] = tunnel
    is_data = form in (Format.JSON, Format.YAML)
    titles = {} if is_data else titles_of(ask_one(runtime_dir, "status"))
    try:
        for event in ask(runtime_dir, request, None if follow else 30.0):
            assert isinstance(event, dict)
            typer.echo(json.dumps(event) if is_data else "\n".join(event_lines(event, titles)))
    except (Unreachable, Refused) as error:
        give_up(error)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def titles_of(status: Json) -> dict[str, str]:
    """Return the names that people gave to tunnels and connections, by those of the document."""
    lists = (status["tunnels"], status["connections"])
    found = [one for each in lists if isinstance(each, list) for one in each]
    return {str(one["name"]): str(one["title"]) for one in found if one.get("title")}


def event_lines(event: Json, titles: Mapping[str, str]) -> list[str]:
    """
    Return an event for a person: one line, and one for each further thing that is known. What has
    a title is called by it.
    """
    at, resource = event["at"], event["resource"]
    assert isinstance(at, int | float)
    assert isinstance(resource, dict)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    reason = f" [{event['reason']}]" if event["reason"] else ""
    name = titles.get(resource["name"], resource["name"]) or "-"
    head = f"{clock} {event['severity']:<7} {name} {event['code']}{reason}:"
    more = [f"    {key}: {event[key]}" for key in ("ours", "theirs", "hint") if event[key]]
    text = _WORD.sub(lambda found: titles.get(found[0], found[0]), str(event["text"]))
    return [f"{head} {text}", *(more if event["severity"] != "info" else [])]
