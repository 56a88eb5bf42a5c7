"""One command's talk with the control plane: whom it speaks with, and what becomes of errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer

from gateway.cli.client import Refused, Unreachable, give_up
from gateway.cli.remote.contexts import chosen, contexts_path, read_contexts
from gateway.cli.remote.http import Api
from gateway.errors import ConfigError

EXIT_USAGE = 2


def complete_context(incomplete: str) -> list[str]:
    """Return the names of contexts that begin so."""
    try:
        names = read_contexts(contexts_path(os.environ)).by_name
    except ConfigError:
        return []
    return [name for name in names if name.startswith(incomplete)]


ContextOption = Annotated[
    str | None,
    typer.Option(
        "--context",
        help="which control plane; without it, as `twinspan context use` has set it",
        autocompletion=complete_context,
    ),
]
TenantOption = Annotated[
    str | None,
    typer.Option("--tenant", help="of this tenant; only the operator has a choice"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="without a question")]
Cascade = Annotated[bool, typer.Option("--cascade", help="its tunnels too, also those that are up")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="let the control plane judge it, and change nothing")
]


@contextmanager
def speaking(context: str | None, tenant: str | None) -> Iterator[Api]:
    """Yield the control plane. An error ends the program with a message and its status."""
    try:
        with Api(chosen(os.environ, context, tenant)) as api:
            yield api
    except (Unreachable, Refused) as error:
        give_up(error)
    except ConfigError as error:
        usage_error(error)


def usage_error(error: ConfigError) -> NoReturn:
    """Say every mistake of a file or an option, and end the program with status 2."""
    for problem in error.problems:
        typer.echo(f"twinspan: {problem}", err=True)
    raise typer.Exit(EXIT_USAGE)


def agree(question: str, yes: bool) -> None:
    """Ask, unless the answer was given. Without a yes the program ends, and nothing is done."""
    if not yes and not typer.confirm(question):
        typer.echo("nothing is changed")
        raise typer.Exit(1)
