"""
The names of BIRD's protocols: each says what kind it is of, and of which tunnel, line or attachment
it is. Pure.

A name depends on nothing but its owner, because BIRD takes another name for another protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from gateway.routing.plan import Attachment, BgpPeer, Hop, RoutingPlan, StaticWay

ANNOUNCE = "announce_"


class Origin(Enum):
    """Where a route is from; the earlier is preferred."""

    STATIC = "static"
    PROPAGATED = "propagated"  # the prefixes of an attachment
    EBGP = "ebgp"


_LEARNED = {Hop.ATTACHMENT: "vpc_", Hop.LINE: "line_", Hop.VPN: "bgp_"}
_STATIC = {
    (Hop.LINE, 4): "linestatic_",
    (Hop.LINE, 6): "linestatic6_",
    (Hop.VPN, 4): "static_",
    (Hop.VPN, 6): "static6_",
}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a protocol is, and what kind of routes it has. `hop` None: it is not of our making."""

    name: str
    hop: Hop | None
    origin: Origin


def session_name(peer: BgpPeer) -> str:
    """Return the name of a peer's BGP protocol."""
    return _LEARNED[peer.hop] + peer.name


def static_name(way: StaticWay) -> str:
    """Return the name of the protocol that has the static routes of a tunnel or line."""
    return _STATIC[way.hop, way.family] + way.name


def announce_name(attachment: Attachment, gateway: int, family: int) -> str:
    """Return the name of the protocol that announces an attachment's prefixes of one family."""
    return f"{ANNOUNCE}{gateway}_{family}_{attachment.name}"


def owner_of(protocol: str) -> Owner:
    """Return whose a protocol is, by its name."""
    if protocol.startswith(ANNOUNCE):
        return Owner(protocol.split("_", 3)[-1], Hop.ATTACHMENT, Origin.PROPAGATED)
    kinds = [(prefix, hop, Origin.EBGP) for hop, prefix in _LEARNED.items()]
    kinds += [(prefix, hop, Origin.STATIC) for (hop, _), prefix in _STATIC.items()]
    for prefix, hop, origin in kinds:
        if protocol.startswith(prefix):
            return Owner(protocol.removeprefix(prefix), hop, origin)
    return Owner(protocol, None, Origin.STATIC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the document a protocol belongs."""

    border_gateway: str
    connection: str


NOWHERE = Place("", "")


def places_of(plan: RoutingPlan) -> Mapping[str, Place]:
    """Return where each protocol of a plan belongs, by its name."""
    found = {}
    for at, gateway in enumerate(plan.gateways, 1):
        for attachment in gateway.attachments:
            for family in (4, 6):
                found[announce_name(attachment, at, family)] = Place(gateway.name, "")
        for peer in gateway.peers:
            found[session_name(peer)] = Place(gateway.name, peer.connection)
        for way in gateway.statics:
            found[static_name(way)] = Place(gateway.name, way.connection)
    return found
