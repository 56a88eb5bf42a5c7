"""How commits of a store go, and how long each takes, counted by its driver."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from gateway.control.store.interface import Conflict, NotFound, Write
from gateway.prometheus.text import Durations


class Counting(Protocol):
    """A driver that counts: `commits` are seconds by result (done, refused, failed)."""

    commits: Durations


S = TypeVar("S", bound=Counting)
Commit = Callable[[S, Sequence[Write], str], Awaitable[int]]


def new_commits() -> Durations:
    """Return what a driver counts its commits in."""
    return Durations("result")


def timed(commit: Commit[S]) -> Callable[[S, Sequence[Write], str], Any]:
    """Return a driver's `commit` that counts itself."""

    @functools.wraps(commit)
    async def counted(store: S, writes: Sequence[Write], actor: str) -> int:
        began, result = time.perf_counter(), "failed"
        try:
            revision = await commit(store, writes, actor)
            result = "done"
        except (Conflict, NotFound):
            result = "refused"
            raise
        finally:
            store.commits.add(time.perf_counter() - began, result)
        return revision

    return counted
