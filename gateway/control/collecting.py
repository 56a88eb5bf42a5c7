"""
Python's collector of cycles, kept from holding the event loop.

The mirror is some hundred thousand objects that live long. To look through all of them for cycles
takes the collector 0.3 s with 2,000 tunnels, every few minutes, in which nothing else happens; and
there are none. So what is there after a collection that took long is not looked at any more. What
is freed is freed by its counters, as before.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping

LONG_S = 0.01
_OLDEST = 2  # the generation that a whole collection is of


@contextlib.contextmanager
def short_collections() -> Iterator[None]:
    """Keep collections short as long as this lasts."""
    began = 0.0

    def see(phase: str, info: Mapping[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        elif info["generation"] == _OLDEST and time.thread_time() - began >= LONG_S:
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
