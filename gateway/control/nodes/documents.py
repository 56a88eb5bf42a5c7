"""
The wanted document of each node: composed, numbered, and given to whoever waits for another one.

A generation is the revision of the store at which a document was first seen to be as it is, so it
grows over restarts and is the same for all control processes, or told apart by the tag: that is an
HMAC of the content. A node says what it has. With the same tag nothing is to be done, whatever the
numbers say. With another tag and a generation that is not before ours, either this process is
behind the store, or the store was put back to an older state: then a new epoch begins, in which the
node takes what is offered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import to_json

from gateway.control.changes.compose import node_table
from gateway.control.mirror import Lagging, Mirror
from gateway.control.nodes.actions import KIND as ACTION
from gateway.control.nodes.questions import KIND as QUESTION
from gateway.control.nodes.touched import nodes_touched
from gateway.control.nodes.writing import decide_and_commit
from gateway.control.resources.record import Record, Table, bytes_of
from gateway.control.secrets import KeyRing
from gateway.control.store.interface import ABSENT, Create, Key, Replace, Store, Write
from gateway.fleet.messages import Position, is_newer
from gateway.prometheus.text import SECONDS, Histogram
from gateway.secret import Secret

EPOCH = Key("fleet", "epoch")
ASKED_SHARE = 50  # who only asks for a number composes in a fiftieth of the time at most
EPOCHS_AHEAD = 1000  # that a node is believed: no store is put back so often
SECRETS_KEPT = 20_000  # opened ones, so that a document of thousands of tunnels is made in no time


@dataclass(frozen=True, slots=True)
class Current:
    """A node's document as it is now: its JSON text, tag and generation."""

    body: bytes
    tag: str
    generation: int


@dataclass(frozen=True, slots=True)
class Effort:
    """When a document was composed last, and how long it took, in monotonic seconds."""

    ended: float
    took: float

    def is_small(self) -> bool:
        """Say whether it may be composed again for somebody who could do without."""
        return time.monotonic() - self.ended >= ASKED_SHARE * self.took


