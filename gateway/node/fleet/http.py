"""
A small HTTP/1.1 client for one server: JSON over TLS, one connection that is kept.

What the other end may do to us is bounded: the size of head and body, of what a compressed body
becomes, and the time that a whole answer may take, however slowly it drips.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import re
import ssl
import zlib
from dataclasses import dataclass

from gateway.errors import GatewayError

HEAD_BYTES_MAX = 16384
COMPRESS_FROM = 2048  # bytes of a body
CONNECT_S = 10.0
PORTION = 65536

_TIME_CODES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9])(?: [^\r\n]*)?")


class LinkError(GatewayError):
    """The other end was not reached, or what it says is no answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is, and the name that its certificate must have."""

    host: str
    port: int
    name: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; the names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Http:
    """Asks one server, one request at a time. `context` is used for every new connection."""

    def __init__(self, place: Place, context: ssl.SSLContext) -> None:
        self._place = place
        self._context = context
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        timeout_s: float,
        most_bytes: int,
    ) -> Response:
        """
        Return the answer, whose body has at most `most_bytes` when it is not compressed any more.

        Raises LinkError. Cancelled or failed, the connection is not used again.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._asked(_request(self._place, method, path, body), most_bytes)
            except TimeoutError:
                self.close()
                raise LinkError(f"no whole answer within {timeout_s:g} s") from None
            except (OSError, EOFError) as error:
                self.close()
                raise LinkError(_why(error)) from error
            except BaseException:
                self.close()
                raise

    async def _asked(self, request: bytes, most_bytes: int) -> Response:
        """Send on the connection that is kept; on a new one if the server has closed that."""
        kept = self._streams is not None
        try:
            return await self._once(request, most_bytes)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            is_unread = not isinstance(error, asyncio.IncompleteReadError) or not error.partial
            self.close()
            if not kept or not is_unread:
                raise
        return await self._once(request, most_bytes)

    async def _once(self, request: bytes, most_bytes: int) -> Response:
        reader, writer = await self._connected()
        writer.write(request)
        await writer.drain()
        response = await _read(reader, most_bytes)
        if response.headers.get("connection", "").lower() == "close":
            self.close()
        return response

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            async with asyncio.timeout(CONNECT_S):
                self._streams = await asyncio.open_connection(
                    self._place.host,
                    self._place.port,
                    ssl=self._context,
                    server_hostname=self._place.name,
                    limit=HEAD_BYTES_MAX,
                )
        return self._streams

    def close(self) -> None:
        """Let the connection go; the next request makes another."""
        streams, self._streams = self._streams, None
        if streams is not None:
            with contextlib.suppress(OSError, RuntimeError):
                streams[1].transport.abort()


def _request(place: Place, method: str, path: str, body: bytes | None) -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        f"host: {place.host}:{place.port}",
        "accept-encoding: gzip",
    ]
    if body is not None:
        lines.append("content-type: application/json")
        if len(body) >= COMPRESS_FROM:
            body = gzip.compress(body, 1)
            lines.append("content-encoding: gzip")
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


async def _read(reader: asyncio.StreamReader, most_bytes: int) -> Response:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise LinkError(f"the head of the answer has more than {HEAD_BYTES_MAX} bytes") from None
    status, headers = _parse_head(head)
    length = _length(status, headers, most_bytes)
    parts = []
    while length:
        part = await reader.read(min(length, PORTION))
        if not part:
            raise LinkError(f"the answer ends {length} bytes too early")
        parts.append(part)
        length -= len(part)
    body = b"".join(parts)
    if headers.get("content-encoding", "identity") == "gzip":
        body = unzip(body, most_bytes)
    return Response(status, headers, body)


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head[:-4].split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise LinkError(f"not an HTTP answer: {first[:80].decode('ascii', 'backslashreplace')}")
    headers = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise LinkError(f"not an HTTP header: {line[:80].decode('ascii', 'backslashreplace')}")
        headers[name.strip().lower()] = value.strip()
    return int(found[1]), headers


def _length(status: int, headers: dict[str, str], most_bytes: int) -> int:
    """Return the length of the body as it comes. Every answer of the control plane names it."""
    if status == 204:
        return 0
    text = headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        raise LinkError("the answer has no Content-Length")
    if len(text) > 18 or int(text) > most_bytes:
        raise LinkError(f"the answer has {text[:20]} bytes, at most {most_bytes} are taken")
    return int(text)


def unzip(body: bytes, most_bytes: int) -> bytes:
    """Return what a gzip body holds. Raises LinkError if it is none, or holds too much."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        plain = decoder.decompress(body, most_bytes)
    except zlib.error as error:
        raise LinkError(f"the compressed answer is damaged: {error}") from None
    if decoder.unconsumed_tail:
        raise LinkError(f"the answer has more than {most_bytes} bytes when unpacked")
    if not decoder.eof:
        raise LinkError("the compressed answer is cut short")
    return plain


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the control plane's certificate is not accepted: {error.verify_message}"
        is_time = error.verify_code in _TIME_CODES
        return f"{why} (is this machine's clock right?)" if is_time else why
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection ended before the answer"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    if isinstance(error, ConnectionError):
        return "the other end has closed the connection"
    return str(error) or type(error).__name__
