"""
Several changes as one: carried out one after the other, and taken back unless confirmed in time.
Of the applies of a tenant one is carried out at a time; a few may wait.

An apply is an object of the store (kind `apply`) with one object for each step that was done
(`apply_step`), written in the commit of the change itself. A step keeps what the resource was
before, secrets sealed as they were; its revision is that of the change. So whichever control
process finds an apply that nobody works on, and whenever it does, it can take it back: after the
time to confirm is over, or where the process that carried it out has ended.

    running -> done | failed                            without a time to confirm
    running -> waiting -> confirmed | taking_back       with one
    running -> taking_back -> taken_back                a step failed, or the process ended
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from hashlib import sha256
from secrets import token_bytes

from gateway.control.api.failures import Report, bug_problem
from gateway.control.api.render import moment
from gateway.control.auth.principal import Principal, Scope, system
from gateway.control.changes.steps import Step
from gateway.control.problems import ApiProblem, not_found
from gateway.control.registry import Done, Registry
from gateway.control.resources.kinds import SECRETS, random_id
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.store.interface import (
    LEASE,
    MAX_BYTES,
    Check,
    Conflict,
    Create,
    Delete,
    Key,
    Lease,
    NotFound,
    Replace,
    Store,
    StoreError,
    Write,
)
from gateway.control.turns import Turns

APPLY = "apply"
STEP = "apply_step"
LEASE_S = 15
WAITING_MAX = 16  # applies of a tenant that are carried out, or wait for that
KEPT_MAX = 500  # of a tenant, those that are over too
AGAIN_S = 5
KEPT_S = 86_400.0  # an apply that is over
SWEEP_S = 0.5
UNDER_WAY = ("running", "taking_back")
WAITING = "waiting"
HIDDEN = {"key", "request"}  # what only the process itself needs
OVER = ("done", "failed", "confirmed", "taken_back")


@dataclass(slots=True)
class _Job:
    """An apply that this process carries out. What it sets may be secret, so it is here alone."""

    id: str
    steps: Sequence[Step]
    who: Principal
    tenant: str
    lease: Lease
    revision: int  # of the apply: nobody else has moved it while it has this one


@dataclass(slots=True)
class Applies:
    """The applies of all tenants. `run` carries out and takes back, for as long as it runs."""

    store: Store
    registry: Registry
    clock: Callable[[], float] = time.time
    holder: str = field(default_factory=lambda: token_bytes(8).hex())
    sweep_s: float = SWEEP_S
    report: Report = lambda where, error: ""
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _turns: Turns = field(default_factory=lambda: Turns(WAITING_MAX))

    # ---- what the API asks ----

    def get(self, id: str, who: Principal) -> Record:
        """Return an apply. Raises ApiProblem 404."""
        record = self.registry.mirror.get(APPLY, id)
        if record is None or not who.sees(record.tenant):
            raise not_found(APPLY, id)
        return record

    def all(self, who: Principal, tenant: str) -> list[Record]:
        """Return the applies of a tenant, the newest first."""
        if not who.sees(tenant):
            return []
        found = self.registry.mirror.of_kind(APPLY, tenant)
        return sorted(found, key=lambda one: -float(one.value["created_at"]))

    def rendered(self, record: Record) -> Table:
        """Return an apply as the API answers it: of the first `done` steps it is the work."""
        done = record.value["done"]
        if done is None:
            done = max((each.value["index"] + 1 for each in self._steps(record.id)), default=0)
        times = {key: moment(record.value[key]) for key in ("created_at", "confirm_by")}
        told = {**record.value, **times, "done": done, "revision": record.revision}
        return {"id": record.id, **{name: one for name, one in told.items() if name not in HIDDEN}}

    async def begin(
        self,
        steps: Sequence[Step],
        confirm_s: int,
        who: Principal,
        tenant: str,
        key: str | None = None,
    ) -> Record:
        """
        Begin an apply; it goes on after this has returned. Raises ApiProblem.

        With an Idempotency-Key that the same one has used already, return that apply: 422 if it
        was another one.
        """
        who.need(Scope.ADMIN)
        asked = [who.actor, tenant, key, [asdict(step) for step in steps], confirm_s]
        request = sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        noise = token_bytes(16) if key is None else _noise(who, tenant, key)
        id = random_id(APPLY, noise)  # of one key there is one, whichever processes are asked
        if (known := self.registry.mirror.get(APPLY, id)) is not None:
            return _same(known, request)
        await self._make_room(tenant)
        value = {
            "tenant": tenant,
            "actor": who.actor,
            "key": key,
            "request": request,
            "state": "running",
            "confirm_s": confirm_s,
            "confirm_by": None,
            "created_at": self.clock(),
            "done": None,
            "problem": None,
            "left": [],
            "steps": [step.named() for step in steps],
        }
        _judge_size(value)
        try:
            lease = await self.store.acquire(_lease(id), self.holder, LEASE_S)
        except Conflict:
            raise _busy() from None
        revision = await self._commit([Create(Key(APPLY, id), bytes_of(value))], who)
        job = self._jobs[id] = _Job(id, steps, who, tenant, lease, revision)
        self._turns.add(tenant, partial(self._take_turn, job))
        return self.get(id, who)

    async def _make_room(self, tenant: str) -> None:
        """Forget a tenant's oldest apply if he has many. Raises ApiProblem 429 if he may not."""
        if self._turns.is_full(tenant):
            text = f"{WAITING_MAX} applies of this tenant wait to be carried out already"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=AGAIN_S)
        found = list(self.registry.mirror.of_kind(APPLY, tenant))
        if len(found) < KEPT_MAX:
            return
        over = [each for each in found if each.value["state"] in OVER]
        if not over:
            text = f"{KEPT_MAX} applies of this tenant wait to be confirmed"
            raise ApiProblem(429, "rate_limited", text, retry_after_s=AGAIN_S)
        await self._forget(min(over, key=lambda each: float(each.value["created_at"])))

    async def confirm(self, id: str, who: Principal) -> Record:
        """Keep what an apply has changed. Raises ApiProblem 409 if it does not wait for that."""
        who.need(Scope.ADMIN)
        record = self.get(id, who)
        if record.value["state"] != WAITING or self.clock() >= record.value["confirm_by"]:
            raise _wrong_state(record, "waits for no confirmation")
        await self._commit([self._moved(record, state="confirmed")], who)
        await self._forget_steps(id)
        return self.get(id, who)

    async def take_back(self, id: str, who: Principal) -> Record:
        """Take an apply back before its time is over. Raises ApiProblem 409 if it can not be."""
        who.need(Scope.ADMIN)
        record = self.get(id, who)
        if record.value["state"] != WAITING:
            raise _wrong_state(record, "is not waiting")
        # The sweep of whichever process comes first does it.
        await self._commit([self._moved(record, confirm_by=self.clock())], who)
        return self.get(id, who)

    # ---- the work ----

    async def run(self) -> None:
        """Carry out what is begun here, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._turns.run())
            group.create_task(self._keep_alive_for_ever())

    async def _keep_alive_for_ever(self) -> None:
        """Hold on to what is carried out, and to what waits for its turn."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            for job in list(self._jobs.values()):
                with contextlib.suppress(StoreError):  # the check of each step says if it is lost
                    await self.store.keep_alive(job.lease)

    async def _take_turn(self, job: _Job) -> None:
        try:
            await self._carry_out(job)
        except (StoreError, ApiProblem):
            return  # the lease runs out, and the sweep sees to what was done
        except Exception as error:
            self.report(f"apply {job.id}", error)
        finally:
            del self._jobs[job.id]

    async def sweep_for_ever(self) -> None:
        """Take back what was not confirmed or not finished, and forget what is long over."""
        while True:
            await asyncio.sleep(self.sweep_s)
            for record in list(self.registry.mirror.of_kind(APPLY)):
                try:
                    await self._see_to(record)
                except (StoreError, ApiProblem):
                    continue  # another process was faster, or the store is away: the next round

    async def _carry_out(self, job: _Job) -> None:
        problem: ApiProblem | None = None
        done = 0
        for step in job.steps:
            try:
                await self._do(job, done, step)
            except ApiProblem as error:
                problem = error
                break
            except StoreError:
                raise
            except Exception as error:
                problem = bug_problem(self.report(f"apply {job.id}, step {done}", error))
                break
            done += 1
        record = self.get(job.id, job.who)
        changes = self._outcome(record, done, problem)
        await self._commit([self._moved(record, done=done, **changes)], job.who)
        await self.store.release(job.lease)

    def _outcome(self, record: Record, done: int, problem: ApiProblem | None) -> Table:
        """Return what an apply has come to when its steps are over."""
        confirm_s = record.value["confirm_s"]
        if problem is not None:
            told = {**problem.as_json(), "step": done}
            return {"state": "taking_back" if confirm_s else "failed", "problem": told}
        if confirm_s:
            return {"state": WAITING, "confirm_by": self.clock() + confirm_s}
        return {"state": "done"}

    async def _do(self, job: _Job, index: int, step: Step) -> None:
        """Carry out one step and note it, in one commit."""
        step = await self.without_known_secrets(step)

        def note(before: Table | None) -> Callable[[Done], list[Write]]:
            is_ours = Check(Key(APPLY, job.id), job.revision)
            return lambda done: [is_ours, self._note(job, index, done.record, before)]

        if step.action == "create":
            await self.registry.create(
                step.kind, step.body, job.who, tenant=job.tenant, beside=note(None)
            )
            return
        old = self.registry.get(step.kind, step.id, job.who)
        if old.tenant not in (job.tenant, ""):
            raise not_found(step.kind, step.id)
        expected = old.revision if step.expected is None else step.expected
        beside = note(old.value)
        if step.action == "update":
            await self.registry.update(
                step.kind, step.id, step.body, job.who, expected=expected, beside=beside
            )
        else:
            await self.registry.delete(
                step.kind, step.id, job.who, expected=expected, beside=beside
            )

    def _note(self, job: _Job, index: int, record: Record, before: Table | None) -> Write:
        value = {
            "tenant": job.tenant,
            "apply": job.id,
            "index": index,
            "kind": record.kind,
            "id": record.id,
            "before": before,
        }
        return Create(Key(STEP, f"{job.id}.{index:05d}"), bytes_of(value))

    async def without_known_secrets(self, step: Step) -> Step:
        """Return an update without the secrets that the resource has already."""
        if step.action != "update":
            return step
        body = dict(step.body)
        for name in SECRETS & set(body):
            try:
                known = await self.registry.reveal(step.kind, step.id, name, system("apply"))
            except ApiProblem:  # it has none yet
                continue
            if body[name] == known.reveal().decode():
                del body[name]
        return step.with_body(body)

    # ---- taking back ----

    async def _see_to(self, record: Record) -> None:
        state, now = record.value["state"], self.clock()
        is_late = state == WAITING and now >= record.value["confirm_by"]
        is_left = state in UNDER_WAY and self.registry.mirror.get(LEASE, _lease(record.id)) is None
        if is_late or is_left:
            lease = await self.store.acquire(_lease(record.id), self.holder, LEASE_S)
            try:
                await self._end(self.get(record.id, system("apply")), lease)
            finally:
                await self.store.release(lease)
        elif state in OVER and now - record.value["created_at"] > KEPT_S:
            await self._forget(record)

    async def _end(self, record: Record, lease: Lease) -> None:
        """Take an apply back, or, if nobody was asked to confirm it, say how far it came."""
        who = system(f"apply:{record.id}")
        state, confirm_s = record.value["state"], record.value["confirm_s"]
        if state in OVER or (state == WAITING and self.clock() < record.value["confirm_by"]):
            return
        if state == "running" and not confirm_s:
            text = "the control process ended before the apply was done"
            problem = ApiProblem(503, "interrupted", text).as_json()
            await self._commit([self._moved(record, state="failed", problem=problem)], who)
            return
        if state != "taking_back":
            await self._commit([self._moved(record, state="taking_back")], who)
            record = self.get(record.id, who)
        left = await self._undo(record.id, who, lease)
        moved = self._moved(self.get(record.id, who), state="taken_back", left=left)
        await self._commit([moved], who)
        await self._forget_steps(record.id)

    async def _undo(self, id: str, who: Principal, lease: Lease) -> list[Table]:
        """Undo all steps, the last one first; return what had to be left as it is, and why."""
        left: list[Table] = []
        first: dict[tuple[str, str], Table | None] = {}
        steps = self._steps(id)
        for step in reversed(steps):
            first[step.value["kind"], step.value["id"]] = step.value["before"]
        seen: set[tuple[str, str]] = set()
        for step in reversed(steps):
            kind, of = step.value["kind"], step.value["id"]
            if (kind, of) in seen:
                continue
            seen.add((kind, of))
            await self.store.keep_alive(lease)
            try:
                await self.registry.restore(kind, of, first[kind, of], step.revision, who)
            except ApiProblem as error:
                left.append({"kind": kind, "id": of, "detail": error.detail})
        return left

    def _steps(self, id: str) -> list[Record]:
        """Return the steps of an apply that were done, in their order."""
        found = self.registry.mirror.of_kind(STEP)
        steps = (each for each in found if each.value["apply"] == id)
        return sorted(steps, key=lambda each: int(each.value["index"]))

    async def _forget(self, record: Record) -> None:
        await self._forget_steps(record.id)
        await self.store.commit([Delete(record.key, record.revision)], "system:apply")

    async def _forget_steps(self, id: str) -> None:
        for step in self._steps(id):
            try:
                await self.store.commit([Delete(step.key, step.revision)], "system:apply")
            except (Conflict, NotFound):
                continue

    # ---- the store ----

    def _moved(self, record: Record, **changes: object) -> Replace:
        return Replace(record.key, bytes_of({**record.value, **changes}), record.revision)

    async def _commit(self, writes: Sequence[Write], who: Principal) -> int:
        try:
            revision = await self.store.commit(writes, who.actor)
        except (Conflict, NotFound):
            raise _busy() from None
        await self.registry.mirror.caught_up(revision)
        return revision


def _judge_size(value: Table) -> None:
    """Raise ApiProblem 413 for an apply that the store could not keep."""
    if len(bytes_of(value)) > MAX_BYTES // 2:  # what it comes to is written with it
        text = f"{len(value['steps'])} steps are more than one apply can have: make several of them"
        raise ApiProblem(413, "too_large", text)


def _noise(who: Principal, tenant: str, key: str) -> bytes:
    """Return what the id of an apply with an Idempotency-Key is made of."""
    return sha256(json.dumps([who.actor, tenant, key]).encode()).digest()


def _same(known: Record, request: str) -> Record:
    """Return the apply of a key that is asked for again. Raises ApiProblem 422."""
    if known.value.get("request", request) != request:
        text = "Idempotency-Key: was used within the last 24 hours with another request"
        raise ApiProblem(422, "idempotency_key_reused", text)
    return known


def _busy() -> ApiProblem:
    text = "somebody else changes the same apply at this moment"
    return ApiProblem(409, "conflict", text)


def _lease(id: str) -> str:
    return f"apply:{id}"


def _wrong_state(record: Record, text: str) -> ApiProblem:
    return ApiProblem(409, "conflict", f"{record.id}: {text}; it is {record.value['state']}")
