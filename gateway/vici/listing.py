"""The gateway's SAs as VICI lists them: status of the core, counters of the data plane, numbers."""

from __future__ import annotations

from collections.abc import Callable

from gateway.dataplane.interface import DataPlane, SaStats
from gateway.errors import DataPlaneError
from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.daemon import IkeDaemon
from gateway.node.plan import TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.node.tunnel import Tunnels
from gateway.vici.views import Numbers, Traffic, child_key, child_section, ike_section
from gateway.vici.wire import Section


class Listing:
    """Reads the actual state; changes nothing."""

    def __init__(
        self,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        tunnels: Tunnels,
        plane: DataPlane,
        clock: Callable[[], float],
    ) -> None:
        self._daemon = daemon
        self._reconciler = reconciler
        self._tunnels = tunnels
        self._plane = plane
        self._clock = clock
        self._ike_numbers, self._child_numbers = Numbers(), Numbers()
        self._tidy_at = 64

    @property
    def plans(self) -> tuple[TunnelPlan, ...]:
        """Return the tunnels of the document."""
        return self._reconciler.plan.tunnels if self._reconciler.plan is not None else ()

    def plan_of(self, name: str) -> TunnelPlan | None:
        """Return a tunnel of the document."""
        return next((plan for plan in self.plans if plan.name == name), None)

    def status_of(self, name: str) -> TunnelIkeStatus:
        """Return a tunnel's IKE status; idle for one that may not be up."""
        if name not in self._daemon.known:
            return TunnelIkeStatus("idle")
        return self._daemon.endpoint.tunnel_status(name)

    def statuses(self) -> list[tuple[TunnelPlan, TunnelIkeStatus]]:
        """Return every tunnel with its status; numbers of SAs that are gone are forgotten."""
        found = [(plan, self.status_of(plan.name)) for plan in self.plans]
        self._ike_numbers.keep([ike.spi_i for _, ike in found if ike.spi_i])
        self._child_numbers.keep([child.spi_in for _, ike in found for child in ike.children])
        return found

    def ike_number(self, ike: TunnelIkeStatus) -> int:
        """Return the unique number of an IKE SA."""
        return self._ike_numbers.of(ike.spi_i)

    def child_number(self, child: ChildStatus) -> int:
        """Return the unique number of a Child SA."""
        return self._child_numbers.of(child.spi_in)

    def tidy(self) -> None:
        """Forget numbers now and then, also where nobody lists."""
        if len(self._ike_numbers) + len(self._child_numbers) > self._tidy_at:
            self.statuses()
            self._tidy_at = 2 * (len(self._ike_numbers) + len(self._child_numbers)) + 64

    def number_of(self, tunnel: str) -> int | None:
        """Return the unique number of a tunnel's IKE SA, None without one."""
        self.tidy()
        ike = self.status_of(tunnel)
        return self.ike_number(ike) if ike.spi_i else None

    # ---- sections ----

    def ike(
        self,
        plan: TunnelPlan,
        ike: TunnelIkeStatus,
        children: tuple[ChildStatus, ...] | None = None,
    ) -> Section:
        """Return an IKE SA with its Child SAs, or with some of them."""
        shown = ike.children if children is None else children
        sections = {
            child_key(plan, child, self.child_number(child)): self.child(plan, child)
            for child in shown
        }
        return ike_section(plan, ike, self.ike_number(ike), self._clock(), sections)

    def child(self, plan: TunnelPlan, child: ChildStatus) -> Section:
        """Return a Child SA."""
        tunnel = self._tunnels.by_name.get(plan.name)
        number = tunnel.number if tunnel is not None else 1
        traffic = self._traffic(number, child)
        return child_section(plan, number, child, self.child_number(child), traffic, self._clock())

    def _traffic(self, tunnel: int, child: ChildStatus) -> Traffic:
        inbound = self._stats(lambda: self._plane.inbound_stats(child.spi_in))
        if not child.is_outbound:
            return Traffic(inbound)  # its slot sends on another one, or on none yet
        return Traffic(inbound, self._stats(lambda: self._plane.outbound_stats(tunnel, child.slot)))

    def _stats(self, read: Callable[[], SaStats]) -> SaStats | None:
        try:
            return read()
        except DataPlaneError:
            return None  # not there any more, or not yet
