"""Who is at the browser: the session by its cookie, the token of each form, login and logout."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_urlsafe
from typing import Protocol
from urllib.parse import quote

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from gateway.control.auth.authenticate import CSRF_HEADER, Authenticator, Peer
from gateway.control.auth.credentials import cookie, cookie_name, csrf_token, is_csrf_token
from gateway.control.auth.principal import MAIN_TENANT
from gateway.control.auth.sessions import COOKIE
from gateway.control.console.render import THEMES, Visit, page
from gateway.control.problems import ApiProblem
from gateway.control.resources.kinds import SECRETS

HOME = "/console/"
THEME_COOKIE = "twinspan-theme"
TENANT_COOKIE = "twinspan-tenant"
TYPED_MAX = 64  # fields that are kept over a login
DAY_S = 86400
YEAR_S = 365 * DAY_S
LOGIN_COOKIE = "twinspan-login"
OLD_FORM = "This form was not from here, or too old: please log in once more"


class NeedsLogin(Exception):
    """Nobody is logged in, or no longer. `kept` is what had been typed into a form."""

    def __init__(self, next: str, kept: Mapping[str, str]) -> None:
        super().__init__(next)
        self.next = next
        self.kept = dict(kept)


class PeerOf(Protocol):
    """Says where a request comes from."""

    def __call__(self, request: Request) -> Peer: ...


class Door:
    """Lets people in and out."""

    def __init__(self, authenticator: Authenticator, peer_of: PeerOf) -> None:
        self._authenticator = authenticator
        self._peer_of = peer_of

    async def visit(self, request: Request) -> Visit:
        """Return who looks at a page. Raises NeedsLogin."""
        return await self._visit(request, {}, {})

    async def typed(self, request: Request) -> tuple[Visit, dict[str, str]]:
        """Return who sends a form, and its fields. Raises NeedsLogin, ApiProblem 403."""
        fields = texts_of(await request.form())
        token = fields.pop("csrf", "")
        return await self._visit(request, {CSRF_HEADER: token}, fields), fields

    async def _visit(
        self, request: Request, more: Mapping[str, str], kept: Mapping[str, str]
    ) -> Visit:
        peer = self._peer_of(request)
        text = cookie(request.headers.get("cookie"), cookie_name(COOKIE, is_secure=peer.is_secure))
        # A bearer token has no business here: a page is a browser's, and that has a cookie.
        headers = {"cookie": request.headers.get("cookie", ""), **more}
        try:
            who = await self._authenticator.authenticate(headers, peer, request.method)
        except ApiProblem as problem:
            if problem.status == 401:
                raise NeedsLogin(_path(request), kept) from None
            raise
        named = request.cookies.get(TENANT_COOKIE) or MAIN_TENANT
        theme = request.cookies.get(THEME_COOKIE, "")
        return Visit(
            who,
            csrf_token(text or ""),
            named if who.is_operator else who.tenant,
            theme if theme in THEMES else "",
            request.url.hostname or "",
        )

    def form(
        self,
        request: Request,
        next: str,
        kept: Mapping[str, str],
        problem: str = "",
        status: int = 200,
        name: str = "",
    ) -> Response:
        """
        Return the form to log in, which carries on what had been typed before.

        Its token belongs to a cookie: another site's page has neither, so it can not log a browser
        in as somebody else, whose settings the user would then take for his own.
        """
        peer = self._peer_of(request)
        ours = _login_cookie(request, peer) or _new_word()
        values = {"next": next, "kept": dict(kept), "problem": problem, "name": name}
        has_oidc, csrf = self._authenticator.has_provider, csrf_token(ours)
        answer = page("login.html", None, "login", status, has_oidc=has_oidc, csrf=csrf, **values)
        _set_cookie(answer, LOGIN_COOKIE, ours, DAY_S, peer)
        return answer

    async def login(self, request: Request) -> Response:
        """Begin a session and go on where it ended, with what had been typed."""
        fields = texts_of(await request.form())
        kept = {k.removeprefix("kept."): v for k, v in fields.items() if k.startswith("kept.")}
        next = local(fields.get("next", HOME))
        peer = self._peer_of(request)
        ours = _login_cookie(request, peer)
        if ours is None or not is_csrf_token(ours, fields.get("csrf", "")):
            return self.form(request, next, kept, OLD_FORM, 403, fields.get("name", ""))
        try:
            started = await self._authenticator.login(
                fields.get("name", ""), fields.get("password", ""), peer
            )
        except ApiProblem as problem:
            name = fields.get("name", "")
            return self.form(request, next, kept, problem.detail, problem.status, name)
        answer = RedirectResponse(_with(next, kept), 303)
        _set_cookie(answer, COOKIE, started.cookie, started.max_age_s, peer)
        return answer

    async def logout(self, request: Request) -> Response:
        """End the session."""
        visit, _ = await self.typed(request)
        peer = self._peer_of(request)
        await self._authenticator.logout(request.headers, peer, visit.who)
        answer = RedirectResponse(f"{HOME}login", 303)
        answer.delete_cookie(cookie_name(COOKIE, is_secure=peer.is_secure), path="/")
        return answer

    async def theme(self, request: Request) -> Response:
        """Remember light or dark in the browser."""
        _, fields = await self.typed(request)
        answer = RedirectResponse(local(fields.get("next", HOME)), 303)
        if fields.get("theme") in THEMES:
            answer.set_cookie(
                THEME_COOKIE, fields["theme"], max_age=YEAR_S, httponly=True, samesite="strict"
            )
        return answer


def texts_of(form: FormData) -> dict[str, str]:
    """Return the fields of a form that are text, each once."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def local(path: str) -> str:
    """Return a path of the console, and nothing that leads elsewhere."""
    is_ours = path.startswith(HOME) and not path.startswith("//") and "\\" not in path
    return path if is_ours and path.isprintable() else HOME


def _login_cookie(request: Request, peer: Peer) -> str | None:
    """Return what the form to log in has set, None if there is nothing that it would set."""
    name = cookie_name(LOGIN_COOKIE, is_secure=peer.is_secure)
    found = cookie(request.headers.get("cookie"), name) or ""
    return found if len(found) == len(_new_word()) else None


def _new_word() -> str:
    return token_urlsafe(32)


def _set_cookie(answer: Response, base: str, value: str, max_age_s: int, peer: Peer) -> None:
    answer.set_cookie(
        cookie_name(base, is_secure=peer.is_secure),
        value,
        max_age=max_age_s,
        path="/",
        secure=peer.is_secure,
        httponly=True,
        samesite="strict",
    )


def _path(request: Request) -> str:
    query = request.url.query
    return local(request.url.path + (f"?{query}" if query else ""))


def _with(next: str, kept: Mapping[str, str]) -> str:
    """Return a form's path with what had been typed; secrets are not put into an address."""
    known = [(k, v) for k, v in kept.items() if k not in SECRETS | {"do"}][:TYPED_MAX]
    if not known:
        return next
    joined = "&".join(f"{quote(name)}={quote(value)}" for name, value in known)
    return next.partition("?")[0] + "?" + joined
