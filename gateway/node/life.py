"""
The life of one gateway: start, take over, reload, end.

SIGTERM ends this process alone: the data plane goes on with every tunnel and keeps our sealed
records, and the next gateway process takes both over. So it does after a crash. `twinspan stop` (or
--stop-dataplane) ends the tunnels as well, with a Delete to each peer. If the data plane process is
lost its SAs are lost with it: `renewal.py` has others made, or everything is made anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from gateway.dataplane.remote import RemotePlane
from gateway.errors import ConfigError, DataPlaneError, GatewayError
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import Reason
from gateway.node.control_socket import ControlError
from gateway.node.daemon import IkeDaemon
from gateway.node.difference import Change, beside_tunnels, difference
from gateway.node.doors import Doors
from gateway.node.drain import Drain
from gateway.node.event_log import EventLog
from gateway.node.failback import FailbackKeeper
from gateway.node.journal import Journal
from gateway.node.keeper import Keeper, Succession
from gateway.node.machine import notes
from gateway.node.namespaces import Namespaces
from gateway.node.notify import Notifier
from gateway.node.plan import NodePlan
from gateway.node.planes import open_plane, reach_plane
from gateway.node.probes import Prober
from gateway.node.propagator import Propagator
from gateway.node.reconcile import Reconciler
from gateway.node.renewal import Renewal
from gateway.node.rollout import Rollout
from gateway.node.routing import RoutingReport
from gateway.node.seal import kept_key
from gateway.node.source import Planned, Source
from gateway.node.steering import Steering
from gateway.node.tunnel import Tunnels
from gateway.routing.routers import Routers

SEAL_KEY = "seal.key"
CRASH_KEY = "crash.key"  # of the tokens by which peers know that we have lost our IKE SAs
TICK_S = 1.0
REPAIR_TICKS = 10  # what could not be made, or has gone, is made again so often
ORPHAN_S = 90.0  # how long ESP SAs of a crashed gateway process are kept for the new IKE SA to come
GOODBYE_S = 2.0  # how long Deletes may wait for their answers


class Outcome(Enum):
    """Why a gateway ended."""

    LEAVE = auto()  # the tunnels go on in the data plane
    STOP = auto()  # the tunnels end as well
    PLANE_LOST = auto()  # begin again


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    source: Source
    runtime_dir: Path
    in_process: bool = False
    stop_dataplane: bool = False
    verbose: bool = False
    metrics: tuple[str, int] | None = None  # address and port for Prometheus


class SystemRandom:
    """The randomness of the operating system, for the core."""

    def bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def uniform(self) -> float:
        return secrets.randbits(53) / (1 << 53)

    def private_key(self, group: int) -> None:
        """Return None: the core makes a fresh one."""
        return None


def plan_of(planned: Planned, journal: Journal) -> NodePlan:
    """Return the plan of a document; its warnings go to the log."""
    for warning in planned.warnings:
        journal.warning("document", text=warning)
    return planned.plan


class Gateway:
    """
    One gateway on one data plane: everything that lives until the process ends or the data plane is
    lost.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: NodePlan,
        journal: Journal,
        notifier: Notifier,
        events: EventLog,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._notifier = notifier
        self._ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._hangup = asyncio.Event()
        self._reloading = asyncio.Lock()
        self.wanted = wanted  # the plan of the document that was last taken
        self._said = ""
        self._plane = open_plane(
            settings.runtime_dir, wanted.workers, in_process=settings.in_process
        )
        self._namespaces = Namespaces(settings.runtime_dir, journal)
        self._tunnels = Tunnels()
        self._steering = Steering(journal, lambda: self._guarded(self._reconciler.move_traffic))
        endpoint = IkeEndpoint(
            SystemRandom(),
            time.monotonic(),
            crash_secret=kept_key(settings.runtime_dir / CRASH_KEY),
            is_kept=not settings.in_process,
        )
        self._daemon = IkeDaemon(
            endpoint, self._plane, self._tunnels, journal, time.monotonic, time.time
        )
        self._reconciler = Reconciler(
            self._plane,
            self._namespaces,
            self._daemon,
            self._tunnels,
            self._steering,
            journal,
            time.monotonic,
            time.time,
        )
        self._routers = Routers(settings.runtime_dir, journal, self._namespaces.place_of)
        self._failback = FailbackKeeper(
            self._reconciler, self._routers, self._tunnels, self._steering, time.monotonic
        )
        self._drain = Drain(
            self._plane, self._tunnels, self._routers, self._steering, self._failback, journal
        )
        self._rollout = Rollout(
            self._reconciler, self._routers, self._drain, self._failback, journal
        )
        self._prober = Prober(
            self._tunnels, self._namespaces, self._steering, journal, time.monotonic, time.time
        )
        self._succession = self._make_succession()
        self._renewal = self._make_renewal()
        self._report = RoutingReport(self._routers, self._reconciler, self._tunnels)
        self._propagator = Propagator(self._namespaces, self._reconciler, self._report, journal)
        self._doors = self._make_doors(events)

    def _make_succession(self) -> Succession:
        return Succession(
            Keeper(self._plane, self._settings.runtime_dir / SEAL_KEY, self._journal),
            self._daemon,
            self._reconciler,
            self._steering,
            self._failback,
            self._prober,
            self._tunnels,
            self._journal,
            time.monotonic,
        )

    def _make_renewal(self) -> Renewal | None:
        if not isinstance(self._plane, RemotePlane):
            return None
        return Renewal(
            self._plane,
            lambda: reach_plane(self._settings.runtime_dir, self.wanted.workers, replace=False),
            self._daemon,
            self._reconciler,
            self._succession,
            self._tunnels,
            self._journal,
            time.monotonic,
            time.time,
        )

    def _make_doors(self, events: EventLog) -> Doors:
        return Doors(
            self._settings.runtime_dir,
            self,
            self._daemon,
            self._reconciler,
            self._tunnels,
            self._plane,
            self._namespaces,
            self._report,
            self._rollout,
            self._prober,
            self._drain,
            self._journal,
            events,
            self._settings.source,
            self._settings.metrics,
        )

    # ---- life ----

    async def run(self) -> Outcome:
        """
        Run until told to end, or until the data plane is lost. Raises GatewayError if it can not
        start.
        """
        try:
            await self._start_or_leave_nothing()
            await self._doors.open()
            self._announce()
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._tick()),
                    group.create_task(self._reload_on_hangup()),
                    group.create_task(self._notifier.keep_watchdog_quiet()),
                    group.create_task(self._watch_for_trouble()),
                    group.create_task(self._routers.run()),
                    group.create_task(self._steer_bgp()),
                    group.create_task(self._propagator.run()),
                    group.create_task(self._settings.source.follow(self._doors.node)),
                ]
                outcome = await self._ended
                for task in tasks:
                    task.cancel()
            await self._end(outcome)
        finally:
            await self._doors.close()
            self._routers.leave()
            self._prober.close()
            self._daemon.close()
            self._reconciler.lanes.close()
            self._namespaces.close()
            self._plane.close()
        return outcome

    async def _start_or_leave_nothing(self) -> None:
        """Start; if that fails, a data plane without tunnels is not left behind."""
        try:
            await self._routers.prepare(self.wanted.routing)
            self._start()
        except GatewayError:
            if not self._plane.state().tunnels:
                self._plane.stop()
            raise
        try:
            await self._routers.set_standings(self._steering.standings)
            await self._routers.apply(self.wanted.routing)
        except (GatewayError, OSError) as error:  # the tunnels are of use without it
            self._journal.error("bird", text=str(error))
        self._reconciler.release_namespaces()

    def _start(self) -> None:
        self._plane.on_punt(self._daemon.punt_received)
        if isinstance(self._plane, RemotePlane):
            self._plane.on_lost(self._plane_lost)
        loop = asyncio.get_running_loop()
        ending = Outcome.STOP if self._settings.stop_dataplane else Outcome.LEAVE
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end_with, ending)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        self._take_over()
        self._guarded(self._prober.follow)

    def _take_over(self) -> None:
        """Take over what there is from earlier processes: gateway, data plane, or both."""
        left = self._renewal.left if self._renewal is not None else None
        self._succession.take_over(self._plane.state(), self.wanted, left)
        if self._renewal is not None and left is not None:
            self._renewal.begin([tunnel.name for tunnel in self._tunnels], left.since)

    def _announce(self) -> None:
        text = f"{len(self._tunnels)} tunnels"
        self._journal.info(
            "gateway up",
            name=self.wanted.name,
            pid=os.getpid(),
            source=str(self._settings.source),
            tunnels=len(self._tunnels),
        )
        for note in notes(self.wanted, self._reconciler.workers, self._namespaces):
            self._journal.warning("machine", text=note)
        self._notifier.ready(text)

    def _end_with(self, outcome: Outcome) -> None:
        if not self._ended.done():
            self._ended.set_result(outcome)

    def _plane_lost(self, why: str) -> None:
        self._journal.error("data_plane lost", text=why)
        if not self._ended.done() and not self._is_followed():
            self._end_with(Outcome.PLANE_LOST)

    def _is_followed(self) -> bool:
        """Go on with another data plane process; return whether that went well."""
        try:
            return self._renewal is not None and self._renewal.follow_on()
        except Exception as error:  # a bug of ours: begin again is always possible
            report_bug(self._journal, "renewal", error)
            return False

    async def _watch_for_trouble(self) -> None:
        """
        Make a lost device anew at once; end a data plane in which a worker has failed: part of the
        traffic is lost.
        """
        while True:
            await self._daemon.trouble.wait()
            self._daemon.trouble.clear()
            if self._daemon.worker_failed:
                self._replace_plane()
            else:
                self._guarded(self._reconciler.repair)

    def _replace_plane(self) -> None:
        with contextlib.suppress(DataPlaneError):
            if isinstance(self._plane, RemotePlane):
                self._plane.end_process()
        self._plane_lost("a worker has failed")

    def _guarded(self, act: Callable[[], None]) -> None:
        """Do something that must not end the process, whatever it meets: the guard of our tasks."""
        try:
            act()
        except GatewayError as error:
            self._journal.error("failed", what=act.__name__, text=str(error))
        except Exception as error:  # a bug of ours must not take the tunnels along
            report_bug(self._journal, act.__name__, error)

    async def _steer_bgp(self) -> None:
        """Have BIRD follow the tunnels' standings."""
        while True:
            await self._steering.changed.wait()
            self._steering.changed.clear()
            try:
                await self._routers.set_standings(self._steering.standings)
            except (GatewayError, OSError) as error:
                self._journal.error("bird", text=str(error))

    async def _tick(self) -> None:
        began_at = time.monotonic()
        count = 0
        while True:
            await asyncio.sleep(TICK_S)
            count += 1
            if self._renewal is not None:
                self._guarded(self._renewal.tick)
                if self._renewal.is_pressing:
                    continue  # all else can wait for some seconds: silent tunnels can not
            self._guarded(self._daemon.tick)
            self._guarded(self._failback.tick)
            self._guarded(self._prober.follow)
            self._guarded(self._succession.keep_standings)
            self._guarded(self._doors.watching.measure)
            self._guarded(self._doors.watching.see_traffic)
            self._say_status()
            if count % REPAIR_TICKS == 0:
                self._guarded(self._reconciler.repair)
            if time.monotonic() - began_at >= ORPHAN_S:
                self._guarded(self._give_up_orphans)

    def _say_status(self) -> None:
        """Keep the service manager's one line up to date."""
        up = sum(tunnel.is_up for tunnel in self._tunnels)
        text = f"{up} of {len(self._tunnels)} tunnels up"
        if text != self._said:
            self._said = text
            self._notifier.status(text)

    def _give_up_orphans(self) -> None:
        reason = Reason("restart", "the gateway has lost the IKE SA and could not make a new one")
        for tunnel in self._tunnels:
            if tunnel.orphans:
                self._journal.warning("orphans removed", tunnel=tunnel.name)
                tunnel.give_up_orphans(reason, time.time())

    # ---- reload ----

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            with contextlib.suppress(GatewayError):  # it is in the log
                await self.reload()

    async def reload(self, *, at_once: bool = False) -> dict[str, object]:
        """
        Apply the difference to the document as it is now, `at_once` without draining tunnels.

        Raises GatewayError; a document with a mistake changes nothing.
        """
        async with self._reloading:
            self._notifier.reloading()
            try:
                loaded = await asyncio.to_thread(self._settings.source.load)
                wanted = plan_of(loaded, self._journal)
                await self._routers.prepare(wanted.routing)
                change = difference(self._reconciler.actual(wanted), wanted)
                waiting = await self._rollout.apply(wanted, at_once=at_once)
                beside = beside_tunnels(self.wanted, wanted)
                self.wanted = wanted
                self._guarded(self._prober.follow)
            except ConfigError as error:
                for problem in error.problems:
                    self._journal.error("reload refused", problem=problem)
                raise
            except GatewayError as error:
                self._journal.error("reload failed", text=str(error))
                raise
            except OSError as error:  # the runtime directory is full, or no descriptor is free
                self._journal.error("reload failed", text=str(error))
                raise ControlError(f"the reload failed: {error}") from error
            finally:
                self._notifier.ready(f"{len(self._tunnels)} tunnels")
                self._said = ""
        summary = summary_of(change) | {"waiting": sorted(waiting)}
        self._journal.info("reloaded", **{key: len(names) for key, names in summary.items()})
        what = {each.new.name: each.words for each in change.changed}
        return summary | {"what": what, "beside": beside}

    def stop(self, *, stop_dataplane: bool) -> None:
        self._end_with(Outcome.STOP if stop_dataplane else Outcome.LEAVE)

    # ---- the end ----

    async def _end(self, outcome: Outcome) -> None:
        self._notifier.stopping()
        self._journal.info("gateway ends", how=outcome.name.lower())
        await self._rollout.stop()
        if outcome is Outcome.LEAVE and not self._settings.in_process:
            self._daemon.close()
            self._succession.keep_standings()
            return
        if outcome is not Outcome.PLANE_LOST:
            await self._end_routing()  # first: the peers leave the tunnels before they go
            await self._say_goodbye()
            self._reconciler.remove()
        with contextlib.suppress(DataPlaneError):
            self._plane.stop()
        if outcome is not Outcome.PLANE_LOST:
            self._namespaces.end()
            self._succession.forget()

    async def _end_routing(self) -> None:
        try:
            await self._routers.end()
        except (GatewayError, OSError) as error:
            self._journal.error("bird", text=str(error))

    async def _say_goodbye(self) -> None:
        """Send a Delete for every IKE SA, and give the peers a moment to answer."""
        self._daemon.close_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._daemon.idle.wait(), GOODBYE_S)


def summary_of(change: Change) -> dict[str, list[str]]:
    """Return the names of the tunnels that a reload touched."""
    return {
        "added": [tunnel.name for tunnel in change.added],
        "removed": [tunnel.name for tunnel in change.removed],
        "changed": [changed.new.name for changed in change.changed],
    }


def report_bug(journal: Journal, where: str, error: Exception | None) -> None:
    """Log an exception that nobody expected, with its traceback."""
    text = "".join(traceback.format_exception(error)) if error is not None else ""
    journal.error("bug", where=where, traceback=text)
