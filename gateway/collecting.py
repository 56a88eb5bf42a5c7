"""
Python's collector of cycles, kept from holding an event loop. For the gateway and the control
process.

What a thousand tunnels are, their documents, plans and records, is some hundred thousand objects
that live long. To look through all of them takes the collector 0.3 s, after every few changes and
in which nothing else happens; and it finds nothing, for they are in no cycles and freed by their
counters. So what is there after a collection that took long is not looked at any more, but for
once in an hour: until then, cycles that were old already when they were given up stay.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping

LONG_S = 0.01  # of the processor's time: a busy machine makes no collection long
WHOLE_S = 3600.0
_OLDEST = 2  # the generation that a whole collection is of


@contextlib.contextmanager
def short_collections() -> Iterator[None]:
    """Keep collections short as long as this lasts."""
    began, whole_at = 0.0, time.monotonic()

    def see(phase: str, info: Mapping[str, int]) -> None:
        nonlocal began, whole_at
        if info["generation"] < _OLDEST:
            return
        if phase == "start":
            began = time.thread_time()
            if time.monotonic() - whole_at >= WHOLE_S:
                whole_at = time.monotonic()
                gc.unfreeze()  # it is collected as well, now
        elif time.thread_time() - began >= LONG_S:
            gc.freeze()

    gc.callbacks.append(see)
    try:
        yield
    finally:
        gc.callbacks.remove(see)
        gc.unfreeze()


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Let the collector rest for work that makes much and no cycles."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
