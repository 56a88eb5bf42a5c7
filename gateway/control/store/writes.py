"""Whether a store takes writes: one that is full still reads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.control.store.interface import Unavailable

RECENT_S = 30.0  # who is not asked to write any more can not show that it could again


@dataclass(slots=True)
class Writes:
    """How a driver's last write went, be it a commit or a lease's time."""

    _trouble: str = ""
    _at: float = 0.0  # monotonic seconds

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Take note of how a write goes. One that is refused says nothing of the store."""
        try:
            yield
        except Unavailable as error:
            self._trouble, self._at = str(error), time.monotonic()
            raise
        self._trouble = ""

    def trouble_of_late(self) -> str | None:
        """Return why the last write of the last moments failed, None if it did not."""
        is_recent = time.monotonic() - self._at < RECENT_S
        return self._trouble if self._trouble and is_recent else None
