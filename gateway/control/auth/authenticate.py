"""
From a request's headers to who asks. It knows nothing of the web framework.

A bearer token (ours, or an identity provider's JWT) or the console's cookie, in this order. With a
cookie every write needs the session's CSRF token: another site can make a browser send the cookie,
not the header. Who fails often is answered more slowly, by source address; who succeeds has a rate
of his own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.control.auth import credentials
from gateway.control.auth.buckets import Buckets, Rate, source_of
from gateway.control.auth.oidc import COOKIE as OIDC_COOKIE
from gateway.control.auth.oidc import Oidc
from gateway.control.auth.principal import Principal
from gateway.control.auth.sessions import COOKIE, Sessions, Started
from gateway.control.auth.tokens import Tokens
from gateway.control.auth.users import Users
from gateway.control.problems import ApiProblem, forbidden
from gateway.control.resources.record import Table
from gateway.node.journal import Journal, Level

CSRF_HEADER = "x-csrf-token"
READING = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How often: failed logins and wrong credentials by source, requests by principal."""

    logins: Rate = field(default_factory=lambda: Rate(burst=10, per_s=1 / 30))
    wrong: Rate = field(default_factory=lambda: Rate(burst=50, per_s=1))
    requests: Rate = field(default_factory=lambda: Rate(burst=1000, per_s=200))


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a request comes from, and whether it came over TLS (to us, or to the proxy before)."""

    address: str
    is_secure: bool = False


class Authenticator:
    """Finds out who asks, and begins and ends sessions."""

    def __init__(
        self,
        users: Users,
        tokens: Tokens,
        sessions: Sessions,
        oidc: Oidc,
        limits: Limits | None = None,
        journal: Journal | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = limits or Limits()
        self._users = users
        self._tokens = tokens
        self._sessions = sessions
        self._oidc = oidc
        self._journal = journal
        self._logins = Buckets(limits.logins)
        self._wrong = Buckets(limits.wrong)
        self._requests = Buckets(limits.requests)
        self._monotonic = monotonic
        self.refused: Counter[tuple[str, ...]] = Counter()  # by what was refused

    async def authenticate(
        self, headers: Mapping[str, str], peer: Peer, method: str = "GET"
    ) -> Principal:
        """
        Return who asks. `headers` have lower-case names, or are looked up in any case.

        Raises ApiProblem: 401 for no or a wrong credential, 403 for a write without the CSRF token,
        429.
        """
        who = await self._identify(headers, peer, method)
        self._limit(self._requests, who.actor, "this credential has asked too often")
        return who

    async def _identify(self, headers: Mapping[str, str], peer: Peer, method: str) -> Principal:
        text = credentials.bearer(headers.get("authorization"))
        if text is not None:
            who = await self._of_bearer(text, peer)
            if who is None:
                raise self._refuse(peer, "the bearer token is not valid, or has expired")
            return who
        name = credentials.cookie_name(COOKIE, is_secure=peer.is_secure)
        cookie = credentials.cookie(headers.get("cookie"), name)
        if cookie is None:
            raise _unauthenticated("the request has no credential")
        found = self._sessions.principal(cookie)
        if found is None:
            raise self._refuse(peer, "the session has ended: log in again")
        if method not in READING:
            given = headers.get(CSRF_HEADER) or ""
            if not credentials.is_csrf_token(cookie, given):
                raise forbidden(f"a write with the console's cookie needs the header {CSRF_HEADER}")
        return found

    async def _of_bearer(self, text: str, peer: Peer) -> Principal | None:
        if text.count(".") != 2:  # a JWT has three parts (RFC 7515 section 3.1)
            return self._tokens.principal(text)
        try:
            return await self._oidc.of_jwt(text)
        except ApiProblem as problem:
            if problem.status == 401:
                raise self._refuse(peer, problem.detail) from None
            raise

    async def login(self, name: str, password: str, peer: Peer) -> Started:
        """Begin a session with a password. Raises ApiProblem 401, 429."""
        source = source_of(peer.address)
        self._limit(self._logins, source, "too many logins from this address have failed")
        user = await self._users.with_password(name, password)
        if user is None:
            self.refused[("password",)] += 1
            self._tell("login_failed", name=name[:64], source=source)
            raise _unauthenticated("name or password is wrong")
        self._logins.give_back(source)
        return await self._sessions.start(user, peer.address)

    async def change_password(self, table: Table, who: Principal) -> Table:
        """Change somebody's own password. Who tries the old one too often waits: ApiProblem 429."""
        self._limit(self._logins, who.actor, "the password was wrong too often")
        changed = await self._users.change_password(table, who)
        self._logins.give_back(who.actor)
        return changed

    @property
    def has_provider(self) -> bool:
        """Whether people can log in by an identity provider."""
        return self._oidc.is_on

    async def login_by_provider(
        self, query: Mapping[str, str], headers: Mapping[str, str], peer: Peer
    ) -> tuple[Started, str]:
        """
        Begin a session when the browser comes back from the identity provider.

        Returns it and where it leads. Raises ApiProblem 401, 403, 429, 503.
        """
        source = source_of(peer.address)
        self._limit(self._logins, source, "too many logins from this address have failed")
        name = credentials.cookie_name(OIDC_COOKIE, is_secure=peer.is_secure)
        cookie = credentials.cookie(headers.get("cookie"), name)
        try:
            who, next = await self._oidc.finish(query, cookie)
        except ApiProblem as problem:
            self.refused[("provider",)] += 1
            self._tell("oidc_login_failed", source=source, text=problem.detail)
            raise
        self._logins.give_back(source)
        return await self._sessions.start_as(who, peer.address), next

    async def logout(self, headers: Mapping[str, str], peer: Peer, who: Principal) -> None:
        """End the session that the request's cookie names."""
        name = credentials.cookie_name(COOKIE, is_secure=peer.is_secure)
        cookie = credentials.cookie(headers.get("cookie"), name)
        if cookie is not None:
            await self._sessions.end(cookie, who.actor)

    def _refuse(self, peer: Peer, detail: str) -> ApiProblem:
        """Return the answer to a wrong credential: 401, or 429 if there were too many."""
        self.refused[("credential",)] += 1
        text = "too many wrong credentials from this address"
        try:
            self._limit(self._wrong, source_of(peer.address), text)
        except ApiProblem as problem:
            return problem
        return _unauthenticated(detail)

    def _tell(self, event: str, **fields: str) -> None:
        """Log what a stranger has caused."""
        if self._journal is not None:
            self._journal.from_peer(Level.WARNING, event, **fields)

    def _limit(self, buckets: Buckets, key: str, detail: str) -> None:
        wait_s = buckets.take(key, self._monotonic())
        if wait_s:
            self.refused[("rate",)] += 1
            raise ApiProblem(429, "rate_limited", detail, retry_after_s=wait_s)


def _unauthenticated(detail: str) -> ApiProblem:
    return ApiProblem(401, "unauthenticated", detail)
