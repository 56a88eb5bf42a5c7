"""
The control plane's API from the command line's side: plain `http.client`, which starts fast.

A connection is kept for the next request. What the server refuses comes as a problem document
(RFC 9457), and goes out as `ApiRefused`, whose text is one message with field and value.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

import gateway
from gateway.cli.client import EXIT_UNREACHABLE, Refused, Unreachable
from gateway.cli.remote.contexts import Context
from gateway.errors import ConfigError

Json = dict[str, object]
Query = Mapping[str, str | int]

TIMEOUT_S = 30.0
COMPLETION_TIMEOUT_S = 2.0  # a shell that completes does not keep a person waiting
BODY_BYTES_MAX = 64 << 20  # the tree of some thousand connections is a few MiB
PAGE = 500
EXIT_NOT_FOUND = 4
EXIT_CONFLICT = 5
EXIT_NOT_PERMITTED = 6
_EXITS = {
    401: EXIT_NOT_PERMITTED,
    403: EXIT_NOT_PERMITTED,
    404: EXIT_NOT_FOUND,
    409: EXIT_CONFLICT,
    412: EXIT_CONFLICT,
    503: EXIT_UNREACHABLE,
}


class ApiRefused(Refused):
    """The control plane refuses: the problem document and its status say why."""

    def __init__(self, status: int, problem: Json) -> None:
        super().__init__(problem_text(status, problem))
        self.status = status
        self.problem = problem
        self.exit_status = _EXITS.get(status, self.exit_status)
        if problem.get("code") == "node_lost":
            self.exit_status = EXIT_UNREACHABLE


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server says: `body` is {} where it sends none."""

    status: int
    body: Json
    revision: int | None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass(slots=True)
class Api:
    """A control plane, and who we are there."""

    context: Context
    timeout_s: float = TIMEOUT_S
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def get(self, path: str, query: Query | None = None) -> Json:
        """Return what is at `path`. Raises Unreachable, ApiRefused, ConfigError."""
        return self.send("GET", path, query=query).body

    def pages(self, path: str, query: Query | None = None, limit: int = 0) -> Iterator[Json]:
        """Yield the items of a collection, page after page, at most `limit` if it is not 0."""
        left, after = limit, ""
        while True:
            size = min(left, PAGE) if limit else PAGE
            page = {**(query or {}), "limit": size} | ({"after": after} if after else {})
            answer = self.get(path, page)
            items = answer.get("items")
            for item in items if isinstance(items, list) else []:
                yield item
                left -= 1
            after = str(answer.get("next") or "")
            if not after or (limit and left <= 0):
                return

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Query | None = None,
        expected: int | None = None,
    ) -> Answer:
        """
        Return the answer to one request, which happens once, also where a connection breaks.

        `expected` is the revision that what is at `path` must have. Raises Unreachable, ApiRefused,
        ConfigError.
        """
        target = path + (f"?{urlencode(query)}" if query else "")
        headers = self._headers(expected)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if method == "POST":
            headers["Idempotency-Key"] = token_hex(16)
        return self._answer(*self._exchange(method, target, data, headers))

    def _headers(self, expected: int | None) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "User-Agent": f"twinspan/{gateway.__version__}",
        }
        if token := self.context.bearer():
            if not token.isascii() or not token.isprintable():
                raise ConfigError(["token: has characters that no token has"])
            headers["Authorization"] = f"Bearer {token}"
        if self.context.tenant:
            headers["X-Tenant"] = quote(self.context.tenant)
        if expected is not None:
            headers["If-Match"] = f'"{expected}"'
        return headers

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if method in ("PATCH", "DELETE"):
            self.close()  # so that it need not be asked again: GET changes nothing, POST has a key
        for is_last in (False, True):
            is_kept = self._connection is not None
            connection = self._connection = self._connection or self._new_connection()
            try:
                connection.request(method, target, data, headers)
                response = connection.getresponse()
                return response, response.read(BODY_BYTES_MAX + 1)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                # A kept connection that the server has closed meanwhile says nothing of the server.
                is_stale = isinstance(error, ConnectionError | http.client.RemoteDisconnected)
                if is_last or not (is_kept and is_stale):
                    raise Unreachable(_why(self.context.url, error)) from None
        raise AssertionError("the second attempt returns or raises")

    def _new_connection(self) -> http.client.HTTPConnection:
        """Return a connection that is made when it is first used. Raises ConfigError."""
        url = self.context.url
        scheme, _, rest = url.partition(":")
        if scheme == "unix":
            return _UnixConnection(rest, self.timeout_s)
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError([f"url: {url}: {error}"]) from None
        if scheme not in ("http", "https") or not host or parts.path.strip("/") or parts.query:
            raise ConfigError([f"url: must be like https://HOST:PORT or unix:/PATH ({url!r})"])
        if scheme == "https":
            tls = _tls(self.context)
            return http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=tls)
        if not _is_loopback(host):
            raise ConfigError([f"url: not without TLS to another machine: use https ({url})"])
        return http.client.HTTPConnection(host, port, timeout=self.timeout_s)

    def _answer(self, response: http.client.HTTPResponse, content: bytes) -> Answer:
        try:
            body = json.loads(content) if content else {}
        except (ValueError, RecursionError):
            body = None
        if response.status >= 400:
            raise ApiRefused(response.status, body if isinstance(body, dict) else {})
        if not isinstance(body, dict) or len(content) > BODY_BYTES_MAX:
            raise Unreachable(f"{self.context.url}: what answers there is no control plane")
        etag = (response.headers.get("ETag") or "").strip('"')
        return Answer(response.status, body, int(etag) if etag.isdigit() else None)

    def judge(self) -> None:
        """Raise ConfigError for a context with which nothing can be asked."""
        self._new_connection()
        self._headers(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_loopback(host: str) -> bool:
    """Say whether nobody else can read what goes there."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None


def _tls(context: Context) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=context.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or "holds no certificate"
        raise ConfigError([f"ca_file: {context.ca_file}: {reason.lower()}"]) from None


def _why(url: str, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{url}: its certificate is not trusted: {error.verify_message} (ca_file?)"
    if isinstance(error, TimeoutError):
        return f"{url}: the control plane does not answer"
    if isinstance(error, PermissionError):
        return f"not permitted to use {url}: run it as root, or choose a context"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return (
            f"no control plane at {url} (systemctl start twinspan-control, or choose another by"
            " twinspan context)"
        )
    if isinstance(error, socket.gaierror):
        return f"{url}: {error.strerror}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return f"{url}: {os.strerror(error.errno)}"
    return f"{url}: {error or type(error).__name__}"


def problem_text(status: int, problem: Json) -> str:
    """Return a problem document as text for people: for each mistake one line."""
    errors = problem.get("errors")
    each = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    lines = [_mistake(one) for one in each] or [_mistake(problem)]
    return "\n".join(line or f"HTTP status {status}" for line in lines)


def _mistake(error: Json) -> str:
    detail = str(error.get("detail") or error.get("title") or "")
    field = str(error.get("field") or "")
    place = f"{field}: " if field and not detail.startswith(field) else ""
    value = error.get("value")
    is_shown = value is not None and not isinstance(value, dict | list)
    text = json.dumps(value, ensure_ascii=False) if is_shown else ""
    has_it = any(shown in detail for shown in (text, repr(value), f"({value})"))
    return place + detail + ("" if has_it else f" ({text[:200]})")
