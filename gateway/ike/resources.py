"""
Several Child SAs with the same selectors, one for each worker that sends (RFC 9611).

The first Child SA is made as always, by IKE_AUTH, and every worker may send on it. Both ends say
with it that they take more of its kind; then each may ask for more by CREATE_CHILD_SA, one for each
of its workers, at most as many as the other end takes: that one refuses the next with TS_MAX_QUEUE.
Each has a slot of its own behind those of the selectors (see `slots.py`), so it is rekeyed, lost
and asked for again by itself, and its worker sends on the first one meanwhile.

Which resource a notify names is for whoever looks at it: no decision depends on it (section 5.1).
"""

from __future__ import annotations

from gateway.ike.child import ChildSa
from gateway.ike.config import TunnelConfig
from gateway.ike.iana import NotifyType
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import Message
from gateway.ike.payloads import Notify, Payload
from gateway.ike.tasks import Work

MOST = 255  # the peer takes more than we ever ask for, until it says otherwise
AGAIN_S = 300.0  # the peer may delete one that is idle: it is not asked for again sooner


def told(config: TunnelConfig, slot: int = 0) -> tuple[Payload, ...]:
    """
    Return the notify that goes with a Child SA: nothing where there is to be only one.

    It names the resource in 4 bytes, and none for the Child SA of all workers.
    """
    if not config.resources:
        return ()
    resource = config.resource_of(slot)
    return (Notify(NotifyType.SA_RESOURCE_INFO, resource.to_bytes(4, "big") if resource else b""),)


def is_named(message: Message) -> bool:
    """Return whether a message is about one of several Child SAs with the same selectors."""
    return message.notify(NotifyType.SA_RESOURCE_INFO) is not None


def take(sa: IkeSa, message: Message, slot: int) -> tuple[Payload, ...]:
    """
    Take note of whether the peer takes more Child SAs like the first; return what an answer to
    `message`, which makes or made the one in `slot`, says of that.
    """
    if not sa.config.resources or not is_named(message):
        return ()
    if slot == 0:
        sa.resources_most = MOST
    return told(sa.config, slot)


def take_spi(sa: IkeSa, slot: int) -> int:
    """Return an inbound SPI; those for a worker each fall on different workers."""
    parts = sa.config.resources or 1
    return sa.context.spis.take(sa.config.resource_of(slot) % parts, parts)


def slots_of(config: TunnelConfig) -> range:
    """Return the slots of the Child SAs beside the first."""
    pairs = len(config.selectors)
    return range(pairs, pairs + config.resources)


def wanted(sa: IkeSa, busy: frozenset[int]) -> tuple[int, ...]:
    """
    Return the slots that we may ask for; `busy` are those that have, or are to have, a Child SA.

    The peer is not asked for more than it takes, and not before the first one is there.
    """
    every = slots_of(sa.config)
    if 0 not in {child.slot for child in sa.children.values() if child.is_live}:
        return ()
    free = [slot for slot in every if slot not in busy]
    room = min(len(every), sa.resources_most) - (len(every) - len(free))
    return tuple(free[: max(room, 0)])


def free_for_peer(sa: IkeSa, taken: frozenset[int], asked: frozenset[int]) -> tuple[int, ...]:
    """
    Return the slots that one more Child SA of the peer may have: those that we have asked for last,
    and what waits longest first.
    """
    free = [slot for slot in slots_of(sa.config) if slot not in taken]
    ours = [slot for slot in reversed(free) if slot in asked]
    return (*(slot for slot in free if slot not in asked), *ours)


def refused(sa: IkeSa) -> None:
    """Take note that the peer takes no more than there are, and ask for no more."""
    every = slots_of(sa.config)
    sa.resources_most = len({one.slot for one in sa.children.values() if one.is_live} & set(every))
    for task in tuple(sa.tasks):
        if task.work is Work.NEW_CHILD and task.slot in every:
            sa.tasks.drop(task)
    for slot in every:
        sa.child_at.pop(slot, None)


def is_surplus(config: TunnelConfig, child: ChildSa) -> bool:
    """Return whether the configuration has no slot for a Child SA any more."""
    return child.slot >= len(config.selectors) + config.resources
