"""The routes that ask nodes: route tables, and what was said with a tunnel's peer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.add import Endpoint, add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import judge_query
from gateway.control.api.depends import NamedTenant, Query, Who
from gateway.control.api.describe import ALWAYS, About, noun_of, refused
from gateway.control.api.events import parameter
from gateway.control.api.resources import Api
from gateway.control.api.schemas import Table
from gateway.control.nodes.inquiries import Inquiries
from gateway.control.problems import invalid
from gateway.control.resources.kinds import KINDS, Kind
from gateway.fleet.seen import Line, Route
from gateway.routing.tables import Table as RouteTable

TUNNEL = KINDS["vpn_tunnel"]
ROUTED = (KINDS["border_gateway"], KINDS["vpn_connection"])


def inquiry_router(api: Api, inquiries: Inquiries) -> APIRouter:
    """Return the routes that ask nodes."""
    router = APIRouter()
    for kind in ROUTED:
        path, about = f"{noun_of(kind).one}/routes", _described_routes(kind)
        add(router, "GET", path, _routes(api, inquiries, kind), about)
    add(
        router,
        "GET",
        f"{noun_of(TUNNEL).one}/negotiation",
        _negotiation(api, inquiries),
        _described_negotiation(),
    )
    return router


def table_of(text: str | None) -> str | None:
    """Return the route table that is asked for, None for all. Raises ApiProblem 422."""
    if text is not None and text not in list(RouteTable):
        raise invalid("table", text, f"must be one of {', '.join(RouteTable)}")
    return text


def _routes(api: Api, inquiries: Inquiries, kind: Kind) -> Endpoint:
    async def routes(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("table", "tenant"))
        table = table_of(query.get("table"))
        record = api.seen(kind, id, who, named)
        return answer_json(await inquiries.routes(record, table, by=who.actor))

    return routes


def _negotiation(api: Api, inquiries: Inquiries) -> Endpoint:
    async def negotiation(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        tunnel = api.seen(TUNNEL, id, who, named)
        return answer_json(await inquiries.negotiation(tunnel, by=who.actor))

    return negotiation


# ---- the description ----


def _object(**properties: Table) -> Table:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(kind: type[Route] | type[Line], **more: Table) -> Table:
    schema: dict[str, Any] = kind.model_json_schema(mode="serialization")
    properties = {**schema["properties"], **more}
    return {"type": "array", "items": _object(**properties)}


def _about(operation: str, summary: str, text: str, schema: Table, *parameters: Table) -> About:
    answer: Table = {"description": summary, "content": {"application/json": {"schema": schema}}}
    tenant = parameter("tenant", "the operator names a tenant; any that is seen if not")
    responses: dict[int, Table] = {200: answer, **refused(*ALWAYS, 409)}
    return About(operation, summary, text, 200, responses, {"parameters": [*parameters, tenant]})


_STRING: Table = {"type": "string"}


def _described_routes(kind: Kind) -> About:
    named = {"owner_name": _STRING, "connection_name": _STRING, "node": _STRING}
    schema = _object(
        border_gateway=_STRING,
        routes=_list(Route, **named),
        left_off={"type": "integer"},
        notes={"type": "array", "items": _STRING},
    )
    name = kind.title.replace(" ", "")
    return _about(
        f"list{name}Routes",
        f"Return the routes of a {kind.title} as they are, with why each won or lost",
        "The nodes are asked, for at most 5 s. `notes` name those that have not answered; if"
        " none has, that is the refusal: 409 `node_lost`, or 503 `node_silent`. `left_off` counts"
        " what is too much for one answer: ask for one table.",
        schema,
        parameter("table", "only this one", {"enum": list(RouteTable)}),
    )


def _described_negotiation() -> About:
    moment: Table = {"type": "string", "format": "date-time"}
    schema = _object(vpn_tunnel=_STRING, node=_STRING, lines=_list(Line, at=moment))
    return _about(
        "getVpnTunnelNegotiation",
        "Return what was said lately with the peer of a tunnel",
        "IKE's messages in the notation of RFC 7296, and what came of them, the oldest first, as"
        " `twinspan trace --last` shows them. No key is in it, and nothing that one is made of.",
        schema,
    )
