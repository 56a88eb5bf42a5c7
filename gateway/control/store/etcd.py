"""
The store in an etcd cluster, for several control processes. The revision is etcd's own.

Under a prefix (`/twinspan/` by default):

    o/KIND/ID              the value of an object
    t/KIND/TENANT/ID       empty: which objects a tenant has
    last                   time and actor of the last commit; in the history, those of every commit
    slot/CLIENT/N          a number that names the last commit of one of a client's slots

A commit is one transaction of etcd. It is conditional on the revisions of its objects and of its
slot: when an answer was lost, the commit is sent again, and the slot says whether the first one has
been carried out. So nothing happens twice, also not when a member delivers the first one late.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Any

from aetcd import rpc

from gateway.control.store import interface
from gateway.control.store.etcd_rpc import (
    FIRST_PAUSE_S,
    LIMIT_S,
    LONGEST_PAUSE_S,
    Endpoints,
    OutOfRange,
)
from gateway.control.store.interface import (
    ABSENT,
    Change,
    Check,
    Commit,
    Conflict,
    Create,
    Delete,
    Key,
    Lease,
    NotFound,
    Object,
    Page,
    Replace,
    StoreError,
    TooOld,
    Unavailable,
    Write,
    tenant_of,
)
from gateway.control.store.timed import new_commits, timed
from gateway.control.store.writes import Writes

SLOTS = 16  # commits of one client at the same time
GETS = 100  # in one transaction of reads: etcd takes 128 operations
REVISION = rpc.Compare.MOD


class EtcdStore:
    """
    A Store in the cluster of which `targets` are some members, each host:port.

    A call is given up after `limit_s` seconds without an answer.
    """

    def __init__(
        self,
        targets: Sequence[str],
        prefix: str = "/twinspan/",
        kept: int = interface.KEPT_REVISIONS,
        limit_s: float = LIMIT_S,
    ) -> None:
        self.commits = new_commits()
        self._writes = Writes()
        self._etcd = Endpoints(targets, limit_s)
        self._limit_s = limit_s
        self._prefix = prefix.encode()
        self._kept = kept
        self._last = self._prefix + b"last"
        self._client = secrets.token_hex(8)
        self._slots: asyncio.LifoQueue[bytes] = asyncio.LifoQueue()
        for number in range(SLOTS):
            self._slots.put_nowait(self._prefix + f"slot/{self._client}/{number}".encode())
        self._used: set[bytes] = set()

    async def revision(self) -> int:
        return await self._judge_revision(None)

    async def get(self, key: Key, at: int | None = None) -> Object:
        answer = await self._read(rpc.RangeRequest(key=self._object(key), revision=at or 0), at)
        if not answer.kvs:
            raise NotFound(key)
        return Object(key, answer.kvs[0].value, answer.kvs[0].mod_revision)

    async def list(
        self,
        kind: str,
        *,
        tenant: str | None = None,
        at: int | None = None,
        after: str | None = None,
        limit: int = interface.MAX_PAGE,
    ) -> Page:
        interface.judge_page(kind, limit)
        of_tenant = f"t/{kind}/{tenant}/" if tenant is not None else f"o/{kind}/"
        start = self._prefix + of_tenant.encode()
        first = start if after is None else start + after.encode() + b"\0"
        request = rpc.RangeRequest(key=first, range_end=_end(start), limit=limit, revision=at or 0)
        answer = await self._read(request, at)
        revision = at or answer.header.revision
        if tenant is None:
            objects: Sequence[Object] = [self._read_object(kv) for kv in answer.kvs]
        else:
            ids = [kv.key[len(start) :].decode() for kv in answer.kvs]
            objects = await self._get_all([Key(kind, each) for each in ids], revision)
        return Page(tuple(objects), revision, objects[-1].key.id if answer.more else None)

    async def kinds(self, at: int | None = None) -> Sequence[str]:
        at = await self._judge_revision(at)
        first, end = self._prefix + b"o/", _end(self._prefix + b"o/")
        found: list[str] = []
        while True:
            request = rpc.RangeRequest(
                key=first, range_end=end, limit=1, keys_only=True, revision=at
            )
            answer = await self._read(request, at)
            if not answer.kvs:
                return found
            found.append(self._read_key(answer.kvs[0].key).kind)
            first = _end(self._prefix + f"o/{found[-1]}/".encode())

    async def _get_all(self, keys: Sequence[Key], at: int) -> Sequence[Object]:
        objects: list[Object] = []
        for start in range(0, len(keys), GETS):
            gets = [_get(self._object(key), at) for key in keys[start : start + GETS]]
            answer = await self._read(rpc.TxnRequest(success=gets), at)
            objects += [self._read_object(r.response_range.kvs[0]) for r in answer.responses]
        return objects

    def write_trouble(self) -> str | None:
        return self._writes.trouble_of_late()

    @timed
    async def commit(self, writes: Sequence[Write], actor: str) -> int:
        interface.judge_writes(writes, actor)
        return await self._commit(writes, actor)

    async def _commit(self, writes: Sequence[Write], actor: str, token: int = 0) -> int:
        """Carry out writes, with the etcd lease `token` attached to what is put, if it is not 0."""
        slot = await self._slots.get()
        name = secrets.token_bytes(16)
        self._used.add(slot)
        try:
            with self._writes.noted():
                while True:
                    done = await self._commit_once(writes, actor, token, slot, name)
                    if done is not None:
                        break
        finally:
            self._slots.put_nowait(slot)
        if done % interface.COMPACT_EVERY == 0:
            with suppress(Unavailable):  # the commit itself is done
                await self.compact(done - self._kept)
        return done

    async def _commit_once(
        self, writes: Sequence[Write], actor: str, token: int, slot: bytes, name: bytes
    ) -> int | None:
        """Return the revision of the commit; None: an object has changed just now."""
        gets = [_get(slot), *(_get(self._object(write.key)) for write in writes)]
        found = await self._etcd.call(rpc.TxnRequest(success=gets), writes[0].key)
        slot_now, *now = (_one(answer) for answer in found.responses)
        if slot_now is not None and slot_now.value == name:
            return int(slot_now.mod_revision)
        for write, kv in zip(writes, now, strict=True):
            interface.judge_expected(write, _revision(kv))
        if all(isinstance(write, Check) for write in writes):
            return int(found.header.revision)
        compare = [_at(slot, _revision(slot_now))]
        put = [_put(slot, name), _put(self._last, _stamp(actor))]
        for write, kv in zip(writes, now, strict=True):
            compare.append(_at(self._object(write.key), _revision(kv)))
            put += self._operations(write, kv, token)
        answer = await self._etcd.call(rpc.TxnRequest(compare=compare, success=put), writes[0].key)
        return int(answer.header.revision) if answer.succeeded else None

    def _operations(self, write: Write, now: Any, token: int) -> Sequence[Any]:  # noqa: ANN401 - protobuf
        """Return what one write does to the object and to the index of tenants."""
        if isinstance(write, Check):
            return []
        old = None if now is None else self._index(write.key, tenant_of(now.value))
        if isinstance(write, Delete):
            return [_delete(self._object(write.key)), *([_delete(old)] if old else [])]
        assert isinstance(write, Create | Replace)
        new = self._index(write.key, tenant_of(write.value))
        made = [_put(self._object(write.key), write.value, token)]
        if old == new:
            return made
        return [*made, _put(new, b"", token), *([_delete(old)] if old else [])]

    async def changes(self, after: int, limit: int = interface.MAX_PAGE) -> Sequence[Commit]:
        await self._judge_revision(max(after, 1))
        last = _kv_revision(await self._etcd.call(rpc.RangeRequest(key=self._last)))
        commits: list[Commit] = []
        if last <= after:
            return commits
        try:
            async with asyncio.timeout(self._limit_s), aclosing(self.watch(after)) as watch:
                while len(commits) < limit:
                    commits.append(await anext(watch))
                    if commits[-1].revision >= last:
                        break
        except TimeoutError:
            raise Unavailable(f"etcd {self._etcd}: does not give the history") from None
        return commits

    async def watch(self, after: int) -> AsyncGenerator[Commit, None]:
        pause = FIRST_PAUSE_S
        while True:
            try:
                async with aclosing(self._watch(after)) as watch:
                    async for commit in watch:
                        yield commit
                        after = commit.revision
                        pause = FIRST_PAUSE_S
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _watch(self, after: int) -> AsyncGenerator[Commit, None]:
        """Yield commits until the stream breaks. Raises Unavailable then, TooOld."""
        request = rpc.WatchCreateRequest(
            key=self._prefix, range_end=_end(self._prefix), start_revision=after + 1, prev_kv=True
        )
        async with aclosing(self._etcd.watch(request)) as answers:
            async for answer in answers:
                if answer.canceled and answer.compact_revision:
                    raise TooOld(after)
                if answer.canceled:
                    raise Unavailable(f"etcd {self._etcd}: {answer.cancel_reason}")
                if answer.created:
                    # Only now: what comes after it is in the watch, whatever is compacted later.
                    await self._judge_revision(max(after, 1))
                for commit in self._read_commits(answer.events):
                    yield commit

    def _read_commits(self, events: Sequence[Any]) -> Sequence[Commit]:
        """Return the commits of one answer; etcd never divides a revision."""
        by_revision: dict[int, list[Any]] = {}
        for event in events:
            by_revision.setdefault(event.kv.mod_revision, []).append(event)
        commits = (self._read_commit(*each) for each in sorted(by_revision.items()))
        return [commit for commit in commits if commit.changes]

    def _read_commit(self, revision: int, events: Sequence[Any]) -> Commit:
        stamp: dict[str, Any] = {"time": 0.0, "actor": interface.EXPIRED}
        changes: list[Change] = []
        for event in events:
            if event.kv.key == self._last:
                stamp = json.loads(event.kv.value)
            elif event.kv.key.startswith(self._prefix + b"o/"):
                value = event.kv.value if event.type == rpc.Event.PUT else None
                before = event.prev_kv.value if event.prev_kv.mod_revision else None
                changes.append(Change(self._read_key(event.kv.key), value, before))
        changes.sort(key=lambda change: change.key)
        return Commit(revision, stamp["time"], stamp["actor"], tuple(changes))

    async def acquire(self, name: str, holder: str, ttl_s: int) -> Lease:
        key = Key(interface.LEASE, name)
        granted = await self._etcd.call(rpc.LeaseGrantRequest(TTL=ttl_s), key)
        value = interface.lease_value(holder, ttl_s)
        try:
            while True:
                write = await self._taking(key, holder, value)
                with suppress(NotFound, Conflict):  # it has just ended, or been taken: look again
                    revision = await self._commit([write], holder, granted.ID)
                    return Lease(key, holder, ttl_s, revision, granted.ID)
        except StoreError:
            await self._revoke(granted.ID)
            raise

    async def _taking(self, key: Key, holder: str, value: bytes) -> Write:
        """Return the write that makes the lease the holder's. Raises Conflict if another has it."""
        try:
            held = await self.get(key)
        except NotFound:
            return Create(key, value)
        if interface.holder_of(held.value) != holder:
            raise Conflict(key, ABSENT, held.revision)
        return Replace(key, value, held.revision)

    async def keep_alive(self, lease: Lease) -> None:
        left_s = await self._etcd.keep_alive(lease.token, lease.key)
        answer = await self._etcd.call(rpc.RangeRequest(key=self._object(lease.key)), lease.key)
        interface.judge_expected(Check(lease.key, lease.revision), _kv_revision(answer))
        if left_s <= 0:  # it is over, and its end is on the way to all members
            raise NotFound(lease.key)

    async def release(self, lease: Lease) -> None:
        with suppress(NotFound, Conflict):
            await self._commit([Delete(lease.key, lease.revision)], lease.holder)
        await self._revoke(lease.token)

    async def _revoke(self, token: int) -> None:
        with suppress(Unavailable):  # it ends by itself, or has ended
            await self._etcd.call(rpc.LeaseRevokeRequest(ID=token))

    async def compact(self, revision: int) -> None:
        revision = min(revision, await self.revision())
        if revision < 1:
            return
        with suppress(TooOld):  # another client has done it
            await self._read(rpc.CompactionRequest(revision=revision, physical=False), revision)

    async def close(self) -> None:
        """Remove this client's slots, if etcd answers, and close the connections."""
        if self._used:
            with suppress(Unavailable):
                await self._etcd.call(
                    rpc.TxnRequest(success=[_delete(slot) for slot in sorted(self._used)])
                )
        await self._etcd.close()

    async def _judge_revision(self, at: int | None) -> int:
        """Return the revision that is read: `at` or the last. Raises TooOld if it is not kept."""
        request = rpc.RangeRequest(key=self._last, revision=at or 0, count_only=True)
        answer = await self._read(request, at)
        return at or int(answer.header.revision)

    async def _read(self, request: Any, at: int | None) -> Any:  # noqa: ANN401 - protobuf
        """Return the answer to a request that names a revision. Raises TooOld for it."""
        try:
            return await self._etcd.call(request)
        except OutOfRange:
            raise TooOld(at or 0) from None

    def _object(self, key: Key) -> bytes:
        return self._prefix + f"o/{key.kind}/{key.id}".encode()

    def _index(self, key: Key, tenant: str) -> bytes:
        return self._prefix + f"t/{key.kind}/{tenant}/{key.id}".encode()

    def _read_key(self, key: bytes) -> Key:
        kind, _, name = key[len(self._prefix) + 2 :].decode().partition("/")
        return Key(kind, name)

    def _read_object(self, kv: Any) -> Object:  # noqa: ANN401 - protobuf
        return Object(self._read_key(kv.key), kv.value, kv.mod_revision)


def _end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with `prefix`."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _stamp(actor: str) -> bytes:
    return json.dumps({"time": time.time(), "actor": actor}).encode()


def _get(key: bytes, at: int = 0) -> Any:  # noqa: ANN401 - protobuf
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key, revision=at))


def _put(key: bytes, value: bytes, token: int = 0) -> Any:  # noqa: ANN401 - protobuf
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=value, lease=token))


def _delete(key: bytes) -> Any:  # noqa: ANN401 - protobuf
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))


def _at(key: bytes, revision: int) -> Any:  # noqa: ANN401 - protobuf
    return rpc.Compare(key=key, target=REVISION, result=rpc.Compare.EQUAL, mod_revision=revision)


def _one(answer: Any) -> Any:  # noqa: ANN401 - protobuf
    """Return the key and value that a get in a transaction found, or None."""
    kvs = answer.response_range.kvs
    return kvs[0] if kvs else None


def _revision(kv: Any) -> int:  # noqa: ANN401 - protobuf
    return ABSENT if kv is None else int(kv.mod_revision)


def _kv_revision(answer: Any) -> int:  # noqa: ANN401 - protobuf
    return _revision(answer.kvs[0] if answer.kvs else None)
