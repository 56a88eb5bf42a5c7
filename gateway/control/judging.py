"""
Judging of drafts beside the event loop: of a Border Gateway with a thousand connections it takes
half a second, in which the API answers and nodes are heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.collecting import without_collecting
from gateway.control.changes.judge import Draft, judge

AT_ONCE = 20  # connections, about 5 ms; for fewer a thread is not worth it


async def judged(found: Sequence[Draft]) -> list[str]:
    """Return what is probably not meant in drafts. Raises ApiProblem with every mistake."""
    if sum(len(draft.table["vpn_connection"]) for draft in found) <= AT_ONCE:
        return judge(found)
    with without_collecting():  # what is made here lives as long as this takes
        return await asyncio.to_thread(judge, found)
