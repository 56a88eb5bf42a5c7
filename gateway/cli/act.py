"""`twinspan up`, `down`, `rekey`, `reload`, `stop`, `log`, `version`: what an operator does."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

import gateway
from gateway.cli.client import (
    DEFAULT_RUNTIME_DIR,
    Json,
    Refused,
    RuntimeDir,
    TunnelName,
    Unreachable,
    ask,
    ask_one,
    complete_tunnel,
    give_up,
)

Now = Annotated[bool, typer.Option("--now", help="do not move the traffic of tunnels away first")]
_DRAINED = {
    "quiet": "traffic has moved to the other tunnels, both ways",
    "moved": "what we send has moved to the other tunnels",
    "busy": "what we send has moved; the peer still sent into this tunnel",
    "alone": "no other tunnel is up: its traffic has stopped",
    "down": "carried no traffic",
}


def up(tunnel: TunnelName, runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR)) -> None:
    """Allow a tunnel that `down` has taken down, and begin to set it up."""
    ask_one(runtime_dir, "up", tunnel=tunnel)
    typer.echo(f"{tunnel}: admin up")


def down(
    tunnel: TunnelName, now: Now = False, runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR)
) -> None:
    """
    Take a tunnel down and keep it down until `up`.

    Its traffic moves to its twins first, in both directions, so that no packet is lost.
    """
    answer = ask_one(runtime_dir, "down", tunnel=tunnel, now=now)
    if not now:
        typer.echo(f"{tunnel}: {_DRAINED[str(answer['drained'])]}")
    typer.echo(f"{tunnel}: admin down")


def rekey(
    tunnel: TunnelName,
    ike: Annotated[bool, typer.Option("--ike", help="the IKE SA, not the Child SA")] = False,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """Replace the keys of a tunnel now; no packet is lost by it."""
    answer = ask_one(runtime_dir, "rekey", tunnel=tunnel, ike=ike)
    typer.echo(f"{tunnel}: rekey of the {answer['rekey']} SA begun")


def reload(now: Now = False, runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR)) -> None:
    """
    Read the configuration file again and change only what differs; with a mistake in it, nothing.

    Tunnels that must be negotiated anew follow one after the other, their traffic moved away first.
    """
    answer = ask_one(runtime_dir, "reload", now=now)
    for what in ("added", "removed"):
        names = answer[what]
        assert isinstance(names, list)
        if names:
            typer.echo(f"{what}: {', '.join(names)}")
    done = answer["what"]
    assert isinstance(done, dict)
    for name, words in done.items():
        typer.echo(f"changed: {name} ({'; '.join(words)})")
    if names := answer["waiting"]:
        assert isinstance(names, list)
        typer.echo(f"of these, one after the other, when its traffic has moved: {', '.join(names)}")
    if words := answer.get("beside"):  # a gateway of an older version does not say it
        assert isinstance(words, list)
        typer.echo(f"changed beside tunnels: {', '.join(words)}")
    if not any(answer.values()):
        typer.echo("nothing has changed")


def stop(runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR)) -> None:
    """
    End the gateway, its tunnels and the data plane; peers are told.

    (SIGTERM to the gateway process ends that process alone: the tunnels go on.)
    """
    ask_one(runtime_dir, "stop")
    typer.echo("stopping")


def log(
    tunnel: Annotated[
        str | None,
        typer.Argument(help="only this VPN Tunnel", autocompletion=complete_tunnel),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="and go on")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=2000, help="so many at first")
    ] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """Show the last events, debug ones included."""
    request: Json = {"command": "log", "lines": lines, "follow": follow}
    if tunnel is not None:
        request["tunnel"] = tunnel
    timeout_s = None if follow else 30.0
    try:
        for entry in ask(runtime_dir, request, timeout_s):
            assert isinstance(entry, dict)
            typer.echo(json.dumps(entry) if as_json else log_line(entry))
    except (Unreachable, Refused) as error:
        give_up(error)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def log_line(entry: Json) -> str:
    """Return an event as one line: local time, level, event, fields."""
    at, fields = entry["at"], entry["fields"]
    assert isinstance(at, float)
    assert isinstance(fields, dict)
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"
    values = " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())
    return f"{clock} {entry['level']:<7} {entry['event']} {values}".rstrip()


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text or '"' in text else text


def version() -> None:
    """Print the version of this program."""
    typer.echo(f"twinspan {gateway.__version__}")
