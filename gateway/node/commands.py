"""What the control socket can ask for, one small function a command."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from gateway.node.capture import CaptureDesk
from gateway.node.control_socket import ControlError, Request
from gateway.node.daemon import IkeDaemon
from gateway.node.drain import Claim, Drain, Drained
from gateway.node.event_log import RING, EventLog, is_of
from gateway.node.journal import Journal
from gateway.node.path import FlowReport
from gateway.node.plan import TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.node.recorder import Recorder
from gateway.node.routing import RoutingReport
from gateway.node.status import StatusView
from gateway.node.trace import Tracer
from gateway.node.tunnel import Tunnels
from gateway.routing.replies import BirdError
from gateway.routing.tables import Table

LOG_LINES = 100
LOG_LINES_MAX = 2000
ROUTES_OF = ("border_gateway", "connection")  # what routes can be asked for by


class Life(Protocol):
    """What commands may ask of the process itself."""

    async def reload(self, *, at_once: bool = False) -> dict[str, object]:
        """
        Read the document again and apply the difference. Raises ConfigError and changes nothing.

        Tunnels that must be renegotiated are drained first, but for `at_once`.
        """
        ...

    def stop(self, *, stop_dataplane: bool) -> None:
        """End the process soon; with `stop_dataplane` the tunnels too."""
        ...


class Commands:
    """Serves requests of the control socket."""

    def __init__(
        self,
        life: Life,
        daemon: IkeDaemon,
        reconciler: Reconciler,
        tunnels: Tunnels,
        drain: Drain,
        status: StatusView,
        journal: Journal,
        routing: RoutingReport,
        events: EventLog,
        flow: FlowReport,
    ) -> None:
        self._life = life
        self._daemon = daemon
        self._reconciler = reconciler
        self._tunnels = tunnels
        self._drain = drain
        self._status = status
        self._journal = journal
        self._routing = routing
        self._events = events
        self._flow = flow
        self._tracer = Tracer(daemon, journal, time.time)
        self._recorder = Recorder(daemon, time.time)
        self._captures = CaptureDesk(daemon, journal)
        self._flows = {
            "log": self._log,
            "events": self._show_events,
            "trace": self._trace,
            "capture": self._capture,
        }
        self._table: dict[str, Callable[[Request], Awaitable[object]]] = {
            "status": self._show_status,
            "explain": self._explain,
            "up": self._up,
            "down": self._down,
            "drain": self._drain_only,
            "rekey": self._rekey,
            "reset": self._reset,
            "reload": self._reload,
            "bgp": self._bgp,
            "routes": self._routes,
            "path": self._path,
            "negotiation": self._negotiation,
            "stop": self._stop,
            "version": self._version,
        }

    async def answer(self, request: Request) -> AsyncIterator[object]:
        """Yield the results of one request. Raises ControlError, ConfigError."""
        command = request["command"]
        flow = self._flows.get(str(command))
        if flow is not None:
            async for each in flow(request):
                yield each
            return
        serve = self._table.get(str(command))
        if serve is None:
            known = ", ".join(sorted([*self._table, *self._flows]))
            raise ControlError(f"unknown command {command!r}; there are {known}")
        yield await serve(request)

    async def _show_status(self, request: Request) -> object:
        return self._status.whole()

    async def _explain(self, request: Request) -> object:
        return self._status.explanation(self._planned(request))

    async def _up(self, request: Request) -> object:
        name = self._planned(request)
        plan = self._status.leads_to(name)
        if plan is not None and not plan.admin_up:
            raise ControlError(f'{name} has admin = "down" in the document; change it there')
        self._journal.info("tunnel allowed", tunnel=name)
        self._drain.let_back(name, Claim.OPERATOR, Claim.CLOSING)
        self._reconciler.allow(name)
        return {"tunnel": name, "admin": "up"}

    async def _down(self, request: Request) -> object:
        name = self._planned(request)
        done = Drained.DOWN if request.get("now") is True else await self._drained(name)
        self._journal.info("tunnel taken down", tunnel=name)
        self._reconciler.take_down(name)
        # It has no routes now; when it is up again, it may have.
        self._drain.let_back(name, Claim.OPERATOR, Claim.CLOSING)
        return {"tunnel": name, "admin": "down", "drained": done.value}

    async def _drained(self, name: str) -> Drained:
        """
        Move a tunnel's traffic away before it is closed.

        Raises ControlError if that is not to be any more: somebody else has said otherwise.
        """
        if self._drain.is_claimed(name, Claim.CLOSING):
            raise ControlError(f"{name} is being drained already, to be closed then")
        done = await self._drain.move_away(name, Claim.CLOSING)
        self._see_whether_still(name, Claim.CLOSING)
        return done

    def _see_whether_still(self, name: str, claim: Claim) -> None:
        """Raise ControlError if a tunnel has gone, or somebody has said up, while it drained."""
        if all(plan.name != name for plan in self._wanted()):
            raise ControlError(f"{name} was removed from the document meanwhile")
        is_down = name in self._reconciler.taken_down
        if not is_down and not self._drain.is_claimed(name, claim):
            raise ControlError(f"{name} was taken up again meanwhile")

    async def _rekey(self, request: Request) -> object:
        name = self._planned(request)
        tunnel = self._tunnels.by_name.get(name)
        if tunnel is None or not tunnel.children:
            raise ControlError(f"{name} is not up; there is nothing to rekey")
        ike = request.get("ike") is True
        self._daemon.rekey_tunnel(name, ike=ike)
        return {"tunnel": name, "rekey": "ike" if ike else "child"}

    async def _drain_only(self, request: Request) -> object:
        """Move a tunnel's traffic to others, and leave it up without any until `up`."""
        name = self._planned(request)
        was_away = self._drain.is_claimed(name, Claim.OPERATOR)
        done = await self._drain.move_away(name, Claim.OPERATOR)
        self._see_whether_still(name, Claim.OPERATOR)
        if done in (Drained.ALONE, Drained.DOWN) and not was_away:  # nothing has moved
            self._drain.let_back(name, Claim.OPERATOR)
        return {"tunnel": name, "drained": done.value}

    async def _reset(self, request: Request) -> object:
        """Close a tunnel's IKE SA and begin another; its traffic moves to others first."""
        name = self._planned(request)
        self._see_allowed(name)
        done = await self._drained(name)
        try:
            self._see_allowed(name)  # somebody else may have closed it by now
            self._daemon.terminate_tunnel(name)
        finally:
            self._drain.let_back(name, Claim.CLOSING)
        self._daemon.open_tunnel(name)
        return {"tunnel": name, "drained": done.value}

    def _see_allowed(self, name: str) -> None:
        """Raise ControlError for a tunnel that is not to be up."""
        if name not in self._daemon.known or name in self._reconciler.taken_down:
            raise ControlError(f"{name} is not allowed to be up; there is nothing to begin anew")

    async def _reload(self, request: Request) -> object:
        return await self._life.reload(at_once=request.get("now") is True)

    async def _bgp(self, request: Request) -> object:
        return await self._routing.bgp()

    async def _routes(self, request: Request) -> object:
        wanted = {key: str(request[key]) for key in ROUTES_OF if request.get(key) is not None}
        most, table = request.get("limit"), request.get("table")
        if most is not None and not isinstance(most, int):
            raise ControlError(f'"limit" is {most!r}, must be a number')
        if table is not None and table not in list(Table):
            raise ControlError(f'"table" is {table!r}, must be one of {", ".join(Table)}')
        try:
            chosen = Table(str(table)) if table is not None else None
            return await self._routing.routes(wanted, chosen, most)
        except BirdError as error:
            raise ControlError(f"the routes of BGP are not known: {error}") from None

    async def _path(self, request: Request) -> object:
        try:
            return await self._flow.path(request)
        except BirdError as error:
            raise ControlError(f"the routes of BGP are not known: {error}") from None

    async def _negotiation(self, request: Request) -> object:
        name = self._planned(request)
        return {"tunnel": name, "lines": self._recorder.of(name)}

    async def _stop(self, request: Request) -> object:
        self._life.stop(stop_dataplane=True)
        return {"stopping": True}

    async def _version(self, request: Request) -> object:
        return {"version": self._status.version}

    async def _log(self, request: Request) -> AsyncIterator[object]:
        tunnel = request.get("tunnel")
        if tunnel is not None:
            tunnel = self._planned(request)
        lines = _lines(request, LOG_LINES_MAX)
        with self._journal.follow() as queue:
            for entry in self._journal.recent(lines, tunnel):
                yield entry.as_json()
            while request.get("follow") is True:
                entry = await queue.get()
                if tunnel is None or entry.fields.get("tunnel") == tunnel:
                    yield entry.as_json()

    async def _show_events(self, request: Request) -> AsyncIterator[object]:
        """Yield events: also those of tunnels that are no longer there."""
        tunnel = request.get("tunnel")
        if tunnel is not None and not isinstance(tunnel, str):
            raise ControlError(f'"tunnel" is {tunnel!r}, must be the name of a tunnel')
        titled = [plan.name for plan in self._wanted() if plan.title and plan.title == tunnel]
        tunnel = titled[0] if len(titled) == 1 else tunnel
        lines = _lines(request, RING)
        with self._events.follow() as queue:
            for event in self._events.recent(lines, tunnel):
                yield event.as_json()
            while request.get("follow") is True:
                event = await queue.get()
                if tunnel is None or is_of(event, tunnel):
                    yield event.as_json()

    async def _trace(self, request: Request) -> AsyncIterator[object]:
        async for line in self._tracer.follow(self._planned(request)):
            yield line

    async def _capture(self, request: Request) -> AsyncIterator[object]:
        name = self._planned(request)
        plan = next(plan for plan in self._wanted() if plan.name == name)
        with_keys = request.get("keys") is True
        async for line in self._captures.follow(plan, with_keys=with_keys):
            yield line

    def _wanted(self) -> tuple[TunnelPlan, ...]:
        return self._reconciler.plan.tunnels if self._reconciler.plan is not None else ()

    def _planned(self, request: Request) -> str:
        """Return the tunnel that the request names, by a unique title too. Raises ControlError."""
        name = request.get("tunnel")
        if not isinstance(name, str):
            raise ControlError('the request needs the name of a tunnel under "tunnel"')
        plans = self._wanted()
        if any(plan.name == name for plan in plans):
            return name
        titled = [plan.name for plan in plans if plan.title == name]
        if len(titled) > 1:
            raise ControlError(f"several tunnels have the title {name!r}: {', '.join(titled)}")
        if not titled:
            names = [f"{p.name} ({p.title})" if p.title else p.name for p in plans]
            near = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise ControlError(f"no tunnel is named {name!r}; there are: {near or 'none'}")
        return titled[0]


def _lines(request: Request, most: int) -> int:
    """Return how many lines a request wants to see. Raises ControlError."""
    lines = request.get("lines", LOG_LINES)
    if isinstance(lines, bool) or not isinstance(lines, int) or not 0 <= lines <= most:
        raise ControlError(f'"lines" is {lines!r}, must be 0 to {most}')
    return lines
