"""From the wanted document to the routing plans, one for each network namespace. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, ip_network

from gateway.model.lines import ResolvedLine, chosen_by_bird, resolve_lines
from gateway.model.resources import (
    BorderGateway,
    Document,
    VpcAttachment,
    VpnConnection,
    namespaces_of,
)
from gateway.model.settings import BgpSettings
from gateway.model.tunnels import ResolvedTunnel, inner_interface, inner_peer
from gateway.model.types import AnyNetwork, parse_bfd
from gateway.routing.plan import (
    Attachment,
    Bfd,
    BgpGateway,
    BgpPeer,
    Hop,
    RoutingPlan,
    StaticWay,
    TcpAo,
)
from gateway.sa import Address
from gateway.secret import Secret

_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))

Routes = tuple[tuple[AnyNetwork, int], ...]


def routing_plans(document: Document, tunnels: Sequence[ResolvedTunnel]) -> tuple[RoutingPlan, ...]:
    """
    Return what BIRD does for `document`, which has passed its checks.

    A Border Gateway that speaks BGP or has a direct line is BIRD's with all its routes, those of
    static connections too, because they are chosen among; one without is left out.
    """
    # ESP of all tunnels leaves from the VM's own namespace, so only there can routes catch it.
    outer = tuple(sorted({t.remote for t in tunnels if t.remote is not None}, key=str))
    plans = (
        _plan(document, [t for t in tunnels if t.namespace == place], place, () if place else outer)
        for place in dict.fromkeys(namespaces_of(document).values())
    )
    return tuple(plan for plan in plans if plan.gateways)


def _plan(
    document: Document,
    tunnels: Sequence[ResolvedTunnel],
    namespace: str,
    outer: tuple[Address, ...],
) -> RoutingPlan:
    places, chosen = namespaces_of(document), chosen_by_bird(document)
    lines = [r for r in resolve_lines(document) if places[r.line.border_gateway] == namespace]
    inner = {n for t in tunnels if (n := t.tunnel.inner_cidr)}
    inner |= {line.line.address.network for line in lines}
    return RoutingPlan(
        gateways=tuple(
            _gateway(document, gateway, tunnels, lines)
            for gateway in document.border_gateway
            if gateway.name in chosen and places[gateway.name] == namespace
        ),
        outer=outer,
        inner=tuple(sorted(inner, key=str)),
        namespace=namespace,
    )


def routes_into(document: Document, connection: VpnConnection, preference: int) -> Routes:
    """
    Return the static routes into a tunnel of this preference: what is routed to its connection.

    With BGP those are the document's routes alone; remote_cidrs are what may be learned.
    """
    cidrs = () if connection.routing == "bgp" else connection.remote_prefixes()
    routes = [(prefix, preference) for prefix in cidrs]
    routes += [
        (route.prefix, route.preference + preference)
        for route in document.route
        if route.vpn_connection == connection.name
    ]
    return tuple(dict.fromkeys(routes))


def _gateway(
    document: Document,
    gateway: BorderGateway,
    tunnels: Sequence[ResolvedTunnel],
    lines: Sequence[ResolvedLine],
) -> BgpGateway:
    public = [a for a in document.gateway.public_addresses if isinstance(a, IPv4Address)]
    attachments = [a for a in document.vpc_attachment if a.border_gateway == gateway.name]
    mine = [t for t in tunnels if t.connection.border_gateway == gateway.name]
    our_lines = [line for line in lines if line.line.border_gateway == gateway.name]
    return BgpGateway(
        name=gateway.name,
        router_id=gateway.router_id or public[0],
        attachments=tuple(announced for a in attachments for announced in _announced(a)),
        peers=(
            *(_vpc_peer(gateway, a) for a in attachments if a.peer_address is not None),
            *(_line_peer(gateway, line) for line in our_lines if line.line.routing == "bgp"),
            *(_tunnel_peer(gateway, t) for t in mine if t.connection.routing == "bgp"),
        ),
        statics=(
            *(_line_way(gateway, line) for line in our_lines if line.line.routing == "static"),
            *(way for t in mine for way in _tunnel_ways(document, gateway, t)),
        ),
        own=tuple(dict.fromkeys(cidr for a in attachments for cidr in _own(a))),
    )


def _own(attachment: VpcAttachment) -> tuple[AnyNetwork, ...]:
    """Return what no customer may announce: the VPC's prefixes, and the way to its router."""
    return attachment.cidrs + tuple(address.network for address in attachment.addresses)


def _announced(attachment: VpcAttachment) -> Iterator[Attachment]:
    """Yield what is announced by our own word; a router of the VPC speaks for its IP version."""
    peer = attachment.peer_address
    cidrs = tuple(c for c in attachment.cidrs if peer is None or c.version != peer.version)
    if cidrs or peer is None:
        yield Attachment(attachment.name, attachment.interface, cidrs)


