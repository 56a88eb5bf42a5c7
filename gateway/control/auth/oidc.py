"""
Login by an identity provider (OpenID Connect): authorization code flow with PKCE; JWTs for the API.

What a login needs to remember until the browser comes back (state, nonce, PKCE verifier) is in a
cookie, sealed with the master key: a stranger who begins logins leaves nothing behind here, and any
of several control processes can end one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from gateway.control.auth.claims import OidcSpec, principal_of
from gateway.control.auth.desk import Desk
from gateway.control.auth.fetch import Fetch, FetchError
from gateway.control.auth.oidc_settings import SECRET, OidcSettings
from gateway.control.auth.principal import Principal
from gateway.control.auth.provider import Provider, unavailable
from gateway.control.problems import ApiProblem
from gateway.control.secrets import CannotOpen
from gateway.control.store.interface import Key
from gateway.secret import Secret

COOKIE = "twinspan_oidc"
LOGIN_S = 600
_LOGIN = Key("session", "oidc-login")  # the place that a login's cookie is sealed for


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun: where the browser goes, and the cookie it comes back with."""

    url: str
    cookie: str


class Oidc:
    """Logins and JWTs of the identity provider in the settings. Calls may raise ApiProblem."""

    def __init__(
        self,
        desk: Desk,
        settings: OidcSettings,
        fetch: Fetch,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._settings = settings
        self._fetch = fetch
        self._monotonic = monotonic
        self._provider: Provider | None = None

    # ---- login ----

    async def begin(self, next: str = "") -> Begun:
        """Begin a login that leads to `next` (RFC 6749 section 4.1.1, RFC 7636 section 4.3)."""
        spec = self._settings.spec()
        metadata = await self._of(spec).metadata()
        state, nonce, verifier = (self._word() for _ in range(3))
        challenge = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": spec.client_id,
            "redirect_uri": spec.redirect_uri,
            "scope": " ".join(spec.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": _base64url(challenge),
            "code_challenge_method": "S256",
        }
        kept = [self._desk.clock() + LOGIN_S, spec.issuer, state, nonce, verifier, next]
        sealed = self._desk.ring.seal(Secret(json.dumps(kept).encode()), _LOGIN, COOKIE)
        joint = "&" if "?" in metadata.authorization_endpoint else "?"
        return Begun(metadata.authorization_endpoint + joint + urlencode(query), sealed)

    async def finish(self, query: Mapping[str, str], cookie: str | None) -> tuple[Principal, str]:
        """
        Return who has logged in when the browser comes back, and where it leads.

        Raises ApiProblem 401, 403, 503.
        """
        spec = self._settings.spec()
        state, nonce, verifier, next = self._remembered(cookie, spec)
        if not hmac.compare_digest(query.get("state", "").encode(errors="replace"), state.encode()):
            raise _failed("it was begun in another window: try again")
        metadata = await self._of(spec).metadata()
        if query.get("iss", spec.issuer if not metadata.names_itself else "") != spec.issuer:
            raise _failed("another provider has answered")
        if "error" in query or not query.get("code"):
            raise _failed(f"the provider says {query.get('error', 'nothing')[:64]!r}")
        token = await self._exchange(spec, query["code"], verifier)
        claims = await self._of(spec).claims(token, spec.client_id)
        if claims.get("nonce") != nonce:
            raise _failed("the ID token is of another login")
        if claims.get("azp", spec.client_id) != spec.client_id:
            raise _failed("the ID token is for another client")
        return self._there(principal_of(claims, spec)), next

    @property
    def is_on(self) -> bool:
        """Whether people can log in by an identity provider."""
        return self._settings.is_on

    async def of_jwt(self, text: str) -> Principal:
        """Return whose a JWT is that came as a bearer token. ApiProblem 401, 403, 503."""
        spec = self._settings.spec() if self._settings.is_on else None
        if spec is None or spec.api_audience is None:
            raise ApiProblem(401, "unauthenticated", "JWTs are not taken here")
        claims = await self._of(spec).claims(text, spec.api_audience)
        return self._there(principal_of(claims, spec))

    # ---- within ----

    def _of(self, spec: OidcSpec) -> Provider:
        """Return the provider; another one if the settings have changed."""
        if self._provider is None or self._provider.issuer != spec.issuer:
            self._provider = Provider(spec.issuer, self._fetch, self._monotonic)
        return self._provider

    def _remembered(self, cookie: str | None, spec: OidcSpec) -> tuple[str, str, str, str]:
        """Return state, nonce, verifier and next as `begin` has kept them. ApiProblem 401."""
        try:
            opened = self._desk.ring.open(cookie or "", _LOGIN, COOKIE)
        except CannotOpen:
            raise _failed("the browser has lost its cookie: try again") from None
        until, issuer, state, nonce, verifier, next = json.loads(opened.reveal())
        if self._desk.clock() >= until or issuer != spec.issuer:
            raise _failed("it took too long: try again")
        return state, nonce, verifier, next

    async def _exchange(self, spec: OidcSpec, code: str, verifier: str) -> str:
        """Return the ID token for a code (RFC 6749 section 4.1.3). ApiProblem 401, 503."""
        metadata = await self._of(spec).metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": spec.redirect_uri,
            "code_verifier": verifier,
        }
        basic = None
        if spec.client_secret is not None and metadata.takes_basic:
            basic = (spec.client_id, spec.client_secret)
        else:
            form["client_id"] = spec.client_id
            if spec.client_secret is not None:
                form[SECRET] = spec.client_secret
        try:
            answer = await self._fetch.post(metadata.token_endpoint, form, basic)
        except FetchError as error:
            if error.status in (400, 401):
                raise _failed(
                    f"the provider says {str(error.answer.get('error'))[:64]!r}"
                ) from None
            raise unavailable(str(error)) from None
        token: Any = answer.get("id_token")
        if not isinstance(token, str):
            raise _failed("the provider gives no ID token")
        return token

    def _there(self, who: Principal) -> Principal:
        """Return who it is if his tenant exists. ApiProblem 403."""
        if who.tenant and self._desk.mirror.get("tenant", who.tenant) is None:
            raise ApiProblem(403, "forbidden", f"tenant {who.tenant} does not exist here")
        return who

    def _word(self) -> str:
        return _base64url(self._desk.noise(32))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _failed(why: str) -> ApiProblem:
    return ApiProblem(401, "login_failed", f"login by the identity provider: {why}")
