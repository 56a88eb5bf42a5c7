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
    """How a tunnel's peer is watched (RFC 5880): a packet each interval, so many may be missing."""

    interval_ms: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """
    One EBGP session: the peer at the other end of one VPN Tunnel's inner addresses (RFC 4271).

    The lower `preference` wins, for what we send and, by MED, for what the peer sends. `accepted`
    are the prefixes that may be learned, each with its more specific ones; none means any that is
    not refused. `static_routes` lead into this tunnel beside what is learned, each with its sum of
    preferences.
    """

    tunnel: str
    connection: str
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
    password: Secret | None  # TCP MD5 (RFC 2385)
    accepted: tuple[Network, ...] = ()
    static_routes: tuple[tuple[Network, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Attachment:
    """Prefixes that are announced as long as the interface they are behind is up."""

    name: str
    interface: str
    prefixes: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class BgpGateway:
    """
    A Border Gateway as a BGP speaker.

    With `spoke_isolation` a peer is told of our attachments only; without it also of what the
    peers of other connections have announced.
    """

    name: str
    router_id: IPv4Address
    spoke_isolation: bool
    attachments: tuple[Attachment, ...]
    peers: tuple[BgpPeer, ...]


@dataclass(frozen=True, slots=True)
class RoutingPlan:
    """
    All BGP of one network namespace. Without gateways no BIRD runs.

    No customer may lead the VM's own tunnels elsewhere, into themselves or into its own: no prefix
    is learned that holds one of `outer`, the peers' outer addresses, or lies within one of `inner`,
    the networks inside. (Our own outer address may be private and lie within what is learned.)
    """

    gateways: tuple[BgpGateway, ...] = ()
    outer: tuple[Address, ...] = ()
    inner: tuple[Network, ...] = ()
    namespace: str = ""  # the network namespace of these gateways; "" is the VM's own

    @property
    def peers(self) -> tuple[BgpPeer, ...]:
        """Return the peers of all Border Gateways."""
        return tuple(peer for gateway in self.gateways for peer in gateway.peers)


NO_ROUTING = RoutingPlan()
