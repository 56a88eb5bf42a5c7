"""Turns at what only some may do at once: each owner has a share, and owners follow in turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator


class FairTurns:
    """At most `most` at once, and `each` of one owner. Who waits longest of an owner is next."""

    def __init__(self, most: int, each: int) -> None:
        self._most = most
        self._each = each
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # whose owner is next is first

    @contextlib.asynccontextmanager
    async def taken(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it as long as this lasts."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._give()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._taken[owner] -= 1
            else:
                turn.cancel()
            self._give()

    def _give(self) -> None:
        """Give turns as long as there are any to give."""
        while self._taken.total() < self._most and (owner := self._next()) is not None:
            waiting = self._waiting.pop(owner)
            waiting.popleft().set_result(None)
            self._taken[owner] += 1
            if waiting:
                self._waiting[owner] = waiting  # at the end

    def _next(self) -> str | None:
        """Return the first owner who may have a turn and waits for one, None if there is none."""
        for owner, waiting in list(self._waiting.items()):
            while waiting and waiting[0].done():  # whoever waited has gone
                waiting.popleft()
            if not waiting:
                del self._waiting[owner]
            elif self._taken[owner] < self._each:
                return owner
        self._taken += Counter()  # owners without a turn are forgotten
        return None
