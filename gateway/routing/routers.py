"""
The routing of one gateway VM: a `Router`, and so a BIRD, for each network namespace with BGP.

What fails in one namespace holds up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from gateway.errors import GatewayError
from gateway.routing.choice import Judged
from gateway.routing.names import Place as Whose
from gateway.routing.names import places_of
from gateway.routing.plan import NO_ROUTING, Hop, RoutingPlan, Standings
from gateway.routing.process import CONF, Place
from gateway.routing.router import PATIENCE_S, Log, Router
from gateway.routing.view import LineView, PeerView

PREFIX = "bgw-"  # of the directories of BIRDs in namespaces other than the VM's own


class Routers:
    """
    Holds the routers by namespace, "" for the VM's own; `place_of` says how to run a BIRD in one.
    """

    def __init__(
        self,
        directory: Path,
        log: Log,
        place_of: Callable[[str], Place],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._directory = directory
        self._log = log
        self._place_of = place_of
        self._patience_s = patience_s
        self._routers: dict[str, Router] = {}
        self._standings: Standings = {}
        self._changed = asyncio.Event()  # another set of routers

    # ---- what there is ----

    @property
    def by_namespace(self) -> dict[str, Router]:
        """Return the routers that have something to do."""
        return {name: router for name, router in self._routers.items() if router.plan.gateways}

    @property
    def tunnels(self) -> frozenset[str]:
        """Return the tunnels with BGP."""
        return frozenset[str]().union(*(router.tunnels for router in self._routers.values()))

    @property
    def chosen(self) -> frozenset[str]:
        """Return the tunnels whose routes BIRD chooses among, with BGP or without."""
        return frozenset[str]().union(*(r.plan.chosen for r in self._routers.values()))

    @property
    def active(self) -> frozenset[str]:
        """Return the tunnels that BIRD sends traffic through."""
        return frozenset[str]().union(*(r.view.active for r in self._routers.values()))

    @property
    def peers(self) -> tuple[PeerView, ...]:
        """Return every peer that is known."""
        return tuple(
            peer for router in self._routers.values() for peer in router.view.peers.values()
        )

    @property
    def lines(self) -> tuple[LineView, ...]:
        """Return every direct line with static routes."""
        return tuple(
            line for router in self._routers.values() for line in router.view.lines.values()
        )

    def peer(self, tunnel: str) -> PeerView | None:
        """Return what is known of a tunnel's peer."""
        views = (router.view.peers.get((Hop.VPN, tunnel)) for router in self._routers.values())
        return next((view for view in views if view is not None), None)

    @property
    def places(self) -> dict[tuple[str, str], Whose]:
        """Return by namespace and protocol where in the document a route belongs."""
        return {
            (name, protocol): place
            for name, router in self._routers.items()
            for protocol, place in places_of(router.plan).items()
        }

    async def refresh(self) -> None:
        """Read the state of every BIRD."""
        await asyncio.gather(*(router.refresh() for router in self.by_namespace.values()))

    async def routes(self) -> dict[str, tuple[Judged, ...]]:
        """Return the routes of every BIRD by namespace. Raises BirdError."""
        return {name: await router.routes() for name, router in self.by_namespace.items()}

    # ---- the plans ----

    async def prepare(self, plans: Iterable[RoutingPlan]) -> None:
        """
        Raise ConfigError or BirdError if a plan can not be carried out here; changes nothing.
        """
        for plan in plans:
            await self._router(plan.namespace).prepare(plan)

    async def apply(self, plans: Sequence[RoutingPlan]) -> None:
        """
        Make prepared plans so; a namespace that has none is left by its BIRD.

        Raises the first GatewayError or OSError when all has been tried.
        """
        wanted = {plan.namespace: plan for plan in plans}
        for name in self._left_behind():
            self._router(name)
        routers = list(self._routers.items())
        await _all(router.apply(wanted.get(name, NO_ROUTING)) for name, router in routers)
        for name in set(self._routers) - set(wanted):
            del self._routers[name]
        self._changed.set()

    async def set_standings(self, standings: Standings) -> None:
        """
        Set how far each tunnel may carry traffic; those not named are NORMAL. No session is lost.

        Raises as `apply`.
        """
        self._standings = dict(standings)
        await _all(router.set_standings(standings) for router in list(self._routers.values()))

    def _router(self, namespace: str) -> Router:
        """Return the router of a namespace; a new one knows the standings."""
        if namespace not in self._routers:
            directory = self._directory / (PREFIX + namespace) if namespace else self._directory
            place = self._place_of(namespace)
            made = Router(
                directory,
                self._log,
                self._patience_s,
                place,
                self._standings,
                lambda: len(self._routers),
            )
            self._routers[namespace] = made
        return self._routers[namespace]

    def _left_behind(self) -> list[str]:
        """Return the namespaces in which an earlier gateway process has had a BIRD."""
        others = self._directory.glob(f"{PREFIX}*/{CONF}")
        here = [""] if (self._directory / CONF).exists() else []
        return here + [file.parent.name.removeprefix(PREFIX) for file in others]

    # ---- life ----

    async def run(self) -> None:
        """Watch the BIRDs until cancelled."""
        tasks: dict[Router, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                wanted = set(self._routers.values())
                for router in wanted - set(tasks):
                    tasks[router] = group.create_task(router.run())
                for router in set(tasks) - wanted:
                    tasks.pop(router).cancel()
                await self._changed.wait()

    def leave(self) -> None:
        """Let the BIRDs go on; the next gateway process will find them."""
        for router in self._routers.values():
            router.leave()

    async def end(self) -> None:
        """
        End the BIRDs; their sessions are closed and their routes leave the kernel.

        Raises as `apply`.
        """
        for name in self._left_behind():
            self._router(name)
        await _all(router.end() for router in list(self._routers.values()))


async def _all(acts: Iterable[Awaitable[None]]) -> None:
    """Do all, together; then raise the first error."""
    done = await asyncio.gather(*acts, return_exceptions=True)
    errors = [one for one in done if isinstance(one, BaseException)]
    # What nobody expects goes first.
    errors.sort(key=lambda error: isinstance(error, GatewayError | OSError))
    if errors:
        raise errors[0]
