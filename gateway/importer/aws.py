"""
AWS Site-to-Site VPN: `CustomerGatewayConfiguration` (XML), or the console's "Generic" text.

The file names the least that AWS demands, AES-128 with SHA-1 and group 2; by default it takes the
algorithms below too (its user guide, "Tunnel options").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Interface, ip_interface

from gateway.errors import ConfigError
from gateway.ike.iana import ProtocolId
from gateway.importer.foreign import Foreign, ForeignTunnel, address, key, number, proposal
from gateway.importer.tree import BYTES_MAX, Element, parse_xml

IKE = ("aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048")
ESP = ("aes256gcm16-ecp384", "aes256-sha256-modp2048")
NOTES = (
    "AWS begins only with the tunnel option startup-action = start; we do in any case",
    "AWS has no BFD here: a dead path is left by liveness_timeout_s, or the BGP hold time",
)
TUNNELS_MAX = 2

_LINE = re.compile(r"^\s*-\s*(.+?)\s*:\s*(.*?)\s*$")
_HEADING = re.compile(r"^IPSec Tunnel #([0-9]+)\s*$", re.IGNORECASE | re.MULTILINE)


def read_aws(content: bytes) -> Foreign:
    """Return the connection of a file. Raises ConfigError with what is wrong in it."""
    if content.lstrip()[:1] == b"<":
        return _of_xml(parse_xml(content))
    if len(content) > BYTES_MAX:
        raise ConfigError([f"is larger than {BYTES_MAX} bytes"])
    return _of_text(content.decode("utf-8", "replace"))


def _of_xml(root: Element) -> Foreign:
    if root.name != "vpn_connection":
        raise ConfigError([f"is no vpn_connection of AWS, but {root.name[:40]!r}"])
    found = root.all("ipsec_tunnel")
    is_bgp = "NoBGP" not in (root.find("vpn_connection_attributes") or "")
    return _foreign(
        root.attributes.get("id", ""),
        is_bgp,
        [
            {
                "our address": one.find("customer_gateway/tunnel_outside_address/ip_address"),
                "their address": one.find("vpn_gateway/tunnel_outside_address/ip_address"),
                "inner": _with_length(
                    one.find("customer_gateway/tunnel_inside_address/ip_address"),
                    one.find("customer_gateway/tunnel_inside_address/network_cidr"),
                ),
                "our asn": one.find("customer_gateway/bgp/asn"),
                "their asn": one.find("vpn_gateway/bgp/asn"),
                "hold": one.find("customer_gateway/bgp/hold_time"),
                "psk": one.find("ike/pre_shared_key"),
                "ike cipher": one.find("ike/encryption_protocol"),
                "ike hash": one.find("ike/authentication_protocol"),
                "ike group": one.find("ike/perfect_forward_secrecy"),
                "ike lifetime": one.find("ike/lifetime"),
                "esp cipher": one.find("ipsec/encryption_protocol"),
                "esp hash": one.find("ipsec/authentication_protocol"),
                "esp group": one.find("ipsec/perfect_forward_secrecy"),
                "esp lifetime": one.find("ipsec/lifetime"),
            }
            for one in found
        ],
    )


def _with_length(text: str | None, length: str | None) -> str | None:
    return f"{text}/{length or 30}" if text else None


def _of_text(text: str) -> Foreign:
    parts = _HEADING.split(text)
    named = re.search(r"VPN Connection ID\s*:\s*(vpn-\S+)", parts[0])
    tunnels = [_values(part) for part in parts[2::2]]
    is_bgp = any(one.get("our asn") for one in tunnels)
    return _foreign(named[1] if named else "", is_bgp, tunnels)


def _values(part: str) -> dict[str, str | None]:
    """Return the values of one tunnel's part of the text, by the heading they stand under."""
    found: dict[str, str] = {}
    section = heading = ""
    for line in part.splitlines():
        pair = _LINE.match(line)
        if pair:
            found.setdefault(f"{section} {heading}/{_word(pair[1])}", pair[2])
        elif line.startswith("#"):
            section, heading = _word(line), ""
        elif line.strip():
            heading = _word(line)
    ike, esp = _under(found, "internet key exchange"), _under(found, "ipsec configuration")
    outside, inside = _under(found, "outside ip"), _under(found, "inside ip")
    bgp = _under(found, "bgp configuration")
    return {
        "our address": outside.get("customer gateway"),
        "their address": outside.get("virtual private gateway"),
        "inner": inside.get("customer gateway"),
        "our asn": bgp.get("customer gateway asn"),
        "their asn": bgp.get("virtual private gateway asn"),
        "hold": bgp.get("neighbor hold time"),
        "psk": ike.get("pre-shared key"),
        "ike cipher": ike.get("encryption algorithm"),
        "ike hash": ike.get("authentication algorithm"),
        "ike group": _number_in(ike.get("perfect forward secrecy")),
        "ike lifetime": _number_in(ike.get("lifetime")),
        "esp cipher": esp.get("encryption algorithm"),
        "esp hash": esp.get("authentication algorithm"),
        "esp group": _number_in(esp.get("perfect forward secrecy")),
        "esp lifetime": _number_in(esp.get("lifetime")),
    }


