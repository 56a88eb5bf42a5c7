"""
Which tunnel carries a flow, and why: the kernel is asked, and BIRD's choice and ours are beside it.

Everything is read, nothing changed. A flow is looked at in the namespace of its Border Gateway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import chain

from gateway.fib import FibRoute, Flow, all_routes, chosen, matching
from gateway.ike.config import ChildSelectors
from gateway.ike.selectors import selector_text
from gateway.netns.wire import What
from gateway.node.control_socket import ControlError, Request
from gateway.node.daemon import IkeDaemon
from gateway.node.flow import FlowFacts, Held, Way, WayKind, holding, is_isolated, judge, ways_of
from gateway.node.namespaces import OWN, Namespaces
from gateway.node.plan import NodePlan, TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.node.routing import RoutingReport
from gateway.node.status import StatusView
from gateway.rtnl import RawNetlink
from gateway.sa import Address

Json = dict[str, object]

PORT_MAX = 65535
_FORWARDING = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
_HASH = {4: "ipv4/fib_multipath_hash_policy", 6: "ipv6/fib_multipath_hash_policy"}
_PICKED_BY = {"0": "addresses", "1": "addresses and ports"}


class FlowReport:
    """Answers for one flow at a time."""

    def __init__(
        self,
        reconciler: Reconciler,
        namespaces: Namespaces,
        daemon: IkeDaemon,
        routing: RoutingReport,
        status: StatusView,
    ) -> None:
        self._reconciler = reconciler
        self._namespaces = namespaces
        self._daemon = daemon
        self._routing = routing
        self._status = status

    async def path(self, request: Request) -> Json:
        """Return what becomes of the flow that a request names. Raises ControlError, BirdError."""
        flow = flow_of(request)
        plan = self._reconciler.plan
        if plan is None:
            raise ControlError("the gateway has no document yet")
        listed = (await self._routing.routes())["routes"]
        assert isinstance(listed, list)
        candidates = [one for one in listed if flow.destination in ip_network(one["prefix"])]
        candidates.sort(key=lambda one: -ip_network(one["prefix"]).prefixlen)
        places = [
            self._in(namespace, flow, plan, [c for c in candidates if c["namespace"] == namespace])
            for namespace in self._wanted(plan, request)
        ]
        return {
            "source": str(flow.source),
            "destination": str(flow.destination),
            "protocol": flow.protocol,
            "source_port": flow.source_port,
            "destination_port": flow.destination_port,
            "places": _of_interest(places),
        }

    def _wanted(self, plan: NodePlan, request: Request) -> list[str]:
        """
        Return the namespaces to look into: of one Border Gateway, of several, of all. Raises
        ControlError.
        """
        owners = {tunnel.border_gateway: tunnel.namespace for tunnel in plan.tunnels}
        several = request.get("border_gateways")
        if isinstance(several, list):  # those of a tenant, of which this node may have none
            return list(dict.fromkeys(owners[one] for one in several if one in owners))
        border_gateway = request.get("border_gateway")
        if border_gateway is None:
            return list(dict.fromkeys([*owners.values()])) or [OWN]
        if border_gateway not in owners:
            known = ", ".join(owners) or "none"
            raise ControlError(
                f"no border gateway with tunnels is named {border_gateway!r}; there are: {known}"
            )
        return [owners[str(border_gateway)]]

    # ---- in one namespace ----

    def _in(self, namespace: str, flow: Flow, plan: NodePlan, candidates: list[Json]) -> Json:
        link = RawNetlink(self._namespaces.open_socket(namespace, What.RTNETLINK))
        try:
            return self._seen(_Place(link, self._namespaces, namespace, plan), flow, candidates)
        finally:
            link.close()

    def _seen(self, place: _Place, flow: Flow, candidates: list[Json]) -> Json:
        came_by = place.toward(flow.source)
        facts = self._facts(place, place.as_it_comes(flow, came_by), came_by)
        fate, why = judge(facts)
        used = holding(facts.selectors, flow)
        owners = {t.border_gateway for t in place.plan.tunnels if t.namespace == place.namespace}
        return {
            "namespace": place.namespace,
            "border_gateways": sorted(owners),
            "came_by": _way(came_by),
            "route": _route(facts.route),
            "next_hops": place.hops(facts.route, facts.taken),
            "picked_by": place.picked_by(facts.route),
            "candidates": candidates,
            "leaves_by": _way(facts.leaves_by),
            "tunnel": self._tunnel(facts.leaves_by),
            "selectors": _selectors(used),
            "verdict": fate.value,
            "why": why,
        }

    def _facts(self, place: _Place, flow: Flow, came_by: Way | None) -> FlowFacts:
        route, taken, error = place.ask(flow)
        leaves_by = place.way(taken.hops[0].index) if taken and taken.hops else None
        plan, before = (_tunnel_of(place.plan, way) for way in (leaves_by, came_by))
        is_refused = taken is None or not taken.hops
        ends = (came_by, leaves_by)
        return FlowFacts(
            flow=flow,
            came_by=came_by,
            route=route,
            taken=taken,
            leaves_by=leaves_by,
            error=error,
            is_forwarding=place.is_forwarding(flow.destination.version),
            is_isolated=None not in ends and place.keeps_apart(*ends),  # type: ignore[arg-type]  # as just said
            tunnel=self._held(plan) if plan else None,
            selectors=self._selectors(plan) if plan else (),
            came_selectors=self._selectors(before) if before else (),
            others=tuple(self._others(place, flow)) if is_refused else (),
        )

    def _others(self, place: _Place, flow: Flow) -> Iterator[Held]:
        """Yield the tunnels whose prefixes hold the destination of what fails closed."""
        if not place.fails_closed(flow.destination):
            return
        for tunnel in place.plan.tunnels:
            prefixes = (*(route.prefix for route in tunnel.routes), *tunnel.fail_closed)
            if tunnel.namespace == place.namespace and any(
                flow.destination in prefix for prefix in prefixes
            ):
                yield self._held(tunnel)

    def _held(self, plan: TunnelPlan) -> Held:
        shown = self._status.explanation(plan.name)
        reason, causes = shown["reason"], shown["causes"]
        assert isinstance(causes, list)
        words = [f"{reason['code']}: {reason['text']}"] if isinstance(reason, dict) else []
        return Held(
            plan.name, shown["status"] == "up", str(shown["standing"]), "; ".join([*words, *causes])
        )

    def _selectors(self, plan: TunnelPlan) -> tuple[ChildSelectors, ...]:
        """Return those of the Child SAs in use; before there are any, those wanted."""
        if plan.name not in self._daemon.known:
            return plan.ike.selectors
        status = self._daemon.endpoint.tunnel_status(plan.name)
        used = [child for child in status.children if child.is_outbound]
        pairs = tuple(ChildSelectors(child.local_ts, child.remote_ts) for child in used)
        return pairs or plan.ike.selectors

    def _tunnel(self, way: Way | None) -> Json | None:
        if way is None or way.kind is not WayKind.TUNNEL:
            return None
        shown = self._status.explanation(way.name)
        return {key: shown[key] for key in _OF_TUNNEL}


_OF_TUNNEL = (
    *("name", "title", "connection", "border_gateway", "interface", "admin", "status", "reason"),
    *("local", "remote", "mtu", "standing", "causes"),
)


class _Place:
    """One namespace, its kernel asked through `link`."""

    def __init__(
        self, link: RawNetlink, namespaces: Namespaces, namespace: str, plan: NodePlan
    ) -> None:
        self._link = link
        self._kernel = namespaces.of(namespace)
        self.namespace = namespace
        self.plan = plan
        self._ways = ways_of(plan, namespace)
        links = self._kernel.links().values()
        self._names = {each.index: each.name for each in links}
        self._indices = {each.name: each.index for each in links}

    def way(self, index: int) -> Way:
        """Return what an interface leads to."""
        name = self._names.get(index, str(index))
        return self._ways.get(name, Way(name))

    def toward(self, source: Address | None) -> Way | None:
        """
        Return what packets of `source` come in by: where answers leave to. None if it is this
        machine, or there is no way back.
        """
        if source is None:
            return None
        try:
            back = chosen(self._link, Flow(None, source))
        except OSError:
            return None
        is_far = back.kind == "unicast" and back.hops
        return self.way(back.hops[0].index) if is_far else None

    def as_it_comes(self, flow: Flow, came_by: Way | None) -> Flow:
        """Return a flow as the kernel is to be asked for it."""
        source = flow.source if came_by or self._is_here(flow.source) else None
        return Flow(
            source,
            flow.destination,
            flow.protocol,
            flow.source_port,
            flow.destination_port,
            self._indices.get(came_by.interface, 0) if came_by else 0,
        )

    def _is_here(self, address: Address | None) -> bool:
        try:
            return address is not None and chosen(self._link, Flow(None, address)).kind == "local"
        except OSError:
            return False

    def ask(self, flow: Flow) -> tuple[FibRoute | None, FibRoute | None, str]:
        """Return the route that a flow matches, what is picked of it, and why there is none."""
        try:
            return matching(self._link, flow), chosen(self._link, flow), ""
        except OSError as error:
            return None, None, error.strerror or ""

    def is_forwarding(self, version: int) -> bool:
        """Return whether the kernel forwards an IP version here."""
        return self._kernel.settings(_FORWARDING[version]) == ["1"]

    def fails_closed(self, destination: Address) -> bool:
        """Return whether the most specific route for a destination is an unreachable one."""
        found = [
            route
            for route in all_routes(self._link)
            if route.prefix.version == destination.version and destination in route.prefix
        ]
        live = [route for route in found if not all(hop.is_down for hop in route.hops)]
        closed = [route for route in found if route.kind == "unreachable"]
        most = max((route.prefix.prefixlen for route in chain(live, closed)), default=0)
        return any(route.prefix.prefixlen == most for route in closed)

    def keeps_apart(self, one: Way, other: Way) -> bool:
        """Return whether spoke isolation keeps packets of one interface from another."""
        return is_isolated(self.plan, self.namespace, one.interface, other.interface)

    def hops(self, route: FibRoute | None, taken: FibRoute | None) -> list[Json]:
        """Return the next hops of a route, each with whether it is the one picked."""
        picked = taken.hops[0].index if taken and taken.hops else None
        return [
            {
                **(_way(self.way(hop.index)) or {}),
                "via": str(hop.via) if hop.via else "",
                "weight": hop.weight,
                "carrier": not hop.is_down,
                "picked": hop.index == picked,
            }
            for hop in (route.hops if route else ())
        ]

    def picked_by(self, route: FibRoute | None) -> str:
        """Return what decides between next hops that share a route, "" where there is one."""
        if route is None or len(route.hops) < 2:
            return ""
        (policy,) = self._kernel.settings(_HASH[route.prefix.version])
        return _PICKED_BY.get(policy, f"fib_multipath_hash_policy {policy}")


def _of_interest(places: list[Json]) -> list[Json]:
    """Return those that know the flow; of several tenants mostly one does."""
    known = [one for one in places if one["candidates"] or _is_ours(one["came_by"])]
    return known or places


def _is_ours(way: object) -> bool:
    return isinstance(way, dict) and way["kind"] != WayKind.OTHER.value


def _tunnel_of(plan: NodePlan, way: Way | None) -> TunnelPlan | None:
    if way is None or way.kind is not WayKind.TUNNEL:
        return None
    return next(tunnel for tunnel in plan.tunnels if tunnel.name == way.name)


def _way(way: Way | None) -> Json | None:
    if way is None:
        return None
    return {"interface": way.interface, "kind": way.kind.value, "name": way.name}


def _route(route: FibRoute | None) -> Json | None:
    if route is None:
        return None
    return {
        "prefix": str(route.prefix),
        "metric": route.metric,
        "by": route.protocol,
        "kind": route.kind,
        "table": route.table,
    }


def _selectors(pair: ChildSelectors | None) -> Json | None:
    if pair is None:
        return None
    return {
        "local_ts": [selector_text(one) for one in pair.local],
        "remote_ts": [selector_text(one) for one in pair.remote],
    }


# ---- the request ----


def flow_of(request: Mapping[str, object]) -> Flow:
    """Return the flow that a request names. Raises ControlError."""
    source, destination = (_address(request, key) for key in ("source", "destination"))
    if source.version != destination.version:
        raise ControlError(f"{source} and {destination} are of two IP versions")
    protocol = _number(request, "protocol", 255)
    ports = [_number(request, key, PORT_MAX) for key in ("source_port", "destination_port")]
    if any(ports) and protocol not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
        raise ControlError("ports are of TCP and UDP alone: name the protocol")
    return Flow(source, destination, protocol, *ports)


def _address(request: Mapping[str, object], key: str) -> Address:
    text = request.get(key)
    try:
        return ip_address(text)  # type: ignore[arg-type]  # refuses what is none
    except ValueError:
        raise ControlError(f"{key} is {text!r}, must be an IP address") from None


def _number(request: Mapping[str, object], key: str, most: int) -> int:
    value = request.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ControlError(f"{key} is {value!r}, must be 0 to {most}")
    return value
