"""Several changes as one: carried out, confirmed, taken back, also by another process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.control import applies
from gateway.control.applies import APPLY, STEP, WAITING_MAX, Applies
from gateway.control.auth.principal import Principal, Scope
from gateway.control.changes.steps import Step, steps_from
from gateway.control.problems import ApiProblem
from gateway.control.registry import Done, Registry
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record, bytes_of
from gateway.control.store.interface import LEASE, Create, Key, Store
from tests.control.registry import ROOT, connect, fleet, running

PSK = "correct horse battery staple"


@dataclass(slots=True)
class Clock:
    """Seconds since 1970 that move when a test says so."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(slots=True)
class Machine:
    """A control process as far as applies need one."""

    registry: Registry
    applies: Applies
    clock: Clock = field(default_factory=Clock)

    async def begun(self, steps: list[Step], confirm_s: int = 0) -> Record:
        return await self.applies.begin(steps, confirm_s, ROOT, "main")

    async def until(self, id: str, *states: str) -> Record:
        await self.once(lambda: self.applies.get(id, ROOT).value["state"] in states)
        return self.applies.get(id, ROOT)

    async def once(self, is_so: Callable[[], bool]) -> None:
        """Wait for a commit after which it is so."""
        async with asyncio.timeout(10), self.registry.mirror.subscribed() as commits:
            if is_so():
                return
            async for _ in commits:
                if is_so():
                    return

    def resources(self) -> dict[str, dict[str, object]]:
        """All resources as they are, but for what a restored one must have new."""
        new = ("generation", "updated_at")
        return {
            record.id: {key: one for key, one in record.value.items() if key not in new}
            for kind in (*KINDS, "claim", "uses")
            for record in self.registry.mirror.of_kind(kind)
        }


@contextlib.asynccontextmanager
async def machine(
    store: Store, clock: Clock | None = None, *, works: bool = True
) -> AsyncIterator[Machine]:
    async with running(store) as registry:
        clock = clock or Clock()
        applies = Applies(store, registry, clock, sweep_s=0.02)
        tasks = [asyncio.create_task(applies.sweep_for_ever())]
        if works:
            tasks.append(asyncio.create_task(applies.run()))
        try:
            yield Machine(registry, applies, clock)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def create(kind: str, **body: object) -> Step:
    return Step("create", kind, "", str(body.get("name", "")), body)


def update(record: Record, **body: object) -> Step:
    return Step("update", record.kind, record.id, record.name, body)


def delete(record: Record) -> Step:
    return Step("delete", record.kind, record.id, record.name)


async def everything(one: Machine) -> list[Step]:
    """Steps of every sort, on a connection that is there: it goes, another one comes."""
    await fleet(one.registry)
    done = await connect(one.registry, psk=PSK)
    (gateway,) = one.registry.mirror.of_kind("border_gateway")
    return [
        create("customer_gateway", name="new", public_addresses=["203.0.113.99"]),
        create("vpn_connection", name="new", border_gateway=gateway.name, customer_gateway="new"),
        update(gateway, description="changed"),
        *(update(tunnel, admin="down") for tunnel in done.others),
        *(delete(tunnel) for tunnel in done.others),
        delete(done.record),
    ]


async def test_without_a_time_to_confirm_it_is_done(store: Store) -> None:
    async with machine(store) as one:
        steps = await everything(one)
        record = await one.until((await one.begun(steps)).id, "done", "failed")
        assert record.value["state"] == "done"
        assert one.applies.rendered(record)["done"] == len(steps)
        names = [each.name for each in one.registry.mirror.of_kind("vpn_connection")]
        assert names == ["new"]


async def test_what_nobody_confirms_is_as_it_was_ids_keys_claims_and_all(store: Store) -> None:
    async with machine(store) as one:
        steps = await everything(one)
        before = one.resources()
        id = (await one.begun(steps, confirm_s=60)).id
        await one.until(id, "waiting")
        assert one.resources() != before
        one.clock.now += 59
        await asyncio.sleep(0.1)
        assert one.applies.get(id, ROOT).value["state"] == "waiting"
        one.clock.now += 1
        record = await one.until(id, "taken_back")
        assert record.value["left"] == []
        assert one.resources() == before
        await one.once(lambda: not list(one.registry.mirror.of_kind(STEP)))


async def test_what_is_confirmed_stays_and_is_forgotten_after_a_day(store: Store) -> None:
    async with machine(store) as one:
        id = (await one.begun(await everything(one), confirm_s=60)).id
        await one.until(id, "waiting")
        await one.applies.confirm(id, ROOT)
        after = one.resources()
        one.clock.now += 3600
        await asyncio.sleep(0.1)
        assert one.resources() == after
        with pytest.raises(ApiProblem, match="waits for no confirmation; it is confirmed"):
            await one.applies.confirm(id, ROOT)
        one.clock.now += 86_400
        await one.once(lambda: not list(one.registry.mirror.of_kind(APPLY)))


