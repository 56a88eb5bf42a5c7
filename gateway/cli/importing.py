"""`twinspan import`: a connection toward a cloud, from the file that it gives its customers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import write
from gateway.cli.output import format_of
from gateway.cli.remote.session import ContextOption, TenantOption

if TYPE_CHECKING:
    from gateway.importer.foreign import Foreign, Imported, Wish

app = typer.Typer(
    name="import",
    help="Make a connection toward a cloud from its own configuration file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
)

_Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", help="what the cloud gave; several are one connection"),
]
_Fleet = Annotated[bool, typer.Option("--fleet", help="into the control plane, not a document")]
_Config = Annotated[Path, typer.Option("--config", "-c", help="the document that gets it")]
_Name = Annotated[str | None, typer.Option(help="of connection and customer gateway")]
_Border = Annotated[str | None, typer.Option(help="border gateway, where there are several")]
_Local = Annotated[
    str | None,
    typer.Option(help="our address here, where the file's is that of a NAT before us"),
]
_Remote = Annotated[
    list[str] | None,
    typer.Option("--remote-cidr", help="prefix in the cloud, once for each; needed with static"),
]


def aws(
    files: _Files,
    config: _Config = Path("/etc/twinspan/gateway.toml"),
    name: _Name = None,
    border_gateway: _Border = None,
    local_address: _Local = None,
    remote_cidr: _Remote = None,
    fleet: _Fleet = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    yes: write.Yes = False,
    dry_run: write.DryRun = False,
    as_json: write.AsJson = False,
) -> None:
    """
    From AWS: the CustomerGatewayConfiguration (XML), or the "Generic" download.

    Shows the difference and asks. Keys go into files beside the document. With --fleet or --context
    the control plane gets it: a connection of that name gets the tunnels that it has not yet.
    """
    from gateway.importer.aws import read_aws

    words = (name, border_gateway, local_address, remote_cidr)
    where = _Where(config, fleet, context, tenant)
    _import(read_aws, files, where, words, yes=yes, dry_run=dry_run, as_json=as_json)


def azure(
    files: _Files,
    config: _Config = Path("/etc/twinspan/gateway.toml"),
    name: _Name = None,
    border_gateway: _Border = None,
    local_address: _Local = None,
    remote_cidr: _Remote = None,
    fleet: _Fleet = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
    yes: write.Yes = False,
    dry_run: write.DryRun = False,
    as_json: write.AsJson = False,
) -> None:
    """
    From Azure: a Virtual WAN's site configuration (JSON), or a VPN gateway's device script.

    Shows the difference and asks. Keys go into files beside the document. With --fleet or --context
    the control plane gets it: a connection of that name gets the tunnels that it has not yet.
    """
    from gateway.importer.azure import read_azure

    words = (name, border_gateway, local_address, remote_cidr)
    where = _Where(config, fleet, context, tenant)
    _import(read_azure, files, where, words, yes=yes, dry_run=dry_run, as_json=as_json)


app.command()(aws)
app.command()(azure)

_Words = tuple[str | None, str | None, str | None, Sequence[str] | None]


@dataclass(frozen=True, slots=True)
class _Where:
    """What gets the connection: a document, or a control plane."""

    config: Path
    fleet: bool
    context: str | None
    tenant: str | None


def _import(
    read: Callable[[bytes], Foreign],
    files: Sequence[Path],
    where: _Where,
    words: _Words,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    # Imported here: pydantic would double the start time of every other command.
    from gateway.errors import ConfigError
    from gateway.importer.foreign import joined
    from gateway.model.load import read_document_text

    try:
        wish = _wish(words)
        foreign = joined([_read(read, file) for file in files])
        if where.fleet or where.context is not None:
            from gateway.cli.remote.importing import import_to_fleet

            whom, form = (where.context, where.tenant), format_of(None, as_json)
            return import_to_fleet(foreign, wish, whom, form, yes=yes, dry_run=dry_run)
        config = where.config
        changes, made = _changes(config, read_document_text(config), foreign, wish)
    except ConfigError as error:
        write.refuse(error.problems, as_json=as_json)
    return write.offer(changes, made, yes=yes, dry_run=dry_run, as_json=as_json)


def _wish(words: _Words) -> Wish:
    from gateway.errors import ConfigError
    from gateway.importer.foreign import Wish
    from gateway.model.types import NAME, parse_network, parse_outer_address

    name, border, local, remotes = words
    try:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError("has up to 32 letters, digits, '.', '_' and '-'")
        ours = parse_outer_address(local) if local is not None else None
        return Wish(name, border, ours, tuple(parse_network(text) for text in remotes or ()))
    except ValueError as error:
        given = ", ".join(text for text in (name, local, *(remotes or ())) if text)
        raise ConfigError([f"--name, --local-address, --remote-cidr: {error} ({given})"]) from None


def _read(read: Callable[[bytes], Foreign], file: Path) -> Foreign:
    from gateway.errors import ConfigError
    from gateway.importer.tree import BYTES_MAX

    try:
        with file.open("rb") as opened:
            content = opened.read(BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{file}: can not be read: {error}"]) from None
    try:
        return read(content)
    except ConfigError as error:
        raise ConfigError([f"{file}: {problem}" for problem in error.problems]) from None


def _changes(
    config: Path, text: str, foreign: Foreign, wish: Wish
) -> tuple[list[write.Change], write.Made]:
    """Return the document and the key files as they are to be, judged. Raises ConfigError."""
    from gateway.importer.foreign import tables_of
    from gateway.model.load import loaded_from
    from gateway.model.toml_text import appended

    imported = tables_of(foreign, loaded_from(text, config).document, wish)
    new = appended(text, imported.tables)
    keys = {config.parent / name: psk for name, psk in imported.keys.items()}
    loaded = loaded_from(new, config, keys)
    changes = [write.Change(config, text, new, config)]
    changes += [
        write.Change(path, None, f"{psk}\n", config, is_secret=True) for path, psk in keys.items()
    ]
    warnings = [*loaded.warnings, *imported.notes]
    return changes, write.Made(_result(imported), warnings, ["then: twinspan reload"])


def _result(imported: Imported) -> dict[str, object]:
    return {"vpn_connection": imported.name, "tunnels": len(imported.keys)}
