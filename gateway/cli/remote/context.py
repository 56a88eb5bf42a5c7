"""`twinspan context`: which control planes there are, and with which one the commands speak."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast

import typer

from gateway.cli.output import (
    OutputOption,
    View,
    Watch,
    format_of,
    present,
    table_lines,
)
from gateway.cli.remote.contexts import (
    Context,
    Contexts,
    contexts_path,
    read_contexts,
    write_contexts,
)
from gateway.cli.remote.http import Api
from gateway.cli.remote.nouns import Json
from gateway.cli.remote.session import Yes, agree, complete_context, usage_error
from gateway.errors import ConfigError

STANDARD_INPUT = "-"

app = typer.Typer(
    name="context",
    help="Say which control plane the commands speak with.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Name = Annotated[str, typer.Argument(help="name of a context", autocompletion=complete_context)]
_NewName = Annotated[
    str, typer.Argument(help="name of the context, new or not", autocompletion=complete_context)
]


@app.command("list")
def list_(watching: Watch = False, output: OutputOption = None) -> None:
    """List the contexts; `*` marks the one that is used. Tokens are not shown."""
    present(lambda: {"items": _told(_read())}, _VIEW, format_of(output), watching=watching)


def _told(contexts: Contexts) -> list[Json]:
    return [
        {
            "name": name,
            "current": name == contexts.current,
            "url": context.url,
            "token": "file" if context.token_file else "set" if context.token else "none",
            "ca_file": context.ca_file,
            "tenant": context.tenant,
        }
        for name, context in contexts.by_name.items()
    ]


def _cells(answer: Json) -> list[tuple[str, ...]]:
    """Return a row for each context: its mark, then its name first."""
    keys = ("name", "url", "token", "ca_file", "tenant")
    rows = cast(list[Json], answer["items"])
    return [("*" if r["current"] else "", *(str(r[k]) or "-" for k in keys)) for r in rows]


def _lines(answer: Json) -> list[str]:
    cells = _cells(answer)
    return table_lines(("", "NAME", "URL", "TOKEN", "CA FILE", "TENANT"), cells) if cells else []


_VIEW = View(
    lines=_lines,
    names=lambda answer: [row[1] for row in _cells(answer)],
    states=lambda answer: {row[1]: " ".join(filter(None, row)) for row in _cells(answer)},
)


@app.command()
def use(name: _Name) -> None:
    """Speak with this control plane from now on."""
    contexts = _read()
    try:
        contexts.named(name)
        write_contexts(_path(), replace(contexts, current=name))
    except ConfigError as error:
        usage_error(error)
    typer.echo(f"{name}: is used from now on")


@app.command("set")
def set_(
    name: _NewName,
    url: Annotated[
        str | None, typer.Option(help="https://HOST:PORT, http://127.0.0.1:PORT or unix:/PATH")
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="the API token; - reads it from the standard input")
    ] = None,
    token_file: Annotated[str | None, typer.Option(help="a file that holds the token")] = None,
    ca_file: Annotated[
        str | None, typer.Option(help="certificates to trust; without it, the system's")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="the tenant of the commands")] = None,
) -> None:
    """
    Make a context, or change of it what is named. The first one is used from now on.

    An empty value takes a setting out.
    """
    contexts = _read()
    given = {"url": url, "token_file": token_file, "ca_file": ca_file, "tenant": tenant}
    given["token"] = sys.stdin.readline().strip() if token == STANDARD_INPUT else token
    old = contexts.by_name.get(name, Context(""))
    new = replace(old, **{key: value for key, value in given.items() if value is not None})
    try:
        _judge(name, new)
        all_of_them = {**contexts.by_name, name: new}
        write_contexts(_path(), Contexts(all_of_them, contexts.current or name))
    except ConfigError as error:
        usage_error(error)
    typer.echo(f"{name}: {new.url}")


def _judge(name: str, context: Context) -> None:
    """Raise ConfigError for a context that no command could use."""
    if not name.isprintable() or not name.strip():
        raise ConfigError([f"name: must be printable and not empty ({name!r})"])
    if not context.url:
        raise ConfigError(["--url: is required for a new context"])
    if context.token and context.token_file:
        raise ConfigError(["--token-file: --token stands beside it; give one of them"])
    Api(context).judge()


@app.command()
def delete(name: _Name, yes: Yes = False) -> None:
    """Forget a context."""
    contexts = _read()
    try:
        contexts.named(name)
        agree(f"forget the context {name}, and its token?", yes)
        left = {key: context for key, context in contexts.by_name.items() if key != name}
        current = "" if contexts.current == name else contexts.current
        write_contexts(_path(), Contexts(left, current))
    except ConfigError as error:
        usage_error(error)
    typer.echo(f"{name}: is forgotten")


def _path() -> Path:
    return contexts_path(os.environ)


def _read() -> Contexts:
    try:
        return read_contexts(contexts_path(os.environ))
    except ConfigError as error:
        usage_error(error)
