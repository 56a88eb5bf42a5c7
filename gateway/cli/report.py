"""`twinspan bugreport`: an archive to send to whoever is to find the fault, without secrets."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import DEFAULT_RUNTIME_DIR, RuntimeDir
from gateway.cli.diagnose import Config, place_of
from gateway.cli.process import DEFAULT_STATE_DIR, StateDir

EXIT_NOT_WRITTEN = 1
_BLIND = (
    "THE DOCUMENT COULD NOT BE READ: a key that somebody has logged is not recognised by its value,"
    " only by its place"
)


def bugreport(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="the archive to make", show_default="twinspan-bugreport-HOST-TIME.tar.gz"
        ),
    ] = None,
    config: Config = None,
    state_dir: StateDir = Path(DEFAULT_STATE_DIR),
    runtime_dir: RuntimeDir = Path(DEFAULT_RUNTIME_DIR),
) -> None:
    """
    Gather what is needed to find a fault into one archive: doctor, document, status, routes, BGP,
    logs, events, versions, the kernel's network. Keys and passwords are masked; names and addresses
    are not. Prints what is in it. The file is readable by its owner alone.
    """
    # Imported here: it would make every other command start slowly.
    from gateway.cli.bugreport.archive import write
    from gateway.cli.bugreport.known import secrets_of
    from gateway.cli.bugreport.members import members
    from gateway.cli.bugreport.redact import Redactor
    from gateway.cli.doctor.checkup import examine
    from gateway.cli.doctor.look import document

    top = f"twinspan-bugreport-{_host()}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    file = (file or Path(f"{top}.tar.gz")).absolute()
    facts = examine(place_of(config, state_dir), runtime_dir)
    place = place_of(config, state_dir).of(facts.gateway)
    table = document.table(place, facts.source)
    redactor = Redactor(secrets_of(table, place, facts.source, runtime_dir))
    found = members(facts, table, runtime_dir)
    caution = _BLIND if table is None else ""
    try:
        written = write(file, top, found, redactor, caution)
    except OSError as error:
        typer.echo(f"twinspan: {file}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_NOT_WRITTEN) from None
    for member in written:
        typer.echo(f"{member.name:<44} {member.missing or f'{len(member.content)} bytes'}")
    if caution:
        typer.echo(f"twinspan: {caution}", err=True)
    typer.echo(f"masked: {redactor.found} times; names and addresses are in it as they are")
    typer.echo(str(file))


def _host() -> str:
    """Return the machine's name as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname().partition(".")[0]) or "host"
