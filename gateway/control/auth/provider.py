"""
An identity provider as it describes itself: its endpoints and its keys, kept for a while.

A key that is not known makes us ask again, but not more often than each half minute: else everyone
could make us ask with tokens that name keys of their own invention. While the provider does not
answer it is asked again after some seconds only, and all who come meanwhile, or who waited for that
one answer, are told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jwt

from gateway.control.auth.claims import is_private_url
from gateway.control.auth.fetch import Fetch, FetchError
from gateway.control.problems import ApiProblem

FRESH_S = 3600.0
AGAIN_S = 30.0
DOWN_S = 5.0  # after it has not answered
KEYS_MAX = 64
TOKEN_MAX = 16 << 10  # characters
LEEWAY_S = 60  # how far its clock may be from ours
# Signatures only, no MAC: else the public key, or nothing, would be the secret (RFC 8725 2.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we need of a discovery document (OpenID Connect Discovery 1.0 section 3)."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    takes_basic: bool
    names_itself: bool  # in the answer of the authorization endpoint (RFC 9207)


class Provider:
    """One issuer. `now` is in seconds and never goes back."""

    def __init__(self, issuer: str, fetch: Fetch, now: Callable[[], float]) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._now = now
        self._turn = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked = -FRESH_S
        self._down: tuple[float, str] | None = None  # since when, and why

    async def metadata(self) -> Metadata:
        """Return its description, not older than an hour. Raises ApiProblem 503."""
        async with self._turn:
            return await self._described()

    async def claims(self, text: str, audience: str) -> Mapping[str, Any]:
        """
        Return the claims of a JWT that it has signed for an audience.

        Raises ApiProblem 401 if it has not, or the time is over; 503.
        """
        try:
            if len(text) > TOKEN_MAX:
                raise jwt.InvalidTokenError("is too long")
            header = jwt.get_unverified_header(text)
            algorithm = header.get("alg")
            if algorithm not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError(f"algorithm {str(algorithm)[:32]!r}")
            key = await self._key(header.get("kid"))
            claims: Mapping[str, Any] = jwt.decode(
                text,
                key.key,  # not the key object: it would decide the algorithm by itself
                algorithms=[algorithm],
                audience=audience,
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _unauthenticated(str(error)) from None
        return claims

    async def _described(self) -> Metadata:
        if self._metadata is not None and self._now() - self._metadata[0] < FRESH_S:
            return self._metadata[1]
        url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = await self._get(url, lambda table: _metadata(table, self.issuer))
        self._metadata = self._now(), found
        return found

    async def _get(self, url: str, read: Callable[[Mapping[str, Any]], T]) -> T:
        """Return what a document says. Raises ApiProblem 503, for a while without asking."""
        if self._down is not None and self._now() - self._down[0] < DOWN_S:
            raise unavailable(self._down[1])
        try:
            found = read(await self._fetch.get(url))
        except FetchError as error:
            self._down = self._now(), str(error)
            raise unavailable(str(error)) from None
        self._down = None
        return found

    async def _key(self, kid: object) -> jwt.PyJWK:
        """Return a key by its id; without an id, the only one. Raises PyJWTError, ApiProblem."""
        async with self._turn:
            age_s = self._now() - self._asked
            is_unknown = self._find(kid) is None
            if age_s >= FRESH_S or (is_unknown and (age_s >= AGAIN_S or not self._keys)):
                await self._ask()
            found = self._find(kid)
        if found is None:
            raise jwt.InvalidKeyError(f"no key {str(kid)[:64]!r}")
        return found

    def _find(self, kid: object) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _ask(self) -> None:
        """Get the keys. If the provider is away, the ones we have go on; none: ApiProblem 503."""
        self._asked = self._now()
        try:
            self._keys = await self._get((await self._described()).jwks_uri, _keys)
        except ApiProblem:
            if not self._keys:
                raise


def _metadata(table: Mapping[str, Any], issuer: str) -> Metadata:
    """Return the description that an issuer gives of itself. Raises FetchError."""
    if table.get("issuer") != issuer:
        named = str(table.get("issuer"))[:200]
        raise FetchError(f"{issuer}: its discovery document names the issuer {named!r}")

    def url(name: str) -> str:
        found = table.get(name)
        if not isinstance(found, str) or not is_private_url(found):
            raise FetchError(f"{issuer}: its {name} is no URL with https")
        return found

    methods = table.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    takes_basic = isinstance(methods, list) and "client_secret_basic" in methods
    return Metadata(
        url("authorization_endpoint"),
        url("token_endpoint"),
        url("jwks_uri"),
        takes_basic=takes_basic,
        names_itself=table.get("authorization_response_iss_parameter_supported") is True,
    )


def _keys(table: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    """Return the keys that sign, by id. Those of unknown kinds are left out (RFC 7517 5)."""
    listed = table.get("keys")
    if not isinstance(listed, list):
        raise FetchError("its key set has no list of keys")
    found: dict[str, jwt.PyJWK] = {}
    for each in listed[:KEYS_MAX]:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or "d" in each:
            continue
        try:
            found[str(each.get("kid", ""))] = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    return found


def _unauthenticated(why: str) -> ApiProblem:
    return ApiProblem(401, "unauthenticated", f"the JWT of the identity provider: {why[:200]}")


def unavailable(why: str) -> ApiProblem:
    """Return the problem of a provider that does not answer as it should."""
    return ApiProblem(503, "unavailable", f"the identity provider: {why}", retry_after_s=10)
