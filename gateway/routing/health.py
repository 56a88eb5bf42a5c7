"""
Whether the path through a tunnel is alive, judged by echo requests sent through it and by their
answers. Pure: the times are the caller's.

A path of which no answer ever came counts as not probed: many peers answer no echo request. From
its first answer on, it is unhealthy when so many probes in a row were missing, and healthy again
when as many in a row, and at least three, were answered.

A probe is judged when the next one is due. Who sends none because it stood still judges none: its
own delay is never taken for loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

LOSS_OVER = 100  # probes that the loss is counted over
RECOVERY_MIN = 3  # answers in a row: one or two also come through a path that loses most packets
RTT_WEIGHT = 1 / 8  # of one round trip in the mean, as TCP's (RFC 6298 section 2)


class Health(Enum):
    """What is known of a path."""

    UNANSWERED = "unanswered"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(slots=True)
class PathHealth:
    """
    One path: unhealthy when `missing` probes in a row were not answered. Times in seconds.

    Tell it of each probe with `sent`, of each answer with `answered`, and with `pause` that for now
    nothing is sent.
    """

    missing: int
    health: Health = Health.UNANSWERED
    since: float = 0.0  # when `health` became what it is
    answered_at: float | None = None  # when the last answer came
    rtt_s: float | None = None
    rtt_mean_s: float | None = None
    _number: int = 0  # of the last probe sent
    _first: int = 1  # number of the first probe since the last pause
    _answers: int = 0  # a bit for each probe since then, the last one's the lowest

    def sent(self, now: float) -> int:
        """Judge the probes before, as the next one is sent; return that one's number."""
        if self.health is Health.HEALTHY and self._is_silent:
            self._become(Health.UNHEALTHY, now)
        self._number += 1
        self._answers = (self._answers << 1) & ((1 << (LOSS_OVER + self.missing)) - 1)
        return self._number

    def answered(self, number: int, rtt_s: float, now: float) -> None:
        """Take the first answer to a probe; one from before the last pause says nothing."""
        age = self._number - number
        if number < self._first or age >= LOSS_OVER + self.missing:
            return
        self._answers |= 1 << age
        self.answered_at = now
        self._measure(rtt_s)
        if self.health is Health.UNANSWERED or (
            self.health is Health.UNHEALTHY and self._has_recovered
        ):
            self._become(Health.HEALTHY, now)

    def pause(self) -> None:
        """Forget which probes are under way: the tunnel is down. What was judged stays."""
        self._first = self._number + 1
        self._answers = 0

    def silent_s(self, now: float) -> float:
        """Return how long no answer has come."""
        return now - (self.since if self.answered_at is None else self.answered_at)

    @property
    def tries(self) -> int:
        """Return how many probes were sent since the last pause."""
        return self._number + 1 - self._first

    @property
    def loss(self) -> float | None:
        """Return the share of the last probes without an answer, 0 to 1; None if there are none."""
        judged = min(LOSS_OVER, self.tries - self.missing)
        if judged <= 0:
            return None
        # The last ones may still be under way.
        answers = (self._answers >> self.missing) & ((1 << judged) - 1)
        return 1 - answers.bit_count() / judged

    @property
    def _is_silent(self) -> bool:
        """Whether none of the last `missing` probes was answered."""
        return self.tries >= self.missing and not self._answers & ((1 << self.missing) - 1)

    @property
    def _has_recovered(self) -> bool:
        """Whether enough probes in a row were answered, but for those under way."""
        under_way = (self._answers & -self._answers).bit_length() - 1
        wanted = (1 << max(self.missing, RECOVERY_MIN)) - 1
        in_a_row = (self._answers >> under_way) & wanted == wanted
        return in_a_row and under_way < self.missing

    def _become(self, health: Health, now: float) -> None:
        self.health = health
        self.since = now

    def _measure(self, rtt_s: float) -> None:
        self.rtt_s = rtt_s
        mean = self.rtt_mean_s
        self.rtt_mean_s = rtt_s if mean is None else mean + (rtt_s - mean) * RTT_WEIGHT
