"""
One VPN Tunnel: its IKE SAs (one, but for rekeys and duplicates), which outbound SA is in use, and
when to begin again.

The rules for sending:
 - One outbound SA at a time in each slot (most tunnels have one slot, see `slots.py`). Once left it
   is never used again, since its sequence numbers would start over.
 - When the Child SA in use goes, one that was never used takes over before it is taken down. If
   there are only used ones, one of them is rekeyed, which gives a fresh outbound SA.

Duplicates, when both ends begin at once (RFC 7296 section 2.8.2 leaves it to the ends):
 - They cross if each was begun before the other was established. The one with the lowest nonce of
   the two exchanges loses. Both ends know all nonces, so two of ours agree; the loser's initiator
   deletes it a second later.
 - If the peer does not do so within ten seconds, the one that we began is deleted.
 - Otherwise the newer one counts: the peer has begun again, and is the one to delete the older. So
   are we where we have begun a new one beside it, because the peer will not rekey it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.ike.child import ChildSa, Stage, Use
from gateway.ike.config import Random, Start, TunnelConfig
from gateway.ike.context import Context
from gateway.ike.events import (
    ChildSaDown,
    ChildSaUp,
    Failed,
    OutboundDone,
    OutboundReady,
    Reason,
)
from gateway.ike.reconnect import Backoff
from gateway.ike.tasks import Task, Work
from gateway.sa import Address, EspSa, Limits

if TYPE_CHECKING:
    from gateway.ike.ike_sa import IkeSa

AT_ONCE = frozenset(
    {"deleted_by_peer", "lifetime_over", "restart", "crash_detected"}
)  # ends that say nothing against the peer
LOSER_S = 1.0  # both Child SAs are up and traffic has settled
DUPLICATE_S = 10.0  # longer than any peer needs to delete its own


class Tunnel:
    """The meeting place of a tunnel's IKE SAs."""

    def __init__(self, config: TunnelConfig, random: Random) -> None:
        self.config = config
        self.sas: list[IkeSa] = []  # authenticated, the oldest first
        self.attempt: IkeSa | None = None  # being set up by us
        self.alike: tuple[Tunnel, ...] = ()  # all between the same two identities, this one too
        self.is_wanted = begins(config)
        self.is_stopped = (
            False  # closed by the operator, or no longer configured: refuses the peer too
        )
        self.backoff = Backoff(config.timers, random)
        self.retry_at = math.inf
        self.sort_at = math.inf  # when duplicates are looked at again
        self.redirect: tuple[Address, Address] | None = None  # next attempt: where to, sent by whom
        self.redirects: list[tuple[float, Address]] = []  # that were followed of late, and when
        self.is_reauth_due = False  # an IKE SA is to be begun beside the one there is, for its sake
        self.beside_at = math.inf  # when an IKE SA is begun beside one that the peer will not rekey
        self.in_use: dict[int, ChildSa] = {}  # by slot
        self.slot_failures: dict[int, Reason] = {}  # why a slot is empty, where that is known
        self.closed_slots: set[int] = set()  # closed by the operator: not asked for by us
        self.last_failure: Reason | None = None
        # Of the last liveness check that was sent once only: when it was answered, after how long.
        self.round_trip: tuple[float, float] | None = None
        self.prints: tuple[TunnelConfig, str] | None = None  # see `snapshot.prints`
        self.refused: dict[Work, Reason] = {}  # rekeys that the peer refuses, until one succeeds

    def usable(self) -> list[IkeSa]:
        """Return the IKE SAs that serve the tunnel, the oldest line of rekeys first."""
        return sorted((sa for sa in self.sas if sa.is_usable), key=born_at)

    # ---- beginning again ----

    @property
    def is_idle(self) -> bool:
        """Return whether there is neither an IKE SA nor an attempt at one."""
        return self.attempt is None and not self.usable()

    @property
    def is_first_contact(self) -> bool:
        """
        Return whether we hold no other IKE SA with the peer (RFC 7296 section 2.4): neither one of
        this tunnel nor, since INITIAL_CONTACT names identities, one of a twin, be it only begun.
        """
        return not self.usable() and all(one is self or one.is_idle for one in self.alike)

    def hold_on(self) -> None:
        """Want an established tunnel again, if one that was closed is brought back by the peer."""
        if not self.is_stopped:
            self.is_wanted = self.is_wanted or begins(self.config)

    def lost(self, reason: Reason, lived_s: float, now: float) -> None:
        """
        Plan the next attempt after the end of an IKE SA, unless another one serves the tunnel.
        """
        if not self.is_idle:
            return
        self.last_failure = reason
        self.refused.clear()
        if self.is_wanted:
            deleted = reason.code in AT_ONCE
            self.retry_at = now + self.backoff.pause_after_end(lived_s, deleted)

    def failed(self, context: Context, reason: Reason, now: float) -> None:
        """Report a failed attempt and plan the next one."""
        self.report(context, reason)
        if self.is_wanted and self.is_idle:
            self.retry_at = now + self.backoff.next_pause()

    def report(self, context: Context, reason: Reason) -> None:
        """Report that an attempt, or an exchange for a Child SA, has failed."""
        self.last_failure = reason
        context.count("failed." + reason.code)
        context.emit(Failed(self.config.name, reason))

    def fail_slot(self, context: Context, slot: int, reason: Reason) -> None:
        """Report why the Child SA of a slot could not be made, or has ended."""
        self.slot_failures[slot] = reason
        self.report(context, reason)

    # ---- which outbound SA is in use ----

    def child_up(
        self,
        context: Context,
        child: ChildSa,
        inbound: EspSa,
        outbound: EspSa,
        limits: Limits,
        use: bool,
    ) -> None:
        """Report a new Child SA; `use` says whether to send on it at once."""
        # One that is deleted on the wire is in use for want of a better one: here it is.
        used = self.in_use.get(child.slot)
        if self.config.resource_of(child.slot) and used is None and not use:
            # The first one carries the traffic until the peer must have this one.
            self.sort_at = min(self.sort_at, child.up_at + LOSER_S)
        else:
            use = use or used is None or used.stage is Stage.LINGERING
        if use:
            self._take(child)
        context.count("child_sa_up")
        context.emit(
            ChildSaUp(
                self.config.name,
                inbound,
                outbound,
                child.local_ts,
                child.remote_ts,
                child.udp_encap,
                str(child.suite),
                use,
                limits,
                child.replaces,
                child.slot,
                self.config.resource_of(child.slot),
            )
        )

    def switch(self, context: Context, child: ChildSa) -> None:
        """Send on this Child SA from now on, if it was never used and so can be."""
        if child.use is Use.UNUSED:
            self._take(child)
            context.emit(OutboundReady(self.config.name, child.spi_in))

    def _take(self, child: ChildSa) -> None:
        used = self.in_use.get(child.slot)
        if used is not None:
            used.use = Use.RETIRED
        child.use = Use.IN_USE
        self.in_use[child.slot] = child
        self.closed_slots.discard(child.slot)

    def is_used(self, child: ChildSa) -> bool:
        """Return whether this Child SA is the one that its slot sends on."""
        return self.in_use.get(child.slot) is child

    def child_down(self, context: Context, child: ChildSa, reason: Reason) -> None:
        """Report the end of a Child SA, after another has taken over from it."""
        if self.is_used(child):
            self.leave(context, child)
        if self.is_used(child):
            del self.in_use[child.slot]
        context.count("child_sa_down")
        context.emit(ChildSaDown(self.config.name, child.spi_in, reason))

    def stop_sending(self, context: Context, child: ChildSa, reason: Reason) -> None:
        """Leave a Child SA that is being closed; where there is no other, send no more at all."""
        self.leave(context, child)
        if self.is_used(child):
            child.use = Use.RETIRED
            del self.in_use[child.slot]
            self.slot_failures[child.slot] = reason
            context.emit(OutboundDone(self.config.name, child.spi_in, reason))

    def leave(self, context: Context, child: ChildSa) -> None:
        """Stop sending on this Child SA as soon as there is another."""
        if not self.is_used(child):
            return
        others = [
            (sa, other)
            for sa in reversed(self.usable())
            for other in reversed(sa.children.values())
            if other is not child and other.is_live and other.slot == child.slot
        ]
        fresh = [other for _, other in others if other.use is Use.UNUSED]
        if fresh:
            successor = next((one for one in fresh if one.spi_in == child.replaced_by), fresh[0])
            self.switch(context, successor)
        elif others:
            sa, other = others[0]
            if other.stage is Stage.INSTALLED:
                sa.tasks.add(Task(Work.REKEY_CHILD, other.spi_in))

    # ---- duplicates ----

    def joined(self, now: float) -> None:
        """Note that one more IKE SA is established; if there are two, look again soon."""
        if len(self.usable()) > 1:
            self.sort_at = min(self.sort_at, now + LOSER_S)

    def is_preferred(self, sa: IkeSa) -> bool:
        """Return whether a Child SA of this IKE SA is the one to send on."""
        return all(loser(sa, other) is other for other in self.usable() if other is not sa)

    def is_next(self, sa: IkeSa, child: ChildSa) -> bool:
        """Return whether a Child SA is to be sent on as soon as the peer does so."""
        used = self.in_use.get(child.slot)
        if used is None:
            return self.config.resource_of(child.slot) > 0
        if used.replaced_by == child.spi_in or self._is_afresh(used, child):
            return True
        return used.spi_in not in sa.children and sa.is_usable and self.is_preferred(sa)

    def _is_afresh(self, used: ChildSa, child: ChildSa) -> bool:
        """
        Return whether the peer has asked for `child` beside the one in use, so has lost that.

        Not where both ends may have asked for the same at once.
        """
        apart_s = child.up_at - used.up_at
        crossed_s = sum(self.config.timers.retransmit_after) if used.initiated else 0.0
        return not child.initiated and child.is_live and apart_s > crossed_s

    def switch_to_preferred(self, context: Context) -> None:
        """Send on the preferred IKE SA's Child SA, though the peer has sent nothing on it yet."""
        for sa in self.usable():
            for child in tuple(sa.children.values()):
                if child.is_live and self.is_preferred(sa) and self.is_next(sa, child):
                    self.switch(context, child)

    def next_duplicate(self, now: float) -> IkeSa | None:
        """
        Return an IKE SA that we should delete because another serves the tunnel, and plan the next
        look.
        """
        self.sort_at = math.inf
        usable = self.usable()
        if len(usable) < 2:
            return None
        self.sort_at = now + LOSER_S
        older, newer = usable[-2], usable[-1]
        losing = loser(older, newer)
        kept = newer if losing is older else older
        since = now - born_at(newer)
        if (has_begun(losing) or newer.is_beside) and since >= LOSER_S:
            return losing if self._can_lose(losing) else None
        if has_begun(kept) and do_cross(older, newer) and since >= DUPLICATE_S:
            return kept if self._can_lose(kept) else None
        return None

    def _can_lose(self, sa: IkeSa) -> bool:
        """Return whether the others can carry the traffic; if not yet, begin what makes it so."""
        carried = [used for used in self.in_use.values() if used.spi_in in sa.children]
        return all([self._can_replace(sa, used) for used in carried])

    def _can_replace(self, sa: IkeSa, used: ChildSa) -> bool:
        others = [
            (other, child)
            for other in self.usable()
            if other is not sa
            for child in other.children.values()
            if child.is_live and child.slot == used.slot
        ]
        if not others:
            return self.config.resource_of(used.slot) > 0  # its worker sends on the first one
        if any(child.use is Use.UNUSED for _, child in others):
            return True
        other, child = others[0]
        if child.stage is Stage.INSTALLED:
            other.tasks.add(Task(Work.REKEY_CHILD, child.spi_in))
        return False


