"""
Azure: the site configuration of a Virtual WAN (JSON), or the head of a VPN gateway's device script.

Azure's own policy has DH group 2 alone, which this gateway refuses: a custom IPsec/IKE policy is
needed there, and the note says which one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Interface, ip_address, ip_interface

from gateway.errors import ConfigError
from gateway.ike.iana import ProtocolId
from gateway.importer.foreign import (
    Foreign,
    ForeignTunnel,
    address,
    key,
    network,
    number,
    proposal,
)
from gateway.importer.tree import BYTES_MAX
from gateway.model.types import AnyNetwork

IKE = ("aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048")
ESP = ("aes256gcm16-ecp384", "aes256-sha256-modp2048")
IKE_LIFETIME_S, CHILD_LIFETIME_S = 28800, 27000
NOTES = (
    "give the connection at Azure a custom IPsec/IKE policy: IKE GCMAES256, SHA384, ECP384; IPsec"
    " GCMAES256, PFS ECP384 (its default has DH group 2 alone)",
)
NO_APIPA = (
    "BGP: Azure's peering address lies in its own network; give its gateway a custom (APIPA)"
    " address in 169.254.21.0 to 169.254.22.255 and download the file again"
)
TUNNELS_MAX = 2

_LINE = re.compile(r"^[!#>\s]*[>+]\s*([^:]+?)\s*:\s*(.*?)\s*$")


def read_azure(content: bytes) -> Foreign:
    """Return the connection of a file. Raises ConfigError with what is wrong in it."""
    if len(content) > BYTES_MAX:
        raise ConfigError([f"is larger than {BYTES_MAX} bytes"])
    text = content.decode("utf-8-sig", "replace")
    if text.lstrip()[:1] in ("{", "["):
        return _of_json(text)
    return _of_script(text)


# ---- Virtual WAN ----


def _of_json(text: str) -> Foreign:
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(["is not JSON that can be read"]) from None
    sites = root if isinstance(root, list) else [root]
    if len(sites) != 1:
        raise ConfigError([f"has {len(sites)} sites: keep one in the file"])
    site = _table(sites[0], "vpnSiteConfiguration")
    (connection,) = _only(sites[0], "vpnSiteConnections")
    gateway = _table(connection, "gatewayConfiguration")
    settings = _table(connection, "connectionConfiguration")
    is_bgp = settings.get("IsBgpEnabled") is True
    ours = address(_text(site, "IPAddress"), "vpnSiteConfiguration.IPAddress")
    tunnels = tuple(
        ForeignTunnel(
            ours=ours,
            theirs=address(theirs, f"IpAddresses.{instance}"),
            inner=_apipa(gateway, site, instance) if is_bgp else None,
            psk=key(_text(settings, "PSK"), "connectionConfiguration.PSK"),
            ike=None,
            esp=None,
            ike_lifetime_s=IKE_LIFETIME_S,
            child_lifetime_s=_lifetime(settings),
        )
        for instance, theirs in _instances(gateway)
    )
    return Foreign(
        provider="Azure",
        name=_name(_text(site, "Name")),
        is_bgp=is_bgp,
        our_asn=_asn(_table(site, "BgpSetting"), "the site's ASN") if is_bgp else None,
        their_asn=_asn(_table(gateway, "BgpSetting"), "Azure's ASN") if is_bgp else None,
        prefixes=tuple(_prefixes(connection)),
        tunnels=tunnels,
        ike=IKE,
        esp=ESP,
        notes=NOTES,
    )


def _table(value: object, name: str) -> dict[str, object]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise ConfigError([f"{name}: is missing"])
    return found


def _only(value: object, name: str) -> list[object]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list) or len(found) != 1:
        raise ConfigError([f"{name}: needs one connection"])
    return found


def _text(table: dict[str, object], name: str) -> str | None:
    found = table.get(name)
    return found if isinstance(found, str) else None


def _asn(table: dict[str, object], what: str) -> int:
    found = table.get("Asn")
    return number(str(found) if isinstance(found, int) else None, what)


def _lifetime(settings: dict[str, object]) -> int:
    parameters = settings.get("IPsecParameters")
    found = parameters.get("SALifeTimeInSeconds") if isinstance(parameters, dict) else None
    return number(str(found or CHILD_LIFETIME_S), "SALifeTimeInSeconds", 604800)


def _instances(gateway: dict[str, object]) -> Iterator[tuple[str, str | None]]:
    addresses = _table(gateway, "IpAddresses")
    for instance in [name for name in ("Instance0", "Instance1") if name in addresses]:
        yield instance, _text(addresses, instance)


def _apipa(gateway: dict[str, object], site: dict[str, object], instance: str) -> IPv4Interface:
    """Return our address inside: the site's own where both are in one /30, else the other host."""
    custom = _table(gateway, "BgpSetting").get("CustomBgpPeeringAddresses")
    theirs = custom.get(instance) if isinstance(custom, dict) else None
    try:
        found = ip_interface(f"{ip_address(str(theirs).split(',')[0].strip())}/30")
    except ValueError:
        raise ConfigError([NO_APIPA]) from None
    hosts = [host for host in found.network.hosts() if host != found.ip]
    if not isinstance(found, IPv4Interface) or not found.ip.is_link_local or len(hosts) != 1:
        raise ConfigError([NO_APIPA])
    return IPv4Interface(f"{hosts[0]}/30")


