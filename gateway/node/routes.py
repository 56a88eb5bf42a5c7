"""
The routes that the node itself writes: those of static connections, and for each prefix of a
customer one that fails closed.

A tunnel's route is left by the kernel while its device has no carrier; behind all of them stands an
unreachable one, so nothing leaves in clear when every tunnel is down. A tunnel's standing moves its
routes behind those of its twins, or takes them away.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection

from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.netlink import NetlinkError, Route
from gateway.node.plan import NodePlan, RoutePlan, TunnelPlan
from gateway.node.steering import Steering
from gateway.node.tunnel import Tunnels
from gateway.routing.plan import Standing

FAIL_CLOSED_METRIC = 4_000_000_000  # behind every route of a tunnel
DEMOTED_METRIC = 1_000_000  # what a DEMOTED tunnel's routes are worse by: behind BIRD's, too


class Routes:
    """Makes the kernel's routes those of a plan; touches only routes of our own protocol."""

    def __init__(
        self, namespaces: Namespaces, tunnels: Tunnels, steering: Steering, journal: Journal
    ) -> None:
        self._steering = steering
        self._namespaces = namespaces
        self._tunnels = tunnels
        self._journal = journal
        self._made: dict[str, set[Route]] = {}  # by namespace, as it was last made
        self._followed: dict[str, Standing] = {}  # the standing that a tunnel's routes follow

    def apply(self, plan: NodePlan, made: Collection[str] = ()) -> None:
        """
        Make the difference to what was made before; `made` are tunnels whose device is new.

        The kernel's routes, which may be many, are only read where nothing was made yet; `repair`
        reads them again. Raises NetlinkError.
        """
        self._followed = dict(self._steering.standings)
        new = {tunnel.interface for tunnel in plan.tunnels if tunnel.name in made}
        for namespace in self._namespaces:
            kernel = self._namespaces.of(namespace)
            routes = self._wanted(plan, namespace)
            actual = {r for r in self._actual(namespace) if r.interface not in new}
            for route in sorted(routes - actual, key=str):
                self._try(kernel.add_route, route)
            for route in sorted(actual - routes, key=str):
                self._try(kernel.del_route, route)
            self._made[namespace] = routes

    def _actual(self, namespace: str) -> set[Route]:
        made = self._made.get(namespace)
        return self._namespaces.of(namespace).routes() if made is None else made

    def forget(self, namespace: str) -> None:
        """A network namespace was lost: nothing is made there."""
        self._made.pop(namespace, None)

    def repair(self, plan: NodePlan) -> None:
        """Make all routes so, whatever was made before. Raises NetlinkError."""
        self._made.clear()
        self.apply(plan)

    def move(self, plan: NodePlan) -> None:
        """
        Have the routes follow the tunnels' standings, where these have changed.

        Without reading the kernel's routes: when a line is cut hundreds of tunnels change at once.
        """
        for tunnel in plan.tunnels:
            standing = self._steering.of(tunnel.name)
            if self._followed.get(tunnel.name, Standing.NORMAL) is not standing:
                self._followed[tunnel.name] = standing
                if tunnel.namespace in self._namespaces and tunnel.name in self._tunnels.by_name:
                    self._move(tunnel)

    def _move(self, tunnel: TunnelPlan) -> None:
        kernel = self._namespaces.of(tunnel.namespace)
        for route in tunnel.routes:
            metric = self.metric(tunnel.name, route)
            if metric is not None:
                self._try(kernel.add_route, Route(route.prefix, metric, tunnel.interface))
            for other in {route.metric, route.metric + DEMOTED_METRIC} - {metric}:
                self._try(kernel.del_route, Route(route.prefix, other, tunnel.interface))

    def stop_clear_text(self, plan: NodePlan) -> None:
        """Fail closed first: until a tunnel is made its packets must not take another route."""
        for namespace in self._namespaces:
            kernel = self._namespaces.of(namespace)
            closed = {r for r in self._wanted(plan, namespace) if r.interface is None}
            for route in sorted(closed - self._actual(namespace), key=str):
                self._try(kernel.add_route, route)

    def remove(self) -> None:
        """Remove every route of ours."""
        for namespace in self._namespaces:
            kernel = self._namespaces.of(namespace)
            for route in kernel.routes():
                self._try(kernel.del_route, route)

    def _wanted(self, plan: NodePlan, namespace: str) -> set[Route]:
        """
        Return a route by each tunnel that has a device, and for each prefix one that fails closed.
        """
        routes: set[Route] = set()
        for tunnel in plan.tunnels:
            if tunnel.namespace != namespace:
                continue
            routes |= {Route(prefix, FAIL_CLOSED_METRIC, None) for prefix in tunnel.fail_closed}
            for route in tunnel.routes:
                routes.add(Route(route.prefix, FAIL_CLOSED_METRIC, None))
                if (metric := self.metric(tunnel.name, route)) is not None:
                    routes.add(Route(route.prefix, metric, tunnel.interface))
        return routes

    def metric(self, tunnel: str, route: RoutePlan) -> int | None:
        """Return the metric that a tunnel's route has now; None while it has no route."""
        standing = self._steering.of(tunnel)
        if tunnel not in self._tunnels.by_name or standing is Standing.WITHDRAWN:
            return None
        return route.metric + DEMOTED_METRIC * (standing is Standing.DEMOTED)

    def _try(self, change: Callable[[Route], None], route: Route) -> None:
        try:
            change(route)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                self._journal.error("route", route=str(route), text=str(error))
