"""
Events that a node reports, made the control plane's: whose they are, what the resource is called.

In a node's document names are ids. A node is believed about its own tunnels and connections only;
what it says of others is kept as the operator's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from gateway.control.events.events import Events
from gateway.control.events.kept import Kept
from gateway.control.mirror import Mirror
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record
from gateway.model.events import Event, Resource

_KINDS = {
    KINDS[name].prefix: name
    for name in ("vpn_tunnel", "vpn_connection", "direct_line", "vpc_attachment", "border_gateway")
}
_ID = re.compile(rf"\b(?:{'|'.join(_KINDS)})-[a-z2-7]{{10}}\b")


class NodeEvents:
    """Takes the events of nodes."""

    def __init__(self, events: Events, mirror: Mirror) -> None:
        self._events = events
        self._mirror = mirror

    async def keep(self, node: str, events: Sequence[Event]) -> None:
        """Keep events that a node reports; return when they are in the store."""
        self._events.record(*(self.named(node, event) for event in events))
        await self._events.settled()

    def named(self, node: str, event: Event) -> Kept:
        """Return an event of a node with the tenant and the name of its resource."""
        resource = event.resource
        if resource.kind == "node":
            about = self._mirror.get("node", node)
            shown = Resource("node", about.name if about is not None else node, node)
            return Kept(replace(event, resource=shown), "", node)
        is_known = resource.kind in _KINDS.values()
        record = self._mirror.get(resource.kind, resource.name) if is_known else None
        if record is None or not self._is_on(node, record):
            return Kept(event, "", node)
        shown = Resource(resource.kind, record.name, record.id)
        text = _ID.sub(lambda found: self._name(found[0], record.tenant), event.text)
        return Kept(replace(event, resource=shown, text=text), record.tenant, node)

    def _is_on(self, node: str, record: Record) -> bool:
        if record.kind == "vpn_tunnel":
            return record.allocated.get("node") == node
        if record.kind == "vpn_connection":
            tunnels = self._mirror.children("vpn_tunnel", record.id)
            return any(each.allocated.get("node") == node for each in tunnels)
        return record.of("node") in (None, node)

    def _name(self, id: str, tenant: str) -> str:
        record = self._mirror.get(_KINDS[id.partition("-")[0]], id)
        return record.name if record is not None and record.tenant == tenant else id
