"""BIRD is told of what stands in its file, also where that could not be said at first."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import pytest

from gateway.node.journal import Journal
from gateway.routing.replies import BirdError
from gateway.routing.router import Router
from tests.node.network import own_network
from tests.routing.plans import OFFICE, TWIN, plan_of

pytestmark = pytest.mark.system


@pytest.mark.parametrize("how", ["refused", "stopped", "left"])
async def test_what_bird_has_not_been_told_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The file is the new one by then: it was taken for what BIRD does."""
    with own_network():
        log = io.StringIO()
        router = Router(tmp_path, Journal(log, time.time))
        await router.apply(plan_of(OFFICE))
        both = plan_of(OFFICE, TWIN)
        try:
            with monkeypatch.context() as patched:
                patched.setattr(router._bird, "configure", _hangs if how == "stopped" else _refuses)
                asked = asyncio.create_task(router.apply(both))
                if how == "stopped":
                    await asyncio.sleep(0)
                    asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            if how == "left":  # nobody says it again, but who reads its state sees to it
                await router._tell_again()
            else:
                await router.apply(both)
            sessions, _ = await router._bird.sessions()
            assert len(sessions) == 2
        finally:
            await router.end()


async def _refuses() -> None:
    raise BirdError("configure: reconfiguration already in progress")


async def _hangs() -> None:
    await asyncio.sleep(60.0)
