"""The tables of the SQLite store, and what is asked of them. Every call is in a transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from itertools import groupby

from gateway.control.store.interface import (
    ABSENT,
    EXPIRED,
    LEASE,
    Change,
    Commit,
    Key,
    TooOld,
    tenant_of,
)

SCHEMA = 1
TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE object (
    kind TEXT, id TEXT, revision INTEGER NOT NULL, tenant TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_tenant ON object (kind, tenant, id);
CREATE TABLE log (
    revision INTEGER PRIMARY KEY, time REAL NOT NULL, actor TEXT NOT NULL
) STRICT;
CREATE TABLE change (
    kind TEXT, id TEXT, revision INTEGER, tenant TEXT NOT NULL, value BLOB,
    PRIMARY KEY (kind, id, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX change_revision ON change (revision, kind, id);
CREATE TABLE lease (name TEXT PRIMARY KEY, until REAL NOT NULL, ttl_s INTEGER NOT NULL) STRICT;
"""


def prepare(db: sqlite3.Connection, boot: str) -> None:
    """
    Make the tables if the file is new. Raises sqlite3.DatabaseError if they are another program's.

    After a start of the machine every lease gets its whole time: its clock has begun anew.
    """
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("BEGIN IMMEDIATE")
    try:
        if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
            for statement in TABLES.split(";\n"):
                db.execute(statement)
            first = [("schema", SCHEMA), ("revision", 1), ("compacted", 1), ("boot", boot)]
            db.executemany("INSERT INTO meta VALUES (?, ?)", first)
        judge_file(db)
        if _meta(db, "boot") != boot:
            db.execute("UPDATE lease SET until = ? + ttl_s", (time.monotonic(),))
            db.execute("UPDATE meta SET value = ? WHERE name = 'boot'", (boot,))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def judge_file(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if the file is not a sound store of this version."""
    try:
        schema = _meta(db, "schema")
    except sqlite3.OperationalError:
        raise sqlite3.DatabaseError("not a store of twinspan") from None
    if schema != SCHEMA:
        raise sqlite3.DatabaseError(f"has schema {schema}, this version of twinspan has {SCHEMA}")


def judge_pages(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if the file is damaged."""
    (said,) = db.execute("PRAGMA quick_check").fetchone()
    if said != "ok":
        raise sqlite3.DatabaseError(str(said))


def _meta(db: sqlite3.Connection, name: str) -> object:
    return db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0]


def revision(db: sqlite3.Connection) -> int:
    """Return the revision of the last commit."""
    return int(str(_meta(db, "revision")))


def judge_revision(db: sqlite3.Connection, at: int | None) -> int:
    """Return the revision that is read: `at` or the last. Raises TooOld if it is not kept."""
    last = revision(db)
    if at is None:
        return last
    if not int(str(_meta(db, "compacted"))) <= at <= last:
        raise TooOld(at)
    return at


def revision_of(db: sqlite3.Connection, key: Key) -> int:
    """Return the revision of an object, ABSENT if there is none."""
    found = row(db, key, None)
    return ABSENT if found is None else found[0]


def row(db: sqlite3.Connection, key: Key, at: int | None) -> tuple[int, bytes] | None:
    """Return revision and value of an object, now or at a revision; None: it did not exist."""
    if at is None:
        text = "SELECT revision, value FROM object WHERE kind = ? AND id = ?"
        return _first(db.execute(text, (key.kind, key.id)))
    text = (
        "SELECT revision, value FROM change WHERE kind = ? AND id = ? AND revision <= ?"
        " ORDER BY revision DESC LIMIT 1"
    )
    return _first(db.execute(text, (key.kind, key.id, at)))


def _first(cursor: sqlite3.Cursor) -> tuple[int, bytes] | None:
    found: tuple[int, bytes | None] | None = cursor.fetchone()
    return None if found is None or found[1] is None else (found[0], found[1])


# In the order of the primary key, so that a page ends as soon as it is full.
_AS_IT_WAS = """(
    SELECT * FROM change AS old
    WHERE kind = :kind AND id > :after AND revision <= :at AND value IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM change AS new
        WHERE new.kind = old.kind AND new.id = old.id
            AND new.revision > old.revision AND new.revision <= :at
    )
)"""


def rows(
    db: sqlite3.Connection, kind: str, tenant: str | None, at: int | None, after: str, limit: int
) -> list[tuple[str, int, bytes]]:
    """Return id, revision and value of objects of a kind, in the order of their ids."""
    # Without statistics SQLite would take the primary key, and read all tenants' objects.
    now = "object" if tenant is None else "object INDEXED BY object_tenant"
    table = now if at is None or at == revision(db) else _AS_IT_WAS
    mine = "" if tenant is None else " AND tenant = :tenant"
    text = (
        f"SELECT id, revision, value FROM {table}"  # noqa: S608 - all of it stands here
        f" WHERE kind = :kind AND id > :after{mine} ORDER BY id LIMIT :limit"
    )
    names = {"kind": kind, "tenant": tenant, "at": at, "after": after, "limit": limit}
    return db.execute(text, names).fetchall()


