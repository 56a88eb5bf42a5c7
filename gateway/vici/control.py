"""VICI's commands that act: initiate, terminate, rekey."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.ike.events import ChildSaUp, Event, Failed
from gateway.node.daemon import IkeDaemon
from gateway.node.journal import Entry, Journal
from gateway.node.plan import TunnelPlan
from gateway.node.reconcile import Reconciler
from gateway.vici.listing import Listing
from gateway.vici.logs import level_of, log_section
from gateway.vici.pick import LIVE, Filter, number_of, text_of
from gateway.vici.server import Command, Refused, Stream
from gateway.vici.views import child_name, slots_named
from gateway.vici.wire import Section

WAIT_MAX_S = 180.0  # that a command without a timeout waits; strongSwan's own give up by then
POLL_S = 0.05


class Control:
    """Acts on tunnels as swanctl asks."""

    def __init__(
        self, daemon: IkeDaemon, reconciler: Reconciler, listing: Listing, journal: Journal
    ) -> None:
        self._daemon = daemon
        self._reconciler = reconciler
        self._listing = listing
        self._journal = journal
        self.commands: dict[str, Command] = {
            "initiate": self._initiate,
            "terminate": self._terminate,
            "rekey": self._rekey,
        }

    # ---- initiate ----

    async def _initiate(self, request: Section, stream: Stream) -> Section:
        plan, slots = self._meant(request)
        timeout_ms = number_of(request, "timeout", 0)
        self._check_may_begin(plan)
        attempt = _Attempt(self._listing, plan, slots)
        with self._daemon.watch(attempt.see):
            follower = asyncio.create_task(self._show_log(request, stream, plan.name))
            try:
                await asyncio.sleep(0)  # it follows from here
                self._journal.info("initiate", tunnel=plan.name, by="vici")
                if plan.remote is not None:  # else it is up, and its peer brings what is missing
                    self._daemon.initiate(plan.name)
                if timeout_ms >= 0:
                    await self._outcome(attempt, plan, slots, timeout_ms)
                    await asyncio.sleep(0)  # the last words before the answer
            finally:
                follower.cancel()
                await asyncio.gather(follower, return_exceptions=True)
        return {"success": "yes"}

    def _meant(self, request: Section) -> tuple[TunnelPlan, tuple[int, ...]]:
        """Return the tunnel and the slots to bring up. Raises Refused."""
        ike, child = text_of(request, "ike"), text_of(request, "child")
        if not ike and not child:
            raise Refused("missing configuration name")
        for plan in self._listing.plans:
            slots = slots_named(plan, child or plan.name)
            if slots and ike in ("", plan.name):
                return plan, slots
        raise Refused(
            f"CHILD_SA config '{child}' not found" if child else f"IKE_SA config '{ike}' not found"
        )

    def _check_may_begin(self, plan: TunnelPlan) -> None:
        if not plan.admin_up:
            raise Refused(f'{plan.name} has admin = "down" in the document')
        if plan.name in self._reconciler.taken_down:
            raise Refused(f"{plan.name} was taken down by an operator: twinspan up {plan.name}")
        if plan.name not in self._daemon.known:
            raise Refused(f"{plan.name} could not be made: twinspan explain {plan.name}")
        is_up = self._listing.status_of(plan.name).state == "established"
        if plan.remote is None and not is_up:
            raise Refused(f"{plan.name}: the peer's address is not known; it has to begin")

    async def _outcome(
        self, attempt: _Attempt, plan: TunnelPlan, slots: tuple[int, ...], timeout_ms: int
    ) -> None:
        """Wait until the Child SAs are there. Raises Refused if they are not to come."""
        wait_s = min(timeout_ms / 1000 or WAIT_MAX_S, WAIT_MAX_S)
        try:
            async with asyncio.timeout(wait_s):
                await attempt.ended.wait()
        except TimeoutError:
            name = _child_text(plan, slots)
            text = f"CHILD_SA '{name}' not established after {int(wait_s * 1000)}ms"
            raise Refused(text) from None
        if attempt.failure:
            name = _child_text(plan, slots)
            raise Refused(f"establishing CHILD_SA '{name}' failed: {attempt.failure}")

    async def _show_log(self, request: Section, stream: Stream, tunnel: str) -> None:
        """Send what is logged of a tunnel as control-log, up to the level asked for."""
        most = number_of(request, "loglevel", 1)
        with self._journal.follow() as queue:
            while True:
                entry = await queue.get()
                if entry.fields.get("tunnel") == tunnel and level_of(entry.level) <= most:
                    await stream.event("control-log", self._log_event(entry, tunnel))

    def _log_event(self, entry: Entry, tunnel: str) -> Section:
        return log_section(entry.event, entry.level, entry.fields, self._listing.number_of(tunnel))

    # ---- terminate ----

    async def _terminate(self, request: Section, stream: Stream) -> Section:
        wanted = Filter.of(request)
        if wanted.is_any:
            raise Refused("missing terminate selector")
        ended = self._end_children(wanted) if wanted.is_child else self._end_tunnels(wanted)
        matches, is_over = ended
        if not matches:
            raise Refused("no matching SAs to terminate found")
        timeout_ms = number_of(request, "timeout", 0)
        if text_of(request, "force") == "yes":
            timeout_ms = -1  # the peer is told all the same, but not waited for
        if timeout_ms >= 0 and not await _until(is_over, timeout_ms):
            raise Refused(f"not all of {matches} SAs were terminated in time")
        return {"success": "yes", "matches": str(matches), "terminated": str(matches)}

    def _end_children(self, wanted: Filter) -> tuple[int, Callable[[], bool]]:
        found = wanted.found_children(self._listing)
        for plan, child in found:
            self._journal.info("terminate", tunnel=plan.name, spi_in=f"{child.spi_in:#010x}")
            self._daemon.terminate_child(child.spi_in)
        names = {plan.name for plan, _ in found}
        spis = {child.spi_in for _, child in found}

        def is_over() -> bool:
            return not any(
                child.spi_in in spis and child.state != "lingering"
                for name in names
                for child in self._listing.status_of(name).children
            )

        return len(found), is_over

    def _end_tunnels(self, wanted: Filter) -> tuple[int, Callable[[], bool]]:
        found = wanted.found(self._listing)
        for plan, _ in found:
            self._journal.info("terminate", tunnel=plan.name, by="vici")
            self._daemon.terminate_tunnel(plan.name)
        names = {plan.name for plan, _ in found}

        def is_over() -> bool:
            return all(self._listing.status_of(name).state != "closing" for name in names)

        return len(found), is_over

    # ---- rekey ----

    async def _rekey(self, request: Section, stream: Stream) -> Section:
        wanted = Filter.of(request)
        if wanted.is_any:
            raise Refused("missing rekey selector")
        if text_of(request, "reauth") == "yes":
            raise Refused("reauthentication is not offered: rekey, or terminate and initiate")
        matches = self._rekey_children(wanted) if wanted.is_child else self._rekey_ike(wanted)
        if not matches:
            raise Refused("no matching SAs to rekey found")
        return {"success": "yes", "matches": str(matches)}

    def _rekey_children(self, wanted: Filter) -> int:
        found = wanted.found_children(self._listing)
        for _, child in found:
            self._daemon.rekey_child(child.spi_in)
        return len(found)

    def _rekey_ike(self, wanted: Filter) -> int:
        found = [plan for plan, ike in wanted.found(self._listing) if ike.state == "established"]
        for plan in found:
            self._daemon.rekey_tunnel(plan.name, ike=True)
        return len(found)


class _Attempt:
    """Waits for the Child SAs of some slots of a tunnel, or for word that they will not come."""

    def __init__(self, listing: Listing, plan: TunnelPlan, slots: tuple[int, ...]) -> None:
        self._listing = listing
        self._plan = plan
        self._slots = slots
        self.ended = asyncio.Event()
        self.failure = ""
        self._look()

    def see(self, event: Event) -> None:
        """Take an event of the core."""
        match event:
            case ChildSaUp(tunnel) if tunnel == self._plan.name:
                self._look()
            case Failed(tunnel, reason) if tunnel == self._plan.name and self._concerns_us():
                self.failure = f"{reason.text} ({reason.code})"
                self.ended.set()
            case _:
                pass

    def _look(self) -> None:
        ike = self._listing.status_of(self._plan.name)
        up = {child.slot for child in ike.children if child.state in LIVE}
        if up.issuperset(self._slots):
            self.ended.set()

    def _concerns_us(self) -> bool:
        """Return whether a failure is the IKE SA's, or that of a Child SA that we wait for."""
        ike = self._listing.status_of(self._plan.name)
        if ike.state != "established" or not ike.slots:
            return True
        return any(ike.slots[slot].reason is not None for slot in self._slots)


def _child_text(plan: TunnelPlan, slots: tuple[int, ...]) -> str:
    return plan.name if len(slots) > 1 else child_name(plan, slots[0])


async def _until(is_over: Callable[[], bool], timeout_ms: int) -> bool:
    """Return whether something is over in time."""
    wait_s = min(timeout_ms / 1000 or WAIT_MAX_S, WAIT_MAX_S)
    for _ in range(int(wait_s / POLL_S) + 1):
        if is_over():
            return True
        await asyncio.sleep(POLL_S)
    return is_over()
