"""
What the gateway reports of its routing: the JSON of `twinspan bgp` and `twinspan routes`, and the
BGP part of `twinspan status`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from gateway.ike.events import Reason
from gateway.model.codes import CODES
from gateway.node.plan import BORDER_GATEWAY, RoutePlan
from gateway.node.reconcile import Reconciler
from gateway.node.tunnel import Tunnels
from gateway.routing.choice import Fate, Judged
from gateway.routing.names import NOWHERE, Origin, Place
from gateway.routing.plan import BgpPeer, Hop, StaticWay
from gateway.routing.routers import Routers
from gateway.routing.tables import Table, is_in
from gateway.routing.view import LineView, PeerView
from gateway.routing.why import LINK_DOWN, asns_text, bgp_reason

Json = dict[str, object]
ALL: Mapping[str, str] = {}
SILENT_S = 3.0  # of a tunnel that is up without BGP coming up, and it is said so


class RoutingReport:
    """Reads what the router knows; changes nothing."""

    def __init__(self, routers: Routers, reconciler: Reconciler, tunnels: Tunnels) -> None:
        self._routers = routers
        self._reconciler = reconciler
        self._tunnels = tunnels

    async def bgp(self) -> Json:
        """
        Return every BGP peer and static line as it is now, and each BIRD with what keeps it from
        answering.
        """
        await self._routers.refresh()
        birds = self._routers.by_namespace.items()
        return {
            "birds": [
                {"namespace": name, "pid": router.pid, "error": router.view.error}
                for name, router in birds
            ],
            "peers": [self._titled(_peer(peer)) for peer in self._routers.peers],
            "static_lines": [self._titled(_line(line)) for line in self._routers.lines],
        }

    async def routes(
        self,
        wanted: Mapping[str, str] = ALL,
        table: Table | None = None,
        most: int | None = None,
    ) -> Json:
        """
        Return every route to and from the customers, with what became of it and why.

        `wanted` are values that they must have; of more than `most` the rest is counted. Who asks
        for so many, the control plane, has the names for people itself; others get them too.
        """
        learned = await self._routers.routes()
        places = self._routers.places
        found = [_judged(one, name, places) for name, judged in learned.items() for one in judged]
        found += self._static()
        found = [
            one
            for one in found
            if all(one[key] == text for key, text in wanted.items())
            and is_in(table, one["origin"], one["standing"])
        ]
        if most is None:
            routes = [self._owned(one) for one in found]
            return {"routes": routes, "left_off": 0, "border_gateways": self._border_gateways()}
        return {"routes": found[:most], "left_off": max(0, len(found) - most)}

    def of_tunnel(self, name: str) -> Json | None:
        """Return state and counts of a tunnel's BGP session; None where it has none."""
        peer = self._routers.peer(name)
        if peer is None:
            return dict(_UNKNOWN) if name in self._routers.tunnels else None
        shown = _peer(peer)
        return {key: shown[key] for key in _UNKNOWN}

    def reason(self, name: str, up_at: float) -> Reason | None:
        """
        Return why a tunnel's BGP session is down, as far as BIRD knows. A peer that says nothing is
        no error to it: then for how long the tunnel has been up decides, since `up_at`.
        """
        peer = self._routers.peer(name)
        if peer is None or peer.bgp is None or peer.is_up:
            return None
        code = bgp_reason(peer.bgp.error)
        text = f"BGP is down: {peer.bgp.error}"
        if code in ("", LINK_DOWN):  # of before: the tunnel is up
            if time.time() - max(self.since(name) or 0.0, up_at) < SILENT_S:
                return None
            code, text = "bgp_unreachable", f"BGP does not come up: {peer.peer.remote} is silent"
        ours = asns_text(peer.peer.local_asn, peer.peer.asn)
        return Reason(code, text, ours, hint=CODES[code].hint)

    @property
    def notes(self) -> list[str]:
        """Return what an operator should know."""
        errors = [router.view.error for router in self._routers.by_namespace.values()]
        return [f"the state of BGP is not known: {error}" for error in errors if error]

    @property
    def chosen(self) -> frozenset[str]:
        """Return the tunnels whose traffic BIRD decides on."""
        return self._routers.chosen

    @property
    def active(self) -> frozenset[str]:
        """Return the tunnels that BIRD sends traffic through."""
        return self._routers.active & self._routers.chosen

    @property
    def speakers(self) -> frozenset[str]:
        """Return the tunnels with a BGP session, up or not."""
        return self._routers.tunnels

    def is_established(self, name: str) -> bool:
        """Return whether a tunnel's BGP session is up."""
        peer = self._routers.peer(name)
        return peer is not None and peer.is_up

    def neighbours(self) -> list[Json]:
        """
        Return each direct line and each VPC's router with a BGP session or BFD: whether these are
        up, None for what is not to be.
        """
        peers = {(view.peer.hop, view.peer.name): view for view in self._routers.peers}
        lines = {view.way.name: view for view in self._routers.lines}
        plans = self._reconciler.plan.routing if self._reconciler.plan else ()
        found = [
            _neighbour(peer, view is not None and view.is_up, view)
            for plan in plans
            for peer in plan.peers
            if not peer.is_tunnels
            for view in [peers.get((peer.hop, peer.name))]
        ]
        return found + [
            _neighbour(way, None, lines.get(way.name))
            for plan in plans
            for way in plan.statics
            if way.hop is Hop.LINE and way.bfd is not None
        ]

    def since(self, name: str) -> float | None:
        """Return since when a tunnel's BGP session is as it is, in seconds since 1970."""
        peer = self._routers.peer(name)
        if peer is None or peer.bgp is None:
            return None
        try:
            return datetime.fromisoformat(peer.bgp.since).timestamp()
        except ValueError:
            return None

    # ---- names for people ----

    def _titled(self, way: Json) -> Json:
        """Return what is shown of a session or line with the names that people know."""
        return {**way, "title": self._title(way["kind"], way["name"]), **self._of_border(way)}

    def _owned(self, route: Json) -> Json:
        """Return what is shown of a route with the names that people know."""
        title = self._title(route["next_hop_type"], route["owner"])
        return {**route, "owner_title": title, **self._of_border(route)}

    def _of_border(self, shown: Json) -> Json:
        return {"border_gateway_title": self._title(BORDER_GATEWAY, shown["border_gateway"])}

    def _border_gateways(self) -> list[Json]:
        """Return the Border Gateways that may have routes, with what people call them."""
        plan = self._reconciler.plan
        names = {one.border_gateway for one in plan.tunnels} if plan else set()
        names |= {each.name for one in plan.routing for each in one.gateways} if plan else set()
        return [
            {"name": name, "title": self._title(BORDER_GATEWAY, name)} for name in sorted(names)
        ]

    def _title(self, kind: object, name: object) -> str:
        """Return what people call it, "" if nothing else than its name."""
        titles = self._reconciler.plan.titles if self._reconciler.plan else {}
        return titles.get((str(kind), str(name)), "")

    # ---- static connections ----

    def _static(self) -> list[Json]:
        plans = self._reconciler.plan.tunnels if self._reconciler.plan else ()
        found = [
            (route, plan, self._metric(plan.name, route))
            for plan in plans
            if plan.name not in self._routers.chosen  # those BIRD has told of
            for route in plan.routes
        ]
        best: dict[object, int] = {}
        for route, plan, metric in found:
            if metric is not None:
                place = (plan.namespace, route.prefix)
                best[place] = min(best.get(place, metric), metric)
        return [
            {
                "prefix": str(route.prefix),
                "border_gateway": plan.border_gateway,
                "standing": _standing(
                    metric is not None, metric == best.get((plan.namespace, route.prefix))
                ),
                "next_hop_type": Hop.VPN.value,
                "origin": Origin.STATIC.value,
                "owner": plan.name,
                "connection": plan.connection,
                "namespace": plan.namespace,
                "next_hops": [plan.interface],
                "as_path": "",
                "why": f"metric {metric}" if metric is not None else self._why_not(plan.name),
            }
            for route, plan, metric in found
        ]

    def _metric(self, tunnel: str, route: RoutePlan) -> int | None:
        """Return the metric of a route that can carry traffic, None for one that can not."""
        return self._reconciler.routes.metric(tunnel, route) if self._is_up(tunnel) else None

    def _why_not(self, tunnel: str) -> str:
        return "the tunnel is withdrawn" if self._is_up(tunnel) else "the tunnel is down"

    def _is_up(self, name: str) -> bool:
        tunnel = self._tunnels.by_name.get(name)
        return tunnel is not None and tunnel.is_up


