"""Take away what is over: sessions that ended, tokens long expired or of nobody, times of use."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.control.auth import seen, sessions, tokens
from gateway.control.auth.desk import Desk
from gateway.control.auth.sessions import Sessions
from gateway.control.auth.specs import DAY_S
from gateway.control.resources.record import Record
from gateway.control.store.interface import MAX_WRITES, Delete, StoreError

EXPIRED_KEPT_S = 30 * DAY_S  # so that the list still shows why it no longer works


async def sweep(desk: Desk, alive: Sessions) -> None:
    """Delete what is over. What another process has deleted meanwhile is left for the next time."""
    over = list(_over(desk, alive))
    for begin in range(0, len(over), MAX_WRITES):
        writes = [Delete(each.key, each.revision) for each in over[begin : begin + MAX_WRITES]]
        try:
            await desk.write(writes, seen.ACTOR)
        except StoreError:
            return


def _over(desk: Desk, alive: Sessions) -> Iterator[Record]:
    mirror = desk.mirror
    for record in mirror.of_kind(sessions.KIND):
        if alive.is_over(record):
            yield record
    for record in mirror.of_kind(tokens.KIND):
        until, user = record.value.get("expires_at"), record.value.get("user")
        is_old = until is not None and desk.clock() >= until + EXPIRED_KEPT_S
        if is_old or (user is not None and mirror.get("user", str(user)) is None):
            yield record
    for record in mirror.of_kind(seen.KIND):
        if mirror.get(str(record.value["of"]), record.id) is None:
            yield record
