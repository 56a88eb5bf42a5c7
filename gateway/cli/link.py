"""`twinspan link`: joins two of our own gateways, in both documents or in the control plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import write
from gateway.cli.check import generate_psk
from gateway.cli.output import format_of
from gateway.cli.remote.session import ContextOption, TenantOption

if TYPE_CHECKING:
    from gateway.model.link import End, Link, Wish
    from gateway.model.types import AnyNetwork

_A = Annotated[
    Path,
    typer.Argument(
        metavar="A.toml",
        help="the gateway that begins: its file, or a border gateway of the control plane",
    ),
]
_B = Annotated[
    Path, typer.Argument(metavar="B.toml", help="the gateway that answers, named the same way")
]
_Name = Annotated[
    str | None,
    typer.Option(help="of connection and customer gateway; without it, both gateways' names"),
]
_Tunnels = Annotated[
    int | None, typer.Option(help="1 to 8; without it 2, or 1 if both have one address")
]
_Inner = Annotated[
    str | None,
    typer.Option(help="range of the addresses inside; without it 169.254.64.0/18"),
]
_PskFile = Annotated[
    str | None,
    typer.Option(help="key file to make, relative to each document; without it NAME.psk"),
]
_BorderA = Annotated[
    str | None, typer.Option(help="border gateway of A, where it has several of them")
]
_BorderB = Annotated[str | None, typer.Option(help="the same of B")]
_AsnA = Annotated[
    int | None, typer.Option(help="AS number of A here, where not its border gateway's")
]
_AsnB = Annotated[int | None, typer.Option(help="the same of B")]
_AddressA = Annotated[
    list[str] | None,
    typer.Option(
        help="public address of A in the control plane, up to 4 times; without it, of its pool"
    ),
]
_AddressB = Annotated[list[str] | None, typer.Option(help="the same of B")]
_Ike = Annotated[list[str] | None, typer.Option(help="in order; without it, our list")]
_Esp = Annotated[list[str] | None, typer.Option(help="in order; without it, our list")]


class Routing(StrEnum):
    """How the two learn of each other's prefixes."""

    BGP = "bgp"
    STATIC = "static"


_Routing = Annotated[Routing, typer.Option(help="how each end learns what is behind the other")]


def link(
    a: _A,
    b: _B,
    name: _Name = None,
    routing: _Routing = Routing.BGP,
    tunnels: _Tunnels = None,
    inner: _Inner = None,
    border_gateway_a: _BorderA = None,
    border_gateway_b: _BorderB = None,
    asn_a: _AsnA = None,
    asn_b: _AsnB = None,
    ike_proposal: _Ike = None,
    esp_proposal: _Esp = None,
    psk_file: _PskFile = None,
    address_a: _AddressA = None,
    address_b: _AddressB = None,
    yes: write.Yes = False,
    dry_run: write.DryRun = False,
    as_json: write.AsJson = False,
    context: ContextOption = None,
    tenant: TenantOption = None,
) -> None:
    """
    Join two of our own gateways: makes the matching connection at both ends.

    Of two files both are written, and a new pre-shared key into a file beside each; of two border
    gateways of the control plane both connections are made. Shows the difference and asks.
    """
    # Imported here: pydantic would double the start time of every other command.
    from gateway.errors import ConfigError
    from gateway.model.link import Wish

    proposals = {"ike_proposals": ike_proposal, "esp_proposals": esp_proposal}
    settings = {key: texts for key, texts in proposals.items() if texts}
    within = _within(inner, as_json=as_json)
    wish = Wish(name, routing.value, tunnels, within, psk_file, settings)
    borders = {"--border-gateway-a": border_gateway_a, "--border-gateway-b": border_gateway_b}
    addresses = {"--address-a": address_a or (), "--address-b": address_b or ()}
    if not (_is_file(a) or _is_file(b)):
        of_files = {**borders, "--psk-file": psk_file}
        _judge_options(of_files, "files, and two border gateways are named", as_json=as_json)
        from gateway.cli.remote.linking import Side, link_in_control

        asked = zip((a, b), (asn_a, asn_b), addresses.items(), strict=True)
        one, other = (Side(str(end), asn, own, option) for end, asn, (option, own) in asked)
        form = format_of(None, as_json)
        return link_in_control(
            (one, other), wish, form=form, yes=yes, dry_run=dry_run, context=context, tenant=tenant
        )
    _judge_options(addresses, "border gateways of a control plane, not for files", as_json=as_json)
    try:
        if a.resolve() == b.resolve():
            raise ConfigError([f"{b}: is the other document too: give two"])
        ends = _Read.of(a, border_gateway_a, asn_a), _Read.of(b, border_gateway_b, asn_b)
        changes, made = _linked(ends, wish)
    except ConfigError as error:
        write.refuse(error.problems, as_json=as_json)
    write.offer(changes, made, yes=yes, dry_run=dry_run, as_json=as_json)


def _within(inner: str | None, *, as_json: bool) -> AnyNetwork:
    """Return the range of the addresses inside."""
    from gateway.model.link import INNER_RANGE
    from gateway.model.types import parse_network

    try:
        return parse_network(inner) if inner is not None else INNER_RANGE
    except ValueError as error:
        write.refuse([f"--inner: {error} ({inner})"], as_json=as_json)


def _judge_options(given: Mapping[str, object], where: str, *, as_json: bool) -> None:
    """Refuse options that mean nothing here."""
    if named := [option for option, value in given.items() if value]:
        write.refuse([f"{option}: is for {where}" for option in named], as_json=as_json)


def _is_file(named: Path) -> bool:
    """Say whether this names a file: there is one, or it looks like one."""
    return named.exists() or named.suffix == ".toml" or len(named.parts) > 1


@dataclass(frozen=True, slots=True)
class _Read:
    """A document as it was read."""

    path: Path
    text: str
    end: End

    @staticmethod
    def of(path: Path, border_gateway: str | None, asn: int | None) -> _Read:
        """Return the document in a file, without mistakes. Raises ConfigError."""
        from gateway.model.link import End
        from gateway.model.load import loaded_from, read_document_text

        text = read_document_text(path)
        document = loaded_from(text, path).document
        return _Read(path, text, End(str(path), document, border_gateway, asn))


def _linked(ends: tuple[_Read, _Read], wish: Wish) -> tuple[list[write.Change], write.Made]:
    """Return what joins the two as changes of files, judged. Raises ConfigError."""
    from gateway.model.link import link
    from gateway.model.load import loaded_from
    from gateway.model.toml_text import appended

    made = link(ends[0].end, ends[1].end, wish)
    key = generate_psk()
    # Documents in one directory share the file.
    keys = {read.path.parent / made.psk_file: read.path for read in reversed(ends)}
    changes = [write.Change(file, None, key + "\n", near, True) for file, near in keys.items()]
    warnings: list[str] = []
    for read, tables in zip(ends, made.tables, strict=True):
        text = appended(read.text, tables)
        loaded = loaded_from(text, read.path, dict.fromkeys(keys, key))
        warnings += loaded.warnings
        changes.append(write.Change(read.path, read.text, text, read.path))
    result = {"name": made.name, "routing": wish.routing, "tables": made.tables}
    return changes, write.Made(result, warnings, _next_steps(ends, made))


def _next_steps(ends: tuple[_Read, _Read], made: Link) -> list[str]:
    steps = [
        f"gateway VM {read.end.document.gateway.name} needs {read.path}"
        f" and the key {read.path.parent / made.psk_file}"
        for read in ends
    ]
    return [*steps, "then, on each: twinspan reload"]
