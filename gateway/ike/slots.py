"""
The slots of a tunnel: which Child SAs its IKE SA is to have, and when a missing one is asked for.

A slot is a place for one Child SA in use, with selectors of its own. Most tunnels have one; policy
routing has one for each pair of prefixes. The first goes with IKE_AUTH, the others follow by
CREATE_CHILD_SA. Each is rekeyed, lost, refused and asked for again by itself. Behind them come the
slots of those that have the selectors of the first, for a worker each (see `resources.py`).
"""

from __future__ import annotations

from collections.abc import Container

from gateway.errors import TsMaxQueue
from gateway.ike import reasons, resources
from gateway.ike.child import ChildSa, Stage
from gateway.ike.events import Reason
from gateway.ike.ike_sa import IkeSa
from gateway.ike.reconnect import FACTOR, JITTER
from gateway.ike.tasks import Task, Work

PEER_BRINGS_S = 4.0  # a peer that began brings the others itself, usually at once


def live(sa: IkeSa) -> frozenset[int]:
    """Return the slots in which this IKE SA has a Child SA that carries traffic for a while."""
    return frozenset(child.slot for child in sa.children.values() if child.is_live)


def for_peer(sa: IkeSa, *, is_resource: bool) -> tuple[int, ...]:
    """
    Return the slots in the order in which a request of the peer is tried on them: free first.

    Raises TsMaxQueue if it wants one more with the same selectors and there is no free slot.
    """
    taken, pairs = live(sa), range(len(sa.config.selectors))
    if not is_resource:
        return tuple(sorted(pairs, key=lambda slot: slot in taken))
    free = tuple(slot for slot in pairs if slot not in taken)
    free += resources.free_for_peer(sa, taken, asked(sa))
    if not free:
        raise TsMaxQueue(f"there are {len(taken)} Child SAs")
    return free


def asked(sa: IkeSa) -> frozenset[int]:
    """Return the slots for which a request of ours waits or is under way."""
    request = sa.window.outstanding
    tasks = [*sa.tasks, *([request.task] if request is not None else [])]
    return frozenset(task.slot for task in tasks if task.work is Work.NEW_CHILD)


def is_closed(sa: IkeSa, slot: int) -> bool:
    """Return whether an operator has closed a slot; see `close`."""
    return sa.tunnel is not None and slot in sa.tunnel.closed_slots


def missing(sa: IkeSa) -> tuple[int, ...]:
    """
    Return the slots that are empty, for which nothing is planned, waiting or under way, and which
    the peer takes a Child SA for.
    """
    closed = sa.tunnel.closed_slots if sa.tunnel is not None else frozenset()
    busy = live(sa) | asked(sa) | sa.child_at.keys() | closed
    pairs = range(len(sa.config.selectors))
    return (*(slot for slot in pairs if slot not in busy), *resources.wanted(sa, busy))


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


def plan_after_delete(sa: IkeSa, child: ChildSa, reason: Reason, now: float) -> None:
    """Plan what a Delete makes necessary; what the peer finds idle is not asked for again soon."""
    if sa.config.resource_of(child.slot) and reason == reasons.DELETED_BY_PEER:
        plan_missing(sa, now, (child.slot,), resources.AGAIN_S)
    plan_missing(sa, now)


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
    delete(sa, child, reason)


def delete(sa: IkeSa, child: ChildSa, reason: Reason) -> None:
    """Send no more on a Child SA, and delete it."""
    assert sa.tunnel is not None
    sa.tunnel.stop_sending(sa.context, child, reason)
    child.stage, child.down_reason = Stage.DELETING, reason
    sa.tasks.add(Task(Work.DELETE_CHILD, child.spi_in))


def on_time(sa: IkeSa, now: float) -> None:
    """Ask for the Child SAs whose time has come."""
    for slot, at in tuple(sa.child_at.items()):
        if at <= now:
            del sa.child_at[slot]
            sa.tasks.add(Task(Work.NEW_CHILD, slot=slot))
