"""`twinspan import --fleet`: what a cloud's file says, as resources of the control plane."""

from __future__ import annotations

from typing import cast

import typer

from gateway.cli.output import Format
from gateway.cli.remote.apply import actual_tree, carry_out
from gateway.cli.remote.http import Api
from gateway.cli.remote.nouns import NOUNS, Json
from gateway.cli.remote.session import speaking
from gateway.cli.remote.tree import set_fields
from gateway.errors import ConfigError
from gateway.importer.foreign import Foreign, Imported, Wish, tables_of
from gateway.model.document import build_document
from gateway.model.resources import Document


def import_to_fleet(
    foreign: Foreign,
    wish: Wish,
    whom: tuple[str | None, str | None],
    form: Format,
    *,
    yes: bool,
    dry_run: bool,
) -> None:
    """
    Make the control plane have a connection toward a cloud; show the difference and ask before.

    A Customer Gateway and connection of that name, made before the cloud's addresses were known,
    keep what the file says nothing of. `whom` are context and tenant.
    """
    with speaking(*whom) as api:
        imported = tables_of(foreign, _document(api, foreign, wish), wish)
        for note in imported.notes:
            typer.echo(f"note: {note}", err=True)
        carry_out(api, _merged(api, imported), form, yes=yes, dry_run=dry_run)


def _document(api: Api, foreign: Foreign, wish: Wish) -> Document:
    """Return our side, as far as the import looks at it; the control plane judges the addresses."""
    gateways = list(api.pages(NOUNS["bgw"].path))
    ours = {str(tunnel.ours) for tunnel in foreign.tunnels}
    ours |= {str(wish.local_address)} if wish.local_address is not None else set()
    table: Json = {
        "gateway": {"public_addresses": sorted(ours)},
        "border_gateway": [{"name": one["name"], "asn": one["asn"]} for one in gateways],
    }
    document, problems = build_document(table)
    mistakes = [str(problem) for problem in problems if not problem.is_warning]
    if mistakes:
        raise ConfigError(mistakes)
    return document


def _merged(api: Api, imported: Imported) -> Json:
    """Return the tables with their keys, over what resources of that name have already."""
    here = {one.key: set_fields(one.kind, one.fields) for one in actual_tree(api)}
    document: Json = {
        kind: [{**here.get((kind, imported.name), {}), **table} for table in tables]
        for kind, tables in imported.tables.items()
    }
    for connection in cast(list[Json], document["vpn_connection"]):
        for tunnel in cast(list[Json], connection["tunnel"]):
            tunnel["psk"] = imported.keys[str(tunnel.pop("psk_file"))]
    return document
