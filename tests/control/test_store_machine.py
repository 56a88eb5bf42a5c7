"""
Both drivers against a plain model: any commits, reads of any revision, watches, leases, crashes.

etcd is a real one, killed with SIGKILL and started again in the middle; SQLite is opened anew. All
that was acknowledged is there afterwards, and a watch that was open goes on.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncGenerator, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.control.store.etcd import EtcdStore
from gateway.control.store.interface import (
    ABSENT,
    LEASE,
    Check,
    Commit,
    Conflict,
    Create,
    Delete,
    Key,
    Lease,
    NotFound,
    Object,
    Replace,
    Store,
    TooOld,
    Write,
    lease_value,
)
from gateway.control.store.sqlite import open_sqlite
from lab.etcd import Etcd
from tests.control.model import Model

T = TypeVar("T")
KINDS = ("gateway", "tunnel")
KEYS = [Key(kind, name) for kind in KINDS for name in ("a", "b", "b0")]
LEASE_NAMES = ("allocator", "node-1")
TENANTS = ("", "red", "blue")
TTL_S = 60
_prefixes = itertools.count()

values = st.builds(
    lambda n, tenant: json.dumps({"n": n, "tenant": tenant}).encode(),
    st.integers(0, 9),
    st.sampled_from(TENANTS),
)
# How far a writer's knowledge is from what is: mostly right, or else something must be refused.
misses = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
# Of what exists; what does not is created, or the other way round by one who is mistaken.
verbs = st.sampled_from([Replace, Replace, Replace, Delete, Check])
plans = st.lists(
    st.tuples(st.sampled_from(KEYS), verbs, values, misses),
    min_size=1,
    max_size=5,
    unique_by=lambda plan: plan[0],
)
moments = st.integers(0, 99)  # counted back from now


class Place(Protocol):
    """Where one example's store is, and how it crashes."""

    async def open(self) -> Store: ...

    def crash(self) -> None: ...

    def leave(self) -> None: ...


class SqlitePlace:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()

    async def open(self) -> Store:
        return await open_sqlite(Path(self._folder.name) / "store.db")

    def crash(self) -> None:
        """A file needs no server; what a kill in a write does has a test of its own."""

    def leave(self) -> None:
        self._folder.cleanup()


class EtcdPlace:
    def __init__(self, member: Etcd) -> None:
        self._member = member
        self._prefix = f"/machine-{next(_prefixes)}/"

    async def open(self) -> Store:
        return EtcdStore([self._member.target], self._prefix)

    def crash(self) -> None:
        self._member.kill()
        self._member.start()
        self._member.wait()

    def leave(self) -> None:
        """Its prefix is never used again."""


@contextmanager
def refused(refusal: tuple[Key, bool] | None) -> Iterator[None]:
    """Expect the error that the model names, or none."""
    if refusal is None:
        yield
        return
    key, exists = refusal
    with pytest.raises(Conflict if exists else NotFound) as error:
        yield
    assert error.value.key == key


def plain(commits: Sequence[Commit]) -> list[tuple[int, str, object]]:
    return [(each.revision, each.actor, each.changes) for each in commits]


