"""How long the machine itself stood still: what a judged silence or loss may owe to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_EVERY_S = 0.005
_USUAL_S = 0.005  # as late a machine wakes that does other work too


@dataclass(slots=True)
class Stalls:
    """What a thread that sleeps again and again has noted; times are in milliseconds."""

    longest_ms: float = 0.0
    total_ms: float = 0.0

    def add(self, late_s: float) -> None:
        """Note by how much it woke too late."""
        if late_s > _USUAL_S:
            self.longest_ms = max(self.longest_ms, late_s * 1e3)
            self.total_ms += late_s * 1e3


@contextmanager
def noted() -> Iterator[Stalls]:
    """Note while the block runs how late a thread wakes."""
    found, over = Stalls(), threading.Event()
    thread = threading.Thread(target=_watch, args=(found, over), name="stalls", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _watch(found: Stalls, over: threading.Event) -> None:
    while not over.is_set():
        due = time.monotonic() + _EVERY_S
        time.sleep(_EVERY_S)
        found.add(time.monotonic() - due)
