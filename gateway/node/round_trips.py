"""
Round trips of one path, and the requests without an answer, over the last minute. Pure: the times
are the caller's.

Many devices answer no echo request, or stop to when somebody changes a filter. So a missing answer
counts as loss only where answers have come. What has been silent for FORGET_S although something
else proves that the path is well counts as not answering at all.

A request is judged LATE_S after it was sent, and only once the answers until then were read: that
this process stood still is never taken for loss.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

WINDOW_S = 60.0
LATE_S = 4.0  # an answer that takes longer counts as lost
FORGET_S = 300.0


class State(Enum):
    """What is known of a path."""

    WAITING = "waiting"  # nothing yet
    ANSWERED = "answered"
    LOST = "lost"  # it was answered, but not within the window
    NO_ANSWER = "no_answer"  # whoever is there does not answer


@dataclass(frozen=True, slots=True)
class Figures:
    """
    What the window says: seconds, and the lost part from 0 to 1; None where it is not known.

    `jitter_s` is the mean difference between one round trip and the next (RFC 3393).
    """

    state: State = State.WAITING
    mean_s: float | None = None
    min_s: float | None = None
    max_s: float | None = None
    jitter_s: float | None = None
    loss: float | None = None


@dataclass(slots=True, eq=False)
class Trip:
    """One request, and how long its answer took. Times are monotonic seconds."""

    sent_at: float
    took_s: float | None = None


class RoundTrips:
    """The requests of one path within the window."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._trips: deque[Trip] = deque()
        self._began_at: float | None = None
        self.count = 0  # of all requests
        self.answered_at: float | None = None

    def sent(self, now: float) -> Trip:
        """Take note of a request; the caller tells its answer to `answered`."""
        trip = Trip(now)
        self._trips.append(trip)
        self.count += 1
        self._began_at = now if self._began_at is None else self._began_at
        self._expire(now)
        return trip

    def answered(self, trip: Trip, took_s: float) -> None:
        """Take the answer to a request. One that is late counts as lost all the same."""
        if took_s <= LATE_S:
            trip.took_s = took_s
            self.answered_at = trip.sent_at + took_s

    def _expire(self, now: float) -> None:
        while self._trips and self._trips[0].sent_at <= now - self._window_s:
            self._trips.popleft()

    def figures(self, read_at: float, *, is_well: bool) -> Figures:
        """
        Return what is known once all answers until `read_at` are; `is_well` says that something
        else proves the path to be well.
        """
        self._expire(read_at)
        took = [trip.took_s for trip in self._trips if trip.took_s is not None]
        lost = sum(trip.took_s is None and trip.sent_at + LATE_S <= read_at for trip in self._trips)
        if took:
            return _measured(took, lost)
        if self.answered_at is None:
            is_late = self._began_at is not None and self._began_at + LATE_S <= read_at
            return Figures(State.NO_ANSWER if is_late else State.WAITING)
        if is_well and read_at - self.answered_at >= FORGET_S:
            return Figures(State.NO_ANSWER)
        return Figures(State.LOST, loss=1.0) if lost else Figures()


def _measured(took: list[float], lost: int) -> Figures:
    steps = [abs(after - before) for before, after in pairwise(took)]
    return Figures(
        State.ANSWERED,
        mean_s=sum(took) / len(took),
        min_s=min(took),
        max_s=max(took),
        jitter_s=sum(steps) / len(steps) if steps else None,
        loss=lost / (lost + len(took)),
    )
