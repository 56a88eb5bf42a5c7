"""
Carry an edited document out tunnel after tunnel, where an edit ends what a tunnel carries.

What disturbs nothing is done at once. A tunnel that must be made or negotiated anew, or that goes,
is drained first, while a twin carries its traffic; the next one of its connection follows when it
is back. A tunnel that does not come back (the peer has not been edited yet) leaves its twin as it
was, for as long as that one carries the traffic. Of a connection the standby goes first. One that
is down, and may come up by the edit (the peer has been edited before us), is given some time to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from gateway.errors import GatewayError
from gateway.node.difference import leaves_first
from gateway.node.drain import Claim, Drain
from gateway.node.failback import FailbackKeeper
from gateway.node.journal import Journal
from gateway.node.plan import NodePlan, TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.routing.plan import NO_ROUTING, BgpGateway, BgpPeer, RoutingPlan, StaticWay
from gateway.routing.routers import Routers

Way = TypeVar("Way", BgpPeer, StaticWay)

LOOK_S = 0.2  # between two looks at whether a tunnel is back
HOPE_S = 15.0  # how long the edit of a tunnel that is down may take to bring it up
AGAIN_S = 10.0  # after which a turn that could not be carried out is tried again


class Rollout:
    """Carries out one edit at a time."""

    def __init__(
        self,
        reconciler: Reconciler,
        routers: Routers,
        drain: Drain,
        failback: FailbackKeeper,
        journal: Journal,
    ) -> None:
        self._reconciler = reconciler
        self._routers = routers
        self._drain = drain
        self._failback = failback
        self._journal = journal
        self._task: asyncio.Task[None] | None = None
        self.waiting: frozenset[str] = frozenset()  # tunnels that are still as before
        self._wanted: NodePlan | None = None  # what they are to be

    async def apply(self, wanted: NodePlan, *, at_once: bool = False) -> frozenset[str]:
        """
        Make `wanted` so; return the tunnels that follow one after the other.

        An edit that is still under way is taken over; it goes on if this one can not be begun.
        Raises GatewayError, OSError.
        """
        await self.stop()
        await self._routers.refresh()
        old = self._reconciler.plan
        waiting = frozenset() if at_once or old is None else self._patient(old, wanted)
        try:
            await self._make_so(old, wanted, waiting)
        except (GatewayError, OSError):
            self._go_on(old)
            raise
        self._go_on(old)
        return waiting

    def _go_on(self, old: NodePlan | None) -> None:
        if self.waiting:
            assert old is not None
            assert self._wanted is not None
            self._task = asyncio.create_task(self._follow(old, self._wanted))

    def leads_to(self, name: str) -> TunnelPlan | None:
        """Return what a tunnel is to be by the document: now, or at its turn in an edit."""
        plan = self._wanted if name in self.waiting else self._reconciler.plan
        tunnels = plan.tunnels if plan is not None else ()
        return next((tunnel for tunnel in tunnels if tunnel.name == name), None)

    async def stop(self) -> None:
        """Leave an edit where it is: a tunnel that is being drained gets its traffic back."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _patient(self, old: NodePlan, wanted: NodePlan) -> frozenset[str]:
        """Return the tunnels whose traffic can and must leave first."""
        after = {tunnel.name: tunnel for tunnel in wanted.tunnels}
        taken = {tunnel.interface: tunnel.name for tunnel in wanted.tunnels}
        speakers = {
            (plan.namespace, each.name) for plan in wanted.routing for each in plan.gateways
        }
        return frozenset(
            tunnel.name
            for tunnel in old.tunnels
            if leaves_first(tunnel, after.get(tunnel.name))
            and taken.get(tunnel.interface, tunnel.name) == tunnel.name
            and (
                tunnel.name not in self._routers.tunnels
                or (tunnel.namespace, tunnel.border_gateway) in speakers
            )
            and self._failback.is_usable(tunnel.name)
            and (any(self._failback.twins(tunnel)) or _may_come(tunnel, old, wanted))
        )

    async def _make_so(
        self, old: NodePlan | None, wanted: NodePlan, waiting: frozenset[str]
    ) -> None:
        plan = staged(old, wanted, waiting) if old is not None else wanted
        try:
            self._reconciler.apply(plan)
        finally:
            if self._reconciler.plan is plan:  # from now on it is what is repaired
                self.waiting, self._wanted = waiting, wanted
                self._drain.forget(frozenset(tunnel.name for tunnel in plan.tunnels))
        await self._routers.apply(plan.routing)
        self._reconciler.release_namespaces()

    # ---- one after the other ----

    async def _follow(self, old: NodePlan, wanted: NodePlan) -> None:
        try:
            while self.waiting:
                wave = self._next(old)
                await self._wait_for_twins([t for t in old.tunnels if t.name in wave])
                await asyncio.gather(*(self._drain.move_away(name, Claim.EDIT) for name in wave))
                await self._make_so_at_last(old, wanted, self.waiting - wave)
                await self._wait_back(wanted, wave)
                self._let_back(wave)
            self._journal.info("edit done")
        finally:
            self._let_back(tunnel.name for tunnel in old.tunnels)

    async def _make_so_at_last(
        self, old: NodePlan, wanted: NodePlan, waiting: frozenset[str]
    ) -> None:
        """Do what is to be done in this turn, again and again if it fails: nobody else would."""
        while True:
            try:
                return await self._make_so(old, wanted, waiting)
            except (GatewayError, OSError) as error:
                self._journal.error("edit failed", text=str(error))
            await asyncio.sleep(AGAIN_S)

    def _let_back(self, names: Iterable[str]) -> None:
        for name in names:
            self._drain.let_back(name, Claim.EDIT)

    def _next(self, old: NodePlan) -> frozenset[str]:
        """Return one tunnel of each connection, the standby first."""
        last: dict[str, TunnelPlan] = {}
        for tunnel in old.tunnels:
            holder = last.get(tunnel.connection)
            if tunnel.name in self.waiting and (
                holder is None or tunnel.preference > holder.preference
            ):
                last[tunnel.connection] = tunnel
        return frozenset(tunnel.name for tunnel in last.values())

    async def _wait_for_twins(self, wave: list[TunnelPlan]) -> None:
        """Give twins that are down the time to come up."""
        end = asyncio.get_running_loop().time() + HOPE_S
        while asyncio.get_running_loop().time() < end:
            await self._routers.refresh()
            if all(any(self._failback.twins(tunnel)) for tunnel in wave):
                return
            await asyncio.sleep(LOOK_S)

    async def _wait_back(self, wanted: NodePlan, wave: frozenset[str]) -> None:
        """Wait until each tunnel is back, or has no twin left that carries traffic as before."""
        tunnels = [tunnel for tunnel in wanted.tunnels if tunnel.name in wave]
        while True:
            await asyncio.sleep(LOOK_S)
            await self._routers.refresh()
            if not any(self._is_awaited(tunnel) for tunnel in tunnels):
                return

    def _is_awaited(self, tunnel: TunnelPlan) -> bool:
        if not tunnel.admin_up or tunnel.name in self._reconciler.taken_down:
            return False
        depends = any(twin in self.waiting for twin in self._failback.twins(tunnel))
        return depends and not self._failback.is_usable(tunnel.name)


