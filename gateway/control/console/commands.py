"""What a page can do, as a call of the API and as a command line: they teach each other. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.cli.remote.nouns import BY_KIND
from gateway.control.resources.kinds import SECRETS, Kind

HIDDEN = "..."  # stands for a secret


@dataclass(frozen=True, slots=True)
class SameThing:
    """The same action in two other ways."""

    call: str
    command: str


OVERVIEW = SameThing("GET /v1/vpn-tunnels", "twinspan status --fleet")
HAPPENED: Mapping[str, SameThing] = {
    "events": SameThing("GET /v1/events", "twinspan events --follow"),
    "alarms": SameThing("GET /v1/alarms", "twinspan alarm list"),
    "audit": SameThing("GET /v1/audit-log", "twinspan audit"),
}


def _noun(kind: Kind) -> str:
    return BY_KIND[kind.name].name


def of_list(kind: Kind) -> SameThing:
    """Return how a list is asked for."""
    return SameThing(f"GET /v1/{kind.path}", f"twinspan {_noun(kind)} list")


def of_resource(kind: Kind, id: str) -> SameThing:
    """Return how one resource is asked for."""
    return SameThing(f"GET /v1/{kind.path}/{id}", f"twinspan {_noun(kind)} show {id}")


def of_verb(kind: Kind, id: str, verb: str) -> SameThing:
    """Return how something is done to a resource."""
    command = f"twinspan {_noun(kind)} {verb} {id}"
    if verb == "delete":
        if kind.name == "vpn_connection":  # with its tunnels
            return SameThing(f"DELETE /v1/{kind.path}/{id}?cascade=true", f"{command} --cascade")
        return SameThing(f"DELETE /v1/{kind.path}/{id}", command)
    return SameThing(f"POST /v1/{kind.path}/{id}/{verb}", command)


def of_routes(kind: Kind, id: str, resource: Mapping[str, Any], table: str) -> SameThing:
    """Return how route tables are asked for; the command line knows those of Border Gateways."""
    gateway = id if kind.name == "border_gateway" else str(resource["border_gateway"])
    query, option = (f"?table={table}", f" --table {table}") if table else ("", "")
    return SameThing(
        f"GET /v1/{kind.path}/{id}/routes{query}",
        f"twinspan routes --border-gateway {gateway}{option}",
    )


def of_negotiation(id: str) -> SameThing:
    """Return how it is asked for what was said with a tunnel's peer."""
    return SameThing(f"GET /v1/vpn-tunnels/{id}/negotiation", f"twinspan trace {id} --last --fleet")


def of_config(id: str, asked: Mapping[str, str]) -> SameThing:
    """Return how a customer's configuration is made."""
    words = [f"twinspan connection config {id}"]
    for name, value in asked.items():
        option = f"--{name.replace('_', '-')}"
        if name == "secrets":
            words.append(option)
            continue
        parts = value.split(",") if name in ("tunnel", "wan_interface", "announce") else [value]
        words += [f"{option} {shlex.quote(part)}" for part in parts]
    query = "&".join(f"{name}={quote(value)}" for name, value in asked.items())
    call = f"GET /v1/vpn-connections/{id}/customer-config?{query}"
    return SameThing(call, " ".join([*words, "--out FOLDER"]))


def of_acknowledgement() -> SameThing:
    """Return how it is said that somebody sees to an alarm."""
    return SameThing("POST /v1/alarms/ID/ack", "twinspan alarm ack ID")


def of_creation(kind: Kind, fields: Mapping[str, Any]) -> SameThing:
    """Return how a resource with these fields is made; secrets are not told."""
    body = json.dumps(_masked(fields), ensure_ascii=False)
    return SameThing(
        f"POST /v1/{kind.path}\n{body}",
        f"twinspan {_noun(kind)} create {_options(fields)}".rstrip(),
    )


def of_change(kind: Kind, id: str, patch: Mapping[str, Any]) -> SameThing:
    """Return how a resource is changed; secrets are not told."""
    body = json.dumps(_masked(patch), ensure_ascii=False)
    return SameThing(
        f"PATCH /v1/{kind.path}/{id}\n{body}",
        f"twinspan {_noun(kind)} update {id} {_options(patch)}".rstrip(),
    )


def _masked(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: HIDDEN if key in SECRETS else value for key, value in fields.items()}


def _options(fields: Mapping[str, Any]) -> str:
    words = []
    for key, value in _masked(fields).items():
        if key == "tags" and isinstance(value, dict):
            words += [f"--tag {shlex.quote(f'{name}={text}')}" for name, text in value.items()]
        else:
            words.append(f"--{key.replace('_', '-')} {shlex.quote(_word(value))}")
    return " ".join(words)


def _word(value: object) -> str:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value)
