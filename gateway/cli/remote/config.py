"""`twinspan connection config`: what the customer's device is told, from the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from gateway.cli.customer import complete_device, hand_over, missing, show_devices
from gateway.cli.remote.http import Query
from gateway.cli.remote.names import completer, id_of, path_of
from gateway.cli.remote.nouns import Noun
from gateway.cli.remote.session import ContextOption, TenantOption, speaking
from gateway.cli.remote.signature import Parameter, add_command, argument, known, option

Values = dict[str, object]


def add_config(app: typer.Typer, noun: Noun) -> None:
    """Give the commands of connections the one that makes the customer's configuration."""
    text = "Print or write what the customer's device is to be told; --list shows the kinds."

    def run(values: object) -> None:
        _config(noun, cast(Values, values))

    add_command(app, "config", text, _parameters(), run)


def _parameters() -> list[Parameter]:
    return [
        argument(
            "resource", "name or id of the connection", completer("connection"), is_required=False
        ),
        option("--device", "kind of device", complete=complete_device),
        known("secrets", Annotated[bool, typer.Option("--secrets", help="with keys")], False),
        option("--out", "folder for the files; without it they are printed", Path),
        option("--tunnel", "only this tunnel, once for each", list[str]),
        option("--wan-interface", "outside interface of the device, once for each", list[str]),
        option("--lan-interface", "its inside interface"),
        option("--first-number", "of tunnel interfaces", int),
        option("--announce", "prefix behind it, if the connection names none", list[str]),
        known("listing", Annotated[bool, typer.Option("--list", help="list the devices")], False),
        known(
            "as_json", Annotated[bool, typer.Option("--json", help="print one JSON object")], False
        ),
        known("context", ContextOption, None),
        known("tenant", TenantOption, None),
    ]


def _config(noun: Noun, values: Values) -> None:
    as_json = bool(values["as_json"])
    whom = cast(str | None, values["context"]), cast(str | None, values["tenant"])
    if values["listing"]:
        show_devices(as_json=as_json)
        return
    if values["resource"] is None or values["device"] is None:
        raise typer.BadParameter(missing(values["resource"]))
    with speaking(*whom) as api:
        place = path_of(noun, id_of(api, noun, str(values["resource"])))
        answer = api.get(f"{place}/customer-config", _query(values))
    files = [
        (str(file["name"]), str(file["text"]))
        for file in cast(list[dict[str, object]], answer["files"])
    ]
    out = cast(Path | None, values["out"])
    notes = cast(list[str], answer["notes"])
    hand_over(str(answer["device"]), files, notes, out, as_json=as_json)


def _query(values: Values) -> Query:
    found: dict[str, str | int] = {"device": str(values["device"])}
    if values["secrets"]:
        found["secrets"] = "true"
    for name in ("tunnel", "wan_interface", "announce"):
        if words := cast(list[str] | None, values[name]):
            found[name] = ",".join(words)
    for name in ("lan_interface", "first_number"):
        if values[name] is not None:
            found[name] = str(values[name])
    return found
