"""
Work that is done one after the other for each tenant, and for all tenants at the same time.

How much may wait is bounded. So one tenant's work holds up no other's, and fills no memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Work = Callable[[], Awaitable[None]]  # must not raise: what fails is its own to tell


class Turns:
    """The work of all tenants. `run` does it, for as long as it runs."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, deque[Work]] = {}  # what is being done is still the first
        self._new: asyncio.Queue[str] = asyncio.Queue()

    def is_full(self, tenant: str) -> bool:
        """Say whether a tenant has as much work waiting as he may."""
        return len(self._waiting.get(tenant, ())) >= self._most

    def add(self, tenant: str, work: Work) -> None:
        """Have something done after all that this tenant has waiting."""
        if tenant not in self._waiting:
            self._waiting[tenant] = deque()
            self._new.put_nowait(tenant)
        self._waiting[tenant].append(work)

    async def run(self) -> None:
        """Do what is added, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(self._serve(await self._new.get()))

    async def _serve(self, tenant: str) -> None:
        waiting = self._waiting[tenant]
        while waiting:
            await waiting[0]()
            waiting.popleft()
        del self._waiting[tenant]