class StoreMachine(RuleBasedStateMachine):
    """Two clients of one store, a watch that stays open, and the model."""

    etcd: ClassVar[Etcd | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place: Place = EtcdPlace(self.etcd) if self.etcd else SqlitePlace()
        self.clients: list[Store] = []
        self.leases: dict[str, Lease] = {}
        self.crashes = 0

    def run(self, call: Coroutine[object, object, T]) -> T:
        return self.runner.run(call)

    @initialize()
    def begin(self) -> None:
        self.clients = [self.run(self.place.open()) for _ in range(2)]
        self.model = Model(self.run(self.clients[0].revision()))
        self.watch: AsyncGenerator[Commit, None] = self.clients[1].watch(self.model.start)
        self.watched = self.model.start
        made = [
            Create(key, json.dumps({"n": n, "tenant": TENANTS[n % 3]}).encode())
            for n, key in enumerate(KEYS)
        ]
        self.model.apply(made, "first", self.run(self.clients[0].commit(made, "first")))

    def moment(self, back: int) -> int:
        """Return a revision that the model knows, old or new."""
        known = sorted(self.model.states, reverse=True)
        return known[back % len(known)]

    @rule(plan=plans, client=st.integers(0, 1))
    def commit(self, plan: list[tuple[Key, type[Write], bytes, int]], client: int) -> None:
        writes: list[Write] = []
        for key, verb, value, miss in plan:
            actual = self.model.revision_of(key)
            expected = max(actual + miss, 0 if verb is Check else 1)
            if miss == (0 if actual == ABSENT else 1):
                writes.append(Create(key, value))
            elif verb is Replace:
                writes.append(Replace(key, value, expected))
            else:
                writes.append(Delete(key, expected) if verb is Delete else Check(key, expected))
        refusal = self.model.refusal(writes)
        with refused(refusal):
            revision = self.run(self.clients[client].commit(writes, f"c{client}"))
        if refusal is None:
            self.model.apply(writes, f"c{client}", revision)

    @rule(key=st.sampled_from(KEYS), back=moments, client=st.integers(0, 1))
    def get(self, key: Key, back: int, client: int) -> None:
        at = self.moment(back)
        wanted = self.model.at(at).get(key)
        if at < self.model.compacted:
            with pytest.raises(TooOld):
                self.run(self.clients[client].get(key, at))
        elif wanted is None:
            with pytest.raises(NotFound):
                self.run(self.clients[client].get(key, at))
        else:
            assert self.run(self.clients[client].get(key, at)) == wanted

    @rule(
        kind=st.sampled_from([*KINDS, LEASE]),
        tenant=st.sampled_from([None, *TENANTS]),
        back=moments,
        limit=st.integers(1, 4),
    )
    def list_pages(self, kind: str, tenant: str | None, back: int, limit: int) -> None:
        at = self.moment(back)
        if at < self.model.compacted:
            with pytest.raises(TooOld):
                self.run(self.clients[0].list(kind, at=at))
            return
        self.compare_pages(kind, tenant, at, limit)
        kinds = {key.kind for key in self.model.at(at)}
        assert self.run(self.clients[0].kinds(at)) == sorted(kinds)

    def compare_pages(self, kind: str, tenant: str | None, at: int, limit: int) -> None:
        found: list[Object] = []
        after = None
        while True:
            call = self.clients[0].list(kind, tenant=tenant, at=at, after=after, limit=limit)
            page = self.run(call)
            assert page.revision == at
            found += page.objects
            assert len(found) <= len(KEYS)
            if (after := page.after) is None:
                break
        assert found == self.model.listed(kind, tenant, at)

    @rule(back=moments, limit=st.integers(1, 5))
    def read_history(self, back: int, limit: int) -> None:
        after = self.moment(back)
        if after < self.model.compacted:
            with pytest.raises(TooOld):
                self.run(self.clients[0].changes(after))
            return
        assert (
            plain(self.run(self.clients[0].changes(after, limit)))
            == (self.model.after(after)[:limit])
        )

    @rule(back=moments)
    def watch_from(self, back: int) -> None:
        after = max(self.moment(back), self.model.compacted)
        watch = self.clients[0].watch(after)
        wanted = self.model.after(after)
        assert self.run(self._next(watch, len(wanted))) == wanted
        self.run(watch.aclose())

    @rule()
    def go_on_watching(self) -> None:
        wanted = self.model.after(self.watched)
        assert self.run(self._next(self.watch, len(wanted))) == wanted
        self.watched = self.model.last

    async def _next(
        self, watch: AsyncGenerator[Commit, None], count: int
    ) -> list[tuple[int, str, object]]:
        async with asyncio.timeout(10):
            return plain([await anext(watch) for _ in range(count)])

    @rule(name=st.sampled_from(LEASE_NAMES), holder=st.sampled_from("xy"))
    def acquire(self, name: str, holder: str) -> None:
        held = self.leases.get(name)
        if held is not None and held.holder != holder:
            with pytest.raises(Conflict):
                self.run(self.clients[0].acquire(name, holder, TTL_S))
            return
        lease = self.run(self.clients[0].acquire(name, holder, TTL_S))
        value = lease_value(holder, TTL_S)
        taken = self.model.revision_of(lease.key)
        write = Replace(lease.key, value, taken) if taken else Create(lease.key, value)
        self.model.apply([write], holder, lease.revision)
        self.leases[name] = lease

    @precondition(lambda self: self.leases)
    @rule(client=st.integers(0, 1))
    def keep_alive(self, client: int) -> None:
        for lease in self.leases.values():
            self.run(self.clients[client].keep_alive(lease))

    @precondition(lambda self: self.leases)
    @rule(name=st.sampled_from(LEASE_NAMES))
    def release(self, name: str) -> None:
        if (lease := self.leases.pop(name, None)) is None:
            return
        self.run(self.clients[1].release(lease))
        (ended,) = self.run(self.clients[0].changes(self.model.last))
        self.model.apply([Delete(lease.key, lease.revision)], lease.holder, ended.revision)
        with pytest.raises(NotFound):
            self.run(self.clients[1].keep_alive(lease))

    @rule(back=moments)
    def compact(self, back: int) -> None:
        self.go_on_watching()
        to = self.moment(back)
        self.run(self.clients[0].compact(to))
        self.model.compacted = max(self.model.compacted, to)

    @precondition(lambda self: self.crashes < 1)
    @rule()
    def crash(self) -> None:
        self.crashes += 1
        self.place.crash()

    @rule()
    def open_another_client(self) -> None:
        self.run(self.clients[0].close())
        self.clients[0] = self.run(self.place.open())

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        if not self.clients:
            return
        for kind in (*KINDS, LEASE):
            page = self.run(self.clients[0].list(kind))
            assert list(page.objects) == self.model.listed(kind, None, self.model.last)
            assert page.revision >= self.model.last > ABSENT
            self.compare_pages(kind, None, self.model.last, 2)
            self.compare_pages(kind, "blue", self.model.last, 1)

    def teardown(self) -> None:
        try:
            if self.clients:
                self.run(self.watch.aclose())
        finally:
            for client in self.clients:
                self.run(client.close())
            self.runner.close()
            self.place.leave()


def bounded(examples: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


def test_sqlite_is_as_the_model() -> None:
    run_state_machine_as_test(StoreMachine, settings=bounded(60))


def test_etcd_is_as_the_model(etcd: Etcd) -> None:
    class EtcdMachine(StoreMachine):
        pass

    EtcdMachine.etcd = etcd
    run_state_machine_as_test(EtcdMachine, settings=bounded(15))
