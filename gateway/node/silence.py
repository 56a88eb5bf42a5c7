"""
How long a connection's traffic was silent in a failover, as far as the node can know it.

It begins with the last authenticated packet that came out of the tunnel which was left; the data
plane has its time. It ends when the traffic was given another way: when the tunnel lost its
carrier, when BIRD's session in it ended (BIRD's own stamp), when its routes were taken away. If no
other tunnel was ready by then, it ends when one was. So it is what comes in that is meant, and an
idle tunnel is heard only as often as BFD, BGP, a probe or an echo lets it speak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.dataplane.interface import DataPlane
from gateway.errors import DataPlaneError
from gateway.node.routing import RoutingReport
from gateway.node.steering import Steering
from gateway.node.tunnel import Tunnels


class Silence:
    """Reads the times of the tunnels; those here are seconds since 1970."""

    def __init__(
        self,
        tunnels: Tunnels,
        plane: DataPlane,
        routing: RoutingReport,
        steering: Steering,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._tunnels = tunnels
        self._plane = plane
        self._routing = routing
        self._steering = steering
        self._clock = clock
        self._wall = wall

    def of(self, left: Iterable[str], taken: Iterable[str]) -> float | None:
        """
        Return for how long nothing came out of the tunnels that were left until the traffic could
        take others, or with none until they were left. None if that is not known.
        """
        ready = [at for name in taken if (at := self._ready_at(name)) is not None]
        found = []
        for name in left:
            left_at, heard_at = self._left_at(name), self._heard_at(name)
            if left_at is not None and heard_at is not None:
                ended_at = max(left_at, min(ready, default=left_at))
                found.append(ended_at - min(heard_at, left_at))
        return max(found, default=None)

    def _left_at(self, name: str) -> float | None:
        """Return when traffic left a tunnel: whatever moved it first."""
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None:
            return None
        times = [] if tunnel.is_up else [tunnel.changed_at]
        since = self._routing.since(name)
        if since is not None and not self._routing.is_established(name):
            times.append(since)
        if name in self._steering.standings:
            times.append(self._steering.moved_at.get(name, self._wall()))
        return min(times, default=None)

    def _ready_at(self, name: str) -> float | None:
        """Return since when a tunnel can carry traffic."""
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None or not tunnel.is_up:
            return None
        return max(tunnel.changed_at, self._routing.since(name) or 0.0)

    def _heard_at(self, name: str) -> float | None:
        try:
            heard = self._plane.tunnel_stats(self._tunnels.by_name[name].number).in_at
        except (KeyError, DataPlaneError):
            return None
        return self._wall() - (self._clock() - heard) if heard > 0.0 else None
