"""The nodes' part of a control plane for tests: real store, real TLS, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import traceback
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.control.api.requests import Requests
from gateway.control.nodes.service import Nodes, open_nodes
from gateway.control.registry import Registry
from gateway.control.resources.record import Record
from gateway.control.store.interface import Store
from gateway.control.store.sqlite import open_sqlite
from gateway.model.events import Event
from tests.control.registry import RING, ROOT, fleet, running


@dataclass(slots=True)
class Control:
    """A control process as nodes see it."""

    store: Store
    registry: Registry
    nodes: Nodes
    port: int
    events: list[tuple[str, Event]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def node(self, name: str = "gw-a") -> Record:
        return next(one for one in self.registry.mirror.of_kind("node") if one.name == name)

    async def token(self, name: str = "gw-a") -> str:
        text, _ = await self.nodes.credentials.new_token(self.node(name).id, ROOT)
        return text


@contextlib.asynccontextmanager
async def control(place: Path, port: int = 0) -> AsyncIterator[Control]:
    """Run it on the store in `place`, with the two nodes of `fleet` if that is new."""
    store = await open_sqlite(place / "control.db")
    try:
        async with running(store) as registry:
            if not list(registry.mirror.of_kind("node")):
                await fleet(registry)
            async with _serving(store, registry, port) as one:
                yield one
                assert one.faults == []
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def _serving(store: Store, registry: Registry, port: int) -> AsyncIterator[Control]:
    made: list[Control] = []

    async def keep(node: str, events: Sequence[Event]) -> None:
        made[0].events += [(node, event) for event in events]

    def fault(where: str, error: Exception) -> str:
        made[0].faults.append(where + "".join(traceback.format_exception(error)))
        return "1"

    listening = socket.create_server(("127.0.0.1", port))
    nodes = await open_nodes(store, registry.mirror, RING, keep, fault, Requests().see)
    made.append(Control(store, registry, nodes, listening.getsockname()[1]))
    tasks = [asyncio.create_task(task) for task in nodes.tasks()]
    serving = asyncio.create_task(nodes.server.serve([listening]))
    await nodes.server.is_up.wait()
    try:
        yield made[0]
    finally:
        nodes.server.should_exit = True
        nodes.server.force_exit = True
        await serving
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
