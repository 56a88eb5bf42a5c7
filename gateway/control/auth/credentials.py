"""
The credentials that we make: API tokens and sessions of the console. Pure.

Both are 256 random bits behind a prefix that secret scanners can look for. At that entropy SHA-256
is enough to keep (nobody can try them all), and the object's id comes from the hash as well: so the
one object to look at is found without a list, and the rest of the hash is compared in constant
time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

SECRET_BYTES = 32
ID_CHARACTERS = 10  # of base32, 50 bits
SECRET_CHARACTERS = 43  # base64url without its padding
COOKIES_MAX = 8 << 10  # characters of the header Cookie


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of credential: its kind in the store, and how text and id begin."""

    name: str
    prefix: str
    id_prefix: str


TOKEN = Kind("token", "tsp_", "tok")
SESSION = Kind("session", "tss_", "ses")


@dataclass(frozen=True, slots=True)
class Credential:
    """What of a credential may be kept."""

    id: str
    hash: str

    def is_of(self, stored: object) -> bool:
        """Say whether it has the hash that is kept, in constant time."""
        return isinstance(stored, str) and hmac.compare_digest(stored.encode(), self.hash.encode())


def make(kind: Kind, noise: bytes) -> str:
    """Return a new credential of 32 random bytes, to be shown once."""
    assert len(noise) == SECRET_BYTES
    return kind.prefix + base64.urlsafe_b64encode(noise).decode().rstrip("=")


def read(kind: Kind, text: str) -> Credential | None:
    """Return the credential that a text is, None if it can be none of that kind."""
    if len(text) != len(kind.prefix) + SECRET_CHARACTERS or not text.startswith(kind.prefix):
        return None
    if not text.isascii():
        return None
    digest = hashlib.sha256(text.encode())
    word = base64.b32encode(digest.digest())[:ID_CHARACTERS].decode().lower()
    return Credential(f"{kind.id_prefix}-{word}", digest.hexdigest())


def csrf_token(session: str) -> str:
    """
    Return what a page sends with every write beside the session's cookie.

    Another site's page makes the browser send the cookie, but can not read it, nor this.
    """
    mac = hmac.digest(session.encode(), b"twinspan csrf", "sha256")
    return base64.urlsafe_b64encode(mac).decode().rstrip("=")


def is_csrf_token(session: str, given: str) -> bool:
    """Say whether `given` is the session's, in constant time."""
    return hmac.compare_digest(csrf_token(session).encode(), given.encode(errors="replace"))


def bearer(header: str | None) -> str | None:
    """Return the credential of an Authorization header, None if it has no bearer's (RFC 6750)."""
    scheme, _, rest = (header or "").partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None


def cookie(header: str | None, name: str) -> str | None:
    """Return a cookie's value from the header Cookie, None if it is not there."""
    for pair in (header or "")[:COOKIES_MAX].split(";"):
        given, _, value = pair.strip().partition("=")
        if given == name:
            return value
    return None


def cookie_name(base: str, *, is_secure: bool) -> str:
    """
    Return a cookie's name. Over TLS it has the prefix that binds it to this host alone.

    A browser takes a `__Host-` cookie from this very host over TLS only (RFC 6265bis 4.1.3.2).
    """
    return f"__Host-{base}" if is_secure else base


def set_cookie(
    name: str, value: str, max_age_s: int, *, is_secure: bool, same_site: str = "Strict"
) -> str:
    """Return the header Set-Cookie of one for this host, kept from scripts and others' writes."""
    secure = "; Secure" if is_secure else ""
    return f"{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite={same_site}{secure}"
