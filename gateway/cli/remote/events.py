"""`twinspan events` of a fleet: what has changed, when and why, as the control plane keeps it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime

import typer

from gateway.cli.client import Unreachable
from gateway.cli.output import INTERVAL_S, Format, data_text
from gateway.cli.remote.http import Api, ApiRefused
from gateway.cli.remote.nouns import Json
from gateway.cli.remote.session import speaking

PATH = "/v1/events"
WAIT_S = 20  # less than a request may take
GONE = 410  # the history of that revision is not there any more


def show_events(
    filters: Mapping[str, str | None],
    lines: int,
    form: Format,
    *,
    follow: bool,
    context: str | None,
    tenant: str | None,
) -> None:
    """Print the last events, the oldest first, and go on if it is asked for."""
    query: dict[str, str | int] = {key: one for key, one in filters.items() if one is not None}
    with speaking(context, tenant) as api:
        begin = int(str(api.get(f"{PATH}/follow")["revision"])) if follow else 0
        items = list(api.pages(PATH, query, lines)) if lines else []
        if form in (Format.JSON, Format.YAML) and not follow:
            typer.echo(data_text({"items": items[::-1]}, form))
            return
        for item in reversed(items):
            _say(item, form)
        try:
            while follow:
                begin = _next_or_wait(api, query, begin, form)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


def _next_or_wait(api: Api, query: Mapping[str, str | int], after: int, form: Format) -> int:
    """Print what has come; while nobody answers, as in a restart, wait: nothing is left out."""
    try:
        return _next(api, query, after, form)
    except Unreachable as error:
        typer.echo(f"twinspan: {error}; waiting", err=True)
        time.sleep(INTERVAL_S)
        return after


def _next(api: Api, query: Mapping[str, str | int], after: int, form: Format) -> int:
    """Print what has come since a revision, waiting for it; return from where to go on."""
    try:
        answer = api.get(f"{PATH}/follow", {**query, "after": after, "wait": WAIT_S})
    except ApiRefused as error:
        if error.status != GONE:
            raise
        typer.echo("some events are left out: twinspan events shows them", err=True)
        answer = {**api.get(f"{PATH}/follow"), "items": []}
    items = answer["items"]
    assert isinstance(items, list)
    for item in items:
        _say(item, form)
    return int(str(answer["revision"]))


def _say(event: Json, form: Format) -> None:
    # Imported here: that module imports this one.
    from gateway.cli.events import event_lines

    if form in (Format.JSON, Format.YAML):
        typer.echo(json.dumps(event))
        return
    if form is Format.NAME:
        typer.echo(str(event["id"]))
        return
    at = datetime.fromisoformat(str(event["at"])).timestamp()
    for line in event_lines({**event, "at": at}, {}):
        typer.echo(line)
