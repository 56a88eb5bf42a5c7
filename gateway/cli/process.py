"""`twinspan gateway`, `dataplane` and `netns`: the processes themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.client import DEFAULT_RUNTIME_DIR, RuntimeDir
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from gateway.node.source import Source

DEFAULT_CONFIG = "/etc/twinspan/gateway.toml"
DEFAULT_STATE_DIR = "/var/lib/twinspan/node"

StateDir = Annotated[
    Path, typer.Option("--state-dir", help="with --control: keeps identity and last document")
]

_Control = Annotated[
    str | None,
    typer.Option(
        "--control", metavar="URL", help="the control plane that gives the document instead"
    ),
]
_TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--register-token-file",
        help="with --control: holds the one-time token that makes this node known there",
    ),
]
_Fingerprint = Annotated[
    str,
    typer.Option(
        "--ca-fingerprint",
        metavar="sha256:HEX",
        help="with --control: of its CA; without it, the token's word counts",
    ),
]
_Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="ADDRESS:PORT",
        help="answer Prometheus at /metrics there, as 127.0.0.1:9469; else nowhere",
    ),
]


def gateway(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help=f"the TOML document; else {DEFAULT_CONFIG}"),
    ] = None,
    control: _Control = None,
    register_token_file: _TokenFile = None,
    ca_fingerprint: _Fingerprint = "",
    state_dir: StateDir = Path(DEFAULT_STATE_DIR),
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process", help="the data plane in this process: a restart ends the tunnels"
        ),
    ] = False,
    stop_dataplane: Annotated[
        bool, typer.Option("--stop-dataplane", help="SIGTERM ends the tunnels too")
    ] = False,
    metrics: _Metrics = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log every message")] = False,
) -> None:
    """
    Run the gateway: read the document, make it so, keep it so.

    The document is a file, or comes from a control plane, which is needed only for changes.
    SIGHUP reloads. SIGTERM ends this process alone; the data plane process carries the tunnels on
    for the next one, unless --stop-dataplane is given.
    """
    source = _source(config, control, register_token_file, ca_fingerprint, state_dir)
    # Imported here: the daemon's modules would double the start time of every other command.
    import uvloop

    from gateway.node.life import Settings
    from gateway.node.service import serve

    place = _metrics_place(metrics) if metrics else None
    settings = Settings(source, runtime_dir, in_process, stop_dataplane, verbose, place)
    raise typer.Exit(uvloop.run(serve(settings)))


def _metrics_place(text: str) -> tuple[str, int]:
    """Return the address and port. Ends the program if they are none."""
    from gateway.prometheus.scrape import parse_place

    try:
        return parse_place(text)
    except ConfigError as error:
        typer.echo(f"twinspan: {error.problems[0]}", err=True)
        raise typer.Exit(2) from None


def _source(
    config: Path | None,
    control: str | None,
    token_file: Path | None,
    fingerprint: str,
    state_dir: Path,
) -> Source:
    """Return where the document comes from. Ends the program if the options do not fit."""
    from gateway.node.source import FileSource

    if control is None:
        if token_file is not None or fingerprint:
            raise typer.BadParameter("--register-token-file and --ca-fingerprint need --control")
        return FileSource(config or Path(DEFAULT_CONFIG))
    if config is not None:
        raise typer.BadParameter("give --config or --control, not both")
    from gateway.node.fleet.source import ControlSource, Enrolment

    try:
        return ControlSource(Enrolment(control, state_dir, token_file, fingerprint))
    except ConfigError as error:
        raise typer.BadParameter("; ".join(error.problems)) from None


def dataplane(context: typer.Context) -> None:
    """
    Run the data plane process: no privileges, no files; the gateway process starts it by itself.
    """
    from gateway.dataplane.process import main

    raise typer.Exit(main(context.args))


def netns(context: typer.Context) -> None:
    """
    Run the namespace keeper: makes network namespaces for the gateway process, which starts it by
    itself where systemd has not.
    """
    from gateway.netns.process import main

    raise typer.Exit(main(context.args))