class Documents:
    """Composes on demand; `run` sees which ones a commit has touched."""

    def __init__(self, store: Store, mirror: Mirror, ring: KeyRing, tag_key: Secret) -> None:
        self._store = store
        self._mirror = mirror
        self._ring = ring
        self._tag_key = tag_key
        self._current: dict[str, Current] = {}
        self._touched: dict[str, int] = {}  # revision of the commit, by node
        self._efforts: dict[str, Effort] = {}
        self._waiting: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.composed = Histogram(SECONDS)  # seconds that each took
        self._opened: OrderedDict[tuple[str, str, str], str] = OrderedDict()

    # ---- following the store ----

    async def run(self) -> None:
        """See for ever what has changed, and wake those who wait for it."""
        while True:
            async with self._mirror.subscribed() as commits:
                self._touch(self._current, self._mirror.revision)
                try:
                    async for commit in commits:
                        self._touch(nodes_touched(self._mirror, commit), commit.revision)
                        for change in commit.changes:
                            if change.key.kind in (ACTION, QUESTION) and change.before is None:
                                self._wake_for(change.key)
                except Lagging:
                    continue

    def _wake_for(self, key: Key) -> None:
        """An action or question is to be told to its node: maybe another process has made it."""
        record = self._mirror.get(key.kind, key.id)
        if record is not None:
            self.wake(str(record.allocated.get("node")))

    def _touch(self, nodes: Iterable[str], revision: int) -> None:
        for node in tuple(nodes):
            self._touched[node] = revision
            self.wake(node)

    def wake(self, node: str) -> None:
        """Have those who wait for something new for a node look again."""
        self._waiting[node].set()

    async def changed(self, node: str) -> None:
        """Wait until `wake` says that something may be new for a node."""
        event = self._waiting[node]
        await event.wait()
        event.clear()

    # ---- what a node is to have ----

    @property
    def epoch(self) -> int:
        """The epoch of all generations now."""
        record = self._mirror.get(EPOCH.kind, EPOCH.id)
        return int(record.value["epoch"]) if record is not None else 1

    def current(self, node: str) -> Current | None:
        """Return a node's document as it is now, None if there is no such node."""
        record = self._mirror.get("node", node)
        if record is None:
            for kept in (self._current, self._touched, self._efforts):
                kept.pop(node, None)
            return None
        known = self._current.get(node)
        if known is None or node in self._touched:
            self._touched.pop(node, None)
            known = self._current[node] = self._composed(record, known)
        return known

    def generation(self, node: str) -> int | None:
        """
        Return the generation of a node's document, None if there is no such node.

        A large document is not composed after every change only to say its number: where it may
        have changed just now, the revision of that change is returned until it is known.
        """
        effort = self._efforts.get(node)
        if node in self._touched and effort is not None and not effort.is_small():
            return self._touched[node]
        current = self.current(node)
        return current.generation if current is not None else None

    async def offer(self, node: str, held: Position) -> Current | None:
        """Return the document that a node at this position should go over to, None for none."""
        current = self.current(node)
        if current is None or self._is_same(node, current, held):
            return None
        if is_newer(self._at(current), held):
            return current
        await self._mirror.caught_up(await self._store.revision())
        current = self.current(node)
        if current is None or self._is_same(node, current, held):
            return None
        return await self._settled(node, current, held)

    async def _settled(self, node: str, current: Current, held: Position) -> Current | None:
        """Number a document beyond what a node has, which had another one with a later number."""
        if held.epoch <= self.epoch and self._mirror.revision > held.generation:
            current = Current(current.body, current.tag, self._mirror.revision)
            self._current[node] = current
        elif held.epoch <= self.epoch and self._mirror.revision == held.generation:
            return None  # the next commit gives a number
        elif held.epoch > self.epoch + EPOCHS_AHEAD:
            return None  # it has made that up, and could take all numbers from the others
        else:
            await self._begin_epoch(held.epoch + 1)
        return current if is_newer(self._at(current), held) else None

    async def _begin_epoch(self, least: int) -> None:
        """The store was put back: from now on, older generations are newer."""

        def decide() -> list[Write]:
            record = self._mirror.get(EPOCH.kind, EPOCH.id)
            value = bytes_of({"tenant": "", "epoch": max(self.epoch + 1, least)})
            if record is None:
                return [Create(EPOCH, value)]
            return [Replace(EPOCH, value, record.revision)] if self.epoch < least else []

        await decide_and_commit(self._store, self._mirror, decide, "system:nodes")

    def _at(self, current: Current) -> Position:
        return Position(epoch=self.epoch, generation=current.generation, tag=current.tag)

    def _is_same(self, node: str, current: Current, held: Position) -> bool:
        """Say whether a node has this document; then its number for it holds, if it is earlier."""
        if held.tag != current.tag:
            return False
        self.learn(node, held)
        return True

    def learn(self, node: str, held: Position) -> None:
        """Take over the number that a node, or the store, knows the same document by."""
        current = self._current.get(node)
        if (
            current is not None
            and held.tag == current.tag
            and held.epoch == self.epoch
            and ABSENT < held.generation < current.generation
        ):
            self._current[node] = Current(current.body, current.tag, held.generation)

    # ---- composing ----

    def _composed(self, node: Record, before: Current | None) -> Current:
        began = time.monotonic()
        body = _text(node_table(self._mirror, node, self._open))
        ended = time.monotonic()
        self._efforts[node.id] = Effort(ended, ended - began)
        self.composed.add(ended - began)
        tag = hmac.new(self._tag_key.reveal(), body, hashlib.sha256).hexdigest()
        if before is not None and before.tag == tag:
            return before
        return Current(body, tag, self._mirror.revision)

    def _open(self, record: Record, where: str, sealed: str) -> str:
        """Return a secret of a resource in clear; those of late are remembered."""
        place = (record.id, where, sealed)
        known = self._opened.get(place)
        if known is None:
            known = self._ring.open(sealed, record.key, where).reveal().decode()
            self._opened[place] = known
            if len(self._opened) > SECRETS_KEPT:
                self._opened.popitem(last=False)
        return known


def _text(table: Table) -> bytes:
    """
    Return a document as JSON, the same for the same content: no list of it means an order, but that
    of a connection's tunnels, which the composer gives.
    """
    parts = []
    for key, value in table.items():
        if isinstance(value, list):
            text = b"[%b]" % b",".join(sorted(to_json(item) for item in value))
        else:
            text = to_json(value)
        parts.append(b"%b:%b" % (to_json(key), text))
    return b"{%b}" % b",".join(parts)
