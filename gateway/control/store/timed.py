"""How commits of a store go, and how long each takes, counted by its driver."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from gateway.control.store.interface import Conflict, NotFound, Unavailable, Write
from gateway.prometheus.text import Durations


class Counting(Protocol):
    """A driver that counts: `commits` are seconds by result (done, refused, failed)."""

    commits: Durations
    writes: Writes


S = TypeVar("S", bound=Counting)
Commit = Callable[[S, Sequence[Write], str], Awaitable[int]]


RECENT_S = 30.0  # who is not asked to write any more can not show that it could again


@dataclass(slots=True)
class Writes:
    """How the last write went: a store that is full still reads."""

    trouble: str = ""
    _at: float = 0.0  # monotonic seconds

    def failed(self, error: Unavailable) -> None:
        """Take note that something could not be written."""
        self.trouble, self._at = str(error), time.monotonic()

    def went_well(self) -> None:
        """Take note that something was written."""
        self.trouble = ""

    def trouble_of_late(self) -> str | None:
        """Return why the last write of the last moments failed, None if it did not."""
        is_recent = time.monotonic() - self._at < RECENT_S
        return self.trouble if self.trouble and is_recent else None


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
            store.writes.went_well()
        except Unavailable as error:
            store.writes.failed(error)
            raise
        except (Conflict, NotFound):
            result = "refused"
            raise
        finally:
            store.commits.add(time.perf_counter() - began, result)
        return revision

    return counted
