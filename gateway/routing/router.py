"""
The routing of one network namespace: keeps BIRD doing what the plan says, and knows what BIRD says.

`prepare` judges a plan and changes nothing, `apply` makes it so, `run` restarts a BIRD that ended
and reads its state, `leave` lets BIRD go on without us and `end` ends it. Switching from tunnel to
tunnel is BIRD's and the kernel's: nothing here stands in its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gateway.errors import GatewayError
from gateway.routing.bird import Bird
from gateway.routing.bird_conf import KERNEL_METRIC, bird_conf
from gateway.routing.choice import Judged, judge
from gateway.routing.kernel import flush_routes
from gateway.routing.names import session_name
from gateway.routing.plan import NO_ROUTING, NO_STANDINGS, RoutingPlan, Standings
from gateway.routing.process import (
    HERE,
    OLDEST_AO,
    BirdFiles,
    BirdProcess,
    Place,
    check_conf,
    check_version,
    find_bird,
    find_running,
)
from gateway.routing.replies import BirdError, Unanswered
from gateway.routing.view import RoutingView, changes, view_of

PATIENCE_S = 10.0  # how long one answer of BIRD's may take, or the first after its start
HANGS = 3  # times as long without any answer, and it is killed and started again
ENDS_S = 5.0
POLL_S = 2.0
POLL_LEAST_S = 0.4  # where that costs little: somebody who looks on is to see it within 2 s
POLL_SHARE = 50  # reading takes at most one part in so many of the time, or once in POLL_MAX_S
POLL_MAX_S = 30.0
READINGS = 3  # the quickest of so many says what one costs: in the others somebody may have waited
# A young BIRD is asked often, for its own sake: it looks for work before it makes some, so a new
# peer would be told of the routes only when something else wakes it.
POLL_YOUNG_S, POLL_YOUNG_SHARE = 0.05, 5
STABLE_S = 5.0  # a BIRD that ends after so long a life is started again at once: a peer that calls
# within its own 1 s must find it. One that ends sooner waits, twice as long each time:
BACKOFF_S = (0.1, 10.0)

Value = str | int | float | bool


class Log(Protocol):
    """Where events go."""

    def error(self, event: str, **fields: Value) -> None: ...
    def warning(self, event: str, **fields: Value) -> None: ...
    def info(self, event: str, **fields: Value) -> None: ...


class Router:
    """Holds the wanted routing plan and the BIRD that carries it out."""

    def __init__(
        self,
        directory: Path,
        log: Log,
        patience_s: float = PATIENCE_S,
        place: Place = HERE,
        standings: Standings = NO_STANDINGS,
        count: Callable[[], int] = lambda: 1,
    ) -> None:
        """`count` says how many routers there are, since all of them take the same time to read."""
        self._files = BirdFiles(directory.resolve())
        self._log = log
        self._patience_s = patience_s
        self._place = place
        self._bird = Bird(self._files.socket, patience_s)
        self._process: BirdProcess | None = None
        self._changing = asyncio.Lock()
        self._begun = asyncio.Event()  # there is a process to watch
        self._is_young = asyncio.Event()  # and to read from at once
        self._began_at = 0.0
        self._heard_at = 0.0
        self._wait_s = 0.0
        self._took_s: deque[float] = deque(maxlen=READINGS)
        self._binary = ""
        self._is_told = True  # what is in the file
        self._standings = standings
        self._count = count
        self.plan = NO_ROUTING
        self.tunnels: frozenset[str] = frozenset()  # those with BGP
        self.view = RoutingView()

    @property
    def pid(self) -> int | None:
        """Return BIRD's process id, None while none runs."""
        return self._process.pid if self._process and self._process.is_alive else None

    # ---- the plan ----

    async def prepare(self, plan: RoutingPlan) -> None:
        """
        Raise ConfigError or BirdError if `plan` can not be carried out here; changes nothing.
        """
        if not plan.gateways:
            return
        binary = find_bird()
        await check_version(binary)
        with_ao = next((peer.name for peer in plan.peers if peer.ao is not None), None)
        if with_ao is not None:
            await check_version(binary, OLDEST_AO, f"bgp_auth of {with_ao}: TCP-AO needs")
        self._files.directory.mkdir(mode=0o700, exist_ok=True)
        draft = self._files.write_conf("bird.conf.check", self._text(plan))
        try:
            await check_conf(binary, draft)
        finally:
            draft.unlink(missing_ok=True)

    async def apply(self, plan: RoutingPlan) -> None:
        """
        Make a prepared plan so: start BIRD, have it go over to the plan, or end it.

        Sessions that are as before are not touched. Raises BirdError, OSError.
        """
        async with self._changing:
            if self._process is None:
                self._adopt()
            before, self.plan = self.plan, plan
            self.tunnels = plan.tunnels
            if not plan.gateways:
                await self._end()
                self.view = RoutingView()
                return
            self._binary = find_bird()
            # What is left of a BIRD that did not end by our word: its routes are in the kernel.
            is_left = self._files.conf.exists()
            is_new = self._write()
            if self.pid is None:
                try:
                    self._start(recover=is_left)
                except (GatewayError, OSError):
                    self._begun.set()  # it is tried again
                    raise
            elif is_new or not before.gateways:
                await self._configure()

    async def set_standings(self, standings: Standings) -> None:
        """
        Set how far each tunnel may carry traffic; those not named are NORMAL. No session is lost.

        Names without BGP are of no account. Raises BirdError, OSError.
        """
        async with self._changing:
            self._standings = dict(standings)
            if self.plan.gateways and self._write() and self.pid is not None:
                await self._configure()

    def _write(self) -> bool:
        """
        Write the plan as BIRD's configuration; return whether BIRD is to be told of it.

        It is also where it was written before, and then something came between.
        """
        text = self._text(self.plan)
        if not self._files.conf.exists() or self._files.conf.read_text() != text:
            self._files.write_conf("bird.conf.new", text).replace(self._files.conf)
            self._is_told = False
        return not self._is_told

    async def _configure(self) -> None:
        """Have BIRD read its file, also one that has just begun. Raises BirdError."""
        end = time.monotonic() + self._patience_s
        while True:
            try:
                await self._bird.configure()
                self._is_told = True
                return
            except Unanswered as error:
                if self._process is None or not self._process.is_alive:
                    return  # the next one reads the file when it starts
                if time.monotonic() >= end:
                    self._log.error("bird hangs", text=str(error))
                    self._process.kill()
                    return
            await asyncio.sleep(0.05)  # nothing tells when it begins to listen

    def _text(self, plan: RoutingPlan) -> str:
        return bird_conf(plan, str(self._files.log), self._standings)

    def _adopt(self) -> None:
        self._process = find_running(self._files)
        if self._process is not None:
            self._begin_watch()
            self._log.info("bird found", pid=self._process.pid)
            self._kill_misplaced()

    def _start(self, *, recover: bool) -> None:
        """Start BIRD; a recovering one waits for every session, so not where none was before."""
        self._process = self._place.start_bird(self._binary, self._files, recover=recover)
        self._is_told = True
        self._begin_watch()
        self._log.info("bird started", pid=self._process.pid, recover=recover)

    def _begin_watch(self) -> None:
        self._began_at = time.monotonic()
        self._begun.set()
        self._is_young.set()

    # ---- life ----

    async def run(self) -> None:
        """Watch BIRD until cancelled: start it again when it ends, and read its state."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._poll())

    async def _watch(self) -> None:
        while True:
            await self._begun.wait()
            self._begun.clear()
            process = self._process
            if process is None:
                await self._restart()
                continue
            await process.wait_ended()
            if self._process is process:  # not by our word
                process.forget()
                self._process = None
                self._log.error("bird ended", how=process.exit_text or "unknown", pid=process.pid)
                await self._restart()

    async def _restart(self) -> None:
        """Start BIRD again after a pause that grows, until it runs or is no longer wanted."""
        if time.monotonic() - self._began_at >= STABLE_S:
            self._wait_s = 0.0
        while self._process is None and self.plan.gateways:
            await asyncio.sleep(self._wait_s)
            self._wait_s = min(max(self._wait_s * 2, BACKOFF_S[0]), BACKOFF_S[1])
            async with self._changing:
                if self._process is None and self.plan.gateways:
                    try:
                        self._start(recover=True)
                    except (GatewayError, OSError) as error:
                        self._log.error("bird does not start", text=str(error))

    async def _poll(self) -> None:
        while True:
            began_at = time.monotonic()
            if self.plan.gateways:
                self._kill_misplaced()
                await self._tell_again()
                await self.refresh()
                await self._take_again()
            # What is waited for a BIRD that does not answer costs nothing.
            took_s = 0.0 if self.view.error else time.monotonic() - began_at
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_young.wait(), self._pause_s(took_s))
            self._is_young.clear()

    async def _tell_again(self) -> None:
        """Have BIRD read what it has not been told of: it refused, or who told it was stopped."""
        if self._is_told or self._changing.locked():
            return
        async with self._changing:
            if not self.plan.gateways or self.pid is None:
                return
            try:
                await self._configure()
            except BirdError as error:
                self._log.error("bird", text=str(error))

    def _pause_s(self, took_s: float) -> float:
        """
        Return how long to wait for the next reading, when the last one took that long.

        A BIRD or a machine that stood still once is not one that is slow to read.
        """
        self._took_s.append(took_s)
        took_s = min(self._took_s)
        if time.monotonic() - self._began_at < STABLE_S:
            return max(POLL_YOUNG_S, took_s * POLL_YOUNG_SHARE)
        least_s = min(max(POLL_LEAST_S, took_s * POLL_SHARE * self._count()), POLL_S)
        return min(max(least_s, took_s * POLL_SHARE), POLL_MAX_S)

    async def refresh(self) -> RoutingView:
        """Read BIRD's state; what has changed goes to the log. Return the state."""
        try:
            sessions, preferred = await self._bird.sessions()
            bfd = await self._bird.bfd()
        except BirdError as error:
            self.view = RoutingView(error=str(error))
            self._kill_hanging()
            return self.view
        self._heard_at = time.monotonic()
        before, self.view = self.view, view_of(self.plan, sessions, preferred, bfd)
        for change in changes(before, self.view):
            log = self._log.info if change.is_good else self._log.warning
            log(change.event, **change.fields)
        return self.view

    async def _take_again(self) -> None:
        """
        Have peers tell their routes again (RFC 2918) where some were left out and would fit now.

        A limit that was hit once keeps every new route out until then.
        """
        peers = self.view.peers.values()
        names = [session_name(each.peer) for each in peers if each.has_room_again]
        for name in names:
            try:
                await self._bird.reload(name)
            except BirdError as error:
                self._log.warning("bgp reload", protocol=name, text=str(error))

    def _kill_misplaced(self) -> None:
        """Have BIRD start anew where its namespace is another one now."""
        process = self._process
        if process is not None and process.is_alive and not self._place.holds(process.pid):
            self._log.error("bird is in a namespace that is gone", pid=process.pid)
            process.kill()

    def _kill_hanging(self) -> None:
        process = self._process
        silent_s = time.monotonic() - max(self._heard_at, self._began_at)
        if process is not None and process.is_alive and silent_s >= HANGS * self._patience_s:
            self._log.error("bird hangs", pid=process.pid)
            process.kill()

    async def routes(self) -> tuple[Judged, ...]:
        """Return every route BIRD knows, with what became of it and why. Raises BirdError."""
        return judge(await self._bird.routes()) if self.plan.gateways else ()

    # ---- the end ----

    def leave(self) -> None:
        """Let BIRD go on; the next gateway process will find it."""
        if self._process is not None:
            self._process.forget()
            self._process = None

    async def end(self) -> None:
        """
        End BIRD; its sessions are closed and its routes leave the kernel. Raises BirdError.
        """
        async with self._changing:
            if self._process is None:
                self._adopt()
            await self._end()
            self.plan = NO_ROUTING

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(BirdError):
                await self._bird.down()
            try:
                await asyncio.wait_for(process.wait_ended(), ENDS_S)
            except TimeoutError:
                process.kill()
                await process.wait_ended()
            process.forget()
            self._log.info("bird ended by us", pid=process.pid)
        if self._files.conf.exists():  # it ran, some time
            flush_routes(KERNEL_METRIC, self._place.rtnetlink())
            self._files.remove()
