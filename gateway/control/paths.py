"""
Which tunnel carries a flow, and why: the nodes that a Border Gateway is on are asked.

Each of them looks into its own kernel, so each has its own answer. Of what is not the tenant's
nothing is told, though a node may have it in the same routing table.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from gateway.control.auth.principal import Principal
from gateway.control.changes import parse
from gateway.control.mirror import Mirror
from gateway.control.nodes.questions import Questions
from gateway.control.problems import ApiProblem, invalid
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record, Table

NODES_MAX = 16  # that are asked at once
PORT_MAX = 65535
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "icmpv6": 58}
WITH_PORTS = (PROTOCOLS["tcp"], PROTOCOLS["udp"])
WELL = ("carried", "local")
# What is told of a node's answer, and is null where the node says nothing of it.
TOLD = (
    *("verdict", "why", "border_gateways", "came_by", "route", "next_hops", "picked_by"),
    *("candidates", "leaves_by", "tunnel", "selectors"),
)
_ID = re.compile(r"\b([a-z]{3,5})-[a-z2-7]{10}\b")
_KINDS = {kind.prefix: kind.name for kind in KINDS.values()}


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that is asked for; 0 is any protocol or port."""

    source: str
    destination: str
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0

    def as_json(self) -> Table:
        """Return it as JSON, as a node takes it."""
        return {key: getattr(self, key) for key in self.__slots__}


def flow_of(asked: Mapping[str, str]) -> Flow:
    """Return the flow that the parameters of a query name. Raises ApiProblem 422."""
    source, destination = (_address(asked, key) for key in ("source", "destination"))
    if (":" in source) != (":" in destination):
        raise invalid("destination", destination, f"{source} is of another IP version")
    word = asked.get("protocol", "0").lower()
    protocol = PROTOCOLS.get(word, _number(word, 255))
    if protocol < 0:
        known = ", ".join(PROTOCOLS)
        raise invalid("protocol", word, f"must be one of {known}, or a number to 255")
    flow = Flow(source, destination, protocol, *(_port(asked, key) for key in _PORTS))
    if (flow.source_port or flow.destination_port) and protocol not in WITH_PORTS:
        field = next(key for key in _PORTS if asked.get(key))
        raise invalid(field, asked[field], "ports are of TCP and UDP alone: name the protocol")
    return flow


_PORTS = ("source_port", "destination_port")


def _address(asked: Mapping[str, str], key: str) -> str:
    try:
        return str(ip_address(asked.get(key, "")))
    except ValueError:
        raise invalid(key, asked.get(key), "must be an IP address") from None


def _port(asked: Mapping[str, str], key: str) -> int:
    port = _number(asked.get(key, "0"), PORT_MAX)
    if port < 0:
        raise invalid(key, asked[key], f"must be 0 to {PORT_MAX}")
    return port


