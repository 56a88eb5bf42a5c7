"""The routes that say why: all about one tunnel, and which tunnel carries a flow."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import judge_query
from gateway.control.api.depends import NamedTenant, Query, Tenant, Who
from gateway.control.api.describe import ALWAYS, About, noun_of, refused
from gateway.control.api.events import parameter
from gateway.control.api.resources import Api
from gateway.control.api.schemas import Table
from gateway.control.auth.principal import Scope
from gateway.control.explain import Explanations
from gateway.control.paths import PROTOCOLS, Paths, flow_of
from gateway.control.resources.kinds import KINDS

TUNNEL = KINDS["vpn_tunnel"]
QUERY = frozenset(
    {
        *("source", "destination", "protocol", "source_port", "destination_port"),
        *("border_gateway", "tenant"),
    }
)


def explain_router(api: Api, explanations: Explanations, paths: Paths) -> APIRouter:
    """Return the routes that ask nodes."""
    router = APIRouter(tags=[TUNNEL.title])

    async def explain(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        who.need(Scope.READ)
        tunnel = api.seen(TUNNEL, id, who, named)
        return answer_json(await explanations.of(tunnel, who.actor))

    async def path(who: Who, tenant: Tenant, query: Query) -> Response:
        judge_query(query, QUERY)
        who.need(Scope.READ)
        found = await paths.of(flow_of(query), tenant, query.get("border_gateway"), who)
        return answer_json(found)

    add(router, "GET", f"{noun_of(TUNNEL).one}/explain", explain, _described_explain())
    add(router, "GET", "/v1/paths", path, _described_path())
    return router


# ---- the description ----

_TEXT: Table = {"type": "string"}
_TEXT_OR_NULL: Table = {"type": ["string", "null"]}
_ANY: Table = {"type": ["object", "null"]}


def _object(properties: dict[str, Table]) -> Table:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(text: str, schema: Table) -> dict[int, Table]:
    content = {"application/json": {"schema": schema}}
    return {200: {"description": text, "content": content}, **refused(*ALWAYS, 409)}


_PROBLEM = _object({"code": _TEXT, "detail": _TEXT})
_TENANT = parameter("tenant", "the operator names a tenant; `main` if not")


def _described_explain() -> About:
    keys = ("at", "event", "code", "text", "ours", "theirs", "hint")
    failure = _object({key: _TEXT for key in keys})
    named = ("vpn_connection", "vpn_connection_name", "node", "node_name")
    schema = _object(
        {
            **{key: _TEXT for key in ("id", "name", "tenant", "hint")},
            **{key: _TEXT_OR_NULL for key in named},
            "status": {"type": "object", "description": "as the tunnel itself has it"},
            "last_failure": failure | {"type": ["object", "null"]},
            "wanted": _ANY | {"description": "our identities, proposals, selectors, routes"},
            "agreed": _ANY | {"description": "what both ends use now, as the node says"},
            "not_answered": _PROBLEM | {"type": ["object", "null"]},
            "details": _ANY | {"description": "all that the node says of the tunnel"},
        }
    )
    text = (
        "The node of the tunnel is asked. Where it does not answer, `not_answered` says why, and"
        " the rest is what the control plane knows by itself."
    )
    return About(
        "explainVpnTunnel",
        "Say all that is known about a tunnel",
        text,
        200,
        _answer("What is wanted, what is, what failed last", schema),
        {"parameters": [_TENANT]},
    )


def _described_path() -> About:
    item: dict[str, Table] = {
        key: {} for key in ("came_by", "route", "leaves_by", "tunnel", "selectors")
    }
    schema = _object(
        {
            **{key: _TEXT for key in ("source", "destination", "verdict", "why")},
            **{key: {"type": "integer"} for key in ("protocol", "source_port", "destination_port")},
            "vpn_tunnel": _TEXT_OR_NULL,
            "node": _TEXT_OR_NULL,
            "items": {
                "type": "array",
                "items": _object({**{key: _TEXT for key in ("node", "node_name")}, **item}),
            },
            "not_answered": {"type": "array", "items": _PROBLEM},
            "names": {"type": "object", "additionalProperties": _TEXT},
        }
    )
    address: Table = {"type": "string", "example": "10.20.0.7"}
    port: Table = {"type": "integer", "minimum": 0, "maximum": 65535}
    parameters = [
        {**parameter("source", "address that the packets come from", address), "required": True},
        {**parameter("destination", "address that they go to", address), "required": True},
        parameter("protocol", f"{', '.join(PROTOCOLS)} or a number"),
        parameter("source_port", "0: any", port),
        parameter("destination_port", "0: any", port),
        parameter("border_gateway", "id or name; without it all of the tenant"),
        _TENANT,
    ]
    text = (
        "The nodes with tunnels of the Border Gateway are asked, and each asks its kernel, for"
        " these very ports. `items` has an answer of each node, the one that carries the flow"
        " first; `not_answered` those that could not be asked. `names` are the names of the ids."
    )
    return About(
        "findPath",
        "Say which tunnel carries a flow, and why",
        text,
        200,
        _answer("What becomes of the flow", schema),
        {"parameters": parameters},
    )
