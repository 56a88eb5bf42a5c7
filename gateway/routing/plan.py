"""
What one gateway VM speaks BGP about: its sessions, what it announces, what it takes. Plain values.

`bird_conf` turns them into BIRD's configuration; equal plans give equal text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from types import MappingProxyType

from gateway.sa import Address
from gateway.secret import Secret

Network = IPv4Network | IPv6Network


class Hop(Enum):
    """What a route's next hop is, the first thing that routes are chosen by: the earlier wins."""

    ATTACHMENT = "vpc_attachment"
    LINE = "direct_line"
    VPN = "vpn"


class Standing(Enum):
    """
    How far a tunnel may carry traffic, whatever its routes are. The stronger of two is the later.

    NORMAL: as its routes say. DEMOTED: the last choice in both directions, still used when nothing
    else is there. WITHDRAWN: the peer is told nothing and nothing is taken from it, the session
    stays up.
    """

    NORMAL = "normal"
    DEMOTED = "demoted"
    WITHDRAWN = "withdrawn"


Standings = Mapping[str, Standing]  # by tunnel; those not named are NORMAL
NO_STANDINGS: Standings = MappingProxyType({})


def strongest(standings: Iterable[Standing]) -> Standing:
    """Return the strongest of some standings; of none NORMAL."""
    return max(standings, key=[*Standing].index, default=Standing.NORMAL)


@dataclass(frozen=True, slots=True)
class Bfd:
    """How a peer is watched (RFC 5880): a packet each interval, so many may be missing."""

    interval_ms: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class TcpAo:
    """How TCP-AO (RFC 5925) uses a password: as in "hmac-sha256", and the number of the key."""

    algorithm: str
    key_id: int


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """
    One EBGP session (RFC 4271): with the peer at the other end of a VPN Tunnel or a direct line, or
    with the router of a VPC.

    The lower `preference` wins, for what we send and, by MED, for what the peer sends. `accepted`
    are the prefixes that may be learned, each with its more specific ones; none means any that is
    not refused. A customer is told of our attachments, and of other customers where neither is
    isolated; a VPC's router of all customers' routes within `told`, with `preference` for their
    priority.
    """

    name: str
    hop: Hop
    connection: str  # or the Customer Gateway of a direct line; "" for a VPC's router
    border_gateway: str
    interface: str
    local_asn: int
    asn: int
    local: Address
    remote: Address
    preference: int
    hold_s: int
    keepalive_s: int
    bfd: Bfd | None
    prefix_limit: int
    prepend: int  # how many times our AS number is put in front of what this peer is told
    password: Secret | None  # TCP MD5 (RFC 2385), or TCP-AO where `ao` says so
    accepted: tuple[Network, ...] = ()
    told: tuple[Network, ...] = ()
    is_isolated: bool = True
    ao: TcpAo | None = None

    @property
    def is_tunnels(self) -> bool:
        """Return whether this is the session of a VPN Tunnel, and so has its name."""
        return self.hop is Hop.VPN


@dataclass(frozen=True, slots=True)
class StaticWay:
    """
    The static routes by one tunnel or direct line, each with its sum of preferences: lower wins.

    `gateway` is the next hop, None where packets just enter the device. The routes are there while
    the device has its carrier and, with `bfd`, while the next hop answers.
    """

    name: str
    hop: Hop
    connection: str  # or the Customer Gateway of a direct line
    border_gateway: str
    interface: str
    family: int  # 4 or 6
    gateway: Address | None
    bfd: Bfd | None
    routes: tuple[tuple[Network, int], ...]
    is_isolated: bool = True


@dataclass(frozen=True, slots=True)
class Attachment:
    """Prefixes that are announced as long as the interface they are behind is up."""

    name: str
    interface: str
    prefixes: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class BgpGateway:
    """
    A Border Gateway whose routes BIRD chooses: all of them, also those of static connections.

    `attachments` are those without a BGP session of their own; `own` are our prefixes of all.
    """

    name: str
    router_id: IPv4Address
    attachments: tuple[Attachment, ...]
    peers: tuple[BgpPeer, ...]
    statics: tuple[StaticWay, ...] = ()
    own: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """
    All that BIRD does in one network namespace. Without gateways no BIRD runs.

    No customer may lead the VM's own tunnels elsewhere, into themselves or into its own: no prefix
    is learned that holds one of `outer`, the peers' outer addresses, or lies within one of `inner`,
    the networks inside tunnels and on lines. (Our own outer address may be private and lie within
    what is learned.)
    """

    gateways: tuple[BgpGateway, ...] = ()
    outer: tuple[Address, ...] = ()
    inner: tuple[Network, ...] = ()
    namespace: str = ""  # the network namespace of these gateways; "" is the VM's own

    @property
    def peers(self) -> tuple[BgpPeer, ...]:
        """Return the peers of all Border Gateways."""
        return tuple(peer for gateway in self.gateways for peer in gateway.peers)

    @property
    def statics(self) -> tuple[StaticWay, ...]:
        """Return the static routes of all Border Gateways, by tunnel or line."""
        return tuple(way for gateway in self.gateways for way in gateway.statics)

    @property
    def tunnels(self) -> frozenset[str]:
        """Return the tunnels with a BGP session."""
        return frozenset(peer.name for peer in self.peers if peer.is_tunnels)

    @property
    def chosen(self) -> frozenset[str]:
        """Return the tunnels whose routes are chosen among here, with BGP or without."""
        return self.tunnels | {way.name for way in self.statics if way.hop is Hop.VPN}


NO_ROUTING = RoutingPlan()
