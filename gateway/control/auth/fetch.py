"""
JSON from an identity provider, or from a Prometheus, with limits: time, size, no redirects. In a
thread.

urllib takes the proxies of the environment and the machine's certificate authorities.
"""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import quote_plus, urlencode

from gateway.control.auth.claims import is_private_url
from gateway.errors import GatewayError

TIMEOUT_S = 5.0
MAX_BYTES = 256 << 10
AT_ONCE = 4
WAITING_MAX = 32  # that may wait for their turn

Table = dict[str, Any]


class FetchError(GatewayError):
    """The provider does not answer, or not with what it should. `status`: HTTP's, 0 if none."""

    def __init__(self, message: str, status: int = 0, answer: Table | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer or {}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: what follows it could lead anywhere, with our secret."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


class Fetch:
    """Gets and posts, few at a time. Raises FetchError."""

    def __init__(
        self,
        timeout_s: float = TIMEOUT_S,
        *,
        is_allowed: Callable[[str], bool] = is_private_url,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._timeout_s = timeout_s
        self._is_allowed = is_allowed
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._asking = 0
        self._opener = urllib.request.build_opener(_NoRedirect)

    async def get(self, url: str) -> Table:
        """Return the JSON object at a URL."""
        return await self._run(urllib.request.Request(self._judged(url)))  # noqa: S310 # judged

    async def post(
        self, url: str, form: Mapping[str, str], basic: tuple[str, str] | None = None
    ) -> Table:
        """Return the JSON object that answers a form; `basic` is client id and secret."""
        request = urllib.request.Request(self._judged(url), urlencode(form).encode())  # noqa: S310 # judged
        if basic is not None:
            # RFC 6749 section 2.3.1: both are encoded as in a form before they are joined.
            pair = ":".join(quote_plus(part) for part in basic)
            request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
        return await self._run(request)

    def _judged(self, url: str) -> str:
        if not self._is_allowed(url):
            raise FetchError(f"{url[:200]}: is not https")
        return url

    async def _run(self, request: urllib.request.Request) -> Table:
        request.add_header("Accept", "application/json")
        if self._asking >= AT_ONCE + WAITING_MAX:
            raise FetchError(f"{request.full_url}: {self._asking} others wait for an answer")
        self._asking += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(self._open, request)
        finally:
            self._asking -= 1

    def _open(self, request: urllib.request.Request) -> Table:
        url = request.full_url
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _table(answer.read(self._max_bytes + 1), url, self._max_bytes)
        except urllib.error.HTTPError as error:
            with error:
                raise FetchError(f"{url}: answers {error.code}", error.code, _told(error)) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise FetchError(f"{url}: {reason}") from None


def _table(data: bytes, url: str, most: int = MAX_BYTES) -> Table:
    if len(data) > most:
        raise FetchError(f"{url}: has more than {most} bytes")
    try:
        table = json.loads(data)
    except (ValueError, RecursionError):
        raise FetchError(f"{url}: is not JSON") from None
    if not isinstance(table, dict):
        raise FetchError(f"{url}: is no JSON object")
    return table


def _told(error: urllib.error.HTTPError) -> Table:
    """Return what an error says in JSON, which OAuth does (RFC 6749 section 5.2)."""
    try:
        return _table(error.read(MAX_BYTES + 1), "")
    except (FetchError, OSError, HTTPException):
        return {}
