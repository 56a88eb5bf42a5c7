"""`twinspan customer-config`: the configuration of the device at the customer's end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import write
from gateway.cli.table import table

DOCUMENT = Path("/etc/twinspan/gateway.toml")


def _complete_connection(context: typer.Context, incomplete: str) -> list[str]:
    """Return the document's connections whose name begins so; none where it can not be read."""
    from gateway.errors import ConfigError
    from gateway.model.load import load_document

    try:
        document = load_document(Path(context.params.get("config") or DOCUMENT))
    except ConfigError:
        return []
    names = [connection.name for connection in document.vpn_connection]
    return [name for name in names if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[tuple[str, str]]:
    from gateway.customer.catalog import DEVICES

    return [(name, one.title) for name, one in DEVICES.items() if name.startswith(incomplete)]


_Connection = Annotated[
    str | None,
    typer.Argument(help="name of a VPN Connection", autocompletion=_complete_connection),
]
_Device = Annotated[
    str | None,
    typer.Option("--device", help="kind of device, see --list", autocompletion=complete_device),
]
_Config = Annotated[Path, typer.Option("--config", "-c", help="the TOML document")]
_Secrets = Annotated[
    bool, typer.Option("--secrets", help="with keys; without it a word stands in their place")
]
_Out = Annotated[
    Path | None, typer.Option("--out", help="folder for the files; without it they are printed")
]
_Tunnels = Annotated[
    list[str] | None,
    typer.Option("--tunnel", help="a tunnel that ends at this device, once for each; none: all"),
]
_Wan = Annotated[
    list[str] | None,
    typer.Option(
        "--wan-interface",
        help="the device's outside interface, once for each of the customer's addresses",
    ),
]
_Lan = Annotated[str | None, typer.Option("--lan-interface", help="the device's inside interface")]
_Number = Annotated[
    int, typer.Option("--first-number", min=0, help="of the tunnel interfaces, if they have one")
]
_Announce = Annotated[
    list[str] | None,
    typer.Option("--announce", help="prefix behind the device, if the document names none"),
]


def customer_config(
    connection: _Connection = None,
    device: _Device = None,
    config: _Config = DOCUMENT,
    secrets: _Secrets = False,
    out: _Out = None,
    tunnel: _Tunnels = None,
    wan_interface: _Wan = None,
    lan_interface: _Lan = None,
    first_number: _Number = 1,
    announce: _Announce = None,
    as_list: Annotated[bool, typer.Option("--list", help="list the kinds of device")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """
    Make the configuration of the customer's device for a VPN Connection, or --list the devices.

    Every tunnel of the connection with all its values, in the words of the device.
    """
    if as_list:
        show_devices(as_json=as_json)
        return
    # Imported here: pydantic would double the start time of every other command.
    from gateway.customer.catalog import customer_config as rendered_for
    from gateway.customer.options import options_of
    from gateway.errors import ConfigError
    from gateway.model.load import load_document

    try:
        if connection is None or device is None:
            raise ConfigError([missing(connection)])
        options = options_of(
            secrets=secrets,
            wan=wan_interface or (),
            lan=lan_interface,
            first_number=first_number,
            announce=announce or (),
        )
        made = rendered_for(load_document(config), connection, device, options, tunnel or ())
    except ConfigError as error:
        write.refuse(error.problems, as_json=as_json)
    files = [(file.name, file.text) for file in made.files]
    hand_over(device, files, made.notes, out, as_json=as_json)


def missing(connection: object) -> str:
    """Return what is said where a connection or its device is not given."""
    if connection is None:
        return "give a connection and --device, or --list"
    return f"--device: is required for {connection}; --list shows all"


def show_devices(*, as_json: bool) -> None:
    from gateway.customer.catalog import DEVICES

    rows: list[Mapping[str, object]] = [
        {
            "device": one.name,
            "title": one.title,
            "version": one.version,
            "routing": sorted(one.modes),
            "ipv6": one.ipv6,
        }
        for one in DEVICES.values()
    ]
    if as_json:
        typer.echo(json.dumps({"devices": rows}, indent=2))
        return
    head = ("DEVICE", "TITLE", "ROUTING", "VERSION")
    cells = [
        (one.name, one.title, ", ".join(sorted(one.modes)), one.version) for one in DEVICES.values()
    ]
    for line in table(head, cells):
        typer.echo(line)


def hand_over(
    device: str,
    files: Sequence[tuple[str, str]],
    notes: Sequence[str],
    out: Path | None,
    *,
    as_json: bool,
) -> None:
    """Write files, given by name and text, into a folder, or print them; then say the notes."""
    if out is not None:
        _write(out, files, as_json=as_json)
    if as_json:
        listed = [{"name": name, **({"text": text} if out is None else {})} for name, text in files]
        head = {"ok": True, "device": device, "out": str(out) if out else None}
        typer.echo(json.dumps({**head, "notes": list(notes), "files": listed}, indent=2))
        return
    for name, text in files:
        if out is not None:
            typer.echo(str(out / name))
            continue
        if len(files) > 1:
            typer.echo(f"==> {name} <==")
        typer.echo(text)
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _write(out: Path, files: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Write all files, those of a former time replaced. Ends the program if it can not be done."""
    changes = []
    try:
        for name, text in files:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            old = path.read_text() if path.exists() else None
            changes.append(write.Change(path, old, text, path.parent))
        write.write_all(changes)
    except (OSError, UnicodeDecodeError, write.NotWritten) as error:
        write.refuse([str(error)], as_json=as_json)