def _vpc_peer(gateway: BorderGateway, attachment: VpcAttachment) -> BgpPeer:
    peer = attachment.peer_address
    # The checks refuse a document without these.
    assert peer is not None
    assert attachment.peer_asn is not None
    local = next(address for address in attachment.addresses if peer in address.network)
    return BgpPeer(
        name=attachment.name,
        hop=Hop.ATTACHMENT,
        connection="",
        border_gateway=gateway.name,
        interface=attachment.interface,
        local_asn=gateway.asn,
        asn=attachment.peer_asn,
        local=local.ip,
        remote=peer,
        preference=attachment.propagate_priority,
        hold_s=attachment.bgp_hold_s,
        keepalive_s=keepalive_s(attachment),
        bfd=_bfd(attachment.bfd),
        prefix_limit=attachment.bgp_prefix_limit,
        prepend=attachment.bgp_prepend,
        password=_password(attachment),
        ao=_ao(attachment),
        accepted=attachment.cidrs,
        told=attachment.propagate_cidrs or _EVERYTHING,
    )


def _is_isolated(gateway: BorderGateway, own: bool | None) -> bool:
    return gateway.spoke_isolation if own is None else own


def _bfd(text: str) -> Bfd | None:
    found = parse_bfd(text)
    return Bfd(*found) if found else None


def _password(settings: BgpSettings) -> Secret | None:
    password = settings.bgp_password
    return Secret(password.get_secret_value().encode()) if password else None


def _ao(settings: BgpSettings) -> TcpAo | None:
    """Return how the password is used, None for TCP MD5 or without a password."""
    kind, _, algorithm = settings.bgp_auth.partition("-")
    if kind != "ao" or settings.bgp_password is None:
        return None
    return TcpAo(algorithm, settings.bgp_key_id)


def keepalive_s(settings: BgpSettings) -> int:
    """Return the seconds between keepalives: a third of the hold time unless they are said."""
    return settings.bgp_keepalive_s or max(1, settings.bgp_hold_s // 3)


def _tunnel_peer(gateway: BorderGateway, resolved: ResolvedTunnel) -> BgpPeer:
    connection, settings = resolved.connection, resolved.settings
    inner = inner_interface(resolved.tunnel.inner_cidr, resolved.tunnel.inner_local)
    # The checks refuse a document without these.
    assert inner is not None
    assert resolved.customer is not None
    assert resolved.customer.asn is not None
    return BgpPeer(
        name=resolved.name,
        hop=Hop.VPN,
        connection=connection.name,
        border_gateway=gateway.name,
        interface=resolved.interface,
        local_asn=connection.local_asn or gateway.asn,
        asn=resolved.customer.asn,
        local=inner.ip,
        remote=inner_peer(inner),
        preference=resolved.preference,
        hold_s=settings.bgp_hold_s,
        keepalive_s=keepalive_s(settings),
        bfd=_bfd(settings.bfd),
        prefix_limit=settings.bgp_prefix_limit,
        prepend=settings.bgp_prepend,
        password=_password(settings),
        ao=_ao(settings),
        accepted=connection.remote_cidrs,
        is_isolated=_is_isolated(gateway, connection.spoke_isolation),
    )


def _line_peer(gateway: BorderGateway, resolved: ResolvedLine) -> BgpPeer:
    line = resolved.line
    assert resolved.asn is not None  # as above
    return BgpPeer(
        name=line.name,
        hop=Hop.LINE,
        connection=line.customer_gateway,
        border_gateway=gateway.name,
        interface=line.interface,
        local_asn=line.local_asn or gateway.asn,
        asn=resolved.asn,
        local=line.address.ip,
        remote=line.peer_address,
        preference=line.preference,
        hold_s=line.bgp_hold_s,
        keepalive_s=keepalive_s(line),
        bfd=_bfd(line.bfd),
        prefix_limit=line.bgp_prefix_limit,
        prepend=line.bgp_prepend,
        password=_password(line),
        ao=_ao(line),
        accepted=line.remote_cidrs,
        is_isolated=_is_isolated(gateway, line.spoke_isolation),
    )


def _line_way(gateway: BorderGateway, resolved: ResolvedLine) -> StaticWay:
    line = resolved.line
    return StaticWay(
        name=line.name,
        hop=Hop.LINE,
        connection=line.customer_gateway,
        border_gateway=gateway.name,
        interface=line.interface,
        family=line.address.version,
        gateway=line.peer_address,
        bfd=_bfd(line.bfd),
        routes=tuple((prefix, line.preference) for prefix in line.remote_cidrs),
        is_isolated=_is_isolated(gateway, line.spoke_isolation),
    )


def _tunnel_ways(
    document: Document, gateway: BorderGateway, resolved: ResolvedTunnel
) -> Iterator[StaticWay]:
    """Yield the static routes into a tunnel, of each IP version."""
    connection = resolved.connection
    inner = inner_interface(resolved.tunnel.inner_cidr, resolved.tunnel.inner_local)
    is_bgp = connection.routing == "bgp"
    routes = routes_into(document, connection, resolved.preference)
    for family in (4, 6):
        mine = tuple(route for route in routes if route[0].version == family)
        if not mine or (is_bgp and inner is not None and inner.version != family):
            continue
        yield StaticWay(
            name=resolved.name,
            hop=Hop.VPN,
            connection=connection.name,
            border_gateway=gateway.name,
            interface=resolved.interface,
            family=family,
            gateway=inner_peer(inner) if is_bgp and inner else None,
            bfd=_bfd(resolved.settings.bfd) if is_bgp else None,
            routes=mine,
            is_isolated=_is_isolated(gateway, connection.spoke_isolation),
        )
