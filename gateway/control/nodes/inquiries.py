"""
What people want to know that only nodes know: the routes of a Border Gateway, what was said with
a tunnel's peer. A Border Gateway may be on several nodes; each is asked for its part.

What a node answers is its word: it is held to its shape, and to what the question was about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Protocol

from pydantic import ValidationError

from gateway.control.api.render import moment
from gateway.control.changes.compose import nodes_of
from gateway.control.mirror import Mirror
from gateway.control.problems import ApiProblem
from gateway.control.resources.record import Record, Table
from gateway.fleet.messages import M
from gateway.fleet.seen import ROUTES_MAX, ChildSas, Line, Negotiation, Route, Routes

_OWNERS = {"vpn": "vpn_tunnel", "direct_line": "direct_line", "vpc_attachment": "vpc_attachment"}


class Ask(Protocol):
    """Asks a node; see `Questions.ask`."""

    def __call__(
        self, node: str, command: str, arguments: Table, *, by: str
    ) -> Awaitable[Table]: ...


class Inquiries:
    """Asks the nodes of resources. `by` is who wants to know. Raises ApiProblem."""

    def __init__(self, mirror: Mirror, ask: Ask) -> None:
        self._mirror = mirror
        self._ask = ask

    # ---- routes ----

    async def routes(self, about: Record, table: str | None, *, by: str) -> Table:
        """
        Return the routes of a Border Gateway, or of one of its connections.

        `notes` say which nodes have not answered; ApiProblem 409 or 503 if none has.
        """
        gateway, wanted = self._wanted(about)
        arguments: Table = {**wanted, "table": table, "limit": ROUTES_MAX}
        nodes = sorted(self._nodes(about, gateway), key=lambda id: self._name("node", id))
        answers = await asyncio.gather(
            *(self._routes_of(node, arguments, by) for node in nodes), return_exceptions=True
        )
        problems = [answer for answer in answers if isinstance(answer, BaseException)]
        for problem in problems:
            if not isinstance(problem, ApiProblem) or len(problems) == len(answers):
                raise problem
        routes: list[Table] = []
        for node, answer in zip(nodes, answers, strict=True):
            if isinstance(answer, Routes):
                routes += self._shown(answer.routes, node, wanted)
        heard = [answer for answer in answers if isinstance(answer, Routes)]
        return {
            "border_gateway": gateway.id,
            "routes": routes,
            "left_off": sum(answer.left_off for answer in heard),
            "notes": [str(problem) for problem in problems],
        }

    def _wanted(self, about: Record) -> tuple[Record, dict[str, object]]:
        """Return the Border Gateway, and what a node's routes must have."""
        if about.kind == "border_gateway":
            return about, {"border_gateway": about.id}
        gateway = self._mirror.get("border_gateway", str(about.of("border_gateway")))
        assert gateway is not None  # it can not go before its connection
        return gateway, {"border_gateway": gateway.id, "connection": about.id}

    def _nodes(self, about: Record, gateway: Record) -> set[str]:
        if about.kind == "border_gateway":
            return nodes_of(self._mirror, gateway)
        tunnels = self._mirror.children("vpn_tunnel", about.id)
        return {str(node) for one in tunnels if (node := one.allocated.get("node"))}

    async def _routes_of(self, node: str, arguments: Table, by: str) -> Routes:
        return _read(Routes, await self._ask(node, "routes", arguments, by=by))

    def _shown(self, routes: Iterable[Route], node: str, wanted: dict[str, object]) -> list[Table]:
        return [
            {
                **route.model_dump(mode="json"),
                "owner_name": self._name(_OWNERS.get(route.next_hop_type, ""), route.owner),
                "connection_name": self._name("vpn_connection", route.connection),
                "node": node,
            }
            for route in routes
            if all(getattr(route, key) == value for key, value in wanted.items())
        ]

    def _name(self, kind: str, id: str) -> str:
        record = self._mirror.get(kind, id) if kind else None
        return record.name if record is not None else ""

    # ---- negotiations ----

    async def negotiation(self, tunnel: Record, *, by: str) -> Table:
        """Return what a tunnel's node has said lately with its peer, the oldest first."""
        node = str(tunnel.allocated.get("node") or "")
        answer = await self._ask(node, "negotiation", {"tunnel": tunnel.id}, by=by)
        lines = _read(Negotiation, answer).lines
        return {"vpn_tunnel": tunnel.id, "node": node, "lines": [_told(line) for line in lines]}

    async def child_sas(self, tunnel: Record, *, by: str) -> list[Table]:
        """Return the Child SAs of a tunnel, as its node has them now."""
        node = str(tunnel.allocated.get("node") or "")
        answer = await self._ask(node, "explain", {"tunnel": tunnel.id}, by=by)
        return [one.model_dump(mode="json") for one in _read(ChildSas, answer).children]


def _told(line: Line) -> Table:
    return {**line.model_dump(mode="json"), "at": moment(line.at)}


def _read(kind: type[M], answer: Table) -> M:
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = f"the node's answer can not be read: {where}: {first['msg']}"
        raise ApiProblem(503, "unavailable", text) from None
