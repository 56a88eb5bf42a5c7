"""Large changes are judged beside the event loop, with the same verdict."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.control import judging
from gateway.control.changes.steps import Step
from gateway.control.problems import ApiProblem
from gateway.control.registry import Registry
from gateway.control.store.sqlite import open_sqlite
from tests.control.registry import ROOT, connect, fleet, make, running

CUSTOMERS = 25  # with a tunnel by each of two addresses


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    store = await open_sqlite(tmp_path / "control.db")
    async with running(store) as one:
        await fleet(one)
        for number in range(CUSTOMERS):
            name, address = f"c{number}", f"203.0.113.{number + 100}"
            await make(one, "customer_gateway", name=name, public_addresses=[address])
            cidrs = [f"10.{number}.0.0/16"]
            await connect(one, name, customer_gateway=name, routing="static", remote_cidrs=cidrs)
        yield one
    await store.close()


async def verdict(registry: Registry) -> ApiProblem:
    """Return why the VPC can not get a prefix that two customers have as well."""
    (vpc,) = registry.mirror.of_kind("vpc_attachment")
    patch = {"cidrs": ["192.168.0.0/16", "10.3.0.0/16", "10.4.0.0/16"]}
    with pytest.raises(ApiProblem) as caught:
        await registry.update("vpc_attachment", vpc.id, patch, ROOT)
    return caught.value


async def test_the_verdict_is_the_same_and_the_loop_is_free_meanwhile(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert judging.AT_ONCE < CUSTOMERS
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    beside = await verdict(registry)
    counting.cancel()
    assert gc.isenabled()
    monkeypatch.setattr(judging, "AT_ONCE", CUSTOMERS)
    at_once = await verdict(registry)
    assert beside.as_json() == at_once.as_json()
    assert len(beside.errors) == 2
    assert turns > 0


async def test_a_large_change_is_made_and_so_is_a_rehearsal_of_it(registry: Registry) -> None:
    (gateway,) = registry.mirror.of_kind("border_gateway")
    changed = await registry.update("border_gateway", gateway.id, {"asn": 65100}, ROOT)
    assert changed.record.spec["asn"] == 65100
    step = Step("update", "border_gateway", gateway.id, "main", {"asn": 65200})
    assert await registry.rehearse([step], ROOT, "main") == list(changed.warnings)
    now = registry.mirror.get("border_gateway", gateway.id)
    assert now is not None
    assert now.spec["asn"] == 65100
