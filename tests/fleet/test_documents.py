"""Which nodes a change touches: none whose document is another may be left out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.control.nodes.documents import Documents
from gateway.control.nodes.touched import nodes_touched
from gateway.control.registry import Registry
from gateway.control.store.interface import Store
from gateway.control.store.sqlite import open_sqlite
from gateway.secret import Secret
from tests.control.registry import RING, ROOT, connect, fleet, make, running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_sqlite(tmp_path / "control.db")
    yield opened
    await opened.close()


def bodies(store: Store, registry: Registry) -> dict[str, bytes]:
    """Return the document of each node, composed anew."""
    documents = Documents(store, registry.mirror, RING, Secret(bytes(32)))
    found = {}
    for node in registry.mirror.of_kind("node"):
        current = documents.current(node.id)
        assert current is not None
        found[node.id] = current.body
    return found


async def steps(registry: Registry) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Yield edits of every kind that a document is made of."""
    (gateway,) = registry.mirror.of_kind("border_gateway")
    (customer,) = registry.mirror.of_kind("customer_gateway")
    (attachment,) = registry.mirror.of_kind("vpc_attachment")
    first = next(iter(registry.mirror.of_kind("node")))
    update = registry.update
    yield lambda: connect(registry, routing="static")
    (connection,) = registry.mirror.of_kind("vpn_connection")
    tunnels = list(registry.mirror.of_kind("vpn_tunnel"))
    yield lambda: update("vpn_tunnel", tunnels[0].id, {"admin": "down"}, ROOT)
    yield lambda: update("vpn_tunnel", tunnels[1].id, {"name": "renamed"}, ROOT)
    yield lambda: update("vpn_connection", connection.id, {"liveness_s": 3}, ROOT)
    yield lambda: update("customer_gateway", customer.id, {"identity": "o.example.net"}, ROOT)
    yield lambda: update("border_gateway", gateway.id, {"spoke_isolation": False}, ROOT)
    yield lambda: update("border_gateway", gateway.id, {"router_id": "192.0.2.200"}, ROOT)
    yield lambda: update("vpc_attachment", attachment.id, {"cidrs": ["192.168.1.0/24"]}, ROOT)
    yield lambda: make(
        registry,
        "route",
        name="r",
        border_gateway="main",
        vpn_connection="office",
        prefix="10.99.0.0/16",
    )
    (route,) = registry.mirror.of_kind("route")
    yield lambda: registry.delete("route", route.id, ROOT)
    yield lambda: make(
        registry,
        "vpc_attachment",
        name="second",
        border_gateway="main",
        interface="eth2",
        cidrs=["192.168.9.0/24"],
        node=first.name,
    )
    yield lambda: update("node", first.id, {"workers": 3}, ROOT)
    yield lambda: update("vpn_tunnel", tunnels[1].id, {"admin": "down"}, ROOT)
    yield lambda: registry.delete("vpn_tunnel", tunnels[1].id, ROOT)


async def test_no_node_is_left_out_whose_document_is_another(store: Store) -> None:
    async with running(store) as registry:
        await fleet(registry)
        changed = set()
        async for step in steps(registry):
            before, revision = bodies(store, registry), await store.revision()
            await step()
            after = bodies(store, registry)
            commits = await store.changes(revision)
            touched = set().union(*(nodes_touched(registry.mirror, commit) for commit in commits))
            others = {node for node in after if after[node] != before[node]}
            assert others <= touched
            changed |= others
        assert len(changed) == 2


async def test_what_no_document_has_touches_no_node(store: Store) -> None:
    async with running(store) as registry:
        await fleet(registry)
        done = await connect(registry, routing="static")
        revision = await store.revision()
        await make(registry, "customer_gateway", name="other", public_addresses=["203.0.113.99"])
        await registry.update("vpn_tunnel", done.others[0].id, {"admin": "down"}, ROOT)
        commits = await store.changes(revision)
        assert nodes_touched(registry.mirror, commits[0]) == set()
        assert nodes_touched(registry.mirror, commits[1]) == {done.others[0].allocated["node"]}


async def test_the_same_resources_give_the_same_document_whatever_their_order(
    store: Store,
) -> None:
    async with running(store) as registry:
        await fleet(registry)
        for name, interface in (("z", "eth7"), ("b", "eth8"), ("m", "eth9")):
            await make(
                registry, "vpc_attachment", name=name, border_gateway="main", interface=interface
            )
        await connect(registry, routing="static")
        as_they_came = bodies(store, registry)
    async with running(store) as registry:  # read again, in the order of their ids
        assert bodies(store, registry) == as_they_came
