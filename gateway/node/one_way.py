"""
Does a tunnel's traffic have one direction only? Judged from its counters, once a second. Pure.

A path that is cut silently looks so, and so does traffic that nobody answers (UDP syslog). The
counters cannot tell the two apart; the peer can, so it is asked (`IkeEndpoint.esp_one_way`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class OneWay:
    """What the samples so far say. Times are monotonic seconds."""

    since: float | None = None  # nothing that was sent since then was answered
    is_sending: bool = False  # between the last two samples

    def take(self, last_at: float, *, sent: bool, heard: bool) -> None:
        """
        Take a sample: was anything sent, and anything authenticated heard, since `last_at`?
        """
        self.is_sending = sent
        if heard:
            self.since = None
        elif sent and self.since is None:
            self.since = last_at

    def lasts(self, now: float, limit_s: float) -> bool:
        """Return whether we go on sending, and have done so for `limit_s` without an answer."""
        return self.is_sending and self.since is not None and now - self.since >= limit_s