def _may_come(tunnel: TunnelPlan, old: NodePlan, wanted: NodePlan) -> bool:
    """Return whether an edit touches a twin of this tunnel, so that it may come up."""
    before = {each.name: each for each in old.tunnels}
    return any(
        each.connection == tunnel.connection
        and each.name != tunnel.name
        and each.admin_up
        and each != before.get(each.name)
        for each in wanted.tunnels
    )


def staged(old: NodePlan, new: NodePlan, waiting: frozenset[str]) -> NodePlan:
    """Return the new plan with the `waiting` tunnels, and their BGP peers, as in the old one."""
    if not waiting:
        return new
    before = {tunnel.name: tunnel for tunnel in old.tunnels}
    after = {tunnel.name for tunnel in new.tunnels}
    tunnels = [before[t.name] if t.name in waiting else t for t in new.tunnels]
    tunnels += [tunnel for tunnel in old.tunnels if tunnel.name in waiting - after]
    locals_ = {tunnel.local for tunnel in tunnels}
    sockets = [*new.sockets, *(a for a in old.sockets if a in locals_ - set(new.sockets))]
    before_in = {each.namespace: each for each in old.routing}
    routing = tuple(
        _staged_routing(before_in.get(each.namespace, NO_ROUTING), each, waiting)
        for each in new.routing
    )
    places = dict.fromkeys((*new.namespaces, *(t.namespace for t in tunnels if t.namespace)))
    return replace(
        new,
        sockets=tuple(sockets),
        tunnels=tuple(tunnels),
        routing=routing,
        namespaces=tuple(places),
    )


def _staged_routing(old: RoutingPlan, new: RoutingPlan, waiting: frozenset[str]) -> RoutingPlan:
    before = {gateway.name: gateway for gateway in old.gateways}
    gateways = [_staged_gateway(before.get(g.name), g, waiting) for g in new.gateways]
    outer = tuple(dict.fromkeys((*new.outer, *old.outer)))
    inner = tuple(dict.fromkeys((*new.inner, *old.inner)))
    return replace(new, gateways=tuple(gateways), outer=outer, inner=inner)


def _staged_gateway(old: BgpGateway | None, new: BgpGateway, waiting: frozenset[str]) -> BgpGateway:
    return replace(
        new,
        peers=_staged_ways(old.peers if old else (), new.peers, waiting),
        statics=_staged_ways(old.statics if old else (), new.statics, waiting),
    )


def _staged_ways(
    old: tuple[Way, ...], new: tuple[Way, ...], waiting: frozenset[str]
) -> tuple[Way, ...]:
    """Return the ways of tunnels that wait as they were, all others as they are to be."""
    stay = tuple(way for way in new if way.name not in waiting)
    return stay + tuple(way for way in old if way.name in waiting)
