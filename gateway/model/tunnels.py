"""
What each VPN Tunnel of a document comes to when every default is filled in.

The checks and the plan both stand on this, so a default is written in one place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from math import lcm

from gateway.ike.config import Start
from gateway.model.locate import Path
from gateway.model.problem import FILE_KEYS
from gateway.model.resources import (
    CustomerGateway,
    Document,
    VpnConnection,
    VpnTunnel,
    effective_settings,
    namespaces_of,
)
from gateway.model.settings import TunnelSettings
from gateway.model.types import AnyAddress, AnyNetwork

FIRST_PREFERENCE = 100  # of the first tunnel of a connection; the next ones count up
_FILE_OF = {key: file for file, key in FILE_KEYS.items()}
INTERFACE_LEN_MAX = 15  # bytes of a device name, IFNAMSIZ less its end


@dataclass(frozen=True, slots=True)
class ResolvedTunnel:
    """
    One VPN Tunnel with its defaults filled in.

    `customer` and `local` are None only in a document with mistakes, `remote` also where the
    customer's addresses are "any".
    """

    path: Path
    connection_path: Path
    connection: VpnConnection
    tunnel: VpnTunnel
    settings: TunnelSettings
    customer: CustomerGateway | None
    name: str
    interface: str
    local: AnyAddress | None
    remote: AnyAddress | None
    local_id: str
    remote_id: str | None  # None: any identity that knows the key
    preference: int
    start: Start
    namespace: str  # where its device is; "" is the VM's own

    def path_of(self, key: str) -> Path:
        """Return where a setting of this tunnel stands: on the tunnel, or on its connection."""
        own = self.tunnel.model_fields_set
        shared = self.connection.model_fields_set
        is_own = key in own or key not in shared
        if _FILE_OF.get(key) in (own if is_own else shared):
            key = _FILE_OF[key]
        return (*(self.path if is_own else self.connection_path), key)


def resolve_tunnels(
    document: Document, before: Sequence[ResolvedTunnel] = ()
) -> tuple[ResolvedTunnel, ...]:
    """
    Return every tunnel of `document` with its defaults, in the document's order.

    `before` are those of an earlier document with the same public addresses: where connection,
    customer and place are the very same objects, so is the result.
    """
    customers = {customer.name: customer for customer in document.customer_gateway}
    places = namespaces_of(document)
    known = {id(tunnel.tunnel): tunnel for tunnel in before}
    found = []
    for at, connection in enumerate(document.vpn_connection):
        customer = customers.get(connection.customer_gateway)
        namespace = places.get(connection.border_gateway, "")
        for position, tunnel in enumerate(connection.tunnel):
            old = known.get(id(tunnel))
            if old is None or not _is_same(old, connection, customer, (at, namespace)):
                old = _resolve(document, customer, (at, position), namespace)
            found.append(old)
    return tuple(found)


def _is_same(
    old: ResolvedTunnel,
    connection: VpnConnection,
    customer: CustomerGateway | None,
    place: tuple[int, str],
) -> bool:
    """Say whether all that a tunnel was resolved from is as it was."""
    is_here = (old.connection_path[1], old.namespace) == place
    return old.connection is connection and old.customer is customer and is_here


def _resolve(
    document: Document, customer: CustomerGateway | None, at: tuple[int, int], namespace: str
) -> ResolvedTunnel:
    connection = document.vpn_connection[at[0]]
    tunnel = connection.tunnel[at[1]]
    settings = effective_settings(connection, tunnel)
    local, remote = _pair(document.gateway.public_addresses, customer, tunnel, at[1])
    name = tunnel.name or f"{connection.name}-{at[1] + 1}"
    is_any = customer is not None and customer.public_addresses == "any"
    path: Path = ("vpn_connection", at[0])
    return ResolvedTunnel(
        path=(*path, "tunnel", at[1]),
        connection_path=path,
        connection=connection,
        tunnel=tunnel,
        settings=settings,
        customer=customer,
        name=name,
        interface=tunnel.interface or interface_name(name),
        local=local,
        remote=remote,
        local_id=settings.local_id or _certified_id(settings) or str(local),
        remote_id=_remote_id(settings, customer, remote),
        preference=tunnel.preference or FIRST_PREFERENCE + at[1],
        start=settings.start or (Start.RESPOND if is_any else Start.INITIATE),
        namespace=namespace,
    )


@lru_cache(256)
def _subject(certificate: str) -> str:
    """Return the identity that a certificate bears: its subject, else one of its other names."""
    from gateway.pki.certificate import certificates_of
    from gateway.pki.names import identities_of
    from gateway.pki.problem import BadText

    try:
        own = certificates_of(certificate)[0]
    except BadText:
        return ""  # which is reported
    return own.name if own.x509.subject.rdns else identities_of(own).split("; ")[0]


def _certified_id(settings: TunnelSettings) -> str:
    if settings.auth != "certificate" or settings.certificate is None:
        return ""
    return _subject(settings.certificate)


def _remote_id(
    settings: TunnelSettings, customer: CustomerGateway | None, remote: AnyAddress | None
) -> str | None:
    named = settings.remote_id or (customer.identity if customer else None)
    if named is None and remote is not None:
        return str(remote)
    return None if named == "any" else named


def _pair(
    pool: Sequence[AnyAddress], customer: CustomerGateway | None, tunnel: VpnTunnel, position: int
) -> tuple[AnyAddress | None, AnyAddress | None]:
    """
    Return the outer addresses of the tunnel at `position`: those it names, else the next in turn.

    Turns go diagonally, so that every tunnel changes both addresses as long as it can: with two
    local and two remote addresses 1-1, 2-2, 1-2, 2-1.
    """
    theirs = customer.public_addresses if customer else ()
    named = (tunnel.local_address, tunnel.remote_address)
    if theirs == "any" or not theirs:
        return named[0] or _in_turn(pool, position), named[1]
    locals_ = (named[0],) if named[0] else tuple(pool)
    remotes = (named[1],) if named[1] else tuple(theirs)
    if not locals_ or not remotes:
        return named
    pairs = pairs_in_turn(locals_, remotes)
    alike = [pair for pair in pairs if pair[0].version == pair[1].version]
    return (alike or pairs)[position % len(alike or pairs)]


def pairs_in_turn(
    locals_: Sequence[AnyAddress], remotes: Sequence[AnyAddress]
) -> list[tuple[AnyAddress, AnyAddress]]:
    """Return every pair of a local and a remote address, diagonally: 1-1, 2-2, then 1-2, 2-1."""
    turns = lcm(len(locals_), len(remotes))
    return [
        (locals_[turn % len(locals_)], remotes[(turn + turn // turns) % len(remotes)])
        for turn in range(len(locals_) * len(remotes))
    ]


def _in_turn(addresses: Sequence[AnyAddress], position: int) -> AnyAddress | None:
    return addresses[position % len(addresses)] if addresses else None


def interface_name(tunnel: str) -> str:
    """
    Return the name of a tunnel's TUN device: `ts-` and the tunnel's name where that fits.

    Else the beginning and a hash, so the name depends on this tunnel alone, not on its neighbours.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", tunnel)
    if plain == tunnel and len("ts-" + tunnel) <= INTERFACE_LEN_MAX:
        return "ts-" + tunnel
    return f"ts-{plain[:6]}-{sha256(tunnel.encode()).hexdigest()[:5]}"


