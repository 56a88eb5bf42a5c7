"""
Whose turn it is: things that are done over and over, each in its own rhythm, by one timer for all.

A turn takes what is due in the next `slot_s`. The first turns are spread over the interval. Who
comes late to a turn, because this process stood still, is passed over until the next one: several
at once would say nothing more, and its own delay is not to be taken for somebody else's.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

# Turns that are multiples of the golden ratio apart are spread evenly, however many there are.
SPREAD = 0.6180339887


class Rhythm(Protocol):
    """Something that has turns, the next one after so many seconds, until it is over."""

    is_over: bool

    @property
    def interval_s(self) -> float: ...


R = TypeVar("R", bound=Rhythm)


class Turns(Generic[R]):
    """The turns of all. `act` is called when some are due; it is to `take` them, then to `arm`."""

    def __init__(self, clock: Callable[[], float], slot_s: float, act: Callable[[], None]) -> None:
        self._clock = clock
        self._slot_s = slot_s
        self._act = act
        self._due: list[tuple[float, int, R]] = []  # a heap
        self._count = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, one: R) -> None:
        """Give somebody turns."""
        number = next(self._count)
        phase = (number * SPREAD) % 1 * one.interval_s
        heapq.heappush(self._due, (self._clock() + phase, number, one))

    def take(self, now: float) -> Iterator[R]:
        """Yield those whose turn it is, and plan the next turn of each."""
        while self._due and self._due[0][0] < now + self._slot_s:
            due, number, one = heapq.heappop(self._due)
            if one.is_over:
                continue
            interval = one.interval_s
            late = now - due
            if late < interval / 2:
                yield one
                due += one.interval_s
            else:
                due += interval * math.ceil(late / interval)
            heapq.heappush(self._due, (due, number, one))

    def arm(self) -> None:
        """Have `act` called when the next ones are due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            delay = max(self._slot_s, self._due[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._act)

    def close(self) -> None:
        """Give no more turns."""
        self._due.clear()
        self.arm()