def _word(text: str) -> str:
    return " ".join(text.lower().split())


def _under(found: Mapping[str, str], heading: str) -> dict[str, str]:
    return {
        name.rpartition("/")[2]: value
        for name, value in found.items()
        if heading in name.rpartition("/")[0]
    }


def _number_in(text: str | None) -> str | None:
    digits = re.search(r"[0-9]+", text or "")
    return digits[0] if digits else None


def _foreign(identity: str, is_bgp: bool, found: list[dict[str, str | None]]) -> Foreign:
    if not 1 <= len(found) <= TUNNELS_MAX:
        raise ConfigError([f"has {len(found)} tunnels, where AWS has 1 or {TUNNELS_MAX}"])
    tunnels = tuple(_tunnel(values, at, is_bgp) for at, values in enumerate(found, 1))
    name = identity if re.fullmatch(r"vpn-[0-9a-z]{1,24}", identity) else "aws"
    return Foreign(
        provider="AWS",
        name=name,
        is_bgp=is_bgp,
        our_asn=number(found[0]["our asn"], "customer gateway's ASN") if is_bgp else None,
        their_asn=number(found[0]["their asn"], "AWS's ASN") if is_bgp else None,
        prefixes=(),
        tunnels=tunnels,
        ike=IKE,
        esp=ESP,
        notes=NOTES,
    )


def _tunnel(values: Mapping[str, str | None], at: int, is_bgp: bool) -> ForeignTunnel:
    what = f"tunnel {at}"
    return ForeignTunnel(
        ours=address(values["our address"], f"{what}: customer gateway's outside address"),
        theirs=address(values["their address"], f"{what}: AWS's outside address"),
        inner=_inner(values["inner"], what),
        psk=key(values["psk"], f"{what}: pre-shared key"),
        ike=proposal(ProtocolId.IKE, values["ike cipher"], values["ike hash"], values["ike group"]),
        esp=proposal(ProtocolId.ESP, values["esp cipher"], values["esp hash"], values["esp group"]),
        ike_lifetime_s=number(values["ike lifetime"] or "28800", f"{what}: IKE lifetime", 86400),
        child_lifetime_s=number(values["esp lifetime"] or "3600", f"{what}: ESP lifetime", 86400),
        hold_s=number(values["hold"] or "30", f"{what}: hold time", 65535) if is_bgp else None,
    )


def _inner(text: str | None, what: str) -> IPv4Interface:
    try:
        found = ip_interface(text or "")
    except ValueError:
        found = None
    if not isinstance(found, IPv4Interface) or found.network.prefixlen != 30:
        shown = repr((text or "")[:60])
        raise ConfigError([f"{what}: inside address: is no IPv4 address in a /30 ({shown})"])
    return found
