"""Writes of the nodes' part to the store: objects with a tenant, tried again where others write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem
from gateway.control.store.interface import Conflict, NotFound, Store, Unavailable, Write

ATTEMPTS = 10


async def commit(store: Store, mirror: Mirror, writes: Sequence[Write], actor: str) -> None:
    """Commit, and wait until the mirror has it. Raises Conflict, NotFound; ApiProblem 503."""
    try:
        revision = await store.commit(writes, actor)
    except Unavailable as error:
        raise ApiProblem(503, "unavailable", str(error), retry_after_s=1) from None
    await mirror.caught_up(revision)


async def decide_and_commit(
    store: Store, mirror: Mirror, decide: Callable[[], Sequence[Write]], actor: str
) -> None:
    """
    Commit what is decided on the mirror; decide anew where somebody else was faster.

    Nothing is written if nothing is decided. `decide` may raise; ApiProblem 503 if all else fails.
    """
    for _ in range(ATTEMPTS):
        writes = decide()
        if not writes:
            return
        try:
            return await commit(store, mirror, writes, actor)
        except (Conflict, NotFound):
            try:
                await mirror.caught_up(await store.revision())
            except Unavailable as error:
                raise ApiProblem(503, "unavailable", str(error), retry_after_s=1) from None
    text = "others change the same objects at this moment"
    raise ApiProblem(503, "unavailable", text, retry_after_s=1)
