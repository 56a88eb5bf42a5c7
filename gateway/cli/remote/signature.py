"""Commands whose arguments are known only at run time: typer reads them from a signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup

Parameter = inspect.Parameter
Complete = Callable[[str], list[str]] | Callable[[str], list[tuple[str, str]]]


def argument(
    name: str, help: str, complete: Complete | None = None, *, is_required: bool = True
) -> Parameter:
    """Return a positional argument."""
    info = typer.Argument(help=help, metavar=name.upper(), autocompletion=complete)
    if is_required:
        return _parameter(name, Annotated[str, info], inspect.Parameter.empty)
    return _parameter(name, Annotated[str | None, info], None)


def option(
    flag: str,
    help: str,
    kind: type | GenericAlias = str,
    *,
    name: str = "",
    metavar: str | None = None,
    complete: Complete | None = None,
) -> Parameter:
    """Return an option that may be left out, and is None then."""
    info = typer.Option(flag, help=help, metavar=metavar, autocompletion=complete)
    name = name or flag.strip("-").split("/")[0].replace("-", "_")
    return _parameter(name, Annotated[kind | None, info], None)


def known(name: str, kind: object, default: object) -> Parameter:
    """Return a parameter whose annotation says all."""
    return _parameter(name, kind, default)


def _parameter(name: str, annotation: object, default: object) -> Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


def add_command(
    app: typer.Typer,
    name: str,
    help: str,
    parameters: list[Parameter],
    run: Callable[[Mapping[str, object]], None],
) -> None:
    """Give `app` a command that hands its arguments to `run` by name."""

    def command(**values: object) -> None:
        run(values)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # of inspect
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    app.command(name, help=help)(command)


def group(app: typer.Typer, name: str) -> TyperGroup:
    """Return what typer makes of an app of commands."""
    made = typer.main.get_command(app)
    assert isinstance(made, TyperGroup)
    made.name = name
    return made


def command_of(app: typer.Typer, name: str) -> TyperCommand:
    """Return what typer makes of an app of one command."""
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    made.name = name
    return made
