"""
The observed state of tunnels, connections and nodes in the store: kind `state`, the resource's id.

Written when a state changes, never for counters: few writes, seen by all control processes, there
after a restart. One task writes, in portions, always the newest of what is waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from gateway.control.mirror import Mirror
from gateway.control.nodes.writing import decide_and_commit
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Table, bytes_of
from gateway.control.store.interface import MAX_WRITES, Create, Delete, Key, Replace, Store, Write

KIND = "state"
PAUSE_S = 1.0  # while the store can not be reached


class States:
    """The wanted values of state objects, and the task that writes them."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self._mirror = mirror
        self._waiting: dict[str, Table | None] = {}
        self._come = asyncio.Event()

    def get(self, id: str) -> Mapping[str, object]:
        """Return the state of a resource as it is known, empty if it is not."""
        if id in self._waiting:
            return self._waiting[id] or {}
        record = self._mirror.get(KIND, id)
        return record.value if record is not None else {}

    def put(self, id: str, value: Table | None) -> None:
        """Have a state written soon; None: that there is none."""
        if self.get(id) != (value or {}):
            self._waiting[id] = value
            self._come.set()

    def of_node(self, node: str) -> list[str]:
        """Return the ids of the tunnels and connections whose state a node has told."""
        return [
            record.id
            for record in self._mirror.of_kind(KIND)
            if record.value.get("node") == node and record.id != node
        ]

    async def run(self) -> None:
        """Write what is waiting, for ever."""
        while True:
            await self._come.wait()
            self._come.clear()
            while self._waiting:
                await self._write(list(self._waiting)[:MAX_WRITES])

    async def _write(self, ids: list[str]) -> None:
        taken = {id: self._waiting[id] for id in ids}
        try:
            await decide_and_commit(
                self._store, self._mirror, lambda: self._writes(taken), "system:nodes"
            )
        except ApiProblem:
            await asyncio.sleep(PAUSE_S)
            return
        for id, value in taken.items():
            if self._waiting.get(id) is value:
                del self._waiting[id]

    def _writes(self, taken: Mapping[str, Table | None]) -> list[Write]:
        found = (self._write_of(id, value) for id, value in taken.items())
        return [write for write in found if write is not None]

    def _write_of(self, id: str, value: Table | None) -> Write | None:
        key, record = Key(KIND, id), self._mirror.get(KIND, id)
        if value is None:
            return Delete(key, record.revision) if record is not None else None
        if record is None:
            return Create(key, bytes_of(value))
        return Replace(key, bytes_of(value), record.revision) if record.value != value else None

    def forget(self, ids: Iterable[str]) -> None:
        """Have the states of resources that are gone deleted."""
        for id in ids:
            self.put(id, None)
