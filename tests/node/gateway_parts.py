"""
A whole gateway but for its process: real kernel, real data plane, real core, and a log to read.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.dataplane.plane import LocalPlane
from gateway.ike.endpoint import IkeEndpoint
from gateway.node.daemon import IkeDaemon
from gateway.node.drain import Drain
from gateway.node.failback import FailbackKeeper
from gateway.node.journal import Journal
from gateway.node.life import SystemRandom
from gateway.node.measure import Measurer
from gateway.node.namespaces import Namespaces
from gateway.node.netlink import Netlink
from gateway.node.probes import Prober
from gateway.node.reconcile import Reconciler
from gateway.node.rollout import Rollout
from gateway.node.routing import RoutingReport
from gateway.node.status import StatusView
from gateway.node.steering import Steering
from gateway.node.tunnel import Tunnels
from gateway.routing.routers import Routers


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one gateway, put together as `service.Gateway` does."""

    plane: LocalPlane
    namespaces: Namespaces
    kernel: Netlink
    tunnels: Tunnels
    daemon: IkeDaemon
    reconciler: Reconciler
    steering: Steering
    status: StatusView
    drain: Drain
    rollout: Rollout
    journal: Journal
    log: io.StringIO


@contextlib.contextmanager
def parts(plane: LocalPlane) -> Iterator[Parts]:
    """
    Put a gateway together in the calling thread's network namespace; take it apart at the end.
    """
    log = io.StringIO()
    journal = Journal(log, time.time)
    runtime_dir = Path(tempfile.mkdtemp(prefix="twinspan-test-"))
    namespaces, tunnels = Namespaces(runtime_dir, journal), Tunnels()
    endpoint = IkeEndpoint(SystemRandom(), time.monotonic())
    daemon = IkeDaemon(endpoint, plane, tunnels, journal, time.monotonic, time.time)
    plane.on_punt(daemon.punt_received)
    steering = Steering(journal, lambda: reconciler.move_traffic())
    reconciler = Reconciler(
        plane, namespaces, daemon, tunnels, steering, journal, time.monotonic, time.time
    )
    routers = Routers(runtime_dir, journal, namespaces.place_of)
    routing = RoutingReport(routers, reconciler, tunnels)
    failback = FailbackKeeper(reconciler, routers, tunnels, steering, time.monotonic)
    drain = Drain(plane, tunnels, routers, steering, failback, journal)
    rollout = Rollout(reconciler, routers, drain, failback, journal)
    prober = Prober(tunnels, namespaces, steering, journal, time.monotonic, time.time)
    measurer = Measurer(
        tunnels, namespaces, endpoint.round_trip, journal, time.monotonic, time.time
    )
    status = StatusView(
        daemon, reconciler, tunnels, plane, namespaces, routing, rollout, prober, measurer
    )
    try:
        kernel = namespaces.own
        yield Parts(
            plane,
            namespaces,
            kernel,
            tunnels,
            daemon,
            reconciler,
            steering,
            status,
            drain,
            rollout,
            journal,
            log,
        )
    finally:
        daemon.close()
        reconciler.lanes.close()
        namespaces.close()
        shutil.rmtree(runtime_dir)
