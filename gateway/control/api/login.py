"""
Login and logout: with a password by JSON, with an identity provider by the browser.

The browser's two routes of OpenID Connect answer pages, without scripts. The last one does not
redirect: a browser sends a cookie that is SameSite=Strict only when a page of ours leads on.
"""

from __future__ import annotations

import html

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.control.api.add import add
from gateway.control.api.answers import answer_json, answer_nothing
from gateway.control.api.body import judge_media_type, parse_body
from gateway.control.api.conditions import expected_revision, flag, judge_query
from gateway.control.api.depends import Body, Query, Who, peer_of_request
from gateway.control.api.describe_login import DELETE_OIDC, GET_OIDC, LOGIN, LOGOUT, PUT_OIDC
from gateway.control.auth.authenticate import Peer
from gateway.control.auth.credentials import cookie_name, set_cookie
from gateway.control.auth.oidc import COOKIE as OIDC_COOKIE
from gateway.control.auth.oidc import LOGIN_S
from gateway.control.auth.service import Auth
from gateway.control.auth.sessions import COOKIE, Started
from gateway.control.auth.specs import Login, parse
from gateway.control.problems import ApiProblem

CONSOLE = "/console/"
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'"}


def login_router(auth: Auth) -> APIRouter:
    """Return the routes of login and logout by JSON."""
    router = APIRouter(tags=["Login"])

    async def login(request: Request, query: Query) -> Response:
        judge_query(query, ())
        judge_media_type(request.headers.get("content-type"))
        given = parse(Login, "login", parse_body(await request.body()))
        peer = peer_of_request(request)
        started = await auth.authenticator.login(given.name, given.password, peer)
        who = started.principal
        answer = answer_json(
            {
                "actor": who.actor,
                "tenant": who.tenant,
                "scope": who.scope.word,
                "csrf_token": started.csrf_token,
                "expires_in_s": started.max_age_s,
            }
        )
        _give(answer, started, peer)
        return answer

    async def logout(request: Request, who: Who, query: Query) -> Response:
        judge_query(query, ())
        peer = peer_of_request(request)
        await auth.authenticator.logout(request.headers, peer, who)
        answer = answer_nothing()
        _take(answer, COOKIE, peer)
        return answer

    add(router, "POST", "/v1/login", login, LOGIN)
    add(router, "POST", "/v1/logout", logout, LOGOUT)
    return router


def oidc_router(auth: Auth) -> APIRouter:
    """Return the two routes that a browser goes through, and those of the settings."""
    router = APIRouter(tags=["Login"])

    async def begin(request: Request) -> Response:
        peer = peer_of_request(request)
        try:
            begun = await auth.oidc.begin(_local(request.query_params.get("next", CONSOLE)))
        except ApiProblem as problem:
            return _failed(problem)
        answer = RedirectResponse(begun.url, 302)
        name = cookie_name(OIDC_COOKIE, is_secure=peer.is_secure)
        # Lax: the way back begins at the provider's site.
        header = set_cookie(name, begun.cookie, LOGIN_S, is_secure=peer.is_secure, same_site="Lax")
        answer.headers.append("Set-Cookie", header)
        return answer

    async def callback(request: Request) -> Response:
        peer, query = peer_of_request(request), dict(request.query_params)
        try:
            started, place = await auth.authenticator.login_by_provider(
                query, request.headers, peer
            )
        except ApiProblem as problem:
            return _failed(problem)
        answer = _page("Logged in", f'<p><a href="{html.escape(place)}">Go on</a></p>', place)
        _take(answer, OIDC_COOKIE, peer)
        _give(answer, started, peer)
        return answer

    router.add_api_route("/v1/oidc/login", begin, include_in_schema=False)
    router.add_api_route("/v1/oidc/callback", callback, include_in_schema=False)
    _add_settings(router, auth)
    return router


def _add_settings(router: APIRouter, auth: Auth) -> None:
    async def read(who: Who, query: Query) -> Response:
        judge_query(query, ())
        found = auth.oidc_settings.show(who)
        return answer_json(found, revision=found["revision"])

    async def put(request: Request, who: Who, query: Query, body: Body) -> Response:
        judge_query(query, ("dry_run",))
        made = await auth.oidc_settings.put(
            body,
            who,
            expected=expected_revision(request.headers.get("if-match")),
            dry_run=flag(query.get("dry_run"), "dry_run"),
        )
        return answer_json(made, revision=made["revision"])

    async def delete(request: Request, who: Who, query: Query) -> Response:
        judge_query(query, ("dry_run",))
        await auth.oidc_settings.delete(
            who,
            expected=expected_revision(request.headers.get("if-match")),
            dry_run=flag(query.get("dry_run"), "dry_run"),
        )
        return answer_nothing()

    add(router, "GET", "/v1/settings/oidc", read, GET_OIDC)
    add(router, "PUT", "/v1/settings/oidc", put, PUT_OIDC)
    add(router, "DELETE", "/v1/settings/oidc", delete, DELETE_OIDC)


def _local(path: str) -> str:
    """Return a path of the console, and nothing that leads elsewhere."""
    is_ours = path.startswith(CONSOLE) and "\\" not in path and len(path) <= 512
    return path if is_ours and path.isprintable() else CONSOLE


def _give(answer: Response, started: Started, peer: Peer) -> None:
    """Give the browser a session."""
    name = cookie_name(COOKIE, is_secure=peer.is_secure)
    header = set_cookie(name, started.cookie, started.max_age_s, is_secure=peer.is_secure)
    answer.headers.append("Set-Cookie", header)


def _take(answer: Response, cookie: str, peer: Peer) -> None:
    """Take a cookie away from the browser."""
    name = cookie_name(cookie, is_secure=peer.is_secure)
    answer.headers.append("Set-Cookie", set_cookie(name, "", 0, is_secure=peer.is_secure))


def _failed(problem: ApiProblem) -> Response:
    """Return the page that says why nobody is logged in."""
    link = f'<p><a href="{CONSOLE}login">Back to the login</a></p>'
    answer = _page("Not logged in", f"<p>{html.escape(problem.detail)}</p>{link}")
    answer.status_code = problem.status
    if problem.retry_after_s is not None:
        answer.headers["Retry-After"] = str(problem.retry_after_s)
    return answer


def _page(title: str, body: str, leads_to: str | None = None) -> Response:
    on = f'<meta http-equiv="refresh" content="0;url={html.escape(leads_to)}">' if leads_to else ""
    return HTMLResponse(
        f"<!doctype html><html lang=en><meta charset=utf-8>{on}<title>{title}</title>"
        f"<h1>{title}</h1>{body}</html>",
        headers=PAGE_HEADERS,
    )