def _number(text: str, most: int) -> int:
    """Return a number, -1 if it is none from 0 to `most`."""
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    return int(text) if is_number and int(text) <= most else -1


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody may be told of: the resources of one tenant; of all for None."""

    mirror: Mirror
    tenant: str | None

    def is_seen(self, id: object) -> bool:
        """Say whether this is the id of a resource that he may know of."""
        if self.tenant is None:
            return True
        found = _ID.fullmatch(str(id))
        record = self.mirror.get(_KINDS.get(found[1], ""), found[0]) if found else None
        return record is not None and record.tenant == self.tenant

    def is_way(self, way: object) -> bool:
        """Say whether this is an interface that leads to such a resource."""
        return isinstance(way, dict) and self.is_seen(way.get("name"))


@dataclass(frozen=True, slots=True)
class Paths:
    """Finds them. Raises ApiProblem."""

    mirror: Mirror
    questions: Questions

    async def of(self, flow: Flow, tenant: str, gateway: str | None, who: Principal) -> Table:
        """Return what becomes of a flow, in one Border Gateway or in all of a tenant."""
        places = self._places(self._gateways(tenant, gateway))
        seen = Seen(self.mirror, None if who.is_operator else tenant)
        asked = [self._asked(node, flow, ids, who, seen) for node, ids in places.items()]
        answers = await asyncio.gather(*asked)
        items = [item for found in answers if isinstance(found, list) for item in found]
        problems = [found for found in answers if isinstance(found, ApiProblem)]
        if not items and problems:
            raise problems[0]
        items.sort(key=lambda item: item["verdict"] not in WELL)
        first = items[0] if items else _NOWHERE
        return {
            **flow.as_json(),
            **{key: first[key] for key in ("verdict", "why", "vpn_tunnel", "node")},
            "items": items,
            "not_answered": [{"code": one.code, "detail": one.detail} for one in problems],
            "names": self._names(items, tenant),
        }

    def _gateways(self, tenant: str, named: str | None) -> list[Record]:
        """Return the Border Gateway that is named by id or name; all of a tenant for None."""
        if named is None:
            return list(self.mirror.of_kind("border_gateway", tenant))
        found = parse.find(self.mirror, "border_gateway", named, tenant)
        if len(found) != 1:
            raise invalid("border_gateway", named, "no border_gateway has this id or name")
        return found

    def _places(self, gateways: Sequence[Record]) -> dict[str, list[str]]:
        """Return the nodes that have tunnels, each with their Border Gateways. ApiProblem."""
        found: dict[str, dict[str, None]] = {}
        for gateway in gateways:
            for connection in self.mirror.children("vpn_connection", gateway.id):
                for tunnel in self.mirror.children("vpn_tunnel", connection.id):
                    if node := tunnel.allocated.get("node"):
                        found.setdefault(str(node), {})[gateway.id] = None
        if not found:
            text = "no tunnel of a border_gateway is on a node: nothing can carry a flow"
            raise ApiProblem(409, "conflict", text, field="border_gateway", value=None)
        if len(found) > NODES_MAX:
            text = f"there are tunnels on {len(found)} nodes: name one of the Border Gateways"
            raise invalid("border_gateway", None, text)
        return {node: list(found[node]) for node in sorted(found, key=self._name)}

    async def _asked(
        self, node: str, flow: Flow, gateways: list[str], who: Principal, seen: Seen
    ) -> list[Table] | ApiProblem:
        """Return what a node says: an item for each routing table; or why it says nothing."""
        arguments = {**flow.as_json(), "border_gateways": gateways}
        try:
            answer = await self.questions.ask(node, "path", arguments, by=who.actor)
        except ApiProblem as problem:
            return problem
        places = answer.get("places")
        own = {"node": node, "node_name": self._name(node)}
        return [
            own | _item(place, gateways, seen)
            for place in (places if isinstance(places, list) else ())
            if isinstance(place, dict) and _is_of(place, gateways)
        ]

    def _names(self, items: list[Table], tenant: str) -> dict[str, str]:
        """Return the names of the tenant's resources whose ids stand somewhere in an answer."""
        names = {}
        for found in _ID.finditer(json.dumps(items)):
            record = self.mirror.get(_KINDS.get(found[1], ""), found[0])
            if record is not None and record.tenant == tenant:
                names[record.id] = record.name
        return names

    def _name(self, node: str) -> str:
        record = self.mirror.get("node", node)
        return record.name if record is not None else node


_WHY_SHARED = "what decides is not of this tenant, who shares the routing table with others"
_NOWHERE: Table = {
    "verdict": "no_route",
    "why": "no node has any of these Border Gateways yet",
    "vpn_tunnel": None,
    "node": None,
}


def _is_of(place: Table, gateways: Collection[str]) -> bool:
    owners = place.get("border_gateways")
    return isinstance(owners, list) and any(one in gateways for one in owners)


def _item(place: Table, gateways: Collection[str], seen: Seen) -> Table:
    """
    Return an answer without what is another tenant's.

    Who shares a routing table with others is told how a flow fares in it, and of what decides that
    only what is his own.
    """
    item: Table = {key: place.get(key) for key in TOLD}
    if not all(map(seen.is_seen, place["border_gateways"])):
        item |= _masked(item, seen)
    item["border_gateways"] = [one for one in place["border_gateways"] if one in gateways]
    tunnel = item["tunnel"]
    return {**item, "vpn_tunnel": tunnel.get("name") if isinstance(tunnel, dict) else None}


def _masked(item: Table, seen: Seen) -> Table:
    """Return what takes the place of what may be others'."""
    came_by, leaves_by, hops = (item[key] for key in ("came_by", "leaves_by", "next_hops"))
    own_hops = [hop for hop in hops if seen.is_way(hop)] if isinstance(hops, list) else None
    told: Table = {"candidates": None, "next_hops": own_hops}
    told["came_by"] = came_by if seen.is_way(came_by) else None
    told["leaves_by"] = leaves_by if seen.is_way(leaves_by) else None
    if came_by != told["came_by"] or told["leaves_by"] is None:
        told["why"] = _WHY_SHARED
    if told["leaves_by"] is None:
        told |= dict.fromkeys(("route", "picked_by", "tunnel", "selectors"))
    return told
