"""What can be done to a node beside a change of its fields, and what became of actions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.api.add import Endpoint, add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import judge_query
from gateway.control.api.depends import Query, Who
from gateway.control.api.describe import About, noun_of, refused
from gateway.control.api.render import moment
from gateway.control.api.resources import Api, With
from gateway.control.auth.principal import Scope
from gateway.control.nodes.actions import rendered
from gateway.control.nodes.credentials import TOKEN_LEAST_S, TOKEN_MOST_S, TOKEN_S
from gateway.control.nodes.service import Nodes
from gateway.control.problems import invalid
from gateway.control.resources.kinds import KINDS
from gateway.control.resources.record import Record
from gateway.control.store.interface import Write

NODE = KINDS["node"]
ACTIONS = "/v1/actions"


def node_router(api: Api, nodes: Nodes) -> APIRouter:
    """Return the routes of registration tokens, of revoking, and of actions."""
    router = APIRouter(tags=[NODE.title])
    one = noun_of(NODE).one
    add(router, "POST", f"{one}/token", _token(api, nodes), _TOKEN_ABOUT)
    add(router, "POST", f"{one}/revoke", _revoke(api, nodes), _REVOKE_ABOUT)
    add(router, "GET", f"{ACTIONS}/{{id}}", _action(nodes), _ACTION_ABOUT)
    return router


def token_of_new_node(nodes: Nodes) -> With:
    """Return what a new node comes with: a token, so that its gateway can register."""

    def made(record: Record) -> tuple[list[Write], dict[str, object]]:
        write, token, expires_at = nodes.credentials.first_token(record.id)
        ends = moment(expires_at)
        return [write], {"registration_token": token, "registration_token_expires_at": ends}

    return made


def _token(api: Api, nodes: Nodes) -> Endpoint:
    async def make(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ("ttl_s",))
        who.need_operator(Scope.ADMIN)
        node = api.registry.get(NODE.name, id, who)
        token, expires_at = await nodes.credentials.new_token(node.id, who, _ttl_s(query))
        body = {
            "id": node.id,
            "name": node.name,
            "registration_token": token,
            "expires_at": moment(expires_at),
            "ca_fingerprint": f"sha256:{nodes.fingerprint}",
        }
        return answer_json(body, 201)

    return make


def _ttl_s(query: Query) -> float:
    text = query.get("ttl_s")
    if text is None:
        return TOKEN_S
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not TOKEN_LEAST_S <= value <= TOKEN_MOST_S:
        detail = f"must be a whole number from {TOKEN_LEAST_S:.0f} to {TOKEN_MOST_S:.0f}"
        raise invalid("ttl_s", text, detail)
    return value


def _revoke(api: Api, nodes: Nodes) -> Endpoint:
    async def revoke(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ())
        who.need_operator(Scope.ADMIN)
        node = api.registry.get(NODE.name, id, who)
        count = await nodes.revoke(node.id, who)
        return answer_json({"id": node.id, "name": node.name, "revoked": count})

    return revoke


def _action(nodes: Nodes) -> Endpoint:
    async def read(id: str, who: Who, query: Query) -> Response:
        judge_query(query, ())
        shown = rendered(nodes.actions.get(id, who))
        times = {key: moment(shown[key]) for key in ("created_at", "updated_at")}
        return answer_json(shown | times)

    return read


def _about(operation: str, summary: str, text: str, status: int, answer: dict[str, Any]) -> About:
    """Return what the description says of a route."""
    content = {"application/json": {"schema": {"type": "object", "properties": answer}}}
    responses: dict[int, dict[str, Any]] = {
        status: {"description": summary, "content": content},
        **refused(400, 401, 403, 404, 422, 429, 500, 503),
    }
    ttl = {"name": "ttl_s", "in": "query", "schema": {"type": "integer"}}
    extra = {"parameters": [ttl]} if "registration_token" in answer else {}
    return About(operation, summary, text, status, responses, extra)


_STRING = {"type": "string"}
_ID = {"id": _STRING, "name": _STRING}
_TOKEN_ABOUT = _about(
    "createNodeToken",
    "Make a registration token of a node",
    "Shown this once; one that was made before is void. With it `twinspan gateway --control URL"
    " --register-token-file FILE` becomes this node, and a credential that it had is void.",
    201,
    {
        **_ID,
        "registration_token": _STRING,
        "expires_at": {"type": "string", "format": "date-time"},
        "ca_fingerprint": _STRING,
    },
)
_REVOKE_ABOUT = _about(
    "revokeNode",
    "Lock a node out",
    "Its credential and tokens are void at once. It goes on with the document it has; a new token"
    " lets it in again.",
    200,
    {**_ID, "revoked": {"type": "integer", "description": "credentials that it had"}},
)
_ACTION_ABOUT = _about(
    "getAction",
    "Return an action and what became of it",
    "Kept for a day.",
    200,
    {
        "action": _STRING,
        "tenant": _STRING,
        "verb": _STRING,
        "vpn_tunnel": _STRING,
        "node": _STRING,
        "state": {"enum": ["pending", "done", "failed"]},
        "text": _STRING,
        "details": {"type": ["object", "null"]},
        "by": _STRING,
        "created_at": _STRING,
        "updated_at": _STRING,
    },
)
