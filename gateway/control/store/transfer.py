"""
Stores from one driver to another, as a file, and the same objects under another master key.

An export has one JSON object a line: a head with the revision of which it is, each object, and an
end with their number and a hash, so that half a file is known for what it is. Secrets stay sealed:
who imports needs the same master key. Leases are not exported.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

from gateway.control.secrets import CannotOpen, KeyRing, reseal_object
from gateway.control.store.interface import (
    LEASE,
    MAX_BYTES,
    MAX_WRITES,
    Conflict,
    Create,
    Delete,
    Key,
    NotFound,
    Object,
    Replace,
    Store,
    tenant_of,
)
from gateway.errors import ConfigError, UsageError

FORMAT = 1
ACTOR = "twinspan store"


@dataclass(frozen=True, slots=True)
class Export:
    """The text of an export, with what it tells of itself."""

    text: str
    revision: int
    objects: int


async def all_objects(store: Store, at: int) -> AsyncIterator[Object]:
    """Yield every object as it was at a revision, without the leases."""
    for kind in await store.kinds(at):
        after: str | None = None
        while kind != LEASE:
            page = await store.list(kind, at=at, after=after)
            for each in page.objects:
                yield each
            if (after := page.after) is None:
                break


async def export_store(store: Store) -> Export:
    """Return all objects of one moment as a file's text. Raises StoreError."""
    revision = await store.revision()
    lines = [json.dumps({"twinspan_store": FORMAT, "revision": revision, "time": time.time()})]
    async for each in all_objects(store, revision):
        head = {"kind": each.key.kind, "id": each.key.id, "revision": each.revision}
        lines.append(json.dumps(head | {"value": json.loads(each.value)}))
    body = "\n".join(lines) + "\n"
    end = {"end": len(lines) - 1, "sha256": hashlib.sha256(body.encode()).hexdigest()}
    return Export(f"{body}{json.dumps(end)}\n", revision, len(lines) - 1)


def read_export(data: bytes, name: str) -> dict[Key, bytes]:
    """Return the objects of the file `name`, an export. Raises ConfigError with line and value."""
    lines = data.splitlines(keepends=True)
    head, end = (_table(line, name) for line in (lines[:1] + lines[-1:] or [b"", b""]))
    if head.get("twinspan_store") != FORMAT:
        raise ConfigError([f"{name}: is not an export of a store in format {FORMAT}"])
    body = b"".join(lines[:-1])
    is_whole = end.get("sha256") == hashlib.sha256(body).hexdigest()
    if not is_whole or end.get("end") != len(lines) - 2:
        raise ConfigError([f"{name}: is not whole, or has been changed: its hash does not fit"])
    objects: dict[Key, bytes] = {}
    for number, line in enumerate(lines[1:-1], 2):
        key, value = _object(_table(line, name), f"{name}: line {number}")
        if key in objects:
            raise ConfigError([f"{name}: line {number}: {key} stands there twice"])
        objects[key] = value
    return objects


def _table(line: bytes, name: str) -> dict[str, object]:
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError([f"{name}: is not an export of a store, or not whole"])
    return table


def _object(table: dict[str, object], where: str) -> tuple[Key, bytes]:
    try:
        key = Key(str(table.get("kind")), str(table.get("id")))
        value = json.dumps(table.get("value")).encode()
        tenant_of(value)
    except UsageError as error:
        raise ConfigError([f"{where}: {error}"]) from None
    if key.kind == LEASE or len(value) > MAX_BYTES:
        raise ConfigError([f"{where}: {key}: is a lease, or too large"])
    return key, value


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import has done to a store."""

    revision: int
    created: int
    replaced: int
    deleted: int


async def counts_of(store: Store) -> dict[str, int]:
    """Return of each kind how many objects a store has; leases do not count."""
    found = [each.key.kind async for each in all_objects(store, await store.revision())]
    return dict(sorted(Counter(found).items()))


async def import_objects(store: Store, wanted: dict[Key, bytes]) -> Imported:
    """
    Make a store hold these objects and no others. Raises StoreError.

    It is done in several commits. If it breaks off, it can be done again.
    """
    revision = await store.revision()
    here = {each.key: each async for each in all_objects(store, revision)}
    created = [Create(key, value) for key, value in wanted.items() if key not in here]
    replaced = [
        Replace(key, value, here[key].revision)
        for key, value in wanted.items()
        if key in here and json.loads(here[key].value) != json.loads(value)
    ]
    deleted = [Delete(key, each.revision) for key, each in here.items() if key not in wanted]
    for writes in _commits([*deleted, *replaced, *created]):
        revision = await store.commit(writes, ACTOR)
    return Imported(revision, len(created), len(replaced), len(deleted))


def _commits(
    writes: Sequence[Create | Replace | Delete],
) -> Iterator[list[Create | Replace | Delete]]:
    """Yield the writes in portions that a commit can have."""
    portion: list[Create | Replace | Delete] = []
    size = 0
    for write in writes:
        more = 0 if isinstance(write, Delete) else len(write.value)
        if portion and (len(portion) == MAX_WRITES or size + more > MAX_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(write)
        size += more
    if portion:
        yield portion


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many objects had secrets under another master key, and what does not open."""

    objects: int
    problems: tuple[str, ...]


async def reseal_store(store: Store, ring: KeyRing) -> Resealed:
    """Seal all data keys with the current master key. Objects may be written meanwhile."""
    objects, problems = 0, []
    async for each in all_objects(store, await store.revision()):
        try:
            objects += await _reseal(store, ring, each)
        except CannotOpen as error:
            problems.append(str(error))
    return Resealed(objects, tuple(problems))


async def _reseal(store: Store, ring: KeyRing, found: Object) -> bool:
    """Return whether the object had to be written. Raises CannotOpen."""
    while (value := reseal_object(ring, found.key, found.value)) is not None:
        try:
            await store.commit([Replace(found.key, value, found.revision)], ACTOR)
        except NotFound:
            return False
        except Conflict:
            found = await store.get(found.key)
        else:
            return True
    return False