def kinds(db: sqlite3.Connection, at: int | None) -> list[str]:
    """Return the kinds of which there are objects. Raises TooOld."""
    judge_revision(db, at)
    if at is None:
        return [kind for (kind,) in db.execute("SELECT DISTINCT kind FROM object ORDER BY kind")]
    text = (
        "SELECT DISTINCT kind FROM (SELECT kind, max(revision), value FROM change"
        " WHERE revision <= ? GROUP BY kind, id) WHERE value IS NOT NULL ORDER BY kind"
    )
    return [kind for (kind,) in db.execute(text, (at,))]


def append(
    db: sqlite3.Connection,
    changes: Sequence[tuple[Key, bytes | None]],
    actor: str,
    now: float,
) -> int:
    """
    Write the objects and the log, and return the new revision. A value of None is a deletion.

    Without any change the revision stays: a commit of checks alone is not in the history.
    """
    last = revision(db)
    if not changes:
        return last
    new = last + 1
    db.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (new,))
    db.execute("INSERT INTO log VALUES (?, ?, ?)", (new, now, actor))
    for key, value in changes:
        tenant = "" if value is None else tenant_of(value)
        db.execute(
            "INSERT INTO change VALUES (?, ?, ?, ?, ?)", (key.kind, key.id, new, tenant, value)
        )
        if value is None:
            db.execute("DELETE FROM object WHERE kind = ? AND id = ?", (key.kind, key.id))
        else:
            db.execute(
                "INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)",
                (key.kind, key.id, new, tenant, value),
            )
    return new


_CHANGES = """
SELECT log.revision, log.time, log.actor, change.kind, change.id, change.value, (
    SELECT old.value FROM change AS old
    WHERE old.kind = change.kind AND old.id = change.id AND old.revision < change.revision
    ORDER BY old.revision DESC LIMIT 1
)
FROM (SELECT * FROM log WHERE revision > ? ORDER BY revision LIMIT ?) AS log
JOIN change ON change.revision = log.revision
ORDER BY log.revision, change.kind, change.id
"""


def changes(db: sqlite3.Connection, after: int, limit: int) -> list[Commit]:
    """Return at most `limit` commits after a revision. Raises TooOld."""
    judge_revision(db, max(after, 1))
    found = db.execute(_CHANGES, (after, limit))
    return [
        Commit(*head, tuple(Change(Key(r[3], r[4]), r[5], r[6]) for r in of_one))
        for head, of_one in groupby(found, key=lambda r: (r[0], r[1], r[2]))
    ]


def compact(db: sqlite3.Connection, to: int) -> None:
    """Forget all history that is not needed to read revision `to` and what came after it."""
    to = min(to, revision(db))
    if to <= int(str(_meta(db, "compacted"))):
        return
    db.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", (to,))
    db.execute("DELETE FROM log WHERE revision <= ?", (to,))
    db.execute(
        "DELETE FROM change WHERE revision <= ?1 AND (value IS NULL OR EXISTS ("
        "SELECT 1 FROM change AS new WHERE new.kind = change.kind AND new.id = change.id"
        " AND new.revision > change.revision AND new.revision <= ?1))",
        (to,),
    )


def keep_lease(db: sqlite3.Connection, name: str, ttl_s: int) -> None:
    """Let a lease last `ttl_s` seconds from now."""
    until = time.monotonic() + ttl_s
    db.execute("INSERT OR REPLACE INTO lease VALUES (?, ?, ?)", (name, until, ttl_s))


def drop_lease(db: sqlite3.Connection, name: str) -> None:
    """Forget when a lease ends."""
    db.execute("DELETE FROM lease WHERE name = ?", (name,))


def is_lease_over(db: sqlite3.Connection) -> bool:
    """Say whether a lease is to be ended."""
    text = "SELECT 1 FROM lease WHERE until <= ? LIMIT 1"
    return db.execute(text, (time.monotonic(),)).fetchone() is not None


def end_leases(db: sqlite3.Connection) -> None:
    """Delete the leases that nobody has kept alive."""
    over = db.execute("SELECT name FROM lease WHERE until <= ?", (time.monotonic(),)).fetchall()
    if over:
        append(db, [(Key(LEASE, name), None) for (name,) in over], EXPIRED, time.time())
        for (name,) in over:
            drop_lease(db, name)
