"""`twinspan check`, `genpsk` and `schema`: the configuration file before any daemon reads it."""

from __future__ import annotations

import json
import secrets
import string
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.node.plan import NodePlan
    from gateway.routing.plan import BgpPeer

EXIT_MISTAKES = 1
PSK_ALPHABET = string.ascii_letters + string.digits
PSK_CHARACTERS = 44  # 43 would hold 256 bits were the first one not confined to letters


def check(
    file: Annotated[Path, typer.Argument(help="the gateway's TOML file")],
    show: Annotated[bool, typer.Option("--show", help="list the tunnels it describes")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Say every mistake in a configuration file, or that there is none. Changes nothing."""
    # Imported here: pydantic would double the start time of every other command.
    from gateway.errors import ConfigError
    from gateway.model.load import load
    from gateway.node.plan import plan

    try:
        loaded = load(file)
    except ConfigError as error:
        _say_mistakes(error.problems, as_json)
        raise typer.Exit(EXIT_MISTAKES) from None
    node = plan(loaded.document)
    if as_json:
        result = {"ok": True, "problems": [], "warnings": list(loaded.warnings)}
        typer.echo(json.dumps({**result, "tunnels": _tunnels(node)}, indent=2))
        return
    for warning in loaded.warnings:
        typer.echo(f"warning: {warning}", err=True)
    connections = len(loaded.document.vpn_connection)
    typer.echo(f"{file}: ok: VPN Connections: {connections}, VPN Tunnels: {len(node.tunnels)}")
    if show:
        for tunnel in _tunnels(node):
            typer.echo("  ".join(f"{key}={value}" for key, value in tunnel.items()))


def _say_mistakes(problems: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"ok": False, "problems": problems, "warnings": []}, indent=2))
        return
    for problem in problems:
        typer.echo(problem, err=True)
    noun = "mistake" if len(problems) == 1 else "mistakes"
    typer.echo(f"{len(problems)} {noun}", err=True)


def _tunnels(node: NodePlan) -> list[dict[str, str]]:
    """Return what the file's tunnels come to, with every default filled in and no secret."""
    peers = {peer.name: peer for peer in node.peers if peer.is_tunnels}
    return [
        {
            "name": tunnel.name,
            "interface": tunnel.interface,
            "local": str(tunnel.local),
            "remote": str(tunnel.remote or "any"),
            "local_id": str(tunnel.ike.local_id),
            "remote_id": str(tunnel.ike.remote_id or "any"),
            "inner": str(tunnel.inner_local or "none"),
            "start": tunnel.ike.start.value,
            "admin": "up" if tunnel.admin_up else "down",
            "routes": ",".join(f"{route.prefix}@{route.metric}" for route in tunnel.routes),
            "bgp": _bgp(peers.get(tunnel.name)),
        }
        for tunnel in node.tunnels
    ]


def _bgp(peer: BgpPeer | None) -> str:
    """Return a tunnel's BGP session as text: both AS numbers, and BFD."""
    if peer is None:
        return "off"
    bfd = f"{peer.bfd.interval_ms}x{peer.bfd.multiplier}" if peer.bfd else "off"
    return f"AS{peer.local_asn}-AS{peer.asn}@{peer.preference},bfd={bfd}"


def genpsk() -> None:
    """Print a new pre-shared key of 256 random bits."""
    typer.echo(generate_psk())


def generate_psk() -> str:
    """
    Return a new pre-shared key of 256 random bits: 44 letters and digits, the first a letter.

    No device takes it for hexadecimal (0x) or base64 (0s), and none refuses its characters.
    """
    first = secrets.choice(string.ascii_letters)
    return first + "".join(secrets.choice(PSK_ALPHABET) for _ in range(PSK_CHARACTERS - 1))


def schema() -> None:
    """Print the JSON schema of the configuration file, for editors that check TOML."""
    from gateway.model.resources import Document

    typer.echo(json.dumps(Document.model_json_schema(), indent=2))
