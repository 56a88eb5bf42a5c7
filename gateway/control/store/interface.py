"""
What the control plane asks of a store. Pure: the drivers are beside it.

A store holds objects, JSON objects as bytes, each under a kind and an id. It has one revision, a
number that every commit raises. A commit is one or several writes that happen wholly or not at all,
at one revision. An object's revision is that of its last write; it is what the next writer must
name, so nobody overwrites what he has not seen. Revisions grow but are not dense.

What has been committed is kept as history back to some revision: lists can be read as they were,
and a watch goes on from any revision after it. Older ones are TooOld: list again, and watch from
the revision of that list. History with time and actor is the audit log as well.

A lease is an object of the kind `lease` that goes away when its holder no longer keeps it alive. A
commit with `Check` on it happens only while the holder is the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError, UsageError
from gateway.prometheus.text import Durations

ABSENT = 0  # the revision of what does not exist
LEASE = "lease"
EXPIRED = "lease expired"  # the actor of the end of a lease that nobody kept alive
MAX_OPERATIONS = 126  # in one commit: etcd takes 128, and its driver needs two
MAX_WRITES = 42  # that are always taken, whatever they are
MAX_BYTES = 1 << 20  # in one commit: etcd takes requests of 1.5 MiB
MAX_PAGE = 1000
KEPT_REVISIONS = 100_000  # history that a driver keeps by itself
COMPACT_EVERY = 1024

_KIND = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The name of an object. Raises UsageError if kind or id has other characters or is longer."""

    kind: str
    id: str

    def __post_init__(self) -> None:
        if not is_kind(self.kind):
            raise UsageError(f"kind: {self.kind!r} must be like {_KIND.pattern}")
        if not is_id(self.id):
            raise UsageError(f"id: {self.id!r} must be like {_ID.pattern}")

    def __str__(self) -> str:
        return f"{self.kind}/{self.id}"


def is_kind(text: str) -> bool:
    """Say whether `text` can be a kind."""
    return _KIND.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """Say whether `text` can be the id of an object, or a tenant."""
    return _ID.fullmatch(text) is not None


class StoreError(GatewayError):
    """The store has not done what was asked. `key` is the object in question, None: all of them."""

    def __init__(self, message: str, key: Key | None = None) -> None:
        super().__init__(message if key is None else f"{key}: {message}")
        self.key = key


class NotFound(StoreError):
    """There is no such object, or not at that revision."""

    def __init__(self, key: Key) -> None:
        super().__init__("does not exist", key)


class Conflict(StoreError):
    """The object is not at the revision that the writer expected. ABSENT is 0."""

    def __init__(self, key: Key, expected: int, actual: int) -> None:
        super().__init__(
            f"exists already, at revision {actual}"
            if expected == ABSENT
            else f"is at revision {actual}, not {expected}",
            key,
        )
        self.expected = expected
        self.actual = actual


class TooOld(StoreError):
    """The history of that revision is not there (any more): list again and go on from there."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"revision {revision} is not in the store's history: list again")
        self.revision = revision


class Unavailable(StoreError):
    """The store can not be reached, or can not write. A write may have happened, or may yet."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object as it was last written, at `revision`."""

    key: Key
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Page:
    """Objects in the order of their ids, as they were at `revision`. `after` is None at the end."""

    objects: tuple[Object, ...]
    revision: int
    after: str | None


@dataclass(frozen=True, slots=True)
class Create:
    """A new object. Conflict if there is one."""

    key: Key
    value: bytes


@dataclass(frozen=True, slots=True)
class Replace:
    """A new value for the object that is at revision `expected`. NotFound, Conflict."""

    key: Key
    value: bytes
    expected: int


@dataclass(frozen=True, slots=True)
class Delete:
    """The end of the object that is at revision `expected`. NotFound, Conflict."""

    key: Key
    expected: int


@dataclass(frozen=True, slots=True)
class Check:
    """Nothing is written, but the object must be at revision `expected`; ABSENT: must not exist."""

    key: Key
    expected: int


Write = Create | Replace | Delete | Check
_OPERATIONS = {Create: 2, Replace: 3, Delete: 2, Check: 1}  # at most


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit did to one object: its values then and before. None: it did not exist."""

    key: Key
    value: bytes | None
    before: bytes | None


@dataclass(frozen=True, slots=True)
class Commit:
    """
    All changes of one revision, in the order of their keys.

    `time` is in seconds since 1970; 0 where nobody wrote it down (etcd ended a lease).
    """

    revision: int
    time: float
    actor: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease that is held. `token` is the driver's; (`key`, `revision`) is for `Check`."""

    key: Key
    holder: str
    ttl_s: int
    revision: int
    token: int = 0


