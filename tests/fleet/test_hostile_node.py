"""A node that was taken over: what it may do to the control plane and to other nodes, and not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control.nodes.credentials import CREDENTIAL
from gateway.fleet.messages import PATH, Position
from gateway.node.fleet.identity import new_key, request_for
from gateway.node.fleet.link import Link, Refused
from tests.control.registry import ROOT
from tests.fleet.control import Control, control
from tests.fleet.test_control import enrol, report


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Control]:
    async with control(tmp_path) as one:
        yield one


@pytest.fixture
async def link(plane: Control, tmp_path: Path) -> AsyncIterator[Link]:
    one = await enrol(plane, tmp_path / "node")
    yield one
    one.close()


async def test_however_many_certificates_it_asks_for_it_can_be_locked_out(
    plane: Control, link: Link
) -> None:
    node, csr = plane.node().id, request_for(new_key())
    for _ in range(50):
        await plane.nodes.credentials.renew(node, csr)
    assert len(list(plane.registry.mirror.of_kind(CREDENTIAL))) == 2  # in use, and the newest
    assert await plane.nodes.revoke(node, ROOT) == 2
    with pytest.raises(Refused, match="credential_revoked"):
        await link.report(report())


async def test_it_can_not_take_all_epochs_from_the_others(plane: Control, link: Link) -> None:
    for epoch in (10**6, 2**53, 10**3000):
        path = f"{PATH}/document?after=1&tag=x&wait=0&epoch={epoch}"
        await link._talking.request("GET", path, timeout_s=5, most_bytes=100_000)
        assert plane.nodes.documents.epoch == 1
    ahead = Position(epoch=3, generation=1, tag="x")  # of a store that was put back, twice
    turn = await link.turn(ahead, 0)
    assert turn.wanted is not None
    assert turn.wanted.at.epoch == 4


async def test_counters_of_tunnels_that_it_invents_are_not_kept(plane: Control, link: Link) -> None:
    for number in range(3):
        names = {f"tun-{number}-{each}": {"in_bytes": 1} for each in range(100)}
        await link.report(report(number + 1, full=number == 0, counters=names))
    assert plane.nodes.reports.counters(plane.node().id, "tun-0-1") is None
