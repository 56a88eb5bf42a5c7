"""
The filters of BIRD's configuration: what is learned from a peer, and what a peer is told. Pure.

Every route carries three attributes of ours: of which Border Gateway it is, whether it is OURS or
whose customers may be told of it, and its cost, which becomes the MED toward a VPC's router.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from gateway.routing.names import static_name
from gateway.routing.order import (
    PRIORITY_STEP,
    cost,
    learned_preference,
    local_pref,
)
from gateway.routing.plan import (
    BgpGateway,
    BgpPeer,
    Hop,
    Network,
    RoutingPlan,
    Standing,
    StaticWay,
)
from gateway.routing.text import block, closed

DEMOTED_PREPENDS = 3  # for a peer that looks at neither MED nor GRACEFUL_SHUTDOWN
GRACEFUL_SHUTDOWN = "(65535, 0)"  # RFC 8326: who hears it prefers every other way

ATTRIBUTES = """\
define OURS = 0;
define ISOLATED = 1;
define SHARED = 2;
attribute int border_gateway;
attribute int spoke;
attribute int way_cost;
"""

_GOES_NOWHERE = {
    # RFC 6890: what no customer can announce. fe80::/10 and 169.254/16 are links, the tunnels too.
    4: ("0.0.0.0/8+", "127.0.0.0/8+", "169.254.0.0/16+", "224.0.0.0/3+"),
    6: ("::/8+", "fe80::/10+", "ff00::/8+"),
}
_DEFAULT = {4: "0.0.0.0/0", 6: "::/0"}


def refusals(plan: RoutingPlan, families: Iterable[int]) -> Iterator[str]:
    """Yield the functions that say what nobody may announce, and what no customer may."""
    for family in families:
        inner = [f"{network}+" for network in plan.inner if network.version == family]
        outer = [f"{ip_network(a)}-" for a in plan.outer if a.version == family]
        # The default route holds every outer address; whether it is taken is said by `accepted`.
        outside = [f"(net != {_DEFAULT[family]} && {_in(outer)})"] if outer else []
        refused = [_in([*_GOES_NOWHERE[family], *inner]), *outside]
        yield block(f"function strange_{family}()", [f"return {' || '.join(refused)};"])
        for at, gateway in enumerate(plan.gateways, 1):
            yield _refused(gateway, at, family)


def _refused(gateway: BgpGateway, at: int, family: int) -> str:
    ours = [
        f"{prefix}+"
        for prefix in gateway.own
        if prefix.version == family and prefix.prefixlen  # who announces a default takes all else
    ]
    refused = [f"strange_{family}()", *([_in(ours)] if ours else [])]
    return block(f"function refused_{at}_{family}()", [f"return {' || '.join(refused)};"])


def _in(patterns: Iterable[str]) -> str:
    return f"net ~ [ {', '.join(dict.fromkeys(patterns))} ]"


def _within(prefixes: Iterable[Network], family: int) -> str:
    """Return the condition that a route lies within one of these; "" if none is of this family."""
    patterns = [f"{prefix}+" for prefix in prefixes if prefix.version == family]
    return _in(patterns) if patterns else ""


def filters(gateway: BgpGateway, at: int, peer: BgpPeer, standing: Standing) -> list[str]:
    """Return the filters of a peer's channel; `at` is the number of its Border Gateway."""
    if standing is Standing.WITHDRAWN:
        return ["import none;", "export none;"]
    is_last = standing is Standing.DEMOTED
    told = _told_vpc(peer) if peer.hop is Hop.ATTACHMENT else _told(gateway, peer, is_last)
    ours = f"if ! defined(border_gateway) || border_gateway != {at} then reject;"
    return [
        closed("import filter", [*_learned(peer, at), *_marks(peer, at, is_last), "accept;"]),
        closed("export filter", [ours, *told]),
    ]


def _learned(peer: BgpPeer, at: int) -> Iterator[str]:
    """Yield what rejects all that may not be learned."""
    family = peer.local.version
    is_vpc = peer.hop is Hop.ATTACHMENT  # our own prefixes are what it has
    yield f"if {'strange' if is_vpc else f'refused_{at}'}_{family}() then reject;"
    if within := _within(peer.accepted, family):
        yield f"if ! ({within}) then reject;"
    else:
        yield "reject;" if peer.accepted or is_vpc else f"if net = {_DEFAULT[family]} then reject;"


def _marks(peer: BgpPeer, at: int, is_last: bool) -> Iterator[str]:
    """Yield what says how much we like the peer's routes, and who may be told of them."""
    yield f"border_gateway = {at};"
    yield f"spoke = {spoke(peer)};"
    if peer.hop is Hop.ATTACHMENT:
        yield from _liking(peer.hop, 0, is_last=False)
        return
    yield f"bgp_local_pref = {local_pref(peer.preference)};"
    yield from _liking(peer.hop, peer.preference, is_last=is_last)
    if not is_last:  # less where the peer asks for it (RFC 8326)
        asked = _liking(peer.hop, peer.preference, is_last=True)
        yield block(f"if {GRACEFUL_SHUTDOWN} ~ bgp_community then", asked)


def _liking(hop: Hop, preference: int, *, is_last: bool) -> Iterator[str]:
    yield f"preference = {learned_preference(hop, is_demoted=is_last)};"
    yield f"way_cost = {cost(hop, preference, is_demoted=is_last)};"


def spoke(of: BgpPeer | StaticWay) -> str:
    """Return the name of what BIRD knows of who may be told of these routes."""
    if of.hop is Hop.ATTACHMENT:
        return "OURS"
    return "ISOLATED" if of.is_isolated else "SHARED"


def _told(gateway: BgpGateway, peer: BgpPeer, is_last: bool) -> list[str]:
    """Return what tells a customer of our prefixes and, without isolation, of other customers'."""
    med = cost(peer.hop, peer.preference, is_demoted=is_last)
    steer = [f"bgp_med = {med};"]
    steer += [f"bgp_community.add({GRACEFUL_SHUTDOWN});"] * is_last
    prepends = peer.prepend + DEMOTED_PREPENDS * is_last
    steer += [f"bgp_path.prepend({peer.local_asn});"] * prepends
    told = "spoke = OURS" if peer.is_isolated else f"spoke = OURS || ({_shared(gateway, peer)})"
    return [block(f"if {told} then", [*steer, "accept;"]), "reject;"]


def _shared(gateway: BgpGateway, peer: BgpPeer) -> str:
    """Return the condition for other customers' routes: not what the peer itself announced."""
    others = [f"spoke = SHARED && (source != RTS_BGP || ! (bgp_path ~ [= * {peer.asn} * =]))"]
    others += [
        f'proto != "{static_name(way)}"'
        for way in gateway.statics
        if way.connection == peer.connection and way.family == peer.local.version
    ]
    return " && ".join(others)


def _told_vpc(peer: BgpPeer) -> list[str]:
    """Return what tells a VPC's router of the customers' routes, with what they cost us."""
    within = _within(peer.told, peer.local.version)
    if not within:
        return ["reject;"]
    return [
        "if spoke = OURS then reject;",
        f"if ! ({within}) then reject;",
        f"bgp_med = {peer.preference * PRIORITY_STEP} + way_cost;",
        *[f"bgp_path.prepend({peer.local_asn});"] * peer.prepend,
        "accept;",
    ]
