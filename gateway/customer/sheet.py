"""
A VPN Connection as its customer sees it: every value that the device at the other end needs.

"cloud" is our gateway, "device" the customer's. Nothing here knows of any kind of device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, ip_interface

from pydantic import SecretStr

from gateway.customer.suites import Suite, suites_of
from gateway.dataplane.interface import EncapKind
from gateway.errors import ConfigError
from gateway.ike.config import Encap, Identity, Start
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, Proposal, parse_proposal
from gateway.model.resources import BorderGateway, Document, VpnConnection
from gateway.model.tunnels import (
    ResolvedTunnel,
    Selectors,
    inner_interface,
    inner_peer,
    resolve_tunnels,
    selector_texts,
)
from gateway.model.types import AnyAddress, AnyNetwork, parse_bfd
from gateway.node.mtu import room_inside, tcp_mss
from gateway.routing.wanted import keepalive_s

OUTER_MTU = 1500
# The device's SAs live a fifth longer than ours. A device that rekeys at nine tenths of its time
# still comes after us, so the two never rekey at once.
LONGER, SHORTER = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Bgp:
    """The BGP session inside a tunnel. `bfd` is interval in ms and count, None for none."""

    cloud_asn: int
    device_asn: int
    hold_s: int
    keepalive_s: int
    bfd: tuple[int, int] | None
    password: SecretStr | None
    auth: str  # "md5", or as in "ao-hmac-sha256"
    key_id: int


@dataclass(frozen=True, slots=True)
class SheetTunnel:
    """
    One VPN Tunnel. `device_address` is None where it changes, `device_id` where any will do.

    `rank` counts from 1: the lowest of those that are up carries the traffic, equal ones share it.
    `selectors` are the device's and the cloud's, for each Child SA. `mtu` and `mss` are in bytes,
    for IPv4 inside and a path of 1,500 bytes.
    """

    name: str
    number: int
    rank: int
    is_up: bool
    cloud_address: AnyAddress
    device_address: AnyAddress | None
    cloud_id: str
    device_id: str | None
    auth: str
    psk: SecretStr  # empty where it is another way to authenticate
    ppk: SecretStr | None
    ppk_id: str | None
    ppk_required: bool
    ike_proposals: tuple[Proposal, ...]
    esp_proposals: tuple[Proposal, ...]
    cloud_ike_lifetime_s: float
    cloud_child_lifetime_s: float
    child_lifetime_bytes: int
    child_lifetime_packets: int
    liveness_s: float
    liveness_timeout_s: float
    encap: Encap
    cloud_begins: bool
    cloud_inner: IPv4Interface | IPv6Interface | None
    device_inner: IPv4Interface | IPv6Interface | None
    mtu: int
    mss: int
    replay_window: int
    copy_dscp: bool
    per_resource_sas: bool
    fragment_size: int
    is_probed: bool
    measure_s: float
    selectors: tuple[Selectors, ...]
    bgp: Bgp | None

    @property
    def ike(self) -> tuple[Suite, ...]:
        """Return the suites for IKE that the gateway takes, the best first."""
        return suites_of(self.ike_proposals)

    @property
    def esp(self) -> tuple[Suite, ...]:
        """Return the suites for ESP that the gateway takes, the best first."""
        return suites_of(self.esp_proposals)


@dataclass(frozen=True, slots=True)
class Sheet:
    """
    A VPN Connection for the customer's device.

    `mode` is how packets come into the tunnels: "bgp" and "static" by routes, "policy" by the
    tunnels' selectors. `cloud_prefixes` are what is behind the gateway, `device_prefixes` what is
    behind the device.
    """

    gateway: str
    connection: str
    customer: str
    mode: str
    shares_load: bool
    cloud_prefixes: tuple[AnyNetwork, ...]
    device_prefixes: tuple[AnyNetwork, ...]
    tunnels: tuple[SheetTunnel, ...]

    @property
    def router_id(self) -> IPv4Address:
        """Return a BGP identifier for the device: an IPv4 address that it has."""
        for tunnel in self.tunnels:
            inner = tunnel.device_inner
            for address in (inner.ip if inner else None, tunnel.device_address):
                if isinstance(address, IPv4Address):
                    return address
        return IPv4Address(int(self.tunnels[0].bgp.device_asn if self.tunnels[0].bgp else 1))


def sheet_of(document: Document, connection: str, only: Sequence[str] = ()) -> Sheet:
    """
    Return the sheet of a connection of a document without mistakes.

    `only` names the tunnels that end at the device in question; none: all. Raises ConfigError.
    """
    found = next((one for one in document.vpn_connection if one.name == connection), None)
    if found is None:
        names = ", ".join(one.name for one in document.vpn_connection) or "none"
        raise ConfigError([f"vpn_connection: none has this name; there is: {names} ({connection})"])
    tunnels = _chosen(document, found, only)
    ranks = sorted({tunnel.preference for tunnel in tunnels})
    border = next(one for one in document.border_gateway if one.name == found.border_gateway)
    has_selectors = any(one.settings.local_ts or one.settings.remote_ts for one in tunnels)
    return Sheet(
        gateway=document.gateway.name,
        connection=found.name,
        customer=found.customer_gateway,
        mode="policy" if has_selectors and found.routing == "static" else found.routing,
        shares_load=len(ranks) < len(tunnels),
        cloud_prefixes=_cloud_prefixes(document, found),
        device_prefixes=found.remote_prefixes(),
        tunnels=tuple(
            _tunnel(document, border, tunnel, ranks.index(tunnel.preference) + 1)
            for tunnel in tunnels
        ),
    )


def _chosen(
    document: Document, connection: VpnConnection, only: Sequence[str]
) -> list[ResolvedTunnel]:
    tunnels = [one for one in resolve_tunnels(document) if one.connection.name == connection.name]
    names = [tunnel.name for tunnel in tunnels]
    for name in only:
        if name not in names:
            text = f"none has this name; there is: {', '.join(names) or 'none'} ({name})"
            raise ConfigError([f"vpn_connection[{connection.name}].tunnel: {text}"])
    chosen = [tunnel for tunnel in tunnels if not only or tunnel.name in only]
    if not chosen:
        raise ConfigError([f"vpn_connection[{connection.name}].tunnel: it has none"])
    return chosen


def _cloud_prefixes(document: Document, connection: VpnConnection) -> tuple[AnyNetwork, ...]:
    """Return what is behind the gateway: the connection's own word, else its attachments'."""
    ruled = [cidr for rule in connection.rule for cidr in rule.local_cidrs]
    attached = [
        cidr
        for attachment in document.vpc_attachment
        if attachment.border_gateway == connection.border_gateway
        for cidr in attachment.cidrs
    ]
    return tuple(dict.fromkeys(ruled or connection.local_cidrs or attached))


def _tunnel(
    document: Document, border: BorderGateway, resolved: ResolvedTunnel, rank: int
) -> SheetTunnel:
    settings, tunnel = resolved.settings, resolved.tunnel
    inner = inner_interface(tunnel.inner_cidr, tunnel.inner_local)
    esp = _proposals(settings.esp_proposals, ProtocolId.ESP) or DEFAULT_ESP
    # The checks refuse a document without these.
    assert resolved.local is not None
    mtu = _mtu(esp, settings.encap, resolved.local.version, settings.mtu)
    return SheetTunnel(
        name=resolved.name,
        number=int(resolved.path[-1]) + 1,
        rank=rank,
        is_up=settings.admin == "up",
        cloud_address=resolved.local,
        device_address=resolved.remote,
        cloud_id=resolved.local_id,
        device_id=_device_id(resolved),
        auth=settings.auth,
        psk=settings.psk or SecretStr(""),
        ppk=settings.ppk,
        ppk_id=settings.ppk_id,
        ppk_required=settings.ppk_required,
        ike_proposals=_proposals(settings.ike_proposals, ProtocolId.IKE) or DEFAULT_IKE,
        esp_proposals=esp,
        cloud_ike_lifetime_s=settings.ike_lifetime_s,
        cloud_child_lifetime_s=settings.child_lifetime_s,
        child_lifetime_bytes=settings.child_lifetime_bytes,
        child_lifetime_packets=settings.child_lifetime_packets,
        liveness_s=settings.liveness_s,
        liveness_timeout_s=settings.liveness_timeout_s,
        encap=settings.encap,
        cloud_begins=resolved.start is Start.INITIATE,
        cloud_inner=inner,
        device_inner=(
            ip_interface(f"{inner_peer(inner)}/{inner.network.prefixlen}") if inner else None
        ),
        mtu=mtu,
        mss=tcp_mss(mtu, 4),
        replay_window=settings.replay_window,
        copy_dscp=settings.copy_dscp,
        per_resource_sas=settings.per_resource_sas,
        fragment_size=settings.fragment_size,
        measure_s=settings.measure_s,
        is_probed=settings.probe != "off" and resolved.connection.routing != "bgp",
        selectors=tuple((theirs, ours) for ours, theirs in selector_texts(document, resolved)),
        bgp=_bgp(border, resolved) if resolved.connection.routing == "bgp" else None,
    )


def _device_id(resolved: ResolvedTunnel) -> str | None:
    """Return the device's identity; None where it may have one of several."""
    text = resolved.remote_id
    return None if text is None or Identity.parse(text).is_pattern else text


