"""
VICI for one gateway: the commands that show, the events that go to all, and the socket's life.

The commands that act are in `control.py`. What would change the configuration is refused: the
document is the configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import gateway
from gateway.dataplane.interface import DataPlane
from gateway.errors import GatewayError
from gateway.ike.events import Event
from gateway.ike.status import TunnelIkeStatus
from gateway.node.daemon import IkeDaemon
from gateway.node.journal import Entry, Journal, Level
from gateway.node.plan import TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.node.tunnel import Tunnels
from gateway.vici.certs import listed
from gateway.vici.control import Control
from gateway.vici.listing import Listing
from gateway.vici.logs import log_section
from gateway.vici.monitor import SA_EVENTS, Monitor
from gateway.vici.pick import Filter
from gateway.vici.server import Command, Refused, Stream, ViciServer
from gateway.vici.views import conn_section, counters_section, duration_text, stats_section
from gateway.vici.wire import Section

SOCKET = "vici.sock"
LOADS = ("authority", "cert", "conn", "key", "pool", "shared", "token")
FIXED = [
    "clear-creds",
    "flush-certs",
    "install",
    "redirect",
    "reload-settings",
    "uninstall",
    *(f"load-{what}" for what in LOADS),
    *(f"unload-{what}" for what in LOADS),
]
NOTHING = ["list-policies", "list-authorities", "get-pools"]  # we have none of these
NO_NAMES = {"get-authorities": "authorities", "get-keys": "keys", "get-shared": "keys"}


class Vici:
    """Answers strongSwan's clients."""

    def __init__(
        self,
        runtime_dir: Path,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        tunnels: Tunnels,
        plane: DataPlane,
        journal: Journal,
    ) -> None:
        self._daemon = daemon
        self._reconciler = reconciler
        self._journal = journal
        self._began_at = time.time()
        self._listing = Listing(daemon, reconciler, tunnels, plane, time.monotonic)
        control = Control(daemon, reconciler, self._listing, journal)
        commands: dict[str, Command] = {
            "version": self._version,
            "stats": self._stats,
            "list-sas": self._list_sas,
            "list-conns": self._list_conns,
            "get-conns": self._get_conns,
            "list-certs": self._list_certs,
            "get-counters": self._get_counters,
            "reset-counters": _no_reset,
            **control.commands,
            **dict.fromkeys(NOTHING, _nothing),
            **{command: _no_names(key) for command, key in NO_NAMES.items()},
            **dict.fromkeys(FIXED, _refuse),
        }
        self._server = ViciServer(runtime_dir / SOCKET, commands, journal, self._registering)
        self._monitor = Monitor(self._listing, self._server.publish)
        self._is_watching = False
        self._stack = contextlib.ExitStack()
        self._log: asyncio.Task[None] | None = None

    # ---- life ----

    async def open(self) -> None:
        """Listen. A socket that can not be made is logged: the tunnels are of use without it."""
        try:
            await self._server.open()
        except GatewayError as error:
            self._journal.error("vici", text=str(error))
            return
        self._stack.enter_context(self._daemon.watch(self._see))

    async def close(self) -> None:
        """Let every client go."""
        self._stack.close()
        if self._log is not None:
            self._log.cancel()
            await asyncio.gather(self._log, return_exceptions=True)
        await self._server.close()

    # ---- events that go to all ----

    def _registering(self, event: str) -> None:
        if event in SA_EVENTS and not self._is_watching:
            self._monitor.begin()
            self._is_watching = True
        if event == "log" and (self._log is None or self._log.done()):
            self._log = asyncio.create_task(self._publish_log())

    def _see(self, event: Event) -> None:
        if not self._is_watching:
            return
        if self._server.is_wanted(*SA_EVENTS):
            self._monitor.see(event)
        else:
            self._monitor.end()
            self._is_watching = False

    async def _publish_log(self) -> None:
        """Send what is logged, for as long as somebody wants it."""
        with self._journal.follow() as queue:
            while self._server.is_wanted("log"):
                entry = await queue.get()
                if entry.level <= Level.INFO:
                    self._server.publish("log", self._log_event(entry))

    def _log_event(self, entry: Entry) -> Section:
        number = self._listing.number_of(str(entry.fields.get("tunnel", "")))
        return log_section(entry.event, entry.level, entry.fields, number)

    # ---- commands that show ----

    async def _version(self, request: Section, stream: Stream) -> Section:
        system = os.uname()
        return {
            "daemon": "twinspan",
            "version": gateway.__version__,
            "sysname": system.sysname,
            "release": system.release,
            "machine": system.machine,
        }

    async def _stats(self, request: Section, stream: Stream) -> Section:
        running = duration_text(time.time() - self._began_at)
        since = time.strftime("%b %d %H:%M:%S %Y", time.localtime(self._began_at))
        statuses = [ike for _, ike in self._listing.statuses()]
        return stats_section(running, since, self._reconciler.workers, statuses)

    async def _list_sas(self, request: Section, stream: Stream) -> Section:
        wanted = Filter.of(request)
        for plan, ike in self._listing.statuses():
            if ike.state != "idle" and (shown := self._shown(wanted, plan, ike)) is not None:
                await stream.event("list-sa", {plan.name: shown})
                await asyncio.sleep(0)  # with thousands of tunnels: others have their turn
        return {}

    def _shown(self, wanted: Filter, plan: TunnelPlan, ike: TunnelIkeStatus) -> Section | None:
        """Return an IKE SA with the Child SAs that a filter leaves, None if it is not meant."""
        children = wanted.children(plan, ike, self._listing)
        if not wanted.takes_ike(plan, ike, self._listing) or (wanted.is_child and not children):
            return None
        return self._listing.ike(plan, ike, children)

    async def _list_conns(self, request: Section, stream: Stream) -> Section:
        name = request.get("ike")
        for plan in self._listing.plans:
            if name in (None, plan.name):
                await stream.event("list-conn", {plan.name: conn_section(plan)})
        return {}

    async def _list_certs(self, request: Section, stream: Stream) -> Section:
        for one in listed(self._listing.plans):
            if one.is_meant(request):
                await stream.event("list-cert", one.section)
        return {}

    async def _get_conns(self, request: Section, stream: Stream) -> Section:
        return {"conns": [plan.name for plan in self._listing.plans]}

    async def _get_counters(self, request: Section, stream: Stream) -> Section:
        if request.get("name"):
            raise Refused("counters are kept for the whole gateway, not for one connection")
        section = counters_section(self._daemon.endpoint.counters)
        return {"counters": {"": section}, "success": "yes"}


async def _no_reset(request: Section, stream: Stream) -> Section:
    raise Refused("counters are never reset here")


async def _nothing(request: Section, stream: Stream) -> Section:
    return {}


def _no_names(key: str) -> Command:
    async def answer(request: Section, stream: Stream) -> Section:
        return {key: []}

    return answer


async def _refuse(request: Section, stream: Stream) -> Section:
    raise Refused("the document is the configuration: edit it, then `twinspan reload`")