async def test_a_step_that_fails_takes_all_back_or_leaves_what_is_done(store: Store) -> None:
    async with machine(store) as one:
        (gateway, *_) = [step for step in await everything(one) if step.action == "update"]
        before = one.resources()
        bad = create("vpn_connection", name="x", border_gateway="nobody", customer_gateway="x")
        record = await one.until((await one.begun([gateway, bad], 60)).id, "taken_back")
        assert one.resources() == before
        assert record.value["problem"]["step"] == 1
        assert record.value["problem"]["code"] == "reference_not_found"
        record = await one.until((await one.begun([gateway, bad])).id, "failed")
        assert one.applies.rendered(record)["done"] == 1


async def test_another_process_takes_back_what_the_first_one_left(store: Store) -> None:
    clock = Clock()
    async with machine(store, clock) as one:
        steps = await everything(one)
        before = one.resources()
        id = (await one.begun(steps, confirm_s=60)).id
        await one.until(id, "waiting")
        await one.once(lambda: one.registry.mirror.get(LEASE, f"apply:{id}") is None)
    clock.now += 61
    async with machine(store, clock) as other:
        await other.until(id, "taken_back")
        assert other.resources() == before


async def test_a_process_that_ends_in_the_middle_is_noticed(store: Store) -> None:
    async with machine(store, works=False) as one:
        id = (await one.begun(await everything(one))).id
        lease = await store.acquire(f"apply:{id}", one.applies.holder, 1)
        await store.release(lease)
        record = await one.until(id, "failed")
        assert record.value["problem"]["code"] == "interrupted"


async def test_what_somebody_else_has_changed_since_is_left_and_said(store: Store) -> None:
    async with machine(store) as one:
        await fleet(one.registry)
        (gateway,) = one.registry.mirror.of_kind("border_gateway")
        id = (await one.begun([update(gateway, description="changed")], 60)).id
        await one.until(id, "waiting")
        await one.registry.update("border_gateway", gateway.id, {"asn": 65123}, ROOT)
        await one.applies.take_back(id, ROOT)
        record = await one.until(id, "taken_back")
        assert record.value["left"][0]["id"] == gateway.id
        assert one.registry.get("border_gateway", gateway.id, ROOT).spec["asn"] == 65123


async def test_a_secret_that_is_the_same_is_no_change_and_is_kept_nowhere_in_clear(
    store: Store,
) -> None:
    began = await store.revision()
    async with machine(store) as one:
        await fleet(one.registry)
        done = await connect(one.registry, psk=PSK)
        same, other = update(done.record, psk=PSK), update(done.record, psk=PSK + "!")
        assert (await one.applies.without_known_secrets(same)).body == {}
        assert (await one.applies.without_known_secrets(other)).body == other.body
        await one.until((await one.begun([same])).id, "done")
        kept = one.registry.get("vpn_connection", done.record.id, ROOT)
        assert kept.revision == done.record.revision
        await one.until((await one.begun([other], 60)).id, "waiting")
        for commit in await store.changes(began):
            assert PSK not in str([change.value for change in commit.changes])


async def test_to_another_tenant_it_does_not_exist_and_a_key_begins_it_once(store: Store) -> None:
    async with machine(store) as one:
        await fleet(one.registry)
        (gateway,) = one.registry.mirror.of_kind("border_gateway")
        steps = [update(gateway, description="changed")]
        first = await one.applies.begin(steps, 60, ROOT, "main", "key")
        again = await one.applies.begin(steps, 60, ROOT, "main", "key")
        assert again.id == first.id
        with pytest.raises(ApiProblem) as caught:
            await one.applies.begin(steps, 61, ROOT, "main", "key")
        assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")
        assert "key" not in one.applies.rendered(first)
        assert "request" not in one.applies.rendered(first)
        acme = Principal("user:ada", "acme", Scope.ADMIN)
        assert one.applies.all(acme, "main") == []
        for refused in (one.applies.confirm, one.applies.take_back):
            with pytest.raises(ApiProblem, match="does not exist"):
                await refused(first.id, acme)


async def test_of_two_requests_with_one_key_at_the_same_time_one_begins(store: Store) -> None:
    async with machine(store) as one:
        await fleet(one.registry)
        (gateway,) = one.registry.mirror.of_kind("border_gateway")
        steps = [update(gateway, description="changed")]
        begun = await asyncio.gather(
            *(one.applies.begin(steps, 0, ROOT, "main", "key") for _ in range(3)),
            return_exceptions=True,
        )
        ids = {each.id for each in begun if isinstance(each, Record)}
        assert len(ids) == 1
        assert all(isinstance(each, Record) or each.args for each in begun)
        await one.until(ids.pop(), "done")
        assert len(list(one.registry.mirror.of_kind(APPLY))) == 1


