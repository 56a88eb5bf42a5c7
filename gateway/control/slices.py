"""Long work of the event loop in slices, so that requests and reports have their turn between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import monotonic

SLICE_S = 0.004


async def in_slices(steps: Iterable[object]) -> None:
    """Take all steps; after each SLICE_S of them others have their turn."""
    until = monotonic() + SLICE_S
    for _ in steps:
        if monotonic() >= until:
            await asyncio.sleep(0)
            until = monotonic() + SLICE_S
