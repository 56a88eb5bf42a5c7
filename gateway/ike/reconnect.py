"""When a tunnel that should be up is tried again: for ever, with growing pauses."""

from __future__ import annotations

from gateway.ike.config import Random, Timers

FACTOR = 1.8
JITTER = 0.25
SUCCESS_S = 60.0  # an IKE SA that lived this long makes the next failure the first again


class Backoff:
    """
    Pauses between attempts: `reconnect_first`, then times 1.8 to `reconnect_most`, each +-25 %.

    The jitter keeps the two ends, and many tunnels to one peer, from meeting again and again.
    """

    def __init__(self, timers: Timers, random: Random) -> None:
        self.timers = timers
        self._random = random
        self.attempts = 0  # failed in a row

    def next_pause(self) -> float:
        """Return the seconds to wait after one more failure."""
        steps = min(self.attempts, 32)  # far beyond `reconnect_most`; keeps the power small
        self.attempts += 1
        pause = min(self.timers.reconnect_first * FACTOR**steps, self.timers.reconnect_most)
        return pause * (1 - JITTER + 2 * JITTER * self._random.uniform())

    def pause_after_end(self, lived_s: float, deleted: bool) -> float:
        """
        Return the seconds to wait after the end of an IKE SA that was established for `lived_s`.

        The first retry after the peer's Delete is immediate: it is often just changing its mind.
        """
        if lived_s >= SUCCESS_S:
            self.attempts = 0
        if deleted and self.attempts == 0:
            self.attempts = 1
            return 0.0
        return self.next_pause()
