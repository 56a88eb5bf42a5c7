"""Which nodes' documents a change may touch, and which connections' status. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from gateway.control.changes.compose import has_tunnels, nodes_of
from gateway.control.changes.view import View
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record, record_of
from gateway.control.store.interface import LEASE, Change, Commit, Object

NODE_LEASE = "node:"  # before a node's id: the lease that it lives by


def nodes_touched(view: View, commit: Commit) -> set[str]:
    """Return the ids of the nodes whose documents may be others after a commit."""
    if any(change.key.kind == "tenant" for change in commit.changes):
        return {node.id for node in view.of_kind("node")}  # namespaces may be others
    changes = [change for change in commit.changes if change.key.kind in KINDS]
    found = _of_all(view, [record for change in changes for record in _both(change)])
    # A tunnel that comes or goes may put its Border Gateway on one node more or less.
    ends = [
        one for one in changes if one.key.kind == "vpn_tunnel" and None in (one.before, one.value)
    ]
    ids = {change.key.id for change in ends}
    for change in ends:
        for tunnel in _both(change):
            found |= _around(view, tunnel, ids)
    return found


def _of_all(view: View, records: Iterable[Record]) -> set[str]:
    """Return the nodes of some resources. It ends with the last node, not with the last tunnel."""
    found: set[str] = set()
    missing = {node.id for node in view.of_kind("node")}
    for record in records:
        for node in _of(view, record, set()):
            found.add(node)
            if node in missing:
                missing.remove(node)
                if not missing:
                    return found
    return found


def _around(view: View, tunnel: Record, ids: set[str]) -> set[str]:
    """Return the nodes of a tunnel's Border Gateway if, but for these, it is alone on its node."""
    connection = view.get("vpn_connection", str(tunnel.of("vpn_connection")))
    if connection is None:
        return set()
    gateway = view.get("border_gateway", str(connection.of("border_gateway")))
    if gateway is None or has_tunnels(view, str(tunnel.allocated.get("node")), gateway, ids):
        return set()
    return nodes_of(view, gateway)


def _both(change: Change) -> Iterator[Record]:
    """Yield the object before and after a change, as far as there is one."""
    for value in (change.before, change.value):
        if value is not None:
            yield record_of(Object(change.key, value, 0))


def _of(view: View, record: Record, seen: set[str]) -> Iterator[str]:
    """Yield the nodes of a resource, of what it refers to and of what refers to it."""
    if record.id in seen:
        return
    seen.add(record.id)
    if record.kind == "node":
        yield record.id
    for where in (record.spec, record.allocated):
        if where.get("node"):
            yield str(where["node"])
    for each in view.users(record.id):
        yield from _of(view, each, seen)
    # What hangs on a connection or a Border Gateway is in the documents of all its nodes.
    for kind in ("vpn_connection", "border_gateway"):
        parent = view.get(kind, str(record.spec.get(kind)))
        if parent is not None and record.kind in ("route", "vpc_attachment", "direct_line"):
            yield from _of(view, parent, seen)


def connections_touched(view: View, commit: Commit) -> set[str]:
    """Return the ids of the VPN Connections whose status, or a tunnel's of them, may be new."""
    return {id for change in commit.changes for id in _connections(view, change)}


def _connections(view: View, change: Change) -> Iterator[str]:
    kind, id = change.key.kind, change.key.id
    if kind == "vpn_connection":
        yield id
    elif kind == "vpn_tunnel":
        yield from (str(one.of("vpn_connection")) for one in _both(change))
    elif kind == "state" and (tunnel := view.get("vpn_tunnel", id)) is not None:
        yield str(tunnel.of("vpn_connection"))
    elif _is_of_all(change):
        tunnels = view.children("vpn_tunnel", id.removeprefix(NODE_LEASE))
        yield from (str(one.of("vpn_connection")) for one in tunnels)


def _is_of_all(change: Change) -> bool:
    """Say whether a change at a node is one for all tunnels that are on it."""
    has_come_or_gone = None in (change.before, change.value)
    if change.key.kind == LEASE:
        return change.key.id.startswith(NODE_LEASE) and has_come_or_gone
    if change.key.kind != "state":
        return False
    # It tells its generation after every change, but a problem only with a document it refuses.
    return has_come_or_gone or len({_problem(change.before), _problem(change.value)}) > 1


def _problem(state: bytes | None) -> str:
    """Return what a node refuses its document for, as text that can be compared."""
    return json.dumps(json.loads(state or b"{}").get("problem"))
