"""Turns that several owners share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.node.fair import FairTurns


class Hall:
    """Who has a turn, in the order in which they got it; each ends when it is told to."""

    def __init__(self, turns: FairTurns) -> None:
        self.turns = turns
        self.inside: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, Callable[[], None]] = {}

    async def come(self, *names: str) -> list[str]:
        """Let these come, whose first letter is their owner; return who is inside then."""
        for name in names:
            self._tasks[name] = asyncio.create_task(self._stay(name))
            await asyncio.sleep(0)
        return await self.now()

    async def go(self, *names: str) -> list[str]:
        """End the turns of these, or their waiting; return who is inside then."""
        for name in names:
            self._ends.get(name, self._tasks[name].cancel)()
        return await self.now()

    async def now(self) -> list[str]:
        for _ in range(5):
            await asyncio.sleep(0)
        return self.inside

    async def _stay(self, name: str) -> None:
        async with self.turns.taken(name[0]):
            end = asyncio.Event()
            self._ends[name] = end.set
            self.inside.append(name)
            await end.wait()
            self.inside.remove(name)


async def test_each_owner_has_a_share_and_all_together_have_a_bound() -> None:
    hall = Hall(FairTurns(4, 2))
    assert await hall.come("a1", "a2", "a3", "a4") == ["a1", "a2"]
    assert await hall.come("b1", "c1", "d1") == ["a1", "a2", "b1", "c1"]
    # A turn that is free goes to who has waited for it and has the fewest.
    assert await hall.go("b1") == ["a1", "a2", "c1", "d1"]
    assert await hall.go("a1") == ["a2", "c1", "d1", "a3"]
    assert await hall.go("a2", "a3") == ["c1", "d1", "a4"]
    assert await hall.go("c1", "d1", "a4") == []


async def test_owners_follow_in_turn() -> None:
    hall = Hall(FairTurns(1, 1))
    assert await hall.come("a1", "a2", "b1", "b2", "c1") == ["a1"]
    order = []
    while hall.inside:
        order += hall.inside
        await hall.go(*hall.inside)
    assert order == ["a1", "a2", "b1", "c1", "b2"]


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    hall = Hall(FairTurns(1, 1))
    assert await hall.come("a1", "b1", "b2") == ["a1"]
    await hall.go("b1")
    assert await hall.go("a1") == ["b2"]
    assert await hall.go("b2") == []
    assert await hall.come("b3") == ["b3"]
    await hall.go("b3")
