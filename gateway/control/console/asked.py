"""The pages for which nodes are asked: route tables, and what was said with a tunnel's peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.control.console import commands, sequence
from gateway.control.console.render import Visit, page
from gateway.control.console.source import Source, Table
from gateway.control.problems import ApiProblem, not_found
from gateway.control.resources.kinds import KINDS, Kind

ROUTED = frozenset({"border_gateway", "vpn_connection"})
TABLES: Mapping[str, tuple[str, str]] = {
    "": ("All", "Every route, and what became of it."),
    "effective": ("Effective", "The routes that carry traffic."),
    "static": ("Static", "The routes that the document names."),
    "propagated": ("Propagated", "What attachments propagate, and what peers announce by BGP."),
}
# How a route's standing looks: as these states do.
LOOKS = {"best": "up", "shares": "up", "standby": "admin_down", "refused": "down", "down": "down"}
OWNERS = {"vpn": "vpn-tunnels", "direct_line": "direct-lines", "vpc_attachment": "vpc-attachments"}


class Asked:
    """Makes them. Where a node does not answer, the page says so and is a page all the same."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def routes(self, request: Request, visit: Visit, kind: Kind, id: str) -> Response:
        """Return the route tables of a Border Gateway or of a connection."""
        if kind.name not in ROUTED:
            raise not_found("page", f"{kind.path}/{id}/routes")
        resource = self._source.one(kind.name, id, visit.who)
        table = request.query_params.get("table", "")
        table = table if table in TABLES else ""
        problem, status = "", 200
        answer: Table = {"routes": [], "left_off": 0, "notes": []}
        try:
            answer = await self._source.routes(kind.name, id, table or None, visit.who)
        except ApiProblem as found:
            problem, status = found.detail, found.status
        return page(
            "routes.html",
            visit,
            kind.path,
            status,
            kind=kind,
            resource=resource,
            tables=TABLES,
            table=table,
            groups=_by_prefix(answer["routes"]),
            looks=LOOKS,
            owners=OWNERS,
            answer=answer,
            problem=problem,
            thing=commands.of_routes(kind, id, resource, table),
        )

    async def negotiation(self, visit: Visit, id: str) -> Response:
        """Return what was said with a tunnel's peer, and how it stands."""
        tunnel = self._source.one("vpn_tunnel", id, visit.who)
        problem, status = "", 200
        lines: Sequence[Mapping[str, Any]] = ()
        children: Sequence[Table] = ()
        try:
            lines = (await self._source.negotiation(id, visit.who))["lines"]
            children = await self._source.child_sas(id, visit.who)
        except ApiProblem as found:
            problem, status = found.detail, found.status
        kind = KINDS["vpn_tunnel"]
        return page(
            "negotiation.html",
            visit,
            kind.path,
            status,
            kind=kind,
            resource=tunnel,
            steps=sequence.steps(lines),
            children=children,
            problem=problem,
            thing=commands.of_negotiation(id),
        )


def _by_prefix(routes: Sequence[Table]) -> list[tuple[str, list[Table]]]:
    """Return the routes by prefix, those of one prefix together, in the order they came."""
    first = {str(one["prefix"]): at for at, one in reversed(list(enumerate(routes)))}
    together = sorted(routes, key=lambda one: first[str(one["prefix"])])
    return [
        (prefix, list(group)) for prefix, group in groupby(together, lambda one: str(one["prefix"]))
    ]