def _standing(is_up: bool, is_best: bool) -> str:
    if not is_up:
        return "down"
    return Fate.BEST.value if is_best else Fate.STANDBY.value


_UNKNOWN: Json = {"state": "unknown", "bfd": "unknown", "imported": 0, "exported": 0, "error": ""}


def _peer(view: PeerView) -> Json:
    peer, bgp, bfd = view.peer, view.bgp, view.bfd
    return {
        "name": peer.name,
        "kind": peer.hop.value,
        "tunnel": peer.name if peer.is_tunnels else "",
        "connection": peer.connection,
        "border_gateway": peer.border_gateway,
        "interface": peer.interface,
        "local": str(peer.local),
        "remote": str(peer.remote),
        "local_asn": peer.local_asn,
        "asn": peer.asn,
        "state": bgp.state.lower() if bgp else "unknown",
        "since": bgp.since if bgp else "",
        "error": bgp.error if bgp else "",
        "hold_s": bgp.hold_s if bgp else 0,
        "imported": bgp.imported if bgp else 0,
        "refused": bgp.filtered if bgp else 0,
        "exported": bgp.exported if bgp else 0,
        "prefix_limit": peer.prefix_limit,
        "limit_hit": bgp.limit_hit if bgp else False,
        "bfd": view.bfd_text,
        "bfd_wanted": f"{peer.bfd.interval_ms}x{peer.bfd.multiplier}" if peer.bfd else "off",
        "bfd_timeout_s": bfd.timeout_s if bfd else 0,
        "preference": peer.preference,
        "active": view.is_active,
    }


def _neighbour(
    way: BgpPeer | StaticWay, established: bool | None, view: PeerView | LineView | None
) -> Json:
    return {
        "name": way.name,
        "kind": way.hop.value,
        "border_gateway": way.border_gateway,
        "established": established,
        "bfd_up": None if way.bfd is None else view is not None and view.bfd_text == "up",
    }


def _line(view: LineView) -> Json:
    way = view.way
    return {
        "name": way.name,
        "kind": way.hop.value,
        "border_gateway": way.border_gateway,
        "interface": way.interface,
        "remote": str(way.gateway),
        "bfd": view.bfd_text,
        "active": view.is_active,
    }


def _judged(one: Judged, namespace: str, places: Mapping[tuple[str, str], Place]) -> Json:
    route, owner = one.route, one.owner
    place = places.get((namespace, route.protocol), NOWHERE)
    return {
        "prefix": str(route.prefix),
        "border_gateway": place.border_gateway,
        "standing": one.fate.value,
        "next_hop_type": owner.hop.value if owner.hop else "other",
        "origin": owner.origin.value,
        "owner": owner.name,
        "connection": place.connection,
        "namespace": namespace,
        "next_hops": [f"{address} {device}".strip() for address, device in route.vias],
        "as_path": " ".join(route.as_path),
        "why": one.why,
    }
