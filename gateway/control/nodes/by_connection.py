"""
What follows from each VPN Connection and its tunnels, as nodes report them: alarms, counts.

It is kept, and made anew only where a commit may have changed something. Of a thousand connections
this is a few at most times; where it is all of them (at the start, or when a node is lost), it is
done in slices, so that requests and reports have their turn between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from time import monotonic
from typing import Generic, TypeVar

from gateway.control.mirror import Mirror
from gateway.control.nodes.touched import connections_touched
from gateway.control.resources.record import Record
from gateway.control.slices import in_slices
from gateway.control.store.interface import Commit

# A state that waits to be written is seen before, and no commit tells of it if it is taken back.
ALL_S = 60.0

T = TypeVar("T")


class ByConnection(Generic[T]):
    """Give it each commit by `take`, and ask for all that follows with `current`."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._found: dict[str, T] = {}
        self._stale: set[str] = set()
        self._all_at = float("-inf")

    def take(self, commit: Commit) -> None:
        """See what a commit may have changed; the mirror has it already."""
        self._stale |= connections_touched(self._mirror, commit)

    def forget(self) -> None:
        """Have everything made anew."""
        self._all_at = float("-inf")

    async def current(self, make: Callable[[Record], T]) -> Collection[T]:
        """Return what follows now from all connections; `make` says it of one."""
        if monotonic() - self._all_at >= ALL_S:
            self._all_at = monotonic()
            self._stale |= self._found.keys()
            self._stale |= {one.id for one in self._mirror.of_kind("vpn_connection")}
        stale, self._stale = self._stale, set()
        await in_slices(self._made(stale, make))
        return self._found.values()

    def _made(self, ids: Iterable[str], make: Callable[[Record], T]) -> Iterator[str]:
        """Make anew what follows from some connections; yield after each."""
        for id in ids:
            record = self._mirror.get("vpn_connection", id)
            if record is None:
                self._found.pop(id, None)
            else:
                self._found[id] = make(record)
            yield id
