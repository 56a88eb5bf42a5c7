"""What every store does, driver by driver."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing

import pytest

from gateway.control.store.interface import (
    ABSENT,
    EXPIRED,
    MAX_BYTES,
    MAX_OPERATIONS,
    MAX_WRITES,
    Change,
    Check,
    Conflict,
    Create,
    Delete,
    Key,
    Lease,
    NotFound,
    Replace,
    Store,
    TooOld,
    Write,
)
from gateway.errors import UsageError
from tests.control.conftest import Opener

KEY, OTHER = Key("tunnel", "t-1"), Key("tunnel", "t-2")
ONE, TWO = b'{"n": 1}', b'{"n": 2}'


async def test_an_object_is_at_the_revision_of_its_last_write(store: Store) -> None:
    first = await store.commit([Create(KEY, ONE)], "anna")
    second = await store.commit([Replace(KEY, TWO, first)], "bert")
    assert second > first
    found = await store.get(KEY)
    assert (found.value, found.revision) == (TWO, second)
    assert (await store.get(KEY, first)).value == ONE


async def test_a_conflict_names_the_key_and_both_revisions(store: Store) -> None:
    first = await store.commit([Create(KEY, ONE)], "anna")
    second = await store.commit([Replace(KEY, TWO, first)], "anna")
    with pytest.raises(Conflict, match=rf"tunnel/t-1: is at revision {second}, not {first}") as e:
        await store.commit([Delete(KEY, first)], "bert")
    assert (e.value.key, e.value.expected, e.value.actual) == (KEY, first, second)
    with pytest.raises(Conflict, match=f"tunnel/t-1: exists already, at revision {second}"):
        await store.commit([Create(KEY, ONE)], "bert")


@pytest.mark.parametrize("write", [Replace(KEY, ONE, 7), Delete(KEY, 7), Check(KEY, 7)])
async def test_what_does_not_exist_is_not_found(store: Store, write: Write) -> None:
    with pytest.raises(NotFound, match="tunnel/t-1: does not exist"):
        await store.commit([write], "anna")
    with pytest.raises(NotFound):
        await store.get(KEY)


async def test_a_commit_happens_wholly_or_not_at_all(store: Store) -> None:
    first = await store.commit([Create(OTHER, ONE)], "anna")
    with pytest.raises(Conflict):
        await store.commit([Create(KEY, ONE), Replace(OTHER, TWO, first - 1)], "anna")
    with pytest.raises(NotFound):
        await store.get(KEY)
    assert await store.changes(first) == []


async def test_a_check_holds_what_it_names(store: Store) -> None:
    gateway = Key("border-gateway", "b")
    first = await store.commit([Create(gateway, ONE)], "anna")
    await store.commit([Check(gateway, first), Create(KEY, ONE)], "anna")
    await store.commit([Delete(gateway, first)], "anna")
    with pytest.raises(NotFound, match="border-gateway/b"):
        await store.commit([Check(gateway, first), Create(OTHER, ONE)], "anna")
    await store.commit([Check(gateway, ABSENT), Create(OTHER, ONE)], "anna")


async def test_pages_are_of_one_moment(store: Store) -> None:
    keys = [Key("tunnel", f"t-{number}") for number in range(5)]
    await store.commit([Create(key, ONE) for key in keys], "anna")
    page = await store.list("tunnel", limit=2)
    await store.commit([Create(Key("tunnel", "t-2a"), ONE)], "bert")
    await store.commit([Delete(keys[4], page.objects[0].revision)], "bert")
    found = list(page.objects)
    while page.after is not None:
        page = await store.list("tunnel", at=page.revision, after=page.after, limit=2)
        found += page.objects
    assert [each.key for each in found] == keys


async def test_a_tenant_has_its_own_objects(store: Store) -> None:
    def of(tenant: str) -> bytes:
        return json.dumps({"tenant": tenant}).encode()

    before = await store.revision()
    made = await store.commit([Create(KEY, of("red")), Create(OTHER, of("blue"))], "anna")
    moved = await store.commit([Replace(KEY, of("blue"), made)], "anna")

    async def ids(tenant: str, at: int | None = None) -> list[str]:
        page = await store.list("tunnel", tenant=tenant, at=at)
        return [each.key.id for each in page.objects]

    assert await ids("red") == []
    assert await ids("blue") == ["t-1", "t-2"]
    assert await ids("red", made) == ["t-1"]
    await store.commit([Delete(KEY, moved)], "anna")
    assert await ids("blue") == ["t-2"]
    assert await store.kinds() == ["tunnel"]
    assert await store.kinds(before) == []


async def test_a_large_page_of_a_tenant_is_whole(store: Store) -> None:
    value = b'{"tenant": "red"}'
    for start in range(0, 240, MAX_WRITES):
        keys = [Key("tunnel", f"t-{start + each:04}") for each in range(MAX_WRITES)]
        await store.commit([Create(key, value) for key in keys], "anna")
    page = await store.list("tunnel", tenant="red", limit=239)
    assert (len(page.objects), page.after) == (239, "t-0238")


async def test_the_history_is_an_audit_log(store: Store) -> None:
    start = await store.revision()
    first = await store.commit([Create(KEY, ONE), Create(OTHER, ONE)], "anna")
    second = await store.commit([Replace(KEY, TWO, first), Delete(OTHER, first)], "bert")
    made, changed = await store.changes(start)
    assert (made.revision, made.actor) == (first, "anna")
    assert made.changes == (Change(KEY, ONE, None), Change(OTHER, ONE, None))
    assert (changed.revision, changed.actor) == (second, "bert")
    assert changed.changes == (Change(KEY, TWO, ONE), Change(OTHER, None, ONE))
    assert made.time <= changed.time <= time.time() < made.time + 60
    assert await store.changes(start, limit=1) == [made]


async def test_a_watch_sees_what_another_client_writes(opener: Opener) -> None:
    ours, theirs = await opener(), await opener()
    async with aclosing(ours.watch(await ours.revision())) as watch:
        for number in range(5):
            revision = await theirs.commit([Create(Key("tunnel", f"t-{number}"), ONE)], "bert")
            async with asyncio.timeout(3):
                assert (await anext(watch)).revision == revision


async def test_a_revision_that_is_forgotten_is_too_old(store: Store) -> None:
    first = await store.commit([Create(KEY, ONE)], "anna")
    second = await store.commit([Delete(KEY, first)], "anna")
    third = await store.commit([Create(KEY, TWO)], "anna")
    await store.compact(second)
    await store.compact(first)  # done already
    for call in (store.get(KEY, first), store.list("tunnel", at=first), store.changes(first)):
        with pytest.raises(TooOld, match=f"revision {first} is not in the store's history"):
            await call
    async with aclosing(store.watch(first)) as watch:
        with pytest.raises(TooOld):
            await anext(watch)
    async with aclosing(store.watch(second)) as watch:
        assert (await anext(watch)).revision == third
    assert (await store.list("tunnel", at=second)).objects == ()


async def test_a_revision_that_is_yet_to_come_is_not_waited_for(store: Store) -> None:
    later = await store.revision() + 1000
    with pytest.raises(TooOld):
        await store.get(KEY, later)
    async with aclosing(store.watch(later)) as watch:
        with pytest.raises(TooOld):
            await anext(watch)


@pytest.mark.parametrize(
    ("writes", "said"),
    [
        ([], f"1 to {MAX_OPERATIONS} operations, not 0"),
        ([Create(KEY, ONE)] * 64, "not 128"),
        ([Replace(KEY, ONE, 7)] * (MAX_WRITES + 1), "not 129"),
        ([Create(KEY, ONE), Delete(KEY, 4)], "names a key twice"),
        ([Create(KEY, b"[1]")], "not a JSON object"),
        ([Create(KEY, b"{")], "not JSON"),
        ([Create(KEY, b'{"tenant": "a/b"}')], "tenant: 'a/b'"),
        ([Replace(KEY, ONE, 0)], "expected revision 0 is none"),
        ([Create(Key("lease", "x"), ONE)], "leases are acquired"),
        ([Create(KEY, b'{"n": "' + b"x" * MAX_BYTES + b'"}')], "at most 1048576 bytes"),
    ],
)
async def test_what_never_could_be_is_refused(store: Store, writes: list[Write], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        await store.commit(writes, "anna")
    with pytest.raises(NotFound):
        await store.get(KEY)


@pytest.mark.parametrize(("kind", "name"), [("a/b", "x"), ("K", "x"), ("k", ""), ("k", "a\0")])
def test_a_key_has_no_characters_that_mean_something(kind: str, name: str) -> None:
    with pytest.raises(UsageError):
        Key(kind, name)


async def test_the_largest_commit_is_taken(store: Store) -> None:
    filler = "x" * (MAX_BYTES // MAX_WRITES - 100)
    value = json.dumps({"tenant": "red", "filler": filler}).encode()
    keys = [Key("tunnel", f"t-{number}") for number in range(MAX_WRITES)]
    first = await store.commit([Create(key, value) for key in keys], "anna")
    moved = value.replace(b"red", b"sea")
    await store.commit([Replace(key, moved, first) for key in keys], "anna")
    assert len((await store.list("tunnel", tenant="sea")).objects) == MAX_WRITES
    more = [Key("tunnel", f"small-{number}") for number in range(MAX_OPERATIONS // 2)]
    await store.commit([Create(key, b'{"tenant": "red"}') for key in more], "anna")
    at = (await store.get(more[0])).revision
    checks = [Check(key, at) for key in more]
    await store.commit([*checks, *(Create(Key("row", f"r-{n}"), ONE) for n in range(31))], "anna")


async def test_of_two_clients_that_write_the_same_key_one_wins_each_time(opener: Opener) -> None:
    clients = [await opener(), await opener()]
    start = await clients[0].commit([Create(KEY, b'{"n": 0}')], "start")

    async def add(client: Store, name: str) -> int:
        lost = 0
        for _ in range(20):
            while True:
                found = await client.get(KEY)
                value = json.dumps({"n": json.loads(found.value)["n"] + 1}).encode()
                try:
                    await client.commit([Replace(KEY, value, found.revision)], name)
                    break
                except Conflict:
                    lost += 1
        return lost

    await asyncio.gather(*(add(client, f"c{n}") for n, client in enumerate(clients)))
    assert json.loads((await clients[0].get(KEY)).value)["n"] == 40
    actors = [each.actor for each in await clients[1].changes(start)]
    assert (actors.count("c0"), actors.count("c1")) == (20, 20)


async def test_many_commits_at_once_are_all_there(store: Store) -> None:
    start = await store.revision()
    writes = [Create(Key("tunnel", f"t-{number}"), ONE) for number in range(60)]
    revisions = await asyncio.gather(*(store.commit([write], "anna") for write in writes))
    assert len(set(revisions)) == 60
    assert [each.revision for each in await store.changes(start)] == sorted(revisions)


async def test_a_lease_has_one_holder(opener: Opener) -> None:
    ours, theirs = await opener(), await opener()
    lease = await ours.acquire("allocator", "a", 30)
    with pytest.raises(Conflict, match="lease/allocator"):
        await theirs.acquire("allocator", "b", 30)
    await ours.keep_alive(lease)
    await ours.commit([Check(lease.key, lease.revision), Create(KEY, ONE)], "a")
    await ours.release(lease)
    taken = await theirs.acquire("allocator", "b", 30)
    with pytest.raises(Conflict):
        await ours.keep_alive(lease)
    with pytest.raises(Conflict):
        await ours.commit([Check(lease.key, lease.revision), Create(OTHER, ONE)], "a")
    await ours.release(lease)
    await theirs.keep_alive(taken)


async def test_a_holder_that_was_restarted_takes_its_lease_anew(opener: Opener) -> None:
    before, after = await opener(), await opener()
    old = await before.acquire("node-1", "n1", 30)
    new = await after.acquire("node-1", "n1", 30)
    await after.keep_alive(new)
    with pytest.raises(Conflict):
        await before.keep_alive(old)
    await before.release(old)
    await after.keep_alive(new)


async def test_a_lease_that_nobody_keeps_alive_ends_and_is_told(opener: Opener) -> None:
    ours, theirs = await opener(), await opener()
    lease = await ours.acquire("node-1", "n1", 2)
    async with aclosing(theirs.watch(lease.revision)) as watch, asyncio.timeout(8):
        for _ in range(3):
            await asyncio.sleep(0.7)  # late enough in all, and never too late
            await ours.keep_alive(lease)
        kept = time.monotonic()
        told = await anext(watch)
    assert time.monotonic() - kept > 1.9
    assert [(each.key, each.value) for each in told.changes] == [(lease.key, None)]
    assert told.actor == EXPIRED
    with pytest.raises(NotFound):
        await ours.keep_alive(lease)
    assert isinstance(await theirs.acquire("node-1", "n2", 30), Lease)
