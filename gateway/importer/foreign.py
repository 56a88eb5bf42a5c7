"""
A connection as a cloud describes it to its customer, and the tables of our document for it.

"ours" is the customer's end, which we are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from gateway.errors import ConfigError
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.model.document import Table
from gateway.model.resources import BorderGateway, Document
from gateway.model.types import LEGACY, AnyAddress, AnyNetwork, parse_network, parse_outer_address

Tables = dict[str, list[Table]]

# Clouds rekey by themselves, up to a third before the end. We rekey well before that.
SHARE_OF_LIFETIME = 2 / 3
GROUPS = {
    "14": "modp2048",
    "15": "modp3072",
    "16": "modp4096",
    "17": "modp6144",
    "18": "modp8192",
    "19": "ecp256",
    "20": "ecp384",
    "21": "ecp521",
    "31": "x25519",
    "1": "modp768",
    "2": "modp1024",
    "5": "modp1536",
}
HASHES = {"sha1": "sha1", "256": "sha256", "384": "sha384", "512": "sha512", "md5": "md5"}


@dataclass(frozen=True, slots=True)
class ForeignTunnel:
    """One tunnel; `ike` and `esp` are the file's proposals, None where we can not have them."""

    ours: AnyAddress
    theirs: AnyAddress
    inner: IPv4Interface | None  # ours
    psk: str
    ike: str | None
    esp: str | None
    ike_lifetime_s: float
    child_lifetime_s: float
    hold_s: int | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """
    A connection toward a cloud. `is_bgp` needs both AS numbers.

    `ike` and `esp` are what that cloud takes unless it is told otherwise, the best first.
    """

    provider: str
    name: str
    is_bgp: bool
    our_asn: int | None
    their_asn: int | None
    prefixes: tuple[AnyNetwork, ...]
    tunnels: tuple[ForeignTunnel, ...]
    ike: tuple[str, ...]
    esp: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """What the file does not say. `local_address` stands for all of ours, behind a NAT."""

    name: str | None = None
    border_gateway: str | None = None
    local_address: AnyAddress | None = None
    remote_cidrs: tuple[AnyNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What was made: the tables, the key of each tunnel by its file's name, what to know."""

    name: str
    tables: Tables
    keys: dict[str, str]
    notes: tuple[str, ...]


def joined(parts: Sequence[Foreign]) -> Foreign:
    """Return several files as one connection: their tunnels one behind the other."""
    first = parts[0]
    for part in parts[1:]:
        if (part.is_bgp, part.our_asn, part.their_asn) != (
            first.is_bgp,
            first.our_asn,
            first.their_asn,
        ):
            raise ConfigError(["the files are not of one customer: routing or AS numbers differ"])
    return replace(
        first,
        tunnels=tuple(tunnel for part in parts for tunnel in part.tunnels),
        prefixes=tuple(dict.fromkeys(prefix for part in parts for prefix in part.prefixes)),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def tables_of(foreign: Foreign, document: Document, wish: Wish) -> Imported:
    """Return what a document gets for a connection. Raises ConfigError with what forbids it."""
    border = _border(document, wish.border_gateway)
    name = wish.name or foreign.name
    _judge_addresses(foreign, document, wish)
    prefixes = wish.remote_cidrs or foreign.prefixes
    if not foreign.is_bgp and not prefixes:
        text = "routing is static: what is behind the cloud must be said, by --remote-cidr"
        raise ConfigError([text])
    customer: Table = {
        "name": name,
        "public_addresses": [str(one) for one in dict.fromkeys(t.theirs for t in foreign.tunnels)],
    }
    connection: Table = {
        "name": name,
        "border_gateway": border.name,
        "customer_gateway": name,
        "routing": "bgp" if foreign.is_bgp else "static",
        "remote_cidrs": [str(prefix) for prefix in prefixes],
    }
    if foreign.is_bgp:
        customer["asn"] = foreign.their_asn
        connection["bfd"] = "off"  # clouds do not speak it with a customer
        if foreign.our_asn != border.asn:
            connection["local_asn"] = foreign.our_asn
    numbered = list(enumerate(foreign.tunnels, 1))
    connection["tunnel"] = [_tunnel(foreign, one, f"{name}-{at}", wish) for at, one in numbered]
    keys = {f"{name}-{at}.psk": one.psk for at, one in numbered}
    tables: Tables = {"customer_gateway": [customer], "vpn_connection": [connection]}
    return Imported(name, tables, keys, (*foreign.notes, *_notes(foreign)))


def _border(document: Document, name: str | None) -> BorderGateway:
    found = [one for one in document.border_gateway if name in (None, one.name)]
    if len(found) != 1:
        names = ", ".join(one.name for one in document.border_gateway) or "none"
        raise ConfigError([f"--border-gateway: which one? There is: {names}"])
    return found[0]


def _judge_addresses(foreign: Foreign, document: Document, wish: Wish) -> None:
    pool = document.gateway.public_addresses
    if wish.local_address is not None:
        if wish.local_address not in pool:
            text = f"is not one of gateway.public_addresses ({wish.local_address})"
            raise ConfigError([f"--local-address: {text}"])
        return
    missing = dict.fromkeys(str(t.ours) for t in foreign.tunnels if t.ours not in pool)
    if missing:
        text = (
            f"gateway.public_addresses: has no {', '.join(missing)}, which the file says is ours:"
            " add it there, or say --local-address where this VM is behind a NAT"
        )
        raise ConfigError([text])


def _tunnel(foreign: Foreign, tunnel: ForeignTunnel, name: str, wish: Wish) -> Table:
    made: Table = {
        "name": name,
        "local_address": str(wish.local_address or tunnel.ours),
        "remote_address": str(tunnel.theirs),
        "psk_file": f"{name}.psk",
        "ike_proposals": list(dict.fromkeys([*_own(tunnel.ike), *foreign.ike])),
        "esp_proposals": list(dict.fromkeys([*_own(tunnel.esp), *foreign.esp])),
        "ike_lifetime_s": round(tunnel.ike_lifetime_s * SHARE_OF_LIFETIME),
        "child_lifetime_s": round(tunnel.child_lifetime_s * SHARE_OF_LIFETIME),
    }
    if wish.local_address is not None:
        made["local_id"] = str(tunnel.ours)
    if tunnel.inner is not None:
        made["inner_cidr"] = str(tunnel.inner.network)
        made["inner_local"] = str(tunnel.inner.ip)
    if tunnel.hold_s is not None:
        made["bgp_hold_s"] = tunnel.hold_s
    return made


def _own(proposal: str | None) -> list[str]:
    return [proposal] if proposal else []


def _notes(foreign: Foreign) -> list[str]:
    lacking = [
        f"{kind}: the file's algorithms are old or unknown here; {foreign.provider} is offered"
        f" {', '.join(offered)}, which it takes unless its own options forbid it"
        for kind, offered, named in (
            ("IKE", foreign.ike, [tunnel.ike for tunnel in foreign.tunnels]),
            ("ESP", foreign.esp, [tunnel.esp for tunnel in foreign.tunnels]),
        )
        if None in named
    ]
    return lacking


# ---- values of a file ----


def address(text: str | None, what: str) -> AnyAddress:
    """Return an outer address. Raises ConfigError that names what it is."""
    try:
        return parse_outer_address(text or "")
    except ValueError as error:
        raise ConfigError([f"{what}: {error} ({_short(text)})"]) from None


def network(text: str, what: str) -> AnyNetwork:
    """Return a prefix. Raises ConfigError that names what it is."""
    try:
        return parse_network(text)
    except ValueError as error:
        raise ConfigError([f"{what}: {error} ({_short(text)})"]) from None


def number(text: str | None, what: str, most: int = 4294967294) -> int:
    """Return a whole number from 1. Raises ConfigError that names what it is."""
    if text is None or not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) <= most:
        raise ConfigError([f"{what}: is no number from 1 to {most} ({_short(text)})"])
    return int(text)


def key(text: str | None, what: str) -> str:
    """Return a pre-shared key. Raises ConfigError that does not show it."""
    if not text or not text.isprintable() or len(text) > 128:
        raise ConfigError([f"{what}: is missing, or has characters that no key has"])
    return text


def _short(text: str | None) -> str:
    return "missing" if not text else repr(text[:60])


def proposal(
    protocol: ProtocolId, cipher: str | None, integ: str | None, group: str | None
) -> str | None:
    """
    Return a proposal of a file's words, as in "aes-256-cbc", "hmac-sha2-256" and "group14".

    None where it has an algorithm that this gateway lacks or refuses.
    """
    bits, is_gcm = re.search(r"128|192|256", cipher or ""), "gcm" in (cipher or "").lower()
    parts = [f"aes{bits[0]}gcm16" if is_gcm else f"aes{bits[0]}"] if bits else []
    hash_name = next((word for part, word in HASHES.items() if part in (integ or "").lower()), None)
    if hash_name and not is_gcm:
        parts.append(hash_name)
    elif protocol is ProtocolId.IKE:
        parts.append(f"prf{hash_name}" if hash_name else "prfsha384")
    digits = re.search(r"[0-9]+", group or "")
    if digits:
        parts.append(GROUPS.get(digits[0], "unknown"))
    text = "-".join(parts)
    try:
        parse_proposal(text, protocol)
    except ValueError:
        return None
    return None if set(parts) & LEGACY else text
