"""
From the resources to the wanted document of one node, as a table. Pure.

The names in it are ids, so a new name in the API disturbs no tunnel; what people call things stands
beside as `title`. A node gets the tunnels on its own addresses, and what they need.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from gateway.control.changes.allocate import routing_table
from gateway.control.changes.view import View
from gateway.control.resources.kinds import SECRETS
from gateway.control.resources.record import Record, Table
from gateway.model.tunnels import FIRST_PREFERENCE

# Opens a secret: the resource, where it stands in its value (`spec/psk`), and what is there.
Open = Callable[[Record, str, str], str]
Bare = Callable[[Record], Sequence[Table]]  # the tunnels of a connection without any
_OURS = frozenset(
    {"name", "description", "tags", "node", "inner_version", "vpn_connection", "address_pool"}
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a document is made of; a list of the resources of each kind."""

    gateways: Sequence[Record]
    attachments: Sequence[Record]
    customers: Sequence[Record]
    connections: Sequence[Record]
    tunnels: Sequence[Record]
    lines: Sequence[Record]
    routes: Sequence[Record]


def node_table(view: View, node: Record, open_secret: Open) -> Table:
    """Return the wanted document of a node, its secrets in clear."""
    table = tables(view, parts_of(view, node), open_secret)
    for gateway in table["border_gateway"]:
        _settle_router_id(view, gateway, node)
    table["gateway"] = {
        "name": node.name,
        "public_addresses": list(node.spec.get("public_addresses", ())),
        "workers": int(node.spec.get("workers", 0)),
    }
    return table


def parts_of(view: View, node: Record) -> Parts:
    """Return what of all resources is on a node."""
    tunnels = list(view.children("vpn_tunnel", node.id))
    connections = _named(view, "vpn_connection", (one.of("vpn_connection") for one in tunnels))
    fixed = [*view.children("vpc_attachment", node.id), *view.children("direct_line", node.id)]
    gateways = _named(
        view, "border_gateway", (one.of("border_gateway") for one in [*connections, *fixed])
    )
    return _around(view, gateways, connections, tunnels, node)


def _around(
    view: View,
    gateways: Sequence[Record],
    connections: Sequence[Record],
    tunnels: Sequence[Record],
    node: Record | None,
) -> Parts:
    """Return these with all that belongs to them, of what is on one node, or on any."""

    def here(kind: str) -> list[Record]:
        found = (one for gateway in gateways for one in view.children(kind, gateway.id))
        return [one for one in found if node is None or one.spec.get("node") in (None, node.id)]

    lines = here("direct_line")
    customers = (one.of("customer_gateway") for one in [*connections, *lines])
    routes = [one for c in connections for one in view.children("route", c.id)]
    return Parts(
        gateways,
        here("vpc_attachment"),
        _named(view, "customer_gateway", customers),
        connections,
        tunnels,
        lines,
        routes,
    )


def parts_around(view: View, gateway: Record, connections: Sequence[Record]) -> Parts:
    """Return a Border Gateway on whatever nodes it is, with some of its connections."""
    tunnels = [one for c in connections for one in view.children("vpn_tunnel", c.id)]
    return _around(view, [gateway], connections, tunnels, None)


def _named(view: View, kind: str, ids: Iterable[object]) -> list[Record]:
    """Return the resources of some ids, each once, in the order of their ids."""
    found = (view.get(kind, str(id)) for id in sorted({str(id) for id in ids if id}))
    return [record for record in found if record is not None]


def nodes_of(view: View, gateway: Record) -> set[str]:
    """Return the ids of the nodes that a Border Gateway is on."""
    found = {str(node) for one in view.users(gateway.id) if (node := one.spec.get("node"))}
    return found | {node.id for node in view.of_kind("node") if has_tunnels(view, node.id, gateway)}


def has_tunnels(
    view: View, node: str, gateway: Record, beside: Container[str] = frozenset()
) -> bool:
    """Say whether a node has tunnels of a Border Gateway, beside some."""
    tunnels = (one for one in view.children("vpn_tunnel", node) if one.id not in beside)
    # Of a thousand the first will do.
    return any(_is_of(view, one, gateway) for one in tunnels)


def _is_of(view: View, tunnel: Record, gateway: Record) -> bool:
    connection = view.get("vpn_connection", str(tunnel.of("vpn_connection")))
    return connection is not None and connection.of("border_gateway") == gateway.id


def tables(view: View, parts: Parts, open_secret: Open, bare: Bare = lambda _: ()) -> Table:
    """
    Return the tables of a wanted document but for `gateway`.

    A connection without tunnels has those of `bare`, and is left out if that gives none.
    """

    def plain(record: Record) -> Table:
        return _plain(record, open_secret)

    by_connection: dict[str, list[Record]] = {}
    for tunnel in sorted(parts.tunnels, key=lambda one: int(one.allocated.get("position", 0))):
        by_connection.setdefault(str(tunnel.of("vpn_connection")), []).append(tunnel)
    of_connection = {
        one.id: [_tunnel(each, open_secret) for each in by_connection.get(one.id, ())]
        or list(bare(one))
        for one in parts.connections
    }
    return {
        "border_gateway": [
            plain(one) | _namespace(routing_table(view, one)) for one in parts.gateways
        ],
        "vpc_attachment": [plain(one) for one in parts.attachments],
        "customer_gateway": [plain(one) for one in parts.customers],
        "vpn_connection": [
            plain(one) | {"tunnel": of_connection[one.id]}
            for one in parts.connections
            if of_connection[one.id]
        ],
        "direct_line": [plain(one) for one in parts.lines],
        "route": [
            {key: one.spec[key] for key in one.spec if key not in _OURS}
            | {"vpn_connection": one.spec["vpn_connection"]}
            for one in parts.routes
            if of_connection[one.spec["vpn_connection"]]
        ],
    }


def _plain(record: Record, open_secret: Open) -> Table:
    """Return the fields of a resource as the document has them."""
    table = {key: value for key, value in record.spec.items() if key not in _OURS}
    for key in SECRETS & set(table):
        table[key] = open_secret(record, f"spec/{key}", table[key])
    return {"name": record.id, "title": record.name, **table}


def _namespace(table: str) -> Table:
    return {"namespace": table} if table else {}


def _tunnel(record: Record, open_secret: Open) -> Table:
    table = _plain(record, open_secret)
    for key in ("local_address", "remote_address", "inner_cidr", "interface"):
        if (value := record.of(key)) is not None:
            table[key] = value
    if "psk" not in table and "psk" in record.allocated:
        table["psk"] = open_secret(record, "allocated/psk", record.allocated["psk"])
    table.setdefault("preference", FIRST_PREFERENCE + int(record.allocated.get("position", 0)))
    return table


def _settle_router_id(view: View, table: Table, node: Record) -> None:
    """
    Give each node of a Border Gateway a router id of its own (RFC 6286).

    One that was set holds on a single node. Else it is the node's public IPv4 address, which the
    gateway takes by itself, or where it has none a number of its id.
    """
    gateway = view.get("border_gateway", str(table["name"]))
    assert gateway is not None
    if "router_id" in table and nodes_of(view, gateway) <= {node.id}:
        return
    table.pop("router_id", None)
    if not any("." in one for one in node.spec.get("public_addresses", ())):
        digest = hashlib.sha256(node.id.encode()).digest()
        table["router_id"] = str(IPv4Address(int.from_bytes(digest[:4], "big") | 1))
