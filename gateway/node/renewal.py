"""
A data plane process has ended and another takes its place; everything else stays.

TUN devices and sockets live on in this process, so routes and BGP's sessions do too. What is lost
are the ESP SAs, and the packets that come before there are others. Their keys are never used again:
each Child SA is rekeyed in the IKE SA that is there, for the tunnels in the order of their traffic,
many at a time. Devices keep their carrier meanwhile. A tunnel that takes too long loses it, so that
its traffic goes elsewhere, as it does where a peer is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.dataplane.estate import Estate
from gateway.dataplane.reach import OtherAbi
from gateway.dataplane.remote import RemotePlane
from gateway.errors import GatewayError
from gateway.ike.config import Start
from gateway.ike.events import ChildSaUp, Event, Failed, Reason
from gateway.node import reborn
from gateway.node.daemon import IkeDaemon
from gateway.node.journal import Journal
from gateway.node.keeper import Succession
from gateway.node.reconcile import Reconciler
from gateway.node.tunnel import Tunnel, Tunnels

AT_ONCE = 64  # rekeys under way: more would let the busiest tunnels wait for each other
# After which a peer that does not answer holds up nobody else.
PATIENCE_S, PATIENCE_MOST_S = 1.0, 10.0
BRIDGE_S = 3.0  # how long a device keeps its carrier while its peer is asked for other keys

NOT_RENEWED = Reason(
    "data_plane_lost",
    "its ESP SAs went with the data plane process, and there are no others yet",
    hint="they are asked for; twinspan explain says what the peer answers",
)


@dataclass(slots=True)
class Wave:
    """The tunnels that are made to carry traffic again. Times are monotonic seconds."""

    since: float  # when the data plane was lost
    begun_at: float
    tunnels: int
    waiting: dict[str, None]  # in their order
    under_way: dict[str, float] = field(default_factory=dict)  # since when
    late: dict[str, float] = field(default_factory=dict)  # the same, not answered in time
    anew: set[str] = field(default_factory=set)  # with another IKE SA: once, the core goes on
    silent_s: dict[str, float] = field(default_factory=dict)  # those that are done
    has_asked_all: bool = False
    is_late: bool = False  # those that are not done have lost their carrier
    is_over: bool = False
    _usual_s: float = 0.0  # how long an answer takes of late

    @property
    def patience_s(self) -> float:
        """
        Return how long an answer is waited for: longer where all of them are late, for then both
        ends have more to do than they can, and more requests under way would only be more to do.
        """
        return min(max(PATIENCE_S, 3 * self._usual_s), PATIENCE_MOST_S)

    def answered(self, name: str, now: float) -> None:
        """Take note that a tunnel has other keys."""
        if name in self.waiting:
            del self.waiting[name]  # the peer was faster
            return
        asked = self.under_way if name in self.under_way else self.late
        self._usual_s += (now - asked.pop(name) - self._usual_s) / 8

    @property
    def open(self) -> set[str]:
        """Return the tunnels that are not done."""
        return {*self.waiting, *self.under_way, *self.late}

    def is_open(self, name: str) -> bool:
        """Return whether a tunnel is one of them."""
        return name in self.waiting or name in self.under_way or name in self.late

    def report(self) -> dict[str, object]:
        """Return what there is to say of it, for the status: the busier half is the first one."""
        silent = sorted(self.silent_s.values()) or [0.0]
        return {
            "tunnels": self.tunnels,
            "renewed": len(self.silent_s),
            "silent_s": round(silent[-1], 3),
            "half_silent_s": round(silent[(len(silent) - 1) // 2], 3),
        }


class Renewal:
    """Carries tunnels from one data plane process to the next. `tick` is called each second."""

    def __init__(
        self,
        plane: RemotePlane,
        reach: Callable[[], RemotePlane],
        daemon: IkeDaemon,
        reconciler: Reconciler,
        succession: Succession,
        tunnels: Tunnels,
        journal: Journal,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`reach` makes a connection to the next process. Raises GatewayError."""
        self._plane = plane
        self._reach = reach
        self._daemon = daemon
        self._reconciler = reconciler
        self._succession = succession
        self._tunnels = tunnels
        self._journal = journal
        self._clock = clock
        self._wall = wall
        self._wave: Wave | None = None
        daemon.look_on(self._see)

    @property
    def left(self) -> Estate | None:
        """Return what a data plane process before ours has left, until it is put in again."""
        return self._plane.left if self._plane.left.is_whole else None

    def follow_on(self) -> bool:
        """
        Go on with another data plane process, if there is one; all must begin anew otherwise.

        Nothing else is done meanwhile: what peers send waits in the sockets.
        """
        since, ranked = self._clock(), self._ranked()
        try:
            fresh = self._reach()
        except OtherAbi as other:
            other.estate.close()
            self._become_next(str(other), since)
            return False
        except GatewayError as error:
            self._journal.error("failed", what="data plane", text=str(error))
            return False
        if fresh.pid == self._plane.pid:  # it has only sent us away: it carries the tunnels still
            fresh.close()
            return False
        try:
            self._plane.go_on_with(fresh)
            self._reconciler.put_back(self._plane.left, fresh.workers)
            self._daemon.endpoint.children_lost()
            self._succession.begin_again()
        except GatewayError as error:
            self._journal.error("failed", what="data plane", text=str(error))
            return False
        self.begin(ranked, since)
        return True

    def _become_next(self, why: str, since: float) -> None:
        """Go on as the version that the data plane process is of. Returns if that can not be."""
        self._journal.warning("gateway begins anew", text=why)
        self._plane.estate.since = since
        self._plane.reap()  # the next program would not know of it
        try:
            reborn.become_next(self._plane.estate, self._succession.records())
        except (GatewayError, OSError) as error:
            self._journal.error("failed", what="gateway begins anew", text=str(error))

    def begin(self, ranked: Iterable[str], since: float) -> None:
        """Have other keys made for those of the tunnels that had some, in this order."""
        names = [name for name in ranked if self._is_open(name)]
        self._wave = Wave(since, self._clock(), len(names), dict.fromkeys(names))
        self._pump()

    def _is_open(self, name: str) -> bool:
        tunnel = self._tunnels.by_name.get(name)
        return tunnel is not None and tunnel.is_bridging

    def _ranked(self) -> list[str]:
        """Return the tunnels that carry traffic, the busiest first."""
        up = [tunnel for tunnel in self._tunnels if tunnel.is_up]
        return [tunnel.name for tunnel in sorted(up, key=_traffic, reverse=True)]

    # ---- one after the other ----

    def _pump(self) -> None:
        """Begin as many rekeys as may be under way."""
        wave, now = self._wave, self._clock()
        if wave is None or wave.is_over:
            return
        for name, at in tuple(wave.under_way.items()):
            if now - at >= wave.patience_s:
                wave.late[name] = wave.under_way.pop(name)
        while wave.waiting and len(wave.under_way) < AT_ONCE:
            name = next(iter(wave.waiting))
            del wave.waiting[name]
            wave.under_way[name] = now
            if name in self._daemon.known:
                self._daemon.rekey_tunnel(name, ike=False)
        if not wave.waiting and not wave.has_asked_all:
            wave.has_asked_all = True
            self._succession.keep_rest()
        if now - wave.begun_at >= BRIDGE_S and not wave.is_late:
            wave.is_late = True
            self._end_bridges(wave)
        if not wave.waiting and not wave.under_way and (wave.is_late or not wave.late):
            self._end(wave)

    def _see(self, event: Event) -> None:
        """Look at each event of the core: nothing may be begun before it is carried out."""
        wave = self._wave
        if wave is None or wave.is_over or not isinstance(event, ChildSaUp | Failed):
            return
        name = event.tunnel
        if not wave.is_open(name):
            return
        loop = asyncio.get_running_loop()
        if isinstance(event, Failed):
            if name not in wave.anew:
                wave.anew.add(name)
                loop.call_soon(self._begin_anew, name)
            return
        wave.answered(name, self._clock())
        wave.silent_s[name] = self._clock() - wave.since
        loop.call_soon(self._pump)

    def _begin_anew(self, name: str) -> None:
        """Begin another IKE SA with a peer that refuses the rekey."""
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None or tunnel.active or name not in self._daemon.known:
            return
        if name in self._reconciler.taken_down:
            return
        self._daemon.terminate_tunnel(name)
        if tunnel.plan.ike.start is Start.INITIATE and tunnel.plan.ike.remote is not None:
            self._daemon.initiate(name)

    def tick(self) -> None:
        """Let nobody wait for a peer that does not answer."""
        self._pump()

    @property
    def is_pressing(self) -> bool:
        """Return whether tunnels are silent that keep their carrier: nothing is more urgent."""
        return self._wave is not None and not self._wave.is_over and not self._wave.is_late

    def _end_bridges(self, wave: Wave) -> None:
        """Let the traffic of those that are not done go elsewhere; they are asked all the same."""
        for name in sorted(wave.open):
            tunnel = self._tunnels.by_name.get(name)
            if tunnel is None or not tunnel.is_bridging:
                continue
            try:
                tunnel.give_up_bridge(NOT_RENEWED, self._wall())
            except GatewayError as error:  # of the others the carrier has to go all the same
                self._journal.error("failed", what="bridge", tunnel=name, text=str(error))

    def _end(self, wave: Wave) -> None:
        """Leave those that do not answer to the core, which gives an IKE SA up in its time."""
        wave.is_over = True
        report = wave.report()
        self._daemon.renewed = {**report, "at": round(self._wall(), 3)}
        fields = {key: str(value) for key, value in report.items()}
        self._journal.info("data_plane replaced", **fields)


def _traffic(tunnel: Tunnel) -> float:
    return sum(tunnel.rates_bps())
