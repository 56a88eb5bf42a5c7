"""`twinspan quota`: how much a tenant may have, and has."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.output import (
    OutputOption,
    View,
    Watch,
    format_of,
    present,
    table_lines,
)
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
    watching: Watch = False,
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """List what a tenant may have, and has."""
    with speaking(context, tenant) as api:
        present(lambda: api.get(PATH), _VIEW, format_of(output), watching=watching)


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
        present(lambda: api.get(PATH), _VIEW, format_of(output))


def _rows(answer: Json) -> list[tuple[str, str, str]]:
    items = answer["items"]
    assert isinstance(items, list)
    return [(str(one["name"]), cell(one["used"]), cell(one["limit"])) for one in items]


_VIEW = View(
    lines=lambda answer: table_lines(("QUOTA", ">USED", ">LIMIT"), _rows(answer)),
    names=lambda answer: [name for name, *_ in _rows(answer)],
    states=lambda answer: {
        name: f"{name}: {used} of {limit}" for name, used, limit in _rows(answer)
    },
)