def inner_interface(
    network: AnyNetwork | None, local: AnyAddress | None
) -> IPv4Interface | IPv6Interface | None:
    """Return our address inside with its prefix length: `local`, or the first host of `network`."""
    if network is None:
        return None
    return ip_interface(f"{local or network[1]}/{network.prefixlen}")


def inner_peer(inner: IPv4Interface | IPv6Interface) -> AnyAddress:
    """Return the other host address of our /30 or /126."""
    network = inner.network
    return network[2] if inner.ip == network[1] else network[1]


Selectors = tuple[tuple[str, ...], tuple[str, ...]]  # ours, and the peer's


def rule_pairs(connection: VpnConnection) -> tuple[Selectors, ...]:
    """Return the selectors of each pair of prefixes that the rules of a connection give."""
    pairs = [pair for rule in connection.rule for pair in rule.pairs()]
    return tuple(((str(local),), (str(remote),)) for local, remote in pairs)


def selector_texts(document: Document, resolved: ResolvedTunnel) -> tuple[Selectors, ...]:
    """
    Return our and the peer's traffic selectors, as texts, for each Child SA of a tunnel.

    Rules make several. Else there is one: the tunnel's own lists come first; with policy routing
    the prefixes of both sides; else everything, because routes choose what goes in.
    """
    connection = resolved.connection
    if connection.rule:
        return rule_pairs(connection)
    local: Sequence[object] = ("0.0.0.0/0", "::/0")
    remote: Sequence[object] = local
    if connection.routing == "policy":
        local = connection.local_cidrs or [
            cidr
            for attachment in document.vpc_attachment
            if attachment.border_gateway == connection.border_gateway
            for cidr in attachment.cidrs
        ]
        remote = connection.remote_cidrs
    return (
        (
            resolved.settings.local_ts or tuple(str(cidr) for cidr in local),
            resolved.settings.remote_ts or tuple(str(cidr) for cidr in remote),
        ),
    )
