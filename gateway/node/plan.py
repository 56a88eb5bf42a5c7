"""
From the wanted document to what one node does: sockets, tunnels, routes. Pure.

The plan is what reconcile compares: everything in it is a plain value, a tunnel is one entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from typing import TYPE_CHECKING

from gateway.ike.config import ChildSelectors, Identity, IdType, Lifetime, Ppk, Timers, TunnelConfig
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, Proposal, parse_proposal
from gateway.ike.selectors import parse_selector, passes_echo
from gateway.model.check_auth import own_key, peer_key
from gateway.model.lines import chosen_by_bird
from gateway.model.resources import (
    BorderGateway,
    DirectLine,
    Document,
    VpcAttachment,
    VpnConnection,
    namespaces_of,
)
from gateway.model.settings import TunnelSettings
from gateway.model.tunnels import (
    ResolvedTunnel,
    inner_interface,
    inner_peer,
    resolve_tunnels,
    selector_texts,
)
from gateway.model.types import AnyNetwork, key_of, parse_probe
from gateway.node.port import PortPlan, ports_of
from gateway.node.spokes import Spoke, spokes_of
from gateway.routing.failback import AT_ONCE, Failback
from gateway.routing.plan import BgpPeer, Hop, RoutingPlan
from gateway.routing.propagation import Propagation, propagations
from gateway.routing.wanted import routes_into, routing_plans
from gateway.sa import Address
from gateway.secret import Secret

if TYPE_CHECKING:
    from gateway.pki.credentials import Credentials

_DEFAULTS = Timers()
BITS_PER_MEGABIT = 1_000_000
BORDER_GATEWAY = "border_gateway"  # a kind, as those of next hops are
BEHIND_BIRD = 300_000  # above BIRD's metric of 200,000


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """
    A route through a tunnel's TUN device. The lower metric wins; metrics are at most 120,000, and
    BEHIND_BIRD more where BIRD chooses: its own routes go first, these hold when it is away.
    """

    prefix: AnyNetwork
    metric: int


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """
    How a tunnel's path is watched: an echo request toward `address` each interval, so many of whose
    answers in a row may be missing.
    """

    address: Address
    interval_ms: int
    missing: int


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """
    How often round trip and loss are measured, and whom to ask inside: None where the selectors let
    no echo pass, or where we have no inner address.
    """

    every_s: float
    inside: Address | None


@dataclass(frozen=True, slots=True)
class TunnelPlan:
    """One VPN Tunnel as the node makes it: its TUN device, its IKE configuration, its routes."""

    name: str
    connection: str
    border_gateway: str
    interface: str  # the TUN device, at most 15 bytes
    ike: TunnelConfig
    admin_up: bool
    inner_local: IPv4Interface | IPv6Interface | None
    inner_remote: Address | None
    mtu: int | None  # bytes; None: computed from the suite and the path
    rate_bps: int  # inner bits per second outbound; 0 = no cap
    copy_dscp: bool
    replay_window: int  # packets
    workers: int  # that carry its packets
    routes: tuple[RoutePlan, ...]
    fail_closed: tuple[AnyNetwork, ...] = ()  # prefixes that BGP routes: never in clear without it
    namespace: str = ""  # where the device is; "" is the VM's own network namespace
    preference: int = 0  # among the tunnels of its connection; the lower one wins
    failback: Failback = AT_ONCE
    probe: ProbePlan | None = None
    measure: MeasurePlan | None = None
    title: str = ""  # the name for people, where `name` is an id
    connection_title: str = ""

    @property
    def local(self) -> Address:
        """Return our outer address."""
        return self.ike.local

    @property
    def remote(self) -> Address | None:
        """Return the peer's outer address; None where it is known by identity alone."""
        return self.ike.remote


@dataclass(frozen=True, slots=True)
class NodePlan:
    """All that one node does. `workers` 0 is one per CPU; `sockets` are our public addresses."""

    name: str
    workers: int
    sockets: tuple[Address, ...]
    tunnels: tuple[TunnelPlan, ...]
    routing: tuple[RoutingPlan, ...] = ()  # one for each network namespace with BGP
    namespaces: tuple[str, ...] = ()  # those of Border Gateways, without the VM's own
    ports: tuple[PortPlan, ...] = ()
    propagations: tuple[Propagation, ...] = ()
    spokes: tuple[Spoke, ...] = ()
    titles: Mapping[tuple[str, str], str] = field(default_factory=dict)  # by kind and name

    @property
    def peers(self) -> tuple[BgpPeer, ...]:
        """Return the BGP peers of all network namespaces."""
        return tuple(peer for routing in self.routing for peer in routing.peers)


