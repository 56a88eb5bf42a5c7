"""`twinspan quota`: how much a tenant may have, and has."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.output import Format, OutputOption, data_text, format_of, table_lines
from gateway.cli.remote.nouns import Json, cell
from gateway.cli.remote.options import set_fields
from gateway.cli.remote.session import ContextOption, TenantOption, speaking

PATH = "/v1/quotas"
SETTING = "/v1/settings/quotas"

app = typer.Typer(
    name="quota",
    help="Say how much a tenant may have, and has.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)


@app.command("list")
def list_(
    output: OutputOption = None, context: ContextOption = None, tenant: TenantOption = None
) -> None:
    """List what a tenant may have, and has."""
    with speaking(context, tenant) as api:
        answer = api.get(PATH)
    _print(answer, format_of(output))


@app.command("set")
def set_(
    quotas: Annotated[
        list[str], typer.Argument(metavar="NAME=NUMBER...", help="null: as for all tenants")
    ],
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """
    Change quotas: of a tenant, or without --tenant of all that have none of their own.

    The operator's alone.
    """
    with speaking(context, tenant) as api:
        body: Json = {}
        set_fields(body, quotas)
        api.send("PATCH", SETTING, body)
        answer = api.get(PATH)
    _print(answer, format_of(output))


def _print(answer: Json, form: Format) -> None:
    items = answer["items"]
    assert isinstance(items, list)
    if form in (Format.JSON, Format.YAML):
        typer.echo(data_text(answer, form))
    elif form is Format.NAME:
        typer.echo("\n".join(str(item["name"]) for item in items))
    else:
        rows = [(str(one["name"]), cell(one["used"]), cell(one["limit"])) for one in items]
        for line in table_lines(("QUOTA", ">USED", ">LIMIT"), rows):
            typer.echo(line)
