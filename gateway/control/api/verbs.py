"""What can be done to a VPN Tunnel beside a change of its fields; and secrets, one at a time."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from http import HTTPStatus
from typing import Protocol

from fastapi import APIRouter, Request
from starlette.responses import Response

from gateway.control.api.access import Accesses
from gateway.control.api.add import Endpoint, add
from gateway.control.api.answers import answer_json
from gateway.control.api.conditions import flag, idempotency_key, judge_query
from gateway.control.api.depends import NamedTenant, Query, Who
from gateway.control.api.describe import described_secret, described_verb, noun_of
from gateway.control.api.idempotency import Answers, Beside, What
from gateway.control.api.resources import Api
from gateway.control.auth.principal import Principal, Scope
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import KINDS, Kind
from gateway.control.resources.record import Record, Table

TUNNEL = KINDS["vpn_tunnel"]
ADMIN_VERBS = ("up", "down")
NODE_VERBS = {
    "drain": "Move the traffic of a tunnel to its twin",
    "rekey": "Make new keys for a tunnel; `ike=true`: of the IKE SA, not the Child SA",
    "reset": "End a tunnel's IKE SA and begin anew",
}


class Act(Protocol):
    """Tells the node of a tunnel to do something, and returns the action as the API answers it."""

    def __call__(
        self,
        verb: str,
        tunnel: Record,
        who: Principal,
        *,
        ike: bool,
        beside: Beside | None = None,
    ) -> Awaitable[dict[str, object]]: ...


def verb_router(api: Api, act: Act, accesses: Accesses, answers: Answers) -> APIRouter:
    """Return the verbs of tunnels, and the routes of secrets."""
    router = APIRouter(tags=[TUNNEL.title])
    one = noun_of(TUNNEL).one
    for verb in ADMIN_VERBS:
        about = described_verb(verb, f'Set the admin status of a tunnel to "{verb}"')
        add(router, "POST", f"{one}/{verb}", _admin(api, act, verb), about)
    for verb, text in NODE_VERBS.items():
        about = described_verb(verb, text)
        add(router, "POST", f"{one}/{verb}", _told_to_node(api, act, verb, answers), about)
    for kind in KINDS.values():
        for field in sorted(kind.secrets):
            path = f"{noun_of(kind).one}/{field.replace('_', '-')}"
            add(
                router,
                "GET",
                path,
                _secret(api, accesses, kind, field),
                described_secret(kind, field),
            )
    return router


def _admin(api: Api, act: Act, verb: str) -> Endpoint:
    """The change is the resource's; its node is told too, where somebody said otherwise there."""

    async def change(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        who.need(Scope.OPERATE)
        api.seen(TUNNEL, id, who, named)
        return answer_json(await set_admin(api, act, verb, id, who), 202)

    return change


async def set_admin(api: Api, act: Act, verb: str, id: str, who: Principal) -> Table:
    """Set the admin status of a tunnel, and tell its node; return the API's answer."""
    # Who may operate may do this one change, which else needs the scope of all changes.
    writer = replace(who, scope=Scope.ADMIN)
    done = await api.registry.update(TUNNEL.name, id, {"admin": verb}, writer)
    try:
        told = await act(verb, done.record, who, ike=False)
    except ApiProblem as problem:
        if problem.status not in (HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS):
            raise
        told = {"action": None}  # it is on no node, or that is asked much: the document says it
    return {"action": told["action"], **api.told(done)}


def _told_to_node(api: Api, act: Act, verb: str, answers: Answers) -> Endpoint:
    known = ("tenant", "ike") if verb == "rekey" else ("tenant",)

    async def tell(
        request: Request, id: str, who: Who, named: NamedTenant, query: Query
    ) -> Response:
        judge_query(query, known)
        who.need(Scope.OPERATE)
        tunnel = api.seen(TUNNEL, id, who, named)
        ike = flag(query.get("ike"), "ike")

        async def make(beside: Beside | None) -> dict[str, object]:
            return await act(verb, tunnel, who, ike=ike, beside=beside)

        key = idempotency_key(request.headers.get("idempotency-key"))
        if key is None:
            return answer_json(await make(None), 202)
        what = What(who, tunnel.tenant, f"POST {verb} {tunnel.id}", {"ike": ike})
        answer = (await answers.once(key, what, make)).answer
        return answer_json({name: answer[name] for name in answer if name != "revision"}, 202)

    return tell


def _secret(api: Api, accesses: Accesses, kind: Kind, field: str) -> Endpoint:
    async def reveal(id: str, who: Who, named: NamedTenant, query: Query) -> Response:
        judge_query(query, ("tenant",))
        record = api.seen(kind, id, who, named)
        secret = await api.registry.reveal(kind.name, id, field, who)
        await accesses.note(record, field, who)
        versions = record.value.get("secret_versions") or {}
        version = versions.get(field, 0)
        return answer_json({"id": id, field: secret.reveal().decode(), f"{field}_version": version})

    return reveal