def _proposals(texts: tuple[str, ...], protocol: ProtocolId) -> tuple[Proposal, ...]:
    return tuple(parse_proposal(text, protocol) for text in texts)


def _mtu(proposals: tuple[Proposal, ...], encap: Encap, version: int, wanted: int | None) -> int:
    """Return the largest inner packet that every suite leaves on a path of 1,500 bytes."""
    kind = EncapKind.ESP if encap is Encap.NEVER else EncapKind.UDP
    rooms = {
        room_inside(*suite.numbers, kind, version, OUTER_MTU) for suite in suites_of(proposals)
    }
    return min([*rooms, wanted or OUTER_MTU])


def _bgp(border: BorderGateway, resolved: ResolvedTunnel) -> Bgp:
    settings, customer = resolved.settings, resolved.customer
    # The checks refuse BGP without the customer's AS number.
    assert customer is not None
    assert customer.asn is not None
    return Bgp(
        cloud_asn=resolved.connection.local_asn or border.asn,
        device_asn=customer.asn,
        hold_s=settings.bgp_hold_s,
        keepalive_s=keepalive_s(settings),
        bfd=parse_bfd(settings.bfd),
        password=settings.bgp_password,
        auth=settings.bgp_auth,
        key_id=settings.bgp_key_id,
    )


def device_lifetime(seconds: float, most: int) -> int:
    """
    Return how many seconds an SA lives at the device, where the gateway rekeys it after `seconds`.

    A fifth longer, so that the gateway always rekeys first; where a device can not have so much
    (`most`), a quarter shorter, so that the device does.
    """
    longer = round(seconds * LONGER)
    return longer if longer <= most else min(most, int(seconds * SHORTER))