class Store(Protocol):
    """
    A store that is open. Every call may raise Unavailable, within a time limit of the driver's.

    A call that is cancelled may still be carried out. `commits` are the seconds that commits took,
    by result: done, refused, failed.
    """

    commits: Durations

    def write_trouble(self) -> str | None:
        """Return why the last write of the last moments failed, None if it did not."""
        ...

    async def revision(self) -> int:
        """Return the revision of the last commit, or a later one."""
        ...

    async def get(self, key: Key, at: int | None = None) -> Object:
        """Return an object, now or as it was at a revision. Raises NotFound, TooOld."""
        ...

    async def list(
        self,
        kind: str,
        *,
        tenant: str | None = None,
        at: int | None = None,
        after: str | None = None,
        limit: int = MAX_PAGE,
    ) -> Page:
        """
        Return objects of a kind, of one tenant if it is named: those whose value's `tenant` it is.

        For the next page pass the first one's `revision` as `at` and its `after`, so that all pages
        are of one moment. Raises TooOld.
        """
        ...

    async def kinds(self, at: int | None = None) -> Sequence[str]:
        """Return the kinds of which there are objects, in their order. Raises TooOld."""
        ...

    async def commit(self, writes: Sequence[Write], actor: str) -> int:
        """
        Carry out all writes or none, and return their revision. They are on disk then.

        At most MAX_OPERATIONS, of different keys, together MAX_BYTES. Raises NotFound, Conflict for
        the first in order that can not be; UsageError for what never could.
        """
        ...

    async def changes(self, after: int, limit: int = MAX_PAGE) -> Sequence[Commit]:
        """Return the commits after a revision, the oldest first, without waiting. Raises TooOld."""
        ...

    def watch(self, after: int) -> AsyncGenerator[Commit, None]:
        """
        Yield every commit after a revision, once and in order, for ever: also after a break.

        Raises TooOld. Close it (`contextlib.aclosing`) when it is no longer read.
        """
        ...

    async def acquire(self, name: str, holder: str, ttl_s: int) -> Lease:
        """
        Take the lease `name` for `ttl_s` seconds. Raises Conflict while another one holds it.

        The same holder takes it anew: so comes back who was restarted, and his old lease is void.
        """
        ...

    async def keep_alive(self, lease: Lease) -> None:
        """Hold on for another `ttl_s` seconds. Raises NotFound or Conflict if it has been lost."""
        ...

    async def release(self, lease: Lease) -> None:
        """Give a lease back. It is not an error if it has been lost."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget the history before a revision; what was current at that one can still be read."""
        ...

    async def close(self) -> None:
        """End all that the store has open. Watches must have been closed."""
        ...


def tenant_of(value: bytes) -> str:
    """Return the tenant that an object names, "" if none. Raises UsageError if it is no object."""
    try:
        table = json.loads(value)
    except (ValueError, RecursionError):
        raise UsageError("the value is not JSON, or nested too deeply") from None
    if not isinstance(table, dict):
        raise UsageError("the value is not a JSON object")
    tenant = table.get("tenant", "")
    if not isinstance(tenant, str) or (tenant and not is_id(tenant)):
        raise UsageError(f"tenant: {tenant!r} must be like {_ID.pattern}")
    return tenant


def judge_writes(writes: Sequence[Write], actor: str) -> None:
    """Raise UsageError for a commit that no state of the store would allow."""
    operations = sum(_OPERATIONS[type(write)] for write in writes)
    if not 1 <= operations <= MAX_OPERATIONS:
        raise UsageError(f"a commit has 1 to {MAX_OPERATIONS} operations, not {operations}")
    if len({write.key for write in writes}) < len(writes):
        raise UsageError("a commit names a key twice")
    size = 0
    for write in writes:
        if isinstance(write, Create | Replace):
            tenant_of(write.value)
            size += len(write.value)
        if not isinstance(write, Check) and write.key.kind == LEASE:
            raise UsageError(f"{write.key}: leases are acquired, not written")
        if isinstance(write, Replace | Delete) and write.expected <= ABSENT:
            raise UsageError(f"{write.key}: expected revision {write.expected} is none")
    if size > MAX_BYTES:
        raise UsageError(f"a commit has at most {MAX_BYTES} bytes, not {size}")
    if not actor or len(actor) > 256:
        raise UsageError(f"actor: {actor[:256]!r} must have 1 to 256 characters")


def judge_page(kind: str, limit: int) -> None:
    """Raise UsageError for a list that can not be asked for."""
    if not is_kind(kind):
        raise UsageError(f"kind: {kind!r} must be like {_KIND.pattern}")
    if not 1 <= limit <= MAX_PAGE:
        raise UsageError(f"limit: must be 1 to {MAX_PAGE}, not {limit}")


def judge_expected(write: Write, actual: int) -> None:
    """Raise NotFound or Conflict if an object at revision `actual` does not allow the write."""
    expected = ABSENT if isinstance(write, Create) else write.expected
    if actual == expected:
        return
    if actual == ABSENT:
        raise NotFound(write.key)
    raise Conflict(write.key, expected, actual)


def lease_value(holder: str, ttl_s: int) -> bytes:
    """Return what a lease holds, as an object."""
    return json.dumps({"holder": holder, "ttl_s": ttl_s}).encode()


def holder_of(value: bytes) -> str:
    """Return the holder of a lease that `lease_value` made."""
    return str(json.loads(value)["holder"])
