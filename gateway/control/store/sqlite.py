"""
The store in one SQLite file: objects as they are, and the log of changes, which is the history.

One thread writes, in the order of the calls, each commit with a sync to disk; others read, each on
its own connection, so a list never waits for a write. Another process may have the file open (a
command of `twinspan store`): its commits are seen within POLL_S.

Leases end by a clock that no correction of the time of day moves; it begins anew when the machine
starts, and then every lease has its whole time again.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from gateway.control.store import interface, sqlite_log
from gateway.control.store.interface import (
    ABSENT,
    Check,
    Commit,
    Conflict,
    Delete,
    Key,
    Lease,
    NotFound,
    Object,
    Page,
    Unavailable,
    Write,
)
from gateway.control.store.timed import new_commits, timed
from gateway.control.store.writes import Writes

READERS = 4
POLL_S = 0.5
BUSY_S = 3.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

T = TypeVar("T")


class SqliteStore:
    """A Store in the file `path`, which is made if it is not there. Made by `open_sqlite`."""

    def __init__(self, path: Path, kept: int = interface.KEPT_REVISIONS) -> None:
        self._path = path
        self._kept = kept
        self._writer = ThreadPoolExecutor(1, "store-writer")
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._watchers: set[asyncio.Event] = set()
        self.commits = new_commits()
        self._writes = Writes()

    async def prepare(self) -> None:
        """Make the file and its tables where they are missing. Raises Unavailable."""
        await self._run(self._writer, None, lambda db: sqlite_log.prepare(db, boot_id()))

    async def revision(self) -> int:
        return await self._read(None, sqlite_log.revision)

    async def get(self, key: Key, at: int | None = None) -> Object:
        await self._end_leases_before(key.kind)
        return await self._read(key, lambda db: _get(db, key, at))

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
        await self._end_leases_before(kind)

        def read(db: sqlite3.Connection) -> Page:
            revision = sqlite_log.judge_revision(db, at)
            rows = sqlite_log.rows(db, kind, tenant, at, after or "", limit + 1)
            objects = tuple(Object(Key(kind, r[0]), r[2], r[1]) for r in rows[:limit])
            return Page(objects, revision, objects[-1].key.id if len(rows) > limit else None)

        return await self._read(None, read)

    async def kinds(self, at: int | None = None) -> Sequence[str]:
        return await self._read(None, lambda db: sqlite_log.kinds(db, at))

    def write_trouble(self) -> str | None:
        return self._writes.trouble_of_late()

    @timed
    async def commit(self, writes: Sequence[Write], actor: str) -> int:
        interface.judge_writes(writes, actor)

        def write(db: sqlite3.Connection) -> int:
            sqlite_log.end_leases(db)
            for each in writes:
                interface.judge_expected(each, sqlite_log.revision_of(db, each.key))
            changes = [
                (each.key, None if isinstance(each, Delete) else each.value)
                for each in writes
                if not isinstance(each, Check)
            ]
            return self._append(db, changes, actor)

        return await self._write(writes[0].key, write)

    def _append(
        self, db: sqlite3.Connection, changes: Sequence[tuple[Key, bytes | None]], actor: str
    ) -> int:
        revision = sqlite_log.append(db, changes, actor, time.time())
        if revision % interface.COMPACT_EVERY == 0:
            sqlite_log.compact(db, revision - self._kept)
        return revision

    async def changes(self, after: int, limit: int = interface.MAX_PAGE) -> Sequence[Commit]:
        await self._end_leases_before(interface.LEASE)
        return await self._read(None, lambda db: sqlite_log.changes(db, after, limit))

    async def watch(self, after: int) -> AsyncGenerator[Commit, None]:
        moved = asyncio.Event()
        self._watchers.add(moved)
        try:
            while True:
                moved.clear()
                for commit in await self._changes_or_none(after):
                    yield commit
                    after = commit.revision
                    moved.set()  # there may be more than one page of them
                if not moved.is_set():
                    # Not asyncio.wait_for: before Python 3.12 it can lose a cancellation.
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_S):
                            await moved.wait()
        finally:
            self._watchers.discard(moved)

    async def _changes_or_none(self, after: int) -> Sequence[Commit]:
        """Return changes; none while another process has the file locked, as `restore` has."""
        try:
            return await self.changes(after)
        except Unavailable:
            return []

    async def acquire(self, name: str, holder: str, ttl_s: int) -> Lease:
        key = Key(interface.LEASE, name)
        value = interface.lease_value(holder, ttl_s)

        def write(db: sqlite3.Connection) -> int:
            sqlite_log.end_leases(db)
            with suppress(NotFound):
                held = _get(db, key, None)
                if interface.holder_of(held.value) != holder:
                    raise Conflict(key, ABSENT, held.revision)
            revision = self._append(db, [(key, value)], holder)
            sqlite_log.keep_lease(db, name, ttl_s)
            return revision

        return Lease(key, holder, ttl_s, await self._write(key, write))

    async def keep_alive(self, lease: Lease) -> None:
        def write(db: sqlite3.Connection) -> None:
            sqlite_log.end_leases(db)
            actual = sqlite_log.revision_of(db, lease.key)
            interface.judge_expected(Check(lease.key, lease.revision), actual)
            sqlite_log.keep_lease(db, lease.key.id, lease.ttl_s)

        await self._write(lease.key, write)

    async def release(self, lease: Lease) -> None:
        def write(db: sqlite3.Connection) -> None:
            if sqlite_log.revision_of(db, lease.key) == lease.revision:
                self._append(db, [(lease.key, None)], lease.holder)
                sqlite_log.drop_lease(db, lease.key.id)

        await self._write(lease.key, write)

    async def compact(self, revision: int) -> None:
        await self._write(None, lambda db: sqlite_log.compact(db, revision))

    async def backup(self, path: Path) -> None:
        """Write the whole file, history included, as it is now. Raises Unavailable."""

        def copy(db: sqlite3.Connection) -> None:
            with closing(sqlite3.connect(path)) as target:
                db.backup(target)

        await self._run(self._readers, None, copy)

    async def restore(self, path: Path) -> None:
        """Become what `backup` wrote, wholly or not at all. Raises Unavailable."""

        def copy(db: sqlite3.Connection) -> None:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source:
                sqlite_log.judge_file(source)
                sqlite_log.judge_pages(source)
                source.backup(db)

        await self._run(self._writer, None, copy)
        self._wake()

    async def close(self) -> None:
        for executor in (self._writer, self._readers):
            await asyncio.get_running_loop().run_in_executor(None, executor.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    async def _end_leases_before(self, kind: str) -> None:
        """End the leases whose time is over before somebody looks at them."""
        if kind == interface.LEASE and await self._read(None, sqlite_log.is_lease_over):
            await self._write(None, sqlite_log.end_leases)

    async def _read(self, key: Key | None, call: Callable[[sqlite3.Connection], T]) -> T:
        return await self._run(self._readers, key, lambda db: _transaction(db, "BEGIN", call))

    async def _write(self, key: Key | None, call: Callable[[sqlite3.Connection], T]) -> T:
        with self._writes.noted():
            done = await self._run(
                self._writer, key, lambda db: _transaction(db, "BEGIN IMMEDIATE", call)
            )
        self._wake()
        return done

    def _wake(self) -> None:
        for moved in self._watchers:
            moved.set()

    async def _run(
        self, executor: ThreadPoolExecutor, key: Key | None, call: Callable[[sqlite3.Connection], T]
    ) -> T:
        def run() -> T:
            try:
                return call(self._connection())
            except (sqlite3.Error, OSError) as error:
                raise Unavailable(f"{self._path}: {error}", key) from error

        return await asyncio.get_running_loop().run_in_executor(executor, run)

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            _make_file(self._path)
            connection = sqlite3.connect(
                self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
            self._connections.append(connection)
        return connection


async def open_sqlite(
    path: Path, kept: int = interface.KEPT_REVISIONS, *, create: bool = True
) -> SqliteStore:
    """Return the store in a file, with history of the last `kept` revisions. Raises Unavailable."""
    if not create and not await asyncio.to_thread(path.exists):
        raise Unavailable(f"{path}: there is no store; twinspan control init makes one")
    store = SqliteStore(path, kept)
    try:
        await store.prepare()
    except BaseException:
        await store.close()
        raise
    return store


def _make_file(path: Path) -> None:
    """
    Make the file if it is not there, its owner's alone; SQLite gives the ones beside it the same.

    If root makes it, by a command, it is for the user whose folder it is in: the control process.
    """
    try:
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    try:
        if os.geteuid() == 0:
            folder = path.parent.stat()
            os.fchown(made, folder.st_uid, folder.st_gid)
    finally:
        os.close(made)


def boot_id() -> str:
    """Return what is another one after each start of the machine."""
    return BOOT_ID.read_text().strip()


def _get(db: sqlite3.Connection, key: Key, at: int | None) -> Object:
    sqlite_log.judge_revision(db, at)
    found = sqlite_log.row(db, key, at)
    if found is None:
        raise NotFound(key)
    return Object(key, found[1], found[0])


def _transaction(db: sqlite3.Connection, begin: str, call: Callable[[sqlite3.Connection], T]) -> T:
    db.execute(begin)
    try:
        done = call(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return done
