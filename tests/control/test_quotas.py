"""Two control processes that make the last one that a quota allows: one of them is refused."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from gateway.control.changes.quotas import COUNT, DEFAULTS, counts_of
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record
from gateway.control.store.interface import Create, Key
from tests.control.conftest import Opener
from tests.control.processes import Process, process
from tests.control.registry import ROOT

QUOTAS = {"border_gateway": 2, "user": 2}
KIND_OF = {"make": "border_gateway", "make_user": "user"}


async def limited(one: Process) -> None:
    """Make the tenant, who may have two of each."""
    await one.auth.tenants.create({"name": "red"}, ROOT)
    value = json.dumps({"tenant": "", "spec": QUOTAS}).encode()
    revision = await one.store.commit([Create(Key("setting", "quotas"), value)], "test")
    await one.registry.mirror.reached(revision)


@pytest.mark.parametrize("what", KIND_OF)
async def test_the_last_one_is_made_once(opener: Opener, what: str) -> None:
    async with process(await opener()) as one, process(await opener()) as other:
        await limited(one)
        await getattr(one, what)("first")
        await other.in_step()
        # `one` has decided that there is room, and has not committed yet.
        one.before(1, partial(getattr(other, what), "second"))
        with pytest.raises(ApiProblem) as caught:
            await getattr(one, what)("third")
        assert (caught.value.status, caught.value.code) == (409, "quota_exceeded")
        await one.in_step()
        assert one.registry.mirror.count(KIND_OF[what], "red") == 2


async def test_many_at_once_are_as_many_as_are_allowed(opener: Opener) -> None:
    async with process(await opener()) as one, process(await opener()) as other:
        await limited(one)
        await other.in_step()
        made = await asyncio.gather(
            *((one, other)[at % 2].make(f"hub-{at}") for at in range(8)), return_exceptions=True
        )
        refused = [each for each in made if isinstance(each, ApiProblem)]
        assert {each.code for each in refused} == {"quota_exceeded"}
        assert len(refused) == 6


async def test_what_ends_makes_room_and_a_tenant_takes_his_counts_with_him(
    opener: Opener,
) -> None:
    async with process(await opener()) as one:
        await limited(one)
        for name in ("a", "b"):
            await one.make(name)
        mirror = one.registry.mirror
        for gateway in one.registry.all("border_gateway", ROOT, "red"):
            await one.registry.delete("border_gateway", gateway.id, ROOT)
        await one.make("c")
        (count,) = [each for each in mirror.of_kind(COUNT) if each.id == "border_gateway:red"]
        assert count.value["count"] == 1
        (left,) = one.registry.all("border_gateway", ROOT, "red")
        await one.registry.delete("border_gateway", left.id, ROOT)
        await one.end()
        assert [each.id for each in mirror.of_kind(COUNT) if each.id.endswith(":red")] == []


async def test_every_kind_with_a_quota_has_a_count_for_every_tenant(opener: Opener) -> None:
    """Also the operator, whose name is nothing, and a tenant with the longest name."""
    async with process(await opener()) as one:
        made = [
            Record(kind, "x", {"tenant": name}, 0) for kind in DEFAULTS for name in ("", "r" * 63)
        ]
        keys = {write.key for write in counts_of(one.registry.mirror, made)}
        assert len(keys) == len(made)