def plan(document: Document) -> NodePlan:
    """Return what the node does for `document`, which has passed its checks (`model.document`)."""
    return plan_again(document, resolve_tunnels(document), {})


def plan_again(
    document: Document,
    tunnels: tuple[ResolvedTunnel, ...],
    before: Mapping[int, TunnelPlan],
) -> NodePlan:
    """
    Return the plan of a document whose `tunnels` are resolved.

    `before` are plans by the id() of the resolved tunnel that they were made of, in a document with
    the same routes, attachments and lines: they hold.
    """
    gateway = document.gateway
    by_bird = chosen_by_bird(document)
    return NodePlan(
        name=gateway.name,
        workers=gateway.workers,
        sockets=gateway.public_addresses,
        tunnels=tuple(
            before.get(id(resolved)) or _tunnel(document, resolved, by_bird) for resolved in tunnels
        ),
        routing=routing_plans(document, tunnels),
        namespaces=tuple(dict.fromkeys(n for n in namespaces_of(document).values() if n)),
        ports=ports_of(document),
        propagations=propagations(document),
        spokes=spokes_of(document, tunnels),
        titles=dict(_titles(document, tunnels)),
    )


def _titles(
    document: Document, tunnels: Iterable[ResolvedTunnel]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the names for people of what routes are shown with; its kind is that of a next hop."""
    kinds: dict[str, tuple[BorderGateway | VpcAttachment | DirectLine, ...]] = {
        BORDER_GATEWAY: document.border_gateway,
        Hop.ATTACHMENT.value: document.vpc_attachment,
        Hop.LINE.value: document.direct_line,
    }
    for kind, found in kinds.items():
        yield from (((kind, one.name), one.title) for one in found if one.title)
    for one in tunnels:
        if one.tunnel.title:
            yield (Hop.VPN.value, one.name), one.tunnel.title


def _tunnel(document: Document, resolved: ResolvedTunnel, by_bird: frozenset[str]) -> TunnelPlan:
    settings, tunnel = resolved.settings, resolved.tunnel
    inner = inner_interface(tunnel.inner_cidr, tunnel.inner_local)
    connection = resolved.connection
    is_bgp = connection.routing == "bgp"
    ike = _ike(document, resolved)
    return TunnelPlan(
        name=resolved.name,
        connection=connection.name,
        border_gateway=connection.border_gateway,
        interface=resolved.interface,
        ike=ike,
        admin_up=settings.admin == "up",
        inner_local=inner,
        inner_remote=inner_peer(inner) if inner else None,
        mtu=settings.mtu,
        rate_bps=settings.rate_mbps * BITS_PER_MEGABIT,
        copy_dscp=settings.copy_dscp,
        replay_window=settings.replay_window,
        workers=settings.workers,
        routes=() if is_bgp else _routes(document, resolved, by_bird),
        fail_closed=_fail_closed(document, connection) if is_bgp else (),
        namespace=resolved.namespace,
        preference=resolved.preference,
        failback=_failback(connection),
        probe=_probe(settings, inner),
        measure=_measure(settings, inner, ike.selectors),
        title=tunnel.title or "",
        connection_title=connection.title or "",
    )


def _failback(connection: VpnConnection) -> Failback:
    hold_s = None if connection.ha_mode == "active-active" else connection.failback_s or 0.0
    return Failback(hold_s, connection.flap_damping)


def _probe(
    settings: TunnelSettings, inner: IPv4Interface | IPv6Interface | None
) -> ProbePlan | None:
    """Return how a tunnel is probed; not at all without an address to probe from."""
    rhythm = parse_probe(settings.probe)
    if rhythm is None or inner is None:
        return None
    return ProbePlan(settings.probe_address or inner_peer(inner), *rhythm)


def _measure(
    settings: TunnelSettings,
    inner: IPv4Interface | IPv6Interface | None,
    selectors: Iterable[ChildSelectors],
) -> MeasurePlan | None:
    if not settings.measure_s:
        return None
    peer = inner_peer(inner) if inner else None
    passes = inner is not None and any(
        passes_echo(one.local, inner.ip) and passes_echo(one.remote, inner_peer(inner))
        for one in selectors
    )
    return MeasurePlan(settings.measure_s, peer if passes else None)


def _routes(
    document: Document, resolved: ResolvedTunnel, by_bird: frozenset[str]
) -> tuple[RoutePlan, ...]:
    """Return the routes of a tunnel: the connection's prefixes, then the static routes to it."""
    behind = BEHIND_BIRD * (resolved.connection.border_gateway in by_bird)
    routes = routes_into(document, resolved.connection, resolved.preference)
    return tuple(RoutePlan(prefix, total + behind) for prefix, total in routes)


def _fail_closed(document: Document, connection: VpnConnection) -> tuple[AnyNetwork, ...]:
    """Return the prefixes that BGP routes to a customer, learned or static."""
    static = [prefix for prefix, _ in routes_into(document, connection, 0)]
    return tuple(dict.fromkeys((*connection.remote_cidrs, *static)))


def _ike(document: Document, resolved: ResolvedTunnel) -> TunnelConfig:
    settings = resolved.settings
    first, *further = _selectors(document, resolved)
    # The checks refuse a document without these.
    assert resolved.local is not None
    return TunnelConfig(
        name=resolved.name,
        local=resolved.local,
        remote=resolved.remote,
        local_id=_local_id(resolved),
        remote_id=Identity.parse(resolved.remote_id) if resolved.remote_id else None,
        psk=_psk(settings),
        ike_proposals=_proposals(settings.ike_proposals, ProtocolId.IKE) or DEFAULT_IKE,
        esp_proposals=_proposals(settings.esp_proposals, ProtocolId.ESP) or DEFAULT_ESP,
        local_ts=first.local,
        remote_ts=first.remote,
        start=resolved.start,
        encap=settings.encap,
        ike_lifetime=Lifetime(settings.ike_lifetime_s),
        child_lifetime=Lifetime(
            settings.child_lifetime_s,
            settings.child_lifetime_bytes,
            settings.child_lifetime_packets,
        ),
        timers=_timers(settings),
        fragment_size=settings.fragment_size,
        ppk=_ppk(settings),
        childless=settings.childless,
        allow_redirect=settings.allow_redirect,
        further=tuple(further),
        resources=settings.workers if settings.per_resource_sas else 0,
        credentials=_credentials(settings),
    )


def _psk(settings: TunnelSettings) -> Secret | None:
    if settings.auth != "psk":
        return None
    assert settings.psk is not None  # the checks see to it
    return Secret(key_of(settings.psk.get_secret_value()))


def _local_id(resolved: ResolvedTunnel) -> Identity:
    """Return our identity; a distinguished name goes as its certificate has it, byte for byte."""
    named = Identity.parse(resolved.local_id)
    text = resolved.settings.certificate
    if named.type is not IdType.DN or resolved.settings.auth != "certificate" or text is None:
        return named
    from gateway.pki.certificate import certificates_of

    return Identity(IdType.DN, certificates_of(text)[0].subject)


def _credentials(settings: TunnelSettings) -> Credentials | None:
    if settings.auth == "psk":
        return None
    from gateway.pki.certificate import certificates_of
    from gateway.pki.credentials import Credentials

    key, peer = own_key(settings), peer_key(settings)
    assert key is not None  # the checks see to it
    is_certificate = settings.auth == "certificate"
    return Credentials(
        key=key,
        chain=certificates_of(settings.certificate or "") if is_certificate else (),
        anchors=certificates_of(settings.ca or "") if is_certificate else (),
        peer_keys=(peer,) if peer is not None and not is_certificate else (),
        revocation=settings.revocation,
        is_private_allowed=settings.revocation_private,
        allow_legacy=settings.allow_legacy,
        use_pss=settings.rsa_pss,
    )


def _ppk(settings: TunnelSettings) -> Ppk | None:
    if settings.ppk is None:
        return None
    assert settings.ppk_id is not None  # the checks see to it
    # The name goes as strongSwan encodes it: an identity's value without its type.
    name = Identity.parse(settings.ppk_id).value
    return Ppk(name, Secret(key_of(settings.ppk.get_secret_value())), settings.ppk_required)


def _selectors(document: Document, resolved: ResolvedTunnel) -> list[ChildSelectors]:
    return [
        ChildSelectors(
            tuple(parse_selector(text) for text in local),
            tuple(parse_selector(text) for text in remote),
        )
        for local, remote in selector_texts(document, resolved)
    ]


def _proposals(texts: tuple[str, ...], protocol: ProtocolId) -> tuple[Proposal, ...]:
    return tuple(parse_proposal(text, protocol) for text in texts)


def _timers(settings: TunnelSettings) -> Timers:
    """Return the core's clocks; the resending of liveness checks is scaled from the default."""
    shares = _DEFAULTS.liveness_retransmit_after
    scale = settings.liveness_timeout_s / sum(shares)
    return Timers(
        liveness=settings.liveness_s,
        liveness_retransmit_after=tuple(round(share * scale, 3) for share in shares),
    )
