"""
What routes ask of a request: who it is, whose resources, the body. For all routers of the app.

    async def create(who: Who, tenant: Tenant, body: Body) -> Response: ...
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from gateway.control.api.body import Table, judge_media_type, parse_body
from gateway.control.api.conditions import once
from gateway.control.api.server import PEER
from gateway.control.auth.authenticate import Authenticator, Peer
from gateway.control.auth.principal import MAIN_TENANT, OPERATOR, Principal, Scope
from gateway.control.problems import forbidden, not_found
from gateway.control.store.interface import is_id

ALL_TENANTS = "*"

Authenticate = Callable[[Request], Awaitable[Principal]]


def authenticate_by(authenticator: Authenticator) -> Authenticate:
    """Return what says whose a request is that does not come over the Unix socket."""

    async def authenticate(request: Request) -> Principal:
        peer = peer_of_request(request)
        return await authenticator.authenticate(request.headers, peer, request.method)

    return authenticate


async def principal(request: Request) -> Principal:
    """
    Return who asks: the user at the other end of the Unix socket, or whose credential it is.

    Raises ApiProblem 401.
    """
    if (uid := request.scope.get(PEER)) is not None:
        return _local(int(uid))
    authenticate: Authenticate = request.app.state.authenticate
    return await authenticate(request)


def _local(uid: int) -> Principal:
    """Return the operator's principal for root and this process's own user. Raises ApiProblem."""
    if uid not in (0, os.geteuid()):
        raise forbidden(f"the Unix socket is root's: user {uid} is not")
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Principal(f"local:{name}", OPERATOR, Scope.ADMIN)


Who = Annotated[Principal, Depends(principal)]


async def query(request: Request) -> dict[str, str]:
    """Return the parameters of the query, each once. Raises ApiProblem 422."""
    return once(request.query_params.multi_items())


Query = Annotated[dict[str, str], Depends(query)]


async def named_tenant(request: Request, who: Who, given: Query) -> str | None:
    """
    Return the tenant that a request names, None if none. Raises ApiProblem 404.

    It is named by `?tenant=` or the header X-Tenant. To a tenant only he himself exists.
    """
    name = given.get("tenant", request.headers.get("x-tenant"))
    if name is None:
        return None if who.is_operator else who.tenant
    if not who.is_operator and name != who.tenant:
        raise not_found("tenant", name)
    if name != ALL_TENANTS and not is_id(name):
        raise not_found("tenant", name)
    return name


NamedTenant = Annotated[str | None, Depends(named_tenant)]


async def one_tenant(named: NamedTenant) -> str | None:
    """Return the tenant that is named for something new, None if none. Raises ApiProblem 404."""
    if named == ALL_TENANTS:
        raise not_found("tenant", named)
    return named


OneTenant = Annotated[str | None, Depends(one_tenant)]


async def tenant_or_main(named: OneTenant) -> str:
    """Return the tenant in which something is made: `main`, if the operator names none."""
    return MAIN_TENANT if named is None else named


Tenant = Annotated[str, Depends(tenant_or_main)]


def narrowed(who: Principal, named: str | None) -> Principal:
    """Return the operator as one who sees only the tenant that he names, others as they are."""
    if not who.is_operator or named in (None, ALL_TENANTS):
        return who
    return Principal(who.actor, str(named), who.scope)


def peer_of_request(request: Request) -> Peer:
    """Return where a request comes from; behind a proxy, what that one says of it."""
    address = request.client.host if request.client is not None else "local"
    return Peer(address, is_secure=request.url.scheme == "https")


async def body(request: Request, who: Who) -> Table:
    """
    Return the JSON object of the body. Raises ApiProblem 400, 413, 415, 422.

    Only for those who are known: a stranger's body is not even read.
    """
    judge_media_type(request.headers.get("content-type"))
    return parse_body(await request.body())


Body = Annotated[Table, Depends(body)]
