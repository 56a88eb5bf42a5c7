"""
Keep the route tables of VPCs on this machine as the Border Gateway's effective table is.

Traffic moves from tunnel to tunnel without this: a VPC's route leads to us, whatever way we take.
So it is enough to look every few seconds. While BIRD does not answer, the tables stay as they are.
"""

from __future__ import annotations

import asyncio
import time
from ipaddress import ip_network

from gateway.errors import GatewayError
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.netlink import Route
from gateway.node.reconcile import Reconciler
from gateway.node.routing import RoutingReport
from gateway.routing.plan import Hop, Network
from gateway.routing.propagation import Propagation

LOOK_S = 2.0
LOOK_SHARE = 20  # looking takes at most one part in so many of the time
_CARRY = ("best", "shares")


class Propagator:
    """Writes routes of our own protocol by the far ends of veth attachments, and no others."""

    def __init__(
        self,
        namespaces: Namespaces,
        reconciler: Reconciler,
        report: RoutingReport,
        journal: Journal,
    ) -> None:
        self._namespaces = namespaces
        self._reconciler = reconciler
        self._report = report
        self._journal = journal
        self._troubles: dict[Propagation, str] = {}

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            began_at = time.monotonic()
            await self.look()
            await asyncio.sleep(max(LOOK_S, LOOK_SHARE * (time.monotonic() - began_at)))

    async def look(self) -> None:
        """Make the tables so, as far as that is possible now; what keeps them goes to the log."""
        plan = self._reconciler.plan
        wanted = plan.propagations if plan else ()
        if not wanted:
            return
        try:
            effective = await self._effective() if any(one.cidrs for one in wanted) else []
        except (GatewayError, OSError):
            return  # the routers tell of a BIRD that does not answer
        before, self._troubles = self._troubles, {}
        for one in wanted:
            try:
                self._take_over(one, effective)
            except (GatewayError, OSError) as error:
                self._troubles[one] = str(error)
                if before.get(one) != str(error):
                    where = one.namespace
                    self._journal.warning("propagation", namespace=where, text=str(error))

    async def _effective(self) -> list[tuple[str, Network]]:
        """Return the prefixes that lead to customers, each with its Border Gateway."""
        routes = (await self._report.routes())["routes"]
        assert isinstance(routes, list)
        return [
            (str(route["border_gateway"]), ip_network(str(route["prefix"])))
            for route in routes
            if route["standing"] in _CARRY and route["next_hop_type"] != Hop.ATTACHMENT.value
        ]

    def _take_over(self, one: Propagation, effective: list[tuple[str, Network]]) -> None:
        """Make one table so. Raises NamespaceError, NetlinkError."""
        there = self._namespaces.far(one.namespace)
        if not there.has(one.interface):
            return  # the attachment's own trouble
        actual = {route for route in there.routes() if route.interface == one.interface}
        wanted = {
            Route(prefix, one.metric, one.interface, via) for prefix, via in one.routes(effective)
        }
        for route in sorted(wanted - actual, key=str):
            there.add_route(route)
        for route in sorted(actual - wanted, key=str):
            there.del_route(route)
