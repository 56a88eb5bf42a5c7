"""The rules for direct lines; `check.py` runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from gateway.model.lines import resolve_lines
from gateway.model.problem import Problem, shown
from gateway.model.resources import DirectLine, Document, namespaces_of
from gateway.model.settings import BgpSettings
from gateway.model.tunnels import ResolvedTunnel
from gateway.model.types import AnyAddress, AnyInterface, AnyNetwork

Tunnels = tuple[ResolvedTunnel, ...]
LineRule = Callable[[Document, Tunnels], Iterable[Problem]]

HOSTS_MIN = 4  # addresses of a network that has a network and a broadcast address (RFC 3021)


def _names(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Commands and logs call tunnels and lines by name alike."""
    taken = {tunnel.name for tunnel in tunnels}
    for at, line in enumerate(document.direct_line):
        if line.name in taken:
            yield Problem(("direct_line", at, "name"), "a tunnel has this name", shown(line.name))


def _interfaces(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    places = namespaces_of(document)
    owners = {(t.namespace, t.interface): f"tunnel {t.name}" for t in tunnels}
    for attachment in document.vpc_attachment:
        place = places.get(attachment.border_gateway, "")
        owners[place, attachment.interface] = f"vpc_attachment {attachment.name}"
    for at, line in enumerate(document.direct_line):
        end = (places.get(line.border_gateway, ""), line.interface)
        owner = owners.setdefault(end, f"direct_line {line.name}")
        if owner != f"direct_line {line.name}":
            path = ("direct_line", at, "interface")
            yield Problem(path, f"{owner} has this device", shown(line.interface))


def _addresses(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    for at, line in enumerate(document.direct_line):
        if text := host_text(line.address.ip, line.address.network):
            yield Problem(("direct_line", at, "address"), text, shown(str(line.address)))
        elif text := peer_text(line.peer_address, line.address):
            path = ("direct_line", at, "peer_address")
            yield Problem(path, text, shown(str(line.peer_address)))


def host_text(address: AnyAddress, network: AnyNetwork) -> str:
    """Return why `address` can not be a host's in `network`; "" if it can."""
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        return "is not a host's address"
    if address.version == 6 and address.is_link_local:
        return "is a link-local address: one that routes can name alone is needed"
    if network.version == 4 and network.num_addresses >= HOSTS_MIN:
        if address == network.network_address:
            return "is the address of the network itself"
        if address == network.broadcast_address:
            return "is the broadcast address of its network"
    return ""


def peer_text(peer: AnyAddress, own: AnyInterface) -> str:
    """Return why `peer` can not be the next hop on a link where we are `own`; "" if it can."""
    if peer == own.ip:
        return "is our own address"
    if peer.version != own.version or peer not in own.network:
        return f"is not in the network of our address, {own.network}"
    return host_text(peer, own.network)


def _networks(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """In one namespace, the network of a line is nobody else's."""
    places = namespaces_of(document)
    taken: list[tuple[str, AnyNetwork, str]] = [
        (t.namespace, inner, f"inside tunnel {t.name}")
        for t in tunnels
        if (inner := t.tunnel.inner_cidr)
    ]
    for attachment in document.vpc_attachment:
        place = places.get(attachment.border_gateway, "")
        for address in attachment.addresses:
            taken.append((place, address.network, f"of vpc_attachment {attachment.name}"))
    for at, line in enumerate(document.direct_line):
        place, network = places.get(line.border_gateway, ""), line.address.network
        for other, theirs, who in taken:
            if other == place and _overlap(theirs, network):
                path = ("direct_line", at, "address")
                yield Problem(path, f"overlaps the network {who}", shown(str(line.address)))
                break
        taken.append((place, network, f"of direct_line {line.name}"))


def _overlap(one: AnyNetwork, other: AnyNetwork) -> bool:
    if one.version != other.version:
        return False
    return one.network_address in other or other.network_address in one


def _prefixes(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    for at, line in enumerate(document.direct_line):
        path = ("direct_line", at, "remote_cidrs")
        if line.routing == "static" and not line.remote_cidrs:
            yield Problem(path, 'is required with routing = "static": the customer\'s prefixes')
        for place, cidr in enumerate(line.remote_cidrs):
            if text := _prefix_text(cidr, line):
                yield Problem((*path, place), text, shown(str(cidr)))


def _prefix_text(cidr: AnyNetwork, line: DirectLine) -> str:
    network = line.address.network
    if cidr.version != network.version:
        return "is not of the IP version of the line's address"
    if cidr.prefixlen >= network.prefixlen and cidr.network_address in network:
        return f"lies within the line's own network {network}"
    return "is listed twice" if line.remote_cidrs.count(cidr) > 1 else ""


def _asns(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """EBGP needs an AS number at each end, and two different ones (RFC 4271 section 1.1)."""
    ours = {gateway.name: gateway.asn for gateway in document.border_gateway}
    customers = {customer.name for customer in document.customer_gateway}
    for resolved in resolve_lines(document):
        line = resolved.line
        if line.routing != "bgp" or line.customer_gateway not in customers:
            continue
        path = (*resolved.path, "asn")
        if resolved.asn is None:
            text = f"is required here or at customer_gateway {line.customer_gateway}"
            yield Problem(path, text)
        elif resolved.asn == (line.local_asn or ours.get(line.border_gateway)):
            where = (*resolved.path, "local_asn") if line.local_asn else path
            text = "is the AS number of both ends: give two different ones"
            yield Problem(where, text, str(resolved.asn), code="asn_conflict")


def _settings(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    for at, line in enumerate(document.direct_line):
        path = ("direct_line", at)
        if line.routing == "static":
            for key in _for_bgp(line):
                yield Problem((*path, key), 'has a meaning with routing = "bgp" only')
        elif line.bgp_keepalive_s is not None and line.bgp_keepalive_s >= line.bgp_hold_s:
            text = f"must be less than bgp_hold_s {line.bgp_hold_s}"
            yield Problem((*path, "bgp_keepalive_s"), text, str(line.bgp_keepalive_s))


def _for_bgp(line: DirectLine) -> Iterator[str]:
    """Yield the keys that a static line has for no use; BFD it can have."""
    for key in ("asn", "local_asn"):
        if getattr(line, key) is not None:
            yield key
    for key, field in BgpSettings.model_fields.items():
        if key != "bfd" and getattr(line, key) != field.default:
            yield key


def _carried(document: Document, tunnels: Tunnels) -> Iterator[Problem]:
    """Warn of a tunnel whose outer packets take a static line: it ends with what it backs up."""
    for at, line in enumerate(document.direct_line):
        if line.routing != "static":
            continue  # BGP does not learn what holds a tunnel's remote address
        for place, cidr in enumerate(line.remote_cidrs):
            inside = [t for t in tunnels if t.remote is not None and _holds(cidr, t.remote)]
            if inside and cidr.prefixlen:
                path = ("direct_line", at, "remote_cidrs", place)
                first = inside[0]
                text = f"holds the remote address {first.remote} of tunnel {first.name}"
                yield Problem(path, f"{text}: it runs inside the line", shown(str(cidr)), True)


def _holds(network: AnyNetwork, address: AnyAddress) -> bool:
    return network.version == address.version and address in network


LINE_RULES: tuple[LineRule, ...] = (
    _names,
    _interfaces,
    _addresses,
    _networks,
    _prefixes,
    _asns,
    _settings,
    _carried,
)
