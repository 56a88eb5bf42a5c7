"""
Does a tunnel look as if its path were cut silently? Judged from its counters, once a second. Pure.

Two looks: we go on sending and nothing authenticated comes back; or what came steadily has stopped
(the other end of requests and answers, which sends nothing itself). Traffic that nobody answers
(UDP syslog) and a flow that has ended look the same. The counters cannot tell, but the peer can, so
it is asked (`IkeEndpoint.esp_one_way`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

STEADY = 2  # samples in a row in which something came


class Sign(Enum):
    """What a sample says of the peer."""

    LIFE = auto()  # something authenticated came
    NONE = auto()
    DOUBT = auto()  # it is to be asked


@dataclass(slots=True)
class OneWay:
    """What the samples so far say. Times are monotonic seconds."""

    unanswered_since: float | None = None  # of what we sent
    stopped_since: float | None = None  # what came steadily before; None when that was told
    _heard: int = 0  # samples in a row

    def take(self, last_at: float, now: float, limit_s: float, *, sent: bool, heard: bool) -> Sign:
        """
        Take a sample: was anything sent, or anything authenticated heard, since `last_at`? In doubt
        is what looks so for `limit_s`.
        """
        if heard:
            self.unanswered_since = self.stopped_since = None
            self._heard += 1
            return Sign.LIFE
        if sent and self.unanswered_since is None:
            self.unanswered_since = last_at
        if self._heard >= STEADY:
            self.stopped_since = last_at
        self._heard = 0
        is_unanswered = sent and _is_over(self.unanswered_since, now, limit_s)
        has_stopped = self._has_stopped(now, limit_s)
        return Sign.DOUBT if is_unanswered or has_stopped else Sign.NONE

    def _has_stopped(self, now: float, limit_s: float) -> bool:
        """Return once whether what came steadily has stopped."""
        if not _is_over(self.stopped_since, now, limit_s):
            return False
        self.stopped_since = None
        return True


def _is_over(since: float | None, now: float, limit_s: float) -> bool:
    return since is not None and now - since >= limit_s
