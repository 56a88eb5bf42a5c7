"""`twinspan setting`: what holds for the whole control plane; the operator's alone."""

from __future__ import annotations

import os
from typing import Annotated, cast

import typer

from gateway.cli.client import Refused, Unreachable
from gateway.cli.output import (
    OutputOption,
    View,
    Watch,
    format_of,
    present,
    table_lines,
)
from gateway.cli.remote.contexts import chosen
from gateway.cli.remote.http import COMPLETION_TIMEOUT_S, Api
from gateway.cli.remote.nouns import Json, cell
from gateway.cli.remote.options import set_fields
from gateway.cli.remote.session import ContextOption, TenantOption, Yes, agree, speaking
from gateway.errors import ConfigError

PATH = "/v1/settings"
_NOT_TOLD = ("id", "tenant", "updated_at", "revision")

app = typer.Typer(
    name="setting",
    help="Say what holds for the whole control plane; the operator's alone.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


def complete_setting(incomplete: str) -> list[str]:
    """Return the names of settings that begin so."""
    try:
        with Api(chosen(os.environ, None), COMPLETION_TIMEOUT_S) as api:
            names = [str(each["id"]) for each in api.pages(PATH)]
    except (Unreachable, Refused, ConfigError):
        return []
    return [name for name in names if name.startswith(incomplete)]


_Name = Annotated[str, typer.Argument(help="of a setting", autocompletion=complete_setting)]


@app.command("list")
def list_(
    watching: Watch = False, output: OutputOption = None, context: ContextOption = None
) -> None:
    """List all settings; what was never set has its default."""
    with speaking(context, None) as api:
        present(
            lambda: {"items": api.get(PATH)["items"]}, _LIST, format_of(output), watching=watching
        )


@app.command()
def show(
    name: _Name,
    watching: Watch = False,
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """Show one setting."""
    with speaking(context, tenant) as api:
        present(lambda: api.get(f"{PATH}/{name}"), _ONE, format_of(output), watching=watching)


@app.command("set")
def set_(
    name: _Name,
    fields: Annotated[
        list[str], typer.Argument(metavar="FIELD=VALUE...", help="null: the default again")
    ],
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """Change fields of a setting; the others stay."""
    with speaking(context, tenant) as api:
        body: Json = {}
        set_fields(body, fields)
        answer = api.send("PATCH", f"{PATH}/{name}", body).body
    present(lambda: answer, _ONE, format_of(output))


@app.command()
def reset(
    name: _Name, yes: Yes = False, context: ContextOption = None, tenant: TenantOption = None
) -> None:
    """Make a setting what it is by default."""
    with speaking(context, tenant) as api:
        agree(f"make the setting {name} what it is by default?", yes)
        api.send("DELETE", f"{PATH}/{name}")
    typer.echo(f"{name}: is as by default")


def _rows(setting: Json) -> list[tuple[str, str]]:
    return [(key, cell(one)) for key, one in setting.items() if key not in _NOT_TOLD]


def _items(answer: Json) -> list[Json]:
    return cast(list[Json], answer["items"])


def _all_rows(answer: Json) -> list[tuple[str, str, str]]:
    return [(str(item["id"]), *row) for item in _items(answer) for row in _rows(item)]


_LIST = View(
    lines=lambda answer: table_lines(("SETTING", "FIELD", "VALUE"), _all_rows(answer)),
    names=lambda answer: [str(item["id"]) for item in _items(answer)],
    states=lambda answer: {
        f"{name}.{key}": f"{name}.{key}: {value}" for name, key, value in _all_rows(answer)
    },
)
_ONE = View(
    lines=lambda answer: table_lines(("FIELD", "VALUE"), _rows(answer)),
    names=lambda answer: [str(answer["id"])],
    states=lambda answer: {key: f"{key}: {value}" for key, value in _rows(answer)},
)
