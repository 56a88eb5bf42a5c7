"""
What is computed of a resource and never set: whether it is up, what belongs to it. Pure.

How a tunnel is comes from its node's reports, `live`; without a report it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from gateway.control.changes.view import View
from gateway.control.resources.record import Record

Json = object
Table = dict[str, Json]
Live = Callable[[Record], Table]  # of a tunnel, connection or node, as nodes have reported


def nobody_reports(record: Record) -> Table:
    """Return how a tunnel is where no node has said anything; of others nothing."""
    if record.kind != "vpn_tunnel":
        return {}
    return {"operational": "unknown", "reason": None, "since": None}


class Status:
    """The statuses of resources. `view` is how they are wanted, `live` how the tunnels are."""

    def __init__(self, view: View, live: Live = nobody_reports) -> None:
        self._view = view
        self._live = live

    def of(self, record: Record) -> Table:
        """Return the status of a resource."""
        match record.kind:
            case "vpn_tunnel":
                return self._tunnel(record)
            case "vpn_connection":
                return self._connection(record)
            case "border_gateway":
                return self._children(record, "vpn_connection", "vpc_attachment", "direct_line")
            case "customer_gateway":
                return self._children(record, "vpn_connection", "direct_line")
            case "node":
                return {**self._children(record, "vpn_tunnel"), **self._live(record)}
            case _:
                return {}

    def _tunnel(self, tunnel: Record) -> Table:
        return {
            "admin": self.admin_of(tunnel),
            "node": tunnel.allocated.get("node"),
            **self._live(tunnel),
        }

    def admin_of(self, tunnel: Record) -> str:
        """Return whether a tunnel is allowed to be up: its own word, else its connection's."""
        connection = self._view.get("vpn_connection", str(tunnel.of("vpn_connection")))
        inherited = connection.spec.get("admin") if connection is not None else None
        return str(tunnel.spec.get("admin") or inherited or "up")

    def _connection(self, connection: Record) -> Table:
        tunnels = list(self._view.children("vpn_tunnel", connection.id))
        tunnels.sort(key=lambda one: int(one.allocated.get("position", 0)))
        live = self._live(connection)  # whoever hears the nodes knows it without all else
        if "operational" not in live:
            states = [self._live(tunnel).get("operational") for tunnel in tunnels]
            live = {"working": states.count("up"), "operational": together(states), **live}
        return {"tunnels": [tunnel.id for tunnel in tunnels], **live}

    def _children(self, record: Record, *kinds: str) -> Table:
        return {
            f"{kind}s": [child.id for child in self._view.children(kind, record.id)]
            for kind in kinds
        }


def together(states: Collection[Json]) -> str:
    """Return how a connection is: up if one tunnel is; unknown only if nothing is known."""
    for state in ("up", "connecting", "down"):
        if state in states:
            return state
    return "unknown"
