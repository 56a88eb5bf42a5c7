"""SQLite: killed while it writes, files that are no store, its history's bound, its leases."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.control.store import sqlite_log
from gateway.control.store.interface import (
    COMPACT_EVERY,
    Conflict,
    Create,
    Key,
    Replace,
    TooOld,
    Unavailable,
)
from gateway.control.store.sqlite import open_sqlite

KEYS = [Key("tunnel", f"t-{number}") for number in range(3)]
WRITER = """
import asyncio, json, sys
from pathlib import Path
from gateway.control.store.interface import Key, Replace
from gateway.control.store.sqlite import open_sqlite

async def main():
    store = await open_sqlite(Path(sys.argv[1]))
    found = [await store.get(Key("tunnel", f"t-{number}")) for number in range(3)]
    revision, n = found[0].revision, json.loads(found[0].value)["n"]
    while True:
        n += 1
        value = json.dumps({"n": n}).encode()
        revision = await store.commit([Replace(f.key, value, revision) for f in found], "child")
        print(n, flush=True)

asyncio.run(main())
"""


async def test_a_kill_in_the_middle_of_a_write_loses_nothing_acknowledged(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = await open_sqlite(file)
    await store.commit([Create(key, b'{"n": 0}') for key in KEYS], "start")
    await store.close()
    for lines in (1, 3, 10, 25):
        acknowledged = write_and_die(file, lines)
        store = await open_sqlite(file)
        found = [await store.get(key) for key in KEYS]
        numbers = {json.loads(each.value)["n"] for each in found}
        assert len({each.revision for each in found}) == len(numbers) == 1
        assert numbers <= {acknowledged, acknowledged + 1}
        history = await store.changes(0)
        assert [each.revision for each in history] == list(range(2, found[0].revision + 1))
        assert history[-1].changes[0].value == found[0].value
        await store.close()


def write_and_die(file: Path, lines: int) -> int:
    """Let a child write until it has acknowledged `lines` commits, kill it; return the last."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
        return int(said[-1])


async def test_history_is_bounded(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db", kept=10)
    revision = await store.commit([Create(KEYS[0], b"{}")], "anna")
    while revision < COMPACT_EVERY:
        revision = await store.commit([Replace(KEYS[0], b"{}", revision)], "anna")
    assert len(await store.changes(revision - 10)) == 10
    with pytest.raises(TooOld):
        await store.changes(revision - 11)
    await store.close()


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    await store.commit([Create(KEYS[0], b"{}")], "anna")
    files = [tmp_path / f"store.db{end}" for end in ("", "-wal", "-shm")]
    assert {os.stat(file).st_mode & 0o777 for file in files} == {0o600}
    await store.close()


async def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    for content, said in (
        (b"garbage " * 1000, "not a database"),
        (other_program(tmp_path), "twin"),
    ):
        file.write_bytes(content)
        with pytest.raises(Unavailable, match=rf"store.db: .*{said}"):
            await open_sqlite(file)
    with pytest.raises(Unavailable, match=r"nowhere/store.db: .*No such file"):
        await open_sqlite(tmp_path / "nowhere" / "store.db")


def other_program(folder: Path) -> bytes:
    file = folder / "other.db"
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE theirs (a)")
    db.commit()
    db.close()
    return file.read_bytes()


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    await (await open_sqlite(file)).close()
    db = sqlite3.connect(file)
    db.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    db.commit()
    db.close()
    with pytest.raises(Unavailable, match="schema 99, this version of twinspan has 1"):
        await open_sqlite(file)


async def test_leases_have_their_whole_time_again_after_a_start_of_the_machine(
    tmp_path: Path,
) -> None:
    file = tmp_path / "store.db"
    store = await open_sqlite(file)
    lease = await store.acquire("node-1", "n", 30)
    await store.close()
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("UPDATE lease SET until = until - 1e9")  # as of a machine that ran shorter
    sqlite_log.prepare(db, "another boot")
    assert not sqlite_log.is_lease_over(db)
    db.close()
    store = await open_sqlite(file)
    await store.keep_alive(lease)
    await store.close()


async def test_a_store_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    locker = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match=r"tunnel/t-0: .*store.db: database is locked"):
        await store.commit([Create(KEYS[0], b"{}")], "anna")
    assert (await store.list("tunnel")).objects == ()
    locker.execute("ROLLBACK")
    locker.close()
    await store.commit([Create(KEYS[0], b"{}")], "anna")
    await store.close()


@pytest.mark.parametrize("steps", range(8))
async def test_a_watch_that_is_cancelled_as_a_commit_comes_ends(tmp_path: Path, steps: int) -> None:
    store = await open_sqlite(tmp_path / "store.db")
    first = asyncio.Event()

    async def follow() -> None:
        async for _ in store.watch(0):
            first.set()

    following = asyncio.create_task(follow())
    await store.commit([Create(KEYS[0], b"{}")], "anna")
    await first.wait()
    await asyncio.sleep(0.01)  # it waits for the next one
    await store.commit([Create(KEYS[1], b"{}")], "anna")
    for _ in range(steps):
        await asyncio.sleep(0)
    following.cancel()
    done, _ = await asyncio.wait([following], timeout=2)
    following.cancel()
    assert done
    await store.close()


async def test_a_full_disk_is_told_until_something_is_written_again(tmp_path: Path) -> None:
    """It is still read: whoever asks whether requests are served was told that they are."""
    store = await open_sqlite(tmp_path / "store.db")
    await store.commit([Create(KEYS[0], b"{}")], "test")
    assert store.write_trouble() is None

    async def limit(pages: int) -> None:
        text = f"PRAGMA max_page_count = {pages}"
        await store._run(store._writer, None, lambda db: db.execute(text).close())

    await limit(1)
    large = b'{"text": "%b"}' % (b"x" * 100_000)
    with pytest.raises(Unavailable, match="full"):
        await store.commit([Create(KEYS[1], large)], "test")
    why = store.write_trouble()
    assert why is not None
    assert "full" in why
    with pytest.raises(Conflict):  # that is an answer of the store's, and no trouble
        await store.commit([Create(KEYS[0], b"{}")], "test")
    assert store.write_trouble() == why
    await limit(1_000_000)
    await store.commit([Create(KEYS[1], large)], "test")
    assert store.write_trouble() is None
    await store.close()
