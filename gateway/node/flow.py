"""What becomes of one flow in a Border Gateway: what is known of it, and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.fib import FibRoute, Flow
from gateway.ike.config import ChildSelectors
from gateway.node.plan import NodePlan
from gateway.node.spokes import is_filtered
from gateway.sa import Address, TrafficSelector


class WayKind(Enum):
    """What an interface leads to."""

    TUNNEL = "vpn_tunnel"
    LINE = "direct_line"
    ATTACHMENT = "vpc_attachment"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Way:
    """An interface of a Border Gateway, and the name of what it leads to."""

    interface: str
    kind: WayKind = WayKind.OTHER
    name: str = ""

    def __str__(self) -> str:
        words = f"{self.kind.value} {self.name}" if self.name else "none of Twinspan's"
        return f"{self.interface} ({words})"


class Fate(Enum):
    """What becomes of a flow."""

    CARRIED = "carried"
    LOCAL = "local"  # it is for this machine itself
    IN_CLEAR = "in_clear"  # it leaves by an interface that is none of ours
    ISOLATED = "isolated"
    NO_SELECTOR = "no_selector"  # no Child SA may carry it
    TUNNEL_DOWN = "tunnel_down"
    FAIL_CLOSED = "fail_closed"  # no tunnel has a route for it: it is refused, not sent in clear
    NOT_FORWARDED = "not_forwarded"
    SOURCE_REFUSED = "source_refused"
    NO_ROUTE = "no_route"


@dataclass(frozen=True, slots=True)
class Held:
    """
    A tunnel that has, or would have, a route for a flow: is it up, what holds it back, and why.
    """

    name: str
    is_up: bool
    standing: str
    why: str = ""

    def __str__(self) -> str:
        state = "up" if self.is_up else "down"
        if self.standing != "normal":
            state += f", {self.standing}"
        return f"{self.name} is {state}" + (f": {self.why}" if self.why else "")


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """
    What the kernel and the gateway say of a flow. `route` is the one it matches, `taken` what was
    picked of it; both None where the kernel refuses, with `error`.
    """

    flow: Flow
    came_by: Way | None
    route: FibRoute | None
    taken: FibRoute | None
    leaves_by: Way | None
    error: str
    is_forwarding: bool
    is_isolated: bool
    tunnel: Held | None  # that it leaves by
    selectors: tuple[ChildSelectors, ...]  # of that tunnel's Child SAs
    came_selectors: tuple[ChildSelectors, ...] = ()  # of those that it comes by, if it does
    others: tuple[Held, ...] = ()  # tunnels whose routes hold the destination, where none is used


def judge(facts: FlowFacts) -> tuple[Fate, str]:
    """Return what becomes of a flow, and why."""
    if facts.taken is None or facts.taken.kind in ("unreachable", "blackhole", "prohibit"):
        return _refused(facts)
    if facts.taken.kind == "local":
        return Fate.LOCAL, "the destination is an address of this machine"
    if facts.is_isolated:
        return Fate.ISOLATED, (
            f"spoke isolation keeps {facts.came_by} from {facts.leaves_by}: spoke_isolation of the"
            " border_gateway, or of the connection"
        )
    way = facts.leaves_by
    assert way is not None
    if way.kind is WayKind.OTHER:
        return Fate.IN_CLEAR, f"leaves by {way}: no route into a tunnel holds the destination"
    if facts.came_selectors and holding(facts.came_selectors, _back(facts.flow)) is None:
        return Fate.NO_SELECTOR, f"no Child SA of {facts.came_by} may bring it: it is dropped here"
    if facts.tunnel is None:
        return Fate.CARRIED, f"by {way}"
    if not facts.tunnel.is_up:
        return Fate.TUNNEL_DOWN, str(facts.tunnel)
    if holding(facts.selectors, facts.flow) is None:
        return Fate.NO_SELECTOR, f"no Child SA of {way.name} may carry it: it is dropped there"
    return Fate.CARRIED, f"by {way}"


def _back(flow: Flow) -> Flow:
    """Return the flow of the answers; only for one whose source is known."""
    assert flow.source is not None
    ports = flow.destination_port, flow.source_port
    return Flow(flow.destination, flow.source, flow.protocol, *ports)


def _refused(facts: FlowFacts) -> tuple[Fate, str]:
    if facts.others:
        states = "; ".join(str(each) for each in facts.others)
        return Fate.FAIL_CLOSED, f"no tunnel with a route for it carries traffic: {states}"
    if facts.came_by is not None and not facts.is_forwarding:
        return Fate.NOT_FORWARDED, "the kernel does not forward: twinspan doctor"
    if facts.error in ("Invalid cross-device link", "Invalid argument"):
        return Fate.SOURCE_REFUSED, (
            f"the kernel refuses the source on {facts.came_by}: it leads back elsewhere"
            " (rp_filter), or is no address of hosts"
        )
    return Fate.NO_ROUTE, "nothing here has a route for the destination"


def ways_of(plan: NodePlan, namespace: str) -> Mapping[str, Way]:
    """Return what the interfaces of a namespace lead to."""
    found = {}
    for port in plan.ports:
        if port.namespace == namespace:
            kind, _, name = port.owner.partition(" ")
            found[port.interface] = Way(port.interface, WayKind(kind), name)
    for tunnel in plan.tunnels:
        if tunnel.namespace == namespace:
            found[tunnel.interface] = Way(tunnel.interface, WayKind.TUNNEL, tunnel.name)
    return found


def is_isolated(plan: NodePlan, namespace: str, one: str, other: str) -> bool:
    """Return whether packets from one interface are kept from another, as the kernel does it."""
    here = [spoke for spoke in plan.spokes if spoke.namespace == namespace]
    both = [spoke for spoke in here if spoke.interface in (one, other)]
    ends = {spoke.interface for spoke in both}
    return ends == {one, other} and is_filtered(here) and any(s.is_isolated for s in both)


def holding(pairs: Iterable[ChildSelectors], flow: Flow) -> ChildSelectors | None:
    """Return the first pair of selectors that a flow fits, None if there is none."""
    source = (flow.source, flow.protocol, flow.source_port)
    target = (flow.destination, flow.protocol, flow.destination_port)
    for pair in pairs:
        if _any_holds(pair.local, *source) and _any_holds(pair.remote, *target):
            return pair
    return None


def _any_holds(
    selectors: Sequence[TrafficSelector], address: Address | None, protocol: int, port: int
) -> bool:
    """Return whether a side fits; what was not said (0, None) fits everything."""
    return any(
        (
            address is None
            or (one.first.version == address.version and one.first <= address <= one.last)  # type: ignore[operator]  # of one version
        )
        and (0 in (one.protocol, protocol) or one.protocol == protocol)
        and (port == 0 or one.first_port <= port <= one.last_port)
        for one in selectors
    )