async def test_a_tenant_holds_up_no_other_and_may_have_a_few_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()
    create_now = Registry.create

    async def slow(self: Registry, *given: Any, tenant: str, **more: Any) -> Done:
        if tenant == "main":
            await go_on.wait()
        return await create_now(self, *given, tenant=tenant, **more)

    async with machine(store) as one:
        acme = {"tenant": "", "name": "acme", "spec": {}, "created_at": 0.0, "updated_at": 0.0}
        made = await store.commit([Create(Key("tenant", "acme"), bytes_of(acme))], "test")
        await one.registry.mirror.caught_up(made)
        monkeypatch.setattr(Registry, "create", slow)
        steps = [[create("border_gateway", name=f"g{n}")] for n in range(WAITING_MAX + 1)]
        held = [await one.applies.begin(each, 0, ROOT, "main") for each in steps[:-1]]
        with pytest.raises(ApiProblem) as refused:
            await one.applies.begin(steps[-1], 0, ROOT, "main")
        assert (refused.value.status, refused.value.retry_after_s) == (429, 5)
        other = await one.applies.begin(steps[0], 0, ROOT, "acme")
        await one.until(other.id, "done")
        assert {one.applies.get(each.id, ROOT).value["state"] for each in held} == {"running"}
        go_on.set()
        for each in held:
            await one.until(each.id, "done")
        names = [each.name for each in one.registry.mirror.of_kind("border_gateway", "main")]
        assert sorted(names) == sorted(str(each[0].name) for each in steps[:-1])


async def test_what_waits_for_its_turn_is_held_on_to(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applies, "LEASE_S", 2)
    async with machine(store, works=False) as one:
        keeping = asyncio.create_task(one.applies._keep_alive_for_ever())
        id = (await one.begun([create("border_gateway", name="x")])).id
        await asyncio.sleep(5.0)  # the store's own time
        assert one.applies.get(id, ROOT).value["state"] == "running"
        keeping.cancel()
        await one.until(id, "failed")
        await one.applies._take_turn(one.applies._jobs[id])  # it comes too late
        assert not list(one.registry.mirror.of_kind("border_gateway"))


async def test_a_bug_in_one_apply_ends_neither_the_process_nor_the_next_apply(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*given: object, **more: object) -> Record:
        raise ZeroDivisionError

    async with machine(store) as one:
        bugs: list[str] = []

        def report(where: str, error: Exception) -> str:
            bugs.append(where)
            return "b1"

        one.applies.report = report
        with monkeypatch.context() as patched:
            patched.setattr(Registry, "create", broken)
            id = (await one.begun([create("border_gateway", name="x")])).id
            problem = (await one.until(id, "failed")).value["problem"]
        assert (problem["code"], problem["number"]) == ("internal", "b1")
        assert bugs == [f"apply {id}, step 0"]
        await one.until((await one.begun([create("border_gateway", name="x")])).id, "done")


async def test_the_oldest_that_is_over_makes_room(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applies, "KEPT_MAX", 2)
    async with machine(store) as one:
        ids = []
        for number in range(3):
            one.clock.now += 1
            begun = await one.begun([create("border_gateway", name=f"x{number}")], 9 * (number > 0))
            ids.append((await one.until(begun.id, "done", "waiting")).id)
        assert [each.id for each in one.applies.all(ROOT, "main")] == ids[:0:-1]
        assert {each.value["apply"] for each in one.registry.mirror.of_kind(STEP)} == set(ids[1:])
        with pytest.raises(ApiProblem, match="2 applies of this tenant wait to be confirmed"):
            await one.begun([create("border_gateway", name="x")])


async def test_an_apply_that_the_store_could_not_keep_is_refused(store: Store) -> None:
    async with machine(store) as one:
        steps = [create("customer_gateway", name="x" * 200, number=n) for n in range(5000)]
        with pytest.raises(ApiProblem, match="5000 steps are more than one apply can have"):
            await one.begun(steps)
        assert not list(one.registry.mirror.of_kind(APPLY))


async def test_a_rehearsal_judges_all_steps_and_changes_nothing(store: Store) -> None:
    async with machine(store) as one:
        steps = await everything(one)
        before = one.resources()
        warnings = await one.registry.rehearse(steps, ROOT, "main")
        assert all("give the customer's prefixes" in warning for warning in warnings)
        with pytest.raises(ApiProblem) as caught:
            await one.registry.rehearse([*steps, steps[0]], ROOT, "main")
        assert caught.value.extra["step"] == len(steps)
        assert one.resources() == before


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (7, "steps: must be a list of 1 to"),
        ([], "steps: must be a list of 1 to"),
        ([7], r"steps\[0\]: must be an object"),
        ([{"action": "fly"}], r"steps\[0\].action: must be one of create, update, delete"),
        ([{"action": "create", "kind": "moon"}], r"steps\[0\].kind: must be one of"),
        ([{"action": "update", "kind": "route"}], r"steps\[0\].id: must name what is changed"),
        (
            [{"action": "create", "kind": "route", "body": 7}],
            r"steps\[0\].body: must be an object",
        ),
        (
            [{"action": "delete", "kind": "route", "id": "x", "expected": "y"}],
            r"steps\[0\].expected: must be a revision",
        ),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(steps: object, said: str) -> None:
    with pytest.raises(ApiProblem, match=said):
        steps_from(steps)