def _prefixes(connection: object) -> Iterator[AnyNetwork]:
    hub = _table(connection, "hubConfiguration")
    space, subnets = hub.get("AddressSpace"), hub.get("ConnectedSubnets")
    named = [space, *(subnets if isinstance(subnets, list) else [])]
    for text in named[:50]:
        if isinstance(text, str) and text:
            yield network(text, "hubConfiguration")


def _name(text: str | None) -> str:
    return text if text and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}", text) else "azure"


# ---- VPN gateway ----


def _of_script(text: str) -> Foreign:
    found: dict[str, list[str]] = {}
    section = "head"
    for line in text.splitlines()[:400]:
        pair = _LINE.match(line)
        if pair is None:
            section = "esp" if re.match(r"^[!#\s]*>\s*IPsec\s*$", line) else section
            continue
        section = "ike" if pair[1] == "IKE version" else section
        found.setdefault(f"{section}/{pair[1]}", []).append(pair[2])
    theirs = [
        address
        for name, values in found.items()
        if re.fullmatch("head/Public IP [0-9]+", name)
        for address in values
    ]
    if not 1 <= len(theirs) <= TUNNELS_MAX:
        raise ConfigError(["is neither a site's JSON nor a device script of an Azure VPN gateway"])
    if (_first(found, "esp/Enable BGP") or "").lower() == "true":
        raise ConfigError([f"{NO_APIPA}; or use the static routing of this script"])
    return Foreign(
        provider="Azure",
        name="azure",
        is_bgp=False,
        our_asn=None,
        their_asn=None,
        prefixes=tuple(_virtual_network(text)),
        tunnels=tuple(_script_tunnel(found, one) for one in theirs),
        ike=IKE,
        esp=ESP,
        notes=NOTES,
    )


def _first(found: dict[str, list[str]], name: str) -> str | None:
    return next((value for value in found.get(name, []) if value), None)


def _script_tunnel(found: dict[str, list[str]], theirs: str) -> ForeignTunnel:
    cipher, integ = _first(found, "ike/Encryption algorithm"), _integ(found, "ike")
    lifetime = _first(found, "esp/SA lifetime (seconds)") or str(CHILD_LIFETIME_S)
    return ForeignTunnel(
        ours=address(_first(found, "head/On-premises VPN IP"), "On-premises VPN IP"),
        theirs=address(theirs, "Public IP"),
        inner=None,
        psk=key(_first(found, "ike/Pre-shared key"), "Pre-shared key"),
        ike=proposal(ProtocolId.IKE, cipher, integ, _first(found, "ike/Diffie-Hellman group")),
        esp=proposal(
            ProtocolId.ESP,
            _first(found, "esp/Encryption algorithm"),
            _integ(found, "esp"),
            _first(found, "esp/PFS Group"),
        ),
        ike_lifetime_s=IKE_LIFETIME_S,
        child_lifetime_s=number(lifetime, "SA lifetime (seconds)", 604800),
    )


def _integ(found: dict[str, list[str]], section: str) -> str | None:
    # The script writes it as one word in one place and as two in another.
    return _first(found, f"{section}/Integrityalgorithm") or _first(
        found, f"{section}/Integrity algorithm"
    )


def _virtual_network(text: str) -> Iterator[AnyNetwork]:
    """Return the address space of Azure's network: what stands before the customer's own."""
    head = text.partition("On-premises")[0]
    for found in re.findall(r"\+ CIDR:([0-9./]+),", head)[:50]:
        yield network(found, "Virtual network address space")
