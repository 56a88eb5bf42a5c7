"""`twinspan gateway`, `dataplane` and `netns`: the processes themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import DEFAULT_RUNTIME_DIR, RuntimeDir


def gateway(
    config: Annotated[Path, typer.Option("--config", "-c", help="the TOML document")] = Path(
        "/etc/twinspan/gateway.toml"
    ),
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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="log every message")] = False,
) -> None:
    """
    Run the gateway: read the document, make it so, keep it so.

    SIGHUP reloads. SIGTERM ends this process alone; the data plane process carries the tunnels on
    for the next one, unless --stop-dataplane is given.
    """
    # Imported here: the daemon's modules would double the start time of every other command.
    import uvloop

    from gateway.node.life import Settings
    from gateway.node.service import serve
    from gateway.node.source import FileSource

    settings = Settings(FileSource(config), runtime_dir, in_process, stop_dataplane, verbose)
    raise typer.Exit(uvloop.run(serve(settings)))


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
