"""
VICI's events about SAs: ike-updown, ike-rekey, child-updown, child-rekey.

An event of the core comes when the core has done all that follows from it, so what is gone must
have been seen before: while somebody has registered, the last status of each tunnel is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.ike.events import ChildSaDown, ChildSaUp, Event, IkeSaDown, IkeSaUp
from gateway.ike.status import ChildStatus, TunnelIkeStatus
from gateway.node.plan import TunnelPlan
from gateway.vici.listing import Listing
from gateway.vici.wire import Section

SA_EVENTS = ("ike-updown", "ike-rekey", "child-updown", "child-rekey")
Publish = Callable[[str, Section], None]


class Monitor:
    """Turns the core's events into VICI's."""

    def __init__(self, listing: Listing, publish: Publish) -> None:
        self._listing = listing
        self._publish = publish
        self._seen: dict[str, TunnelIkeStatus] = {}  # by tunnel: the newest IKE SA
        self._plans: dict[str, TunnelPlan] = {}
        self._older: dict[bytes, TunnelIkeStatus] = {}  # by spi_i: others that are up beside it

    def begin(self) -> None:
        """Look at all tunnels as they are; `see` must get every event from now on."""
        found = self._listing.statuses()
        self._seen = {plan.name: ike for plan, ike in found}
        self._plans = {plan.name: plan for plan, _ in found}

    def end(self) -> None:
        """Forget everything: nobody listens."""
        self._seen, self._older, self._plans = {}, {}, {}

    def see(self, event: Event) -> None:
        """Take an event of the core."""
        if not isinstance(event, IkeSaUp | IkeSaDown | ChildSaUp | ChildSaDown):
            return
        # One that has left the document goes down afterwards.
        plan = self._listing.plan_of(event.tunnel) or self._plans.get(event.tunnel)
        if plan is None:
            return
        self._plans[plan.name] = plan
        before = self._seen.get(plan.name, TunnelIkeStatus("idle"))
        now = self._listing.status_of(plan.name)
        match event:
            case IkeSaUp():
                self._ike_up(plan, before, now, event)
            case IkeSaDown():
                self._ike_down(plan, before, event)
            case ChildSaUp():
                self._child_up(plan, before, now, event)
            case ChildSaDown():
                self._child_down(plan, before, now, event)
        if isinstance(event, IkeSaUp | ChildSaUp):
            self._seen[plan.name] = now
        self._listing.tidy()

    def _ike_up(
        self, plan: TunnelPlan, before: TunnelIkeStatus, now: TunnelIkeStatus, event: IkeSaUp
    ) -> None:
        if now.spi_i != event.spi_i:
            return  # it has gone in the same moment
        shown = self._listing.ike(plan, now)
        if event.replaces is None:
            if before.state == "established":
                self._older[before.spi_i] = before
            self._publish("ike-updown", {"up": "yes", plan.name: shown})
        elif before.spi_i == event.replaces:
            rekeyed = {"old": self._listing.ike(plan, before), "new": shown}
            self._publish("ike-rekey", {plan.name: rekeyed})

    def _ike_down(self, plan: TunnelPlan, before: TunnelIkeStatus, event: IkeSaDown) -> None:
        older = self._older.pop(event.spi_i, None)
        gone = replace(older or before, state="closing")
        if gone.spi_i != event.spi_i:
            return  # it was never seen
        self._publish("ike-updown", {plan.name: self._listing.ike(plan, gone)})
        if older is None:
            self._seen[plan.name] = gone

    def _child_up(
        self, plan: TunnelPlan, before: TunnelIkeStatus, now: TunnelIkeStatus, event: ChildSaUp
    ) -> None:
        new = child_with(now, event.inbound.spi)
        if new is None:
            return
        old = child_with(before, event.replaces) if event.replaces is not None else None
        if old is None:
            shown = self._listing.ike(plan, now, (new,))
            self._publish("child-updown", {"up": "yes", plan.name: shown})
            return
        pair = {"old": self._listing.child(plan, old), "new": self._listing.child(plan, new)}
        name = str(pair["new"]["name"])
        shown = {**self._listing.ike(plan, now, ()), "child-sas": {name: pair}}
        self._publish("child-rekey", {plan.name: shown})

    def _child_down(
        self, plan: TunnelPlan, before: TunnelIkeStatus, now: TunnelIkeStatus, event: ChildSaDown
    ) -> None:
        """Say that a Child SA is gone; one that was replaced has gone with its child-rekey."""
        child = child_with(before, event.spi_in)
        if child is None or event.reason.code in ("rekeyed", "redundant"):
            return
        ike = now if now.spi_i and now.spi_i == before.spi_i else before
        self._publish("child-updown", {plan.name: self._listing.ike(plan, ike, (child,))})


def child_with(ike: TunnelIkeStatus, spi_in: int) -> ChildStatus | None:
    """Return the Child SA with this inbound SPI."""
    return next((child for child in ike.children if child.spi_in == spi_in), None)
