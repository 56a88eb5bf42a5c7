"""`twinspan audit`: who has changed what, and when."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from gateway.cli.output import Format, OutputOption, data_text, format_of
from gateway.cli.remote.names import id_of
from gateway.cli.remote.nouns import BY_KIND, Json, cell
from gateway.cli.remote.session import ContextOption, TenantOption, speaking
from gateway.errors import ConfigError

PATH = "/v1/audit-log"
_NOT_TOLD = ("updated_at", "generation", "created_at", "secret_versions")


def complete_kind(incomplete: str) -> list[str]:
    """Return the kinds of resources that begin so."""
    return [kind for kind in BY_KIND if kind.startswith(incomplete)]


def audit(
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="only of this kind of resource", autocompletion=complete_kind),
    ] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", help="only of this one, by id, or by name of --kind")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="so many commits")] = 50,
    output: OutputOption = None,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """Show who has changed what and when, the newest first; secrets are masked."""
    form = format_of(output)
    with speaking(context, tenant) as api:
        query: dict[str, str | int] = {} if kind is None else {"kind": kind}
        if resource is not None:
            query["id"] = resource
            if kind is not None and kind in BY_KIND:
                query["id"] = id_of(api, BY_KIND[kind], resource)
            elif "-" not in resource:
                raise ConfigError(["--resource: a name needs --kind beside it"])
        items = list(api.pages(PATH, query, lines))
    if form in (Format.JSON, Format.YAML):
        typer.echo(data_text({"items": items}, form))
        return
    for item in items:
        for line in audit_lines(item, wide=form is Format.WIDE):
            typer.echo(line)


def audit_lines(entry: Json, *, wide: bool) -> list[str]:
    """Return one commit as lines: each change with the fields that it changed."""
    changes = entry["changes"]
    assert isinstance(changes, list)
    head = f"{entry['at'] or '-'}  {entry['actor']}  "
    found = []
    for change in changes:
        text = f"{change['action']} {change['kind']} {change['name'] or change['id']}"
        told = _differences(change)
        if change["action"] == "update" or wide:
            text += "".join(f"\n    {one}" for one in told)
        found += (head + text).split("\n")
    return found


def _differences(change: Json) -> list[str]:
    """Return `field: before -> after` for each field that differs."""
    before, after = (_flat(change[side]) for side in ("before", "after"))
    return [
        f"{key}: {before.get(key, '-')} -> {after.get(key, '-')}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key) and key not in _NOT_TOLD
    ]


def _flat(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    parts = {key: one for key, one in value.items() if key not in ("spec", "allocated")}
    for part in ("allocated", "spec"):
        inner = value.get(part)
        parts |= inner if isinstance(inner, dict) else {}
    return {
        key: json.dumps(one) if isinstance(one, dict) else cell(one) for key, one in parts.items()
    }
