"""One mistake in a wanted document and its text: the key, what is wrong, the value if no secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time

from pydantic import BaseModel

from gateway.model.locate import Path
from gateway.model.resources import (
    BorderGateway,
    CustomerGateway,
    DirectLine,
    Document,
    Gateway,
    PolicyRule,
    Route,
    Veth,
    VpcAttachment,
    VpnConnection,
    VpnTunnel,
)

SECRET_KEYS = frozenset({"psk", "ppk", "private_key", "bgp_password"})
# Keys that name a file, and the key that its content stands for.
FILE_KEYS = {
    "psk_file": "psk",
    "certificate_file": "certificate",
    "private_key_file": "private_key",
    "ca_file": "ca",
    "remote_public_key_file": "remote_public_key",
}
SHOWN_MAX = 80  # characters of a value in a message

_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Document,
    ("gateway",): Gateway,
    ("border_gateway",): BorderGateway,
    ("vpc_attachment",): VpcAttachment,
    ("vpc_attachment", "veth"): Veth,
    ("customer_gateway",): CustomerGateway,
    ("vpn_connection",): VpnConnection,
    ("vpn_connection", "tunnel"): VpnTunnel,
    ("direct_line",): DirectLine,
    ("vpn_connection", "rule"): PolicyRule,
    ("route",): Route,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One finding in a document: `path` is its key, `shown` its value as it may be printed.

    A warning says what is probably not meant; the document can be used all the same.
    """

    path: Path
    text: str
    shown: str = ""
    is_warning: bool = False
    code: str = "invalid_value"  # for programs; the text is for people

    def __str__(self) -> str:
        return f"{self.text} ({self.shown})" if self.shown else self.text


def shown(value: object, path: Path = ()) -> str:
    """Return `value` as a message may show it: shortened, secrets and containers by kind only."""
    if SECRET_KEYS & set(path):
        return "secret, not shown"
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value) if value.bit_length() < 128 else "a very large number"
        case str():
            text = value if len(value) <= SHOWN_MAX else value[: SHOWN_MAX - 3] + "..."
            return '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + '"'
        case float() | date() | time():
            return str(value)
        case list() | tuple():
            return "a list"
        case dict():
            return "a table"
        case _:
            return str(value)[:SHOWN_MAX]


def key_text(path: Path, raw: object) -> str:
    """
    Return a path as a person reads it, as in `vpn_connection[office].tunnel[#2].psk`.

    A list element is shown by its name, or by its position from 1 if it has none.
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            raw = raw[part] if isinstance(raw, list) and part < len(raw) else None
            name = raw.get("name") if isinstance(raw, dict) else None
            text += f"[{name}]" if is_plain(name) else f"[#{part + 1}]"
        else:
            raw = raw.get(part) if isinstance(raw, dict) else None
            text += ("." if text else "") + (part if is_plain(part) else shown(part))
    return text or "document"


def is_plain(name: object) -> bool:
    """Return whether `name` may stand in a key path as it is."""
    return isinstance(name, str) and 0 < len(name) <= 32 and name.isprintable() and " " not in name


def value_at(raw: object, path: Path) -> object:
    """Return what stands at `path` in a parsed TOML document, None if nothing does."""
    for part in path:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw


def unknown_key_text(path: Path) -> str:
    """Return what to say of a key that no resource has, with the likeliest one that does exist."""
    table = tuple(part for part in path[:-1] if isinstance(part, str))
    known: Iterable[str] = _MODELS[table].model_fields if table in _MODELS else ()
    near = difflib.get_close_matches(str(path[-1]), list(known), n=1)
    return "unknown key" + (f"; did you mean {near[0]}?" if near else "")
