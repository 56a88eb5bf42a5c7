"""When is who next to be called: deadlines by owner, the earliest first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable

STALE_MAX = 64  # entries that may be left over, and as many more as there are owners


class Agenda:
    """
    One deadline for each owner, monotonic seconds.

    A changed deadline leaves its old entry in the heap; entries that no longer hold are skipped
    when they come to the top, so setting costs O(log n) and nothing is searched. Where they are
    more than those that hold, all of them go at once: what has ended is not held for their sake.
    """

    def __init__(self) -> None:
        self._at: dict[Hashable, float] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._order = 0

    def set(self, owner: Hashable, at: float) -> None:
        """Set the owner's deadline; `math.inf` takes it off."""
        if at == math.inf:
            self._at.pop(owner, None)
        elif self._at.get(owner) != at:
            self._at[owner] = at
            self._order += 1
            heapq.heappush(self._heap, (at, self._order, owner))
        if len(self._heap) > 2 * len(self._at) + STALE_MAX:
            self._tidy()

    def _tidy(self) -> None:
        """Keep one entry for each owner."""
        kept: dict[Hashable, tuple[float, int, Hashable]] = {}
        for entry in sorted(self._heap, key=lambda one: one[:2]):
            if self._at.get(entry[2]) == entry[0]:
                kept.setdefault(entry[2], entry)
        self._heap = list(kept.values())  # sorted, so a heap

    @property
    def next(self) -> float:
        """Return the earliest deadline, `math.inf` if there is none."""
        while self._heap:
            at, _, owner = self._heap[0]
            if self._at.get(owner) == at:
                return at
            heapq.heappop(self._heap)
        return math.inf

    def take_due(self, now: float) -> list[Hashable]:
        """Take off and return the owners whose deadline has come, the earliest first."""
        due: list[Hashable] = []
        while self.next <= now:
            owner = heapq.heappop(self._heap)[2]
            del self._at[owner]
            due.append(owner)
        return due