def know_twins(tunnels: Iterable[Tunnel]) -> None:
    """Let each tunnel know the others between the same two identities."""
    found: dict[tuple[object, object], list[Tunnel]] = {}
    for one in tunnels:
        peer = one.config.remote_id or one.config.remote
        found.setdefault((one.config.local_id, peer), []).append(one)
    for some in found.values():
        alike = tuple(some)  # one for all: there may be many
        for one in alike:
            one.alike = alike


def begins(config: TunnelConfig) -> bool:
    """Return whether we are the end that begins, and can."""
    return config.start is Start.INITIATE and config.remote is not None


def born_at(sa: IkeSa) -> float:
    """Return when the line of this IKE SA was first established."""
    return sa.birth.established_at if sa.birth is not None else sa.established_at


def has_begun(sa: IkeSa) -> bool:
    """Return whether we began the line of this IKE SA."""
    return sa.birth is not None and sa.birth.initiated


def do_cross(one: IkeSa, other: IkeSa) -> bool:
    """Return whether both ends began before either was done: neither is a new beginning."""
    a, b = one.birth, other.birth
    if a is None or b is None or a.initiated is b.initiated:
        return False
    return a.established_at >= b.created_at and b.established_at >= a.created_at


def loser(one: IkeSa, other: IkeSa) -> IkeSa:
    """Return which of two IKE SAs of a tunnel is superfluous."""
    a, b = one.birth, other.birth
    if a is not None and b is not None and do_cross(one, other):
        return one if a.lowest_nonce < b.lowest_nonce else other
    return one if born_at(one) <= born_at(other) else other
