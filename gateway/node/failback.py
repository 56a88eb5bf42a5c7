"""
Says once a second which tunnels must not take traffic back: facts to `routing.failback`, its word
to `Steering`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gateway.node.plan import TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.node.steering import Cause, Steering
from gateway.node.tunnel import Tunnels
from gateway.routing.failback import Keeper, TunnelFacts
from gateway.routing.plan import Standing
from gateway.routing.routers import Routers


class FailbackKeeper:
    """Watches all tunnels; `tick` is called once a second."""

    def __init__(
        self,
        reconciler: Reconciler,
        routers: Routers,
        tunnels: Tunnels,
        steering: Steering,
        clock: Callable[[], float],
    ) -> None:
        self._reconciler = reconciler
        self._routers = routers
        self._tunnels = tunnels
        self._steering = steering
        self._clock = clock
        self._keeper = Keeper()

    def restore(self) -> None:
        """Go on from the standings that the process before has left."""
        plans = self._plans()
        held = [p.name for p in plans if Cause.FAILBACK in self._steering.causes(p.name)]
        self._keeper.restore(held, (self._facts(plan) for plan in plans), self._clock())

    def tick(self) -> None:
        """Judge anew."""
        plans = self._plans()
        held = self._keeper.judge([self._facts(plan) for plan in plans], self._clock())
        for plan in plans:
            for cause, names in ((Cause.FAILBACK, held.held), (Cause.DAMPED, held.damped)):
                standing = Standing.DEMOTED if plan.name in names else Standing.NORMAL
                self._steering.say(plan.name, cause, standing)

    def is_usable(self, tunnel: str) -> bool:
        """Return whether a tunnel could carry traffic now, whatever its standing."""
        return self._usable_since(tunnel)[0]

    def twins(self, tunnel: TunnelPlan) -> Iterator[str]:
        """Yield the other tunnels of its connection that could carry its traffic now."""
        for plan in self._plans():
            if plan.connection == tunnel.connection and plan.name != tunnel.name:
                is_away = self._steering.of(plan.name) is Standing.WITHDRAWN
                if self.is_usable(plan.name) and not is_away:
                    yield plan.name

    def _plans(self) -> tuple[TunnelPlan, ...]:
        return self._reconciler.plan.tunnels if self._reconciler.plan else ()

    def _facts(self, plan: TunnelPlan) -> TunnelFacts:
        is_usable, since = self._usable_since(plan.name)
        return TunnelFacts(
            plan.name, plan.connection, plan.preference, plan.failback, is_usable, since
        )

    def _usable_since(self, name: str) -> tuple[bool, object]:
        """Return whether a tunnel can carry traffic, and what differs when that was interrupted."""
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None or not tunnel.is_up:
            return False, None
        if name in self._routers.tunnels:
            peer = self._routers.peer(name)
            return peer is not None and peer.is_up, tunnel.changed_at
        return self._steering.said(name, Cause.PROBE) is Standing.NORMAL, tunnel.changed_at
