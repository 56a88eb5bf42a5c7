"""From the wanted document to the routing plans, one for each network namespace. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from gateway.model.resources import BorderGateway, Document, namespaces_of
from gateway.model.tunnels import ResolvedTunnel, inner_interface, inner_peer
from gateway.model.types import parse_bfd
from gateway.routing.plan import Attachment, Bfd, BgpGateway, BgpPeer, RoutingPlan
from gateway.sa import Address
from gateway.secret import Secret


def routing_plans(document: Document, tunnels: Sequence[ResolvedTunnel]) -> tuple[RoutingPlan, ...]:
    """
    Return what BIRD does for `document`, which has passed its checks; nothing without BGP.

    Border Gateways without BGP peers are left out.
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
    by_gateway: dict[str, list[ResolvedTunnel]] = {}
    for tunnel in tunnels:
        if tunnel.connection.routing == "bgp":
            by_gateway.setdefault(tunnel.connection.border_gateway, []).append(tunnel)
    return RoutingPlan(
        gateways=tuple(
            _gateway(document, gateway, by_gateway[gateway.name])
            for gateway in document.border_gateway
            if gateway.name in by_gateway
        ),
        outer=outer,
        inner=tuple(sorted({n for t in tunnels if (n := t.tunnel.inner_cidr)}, key=str)),
        namespace=namespace,
    )


def _gateway(
    document: Document, gateway: BorderGateway, tunnels: Sequence[ResolvedTunnel]
) -> BgpGateway:
    public = [a for a in document.gateway.public_addresses if isinstance(a, IPv4Address)]
    return BgpGateway(
        name=gateway.name,
        router_id=gateway.router_id or public[0],
        spoke_isolation=gateway.spoke_isolation,
        attachments=tuple(
            Attachment(attachment.name, attachment.interface, attachment.cidrs)
            for attachment in document.vpc_attachment
            if attachment.border_gateway == gateway.name
        ),
        peers=tuple(_peer(document, gateway, tunnel) for tunnel in tunnels),
    )


def _peer(document: Document, gateway: BorderGateway, resolved: ResolvedTunnel) -> BgpPeer:
    connection, settings = resolved.connection, resolved.settings
    inner = inner_interface(resolved.tunnel.inner_cidr, resolved.tunnel.inner_local)
    # The checks refuse a document without these.
    assert inner is not None
    assert resolved.customer is not None
    assert resolved.customer.asn is not None
    bfd = parse_bfd(settings.bfd)
    password = settings.bgp_password
    return BgpPeer(
        tunnel=resolved.name,
        connection=connection.name,
        border_gateway=gateway.name,
        interface=resolved.interface,
        local_asn=connection.local_asn or gateway.asn,
        asn=resolved.customer.asn,
        local=inner.ip,
        remote=inner_peer(inner),
        preference=resolved.preference,
        hold_s=settings.bgp_hold_s,
        keepalive_s=settings.bgp_keepalive_s or max(1, settings.bgp_hold_s // 3),
        bfd=Bfd(*bfd) if bfd else None,
        prefix_limit=settings.bgp_prefix_limit,
        prepend=settings.bgp_prepend,
        password=Secret(password.get_secret_value().encode()) if password else None,
        accepted=connection.remote_cidrs,
        static_routes=tuple(
            (route.prefix, route.preference + resolved.preference)
            for route in document.route
            if route.vpn_connection == connection.name and route.prefix.version == inner.version
        ),
    )
