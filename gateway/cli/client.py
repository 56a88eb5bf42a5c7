"""
The gateway's control socket from the command line's side: plain sockets, since it must start fast.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer

DEFAULT_RUNTIME_DIR = "/run/twinspan"
CONTROL_SOCKET = "gateway.sock"
EXIT_REFUSED = 1
EXIT_UNREACHABLE = 3
TIMEOUT_S = 30.0  # a reload of some thousand tunnels takes seconds

Json = dict[str, object]

RuntimeDir = Annotated[
    Path,
    typer.Option(
        "--runtime-dir",
        envvar="TWINSPAN_RUNTIME_DIR",
        help="where the gateway process keeps its sockets",
    ),
]


class Unreachable(Exception):
    """No process answers where it should; the text says where, and what to do."""

    exit_status = EXIT_UNREACHABLE


class Refused(Exception):
    """The process that was asked refuses the request; the text says why."""

    exit_status = EXIT_REFUSED


def ask(runtime_dir: Path, request: Json, timeout_s: float | None = TIMEOUT_S) -> Iterator[object]:
    """Yield the results of one request. Raises Unreachable, Refused."""
    path = runtime_dir / CONTROL_SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
            sock.sendall(json.dumps(request).encode() + b"\n")
            sock.shutdown(socket.SHUT_WR)
            for line in sock.makefile("rb"):
                answer = json.loads(line)
                if not answer["ok"]:
                    raise Refused(answer["error"])
                yield answer["result"]
        except TimeoutError:
            raise Unreachable(f"the gateway process does not answer at {path}") from None
        except OSError as error:
            raise Unreachable(_why(path, error)) from None


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"not permitted to use {path}: run it as root"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"no gateway process at {path} (systemctl start twinspan-gateway, or --runtime-dir)"
    return f"{path}: {os.strerror(error.errno or 0)}"


def ask_one(runtime_dir: Path, command: str, **arguments: object) -> Json:
    """
    Return the one result of a request, an object. Ends the program with a message if there is none.
    """
    try:
        for result in ask(runtime_dir, {"command": command, **arguments}):
            if isinstance(result, dict):
                return result
    except (Unreachable, Refused) as error:
        give_up(error)
    give_up(Unreachable("the gateway process closed the connection without an answer"))


def give_up(error: Unreachable | Refused) -> NoReturn:
    """Print why and end the program with the status that the error has."""
    for line in str(error).splitlines():
        typer.echo(f"twinspan: {line}", err=True)
    raise typer.Exit(error.exit_status)


def complete_tunnel(incomplete: str) -> list[str]:
    """Return the names of tunnels that begin so, for the shell's completion."""
    runtime_dir = Path(os.environ.get("TWINSPAN_RUNTIME_DIR", DEFAULT_RUNTIME_DIR))
    try:
        for status in ask(runtime_dir, {"command": "status"}, timeout_s=2.0):
            assert isinstance(status, dict)
            names = [str(tunnel[key]) for tunnel in status["tunnels"] for key in ("name", "title")]
            return [name for name in names if name and name.startswith(incomplete)]
    except (Unreachable, Refused):
        pass
    return []


TunnelName = Annotated[
    str, typer.Argument(help="name or title of a VPN Tunnel", autocompletion=complete_tunnel)
]
