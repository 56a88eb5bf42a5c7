"""The sockets that a gateway process answers on: `twinspan`'s, VICI for swanctl, Prometheus's."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.dataplane.interface import DataPlane
from gateway.node.commands import Commands, Life
from gateway.node.control_socket import ControlSocket
from gateway.node.daemon import IkeDaemon
from gateway.node.drain import Drain
from gateway.node.event_log import EventLog
from gateway.node.failovers import Failovers
from gateway.node.journal import Journal
from gateway.node.measure import Measurer
from gateway.node.metrics import metrics_text
from gateway.node.namespaces import Namespaces
from gateway.node.path import FlowReport
from gateway.node.probes import Prober
from gateway.node.reconcile import Reconciler
from gateway.node.rollout import Rollout
from gateway.node.routing import RoutingReport
from gateway.node.silence import Silence
from gateway.node.source import Node, Source
from gateway.node.status import StatusView
from gateway.node.tunnel import Tunnels
from gateway.node.watching import Watching
from gateway.prometheus.scrape import Scrape
from gateway.vici.service import Vici

CONTROL_SOCKET = "gateway.sock"


class Doors:
    """Opens and closes them together."""

    def __init__(
        self,
        runtime_dir: Path,
        life: Life,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        tunnels: Tunnels,
        plane: DataPlane,
        namespaces: Namespaces,
        routing: RoutingReport,
        rollout: Rollout,
        prober: Prober,
        drain: Drain,
        journal: Journal,
        events: EventLog,
        source: Source,
        metrics: tuple[str, int] | None,
    ) -> None:
        clocks = time.monotonic, time.time
        measurer = Measurer(tunnels, namespaces, daemon.endpoint.round_trip, journal, *clocks)
        parts = daemon, reconciler, tunnels, plane, namespaces, routing, rollout, prober, measurer
        self.status = StatusView(*parts, source.about)
        silence = Silence(tunnels, plane, routing, reconciler.steering, *clocks)
        failovers = Failovers()
        self.watching = Watching(self.status, measurer, silence, failovers, journal)
        flow = FlowReport(reconciler, namespaces, daemon, routing, self.status)
        commands = Commands(
            life, daemon, reconciler, tunnels, drain, self.status, journal, routing, events, flow
        )
        self.node = Node(life, commands, self.status, journal, events)
        self._control = ControlSocket(runtime_dir / CONTROL_SOCKET, commands.answer)
        self._vici = Vici(runtime_dir, daemon, reconciler, tunnels, plane, journal)
        self._scrape = (
            Scrape(metrics, lambda: metrics_text(self.status.figures(), failovers))
            if metrics
            else None
        )

    async def open(self) -> None:
        """Begin to answer. Raises ControlError, ScrapeError."""
        await self._control.open()
        await self._vici.open()
        if self._scrape is not None:
            await self._scrape.open()

    async def close(self) -> None:
        """Let every client go, and look no more."""
        self.watching.close()
        if self._scrape is not None:
            await self._scrape.close()
        await self._vici.close()
        await self._control.close()
