"""
The slots of a tunnel: which Child SAs its IKE SA is to have, and when a missing one is asked for.

A slot is a place for one Child SA in use, with selectors of its own. Most tunnels have one; policy
routing has one for each pair of prefixes. The first goes with IKE_AUTH, the others follow by
CREATE_CHILD_SA. Each is rekeyed, lost, refused and asked for again by itself.
"""

from __future__ import annotations

from collections.abc import Container

from gateway.ike.child import ChildSa, Stage
from gateway.ike.events import Reason
from gateway.ike.ike_sa import IkeSa
from gateway.ike.reconnect import FACTOR, JITTER
from gateway.ike.tasks import Task, Work

PEER_BRINGS_S = 4.0  # a peer that began brings the others itself, usually at once


def live(sa: IkeSa) -> frozenset[int]:
    """Return the slots in which this IKE SA has a Child SA that carries traffic for a while."""
    return frozenset(child.slot for child in sa.children.values() if child.is_live)


def for_peer(sa: IkeSa) -> tuple[int, ...]:
    """Return the slots in the order in which a request of the peer is tried on them: free first."""
    taken = live(sa)
    return tuple(sorted(range(len(sa.config.selectors)), key=lambda slot: slot in taken))


def missing(sa: IkeSa) -> tuple[int, ...]:
    """Return the slots that are empty and for which nothing is planned, waiting or under way."""
    request = sa.window.outstanding
    asked = {task.slot for task in sa.tasks if task.work is Work.NEW_CHILD}
    if request is not None and request.task.work is Work.NEW_CHILD:
        asked.add(request.task.slot)
    closed = sa.tunnel.closed_slots if sa.tunnel is not None else frozenset()
    busy = live(sa) | asked | sa.child_at.keys() | closed
    return tuple(slot for slot in range(len(sa.config.selectors)) if slot not in busy)


def ask_for_missing(sa: IkeSa) -> None:
    """Ask for each Child SA that is missing, as soon as the window is free."""
    for slot in missing(sa):
        sa.tasks.add(Task(Work.NEW_CHILD, slot=slot))


def plan_missing(
    sa: IkeSa, now: float, among: Container[int] | None = None, wait_s: float = 0.0
) -> None:
    """
    Plan the next attempt at each Child SA that is missing, with growing pauses, if we are to begin.

    The first attempt is made no sooner than in `wait_s`.
    """
    assert sa.tunnel is not None
    if not sa.tunnel.is_wanted:
        return
    timers = sa.config.timers
    for slot in missing(sa):
        if among is not None and slot not in among:
            continue
        attempts = sa.child_attempts.get(slot, 0)
        pause = min(timers.reconnect_first * FACTOR ** min(attempts, 32), timers.reconnect_most)
        sa.child_attempts[slot] = attempts + 1
        sa.child_at[slot] = now + max(pause * sa.context.jitter(1 - JITTER, 1 + JITTER), wait_s)


def give_up(sa: IkeSa, child: ChildSa, reason: Reason) -> None:
    """Send no more on a Child SA and delete it: the other slots carry on, and it is asked for."""
    tunnel = sa.tunnel
    assert tunnel is not None
    tunnel.stop_sending(sa.context, child, reason)
    tunnel.fail_slot(sa.context, child.slot, reason)
    child.stage = Stage.DELETING
    sa.tasks.add(Task(Work.DELETE_CHILD, child.spi_in))


def close(sa: IkeSa, child: ChildSa, reason: Reason) -> None:
    """Delete a Child SA and leave its slot empty: we do not ask for another, the peer may."""
    tunnel = sa.tunnel
    assert tunnel is not None
    tunnel.closed_slots.add(child.slot)
    tunnel.stop_sending(sa.context, child, reason)
    child.stage, child.down_reason = Stage.DELETING, reason
    sa.tasks.add(Task(Work.DELETE_CHILD, child.spi_in))


def on_time(sa: IkeSa, now: float) -> None:
    """Ask for the Child SAs whose time has come."""
    for slot, at in tuple(sa.child_at.items()):
        if at <= now:
            del sa.child_at[slot]
            sa.tasks.add(Task(Work.NEW_CHILD, slot=slot))
