"""
Answers Prometheus: HTTP/1.1 with one path, for a few clients at a time that are not waited for.

It is not for the world: it listens only where it is told to, and knows only `GET /metrics`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import Callable
from ipaddress import ip_address

from gateway.errors import ConfigError, GatewayError
from gateway.prometheus.text import CONTENT_TYPE

HEAD_BYTES = 8192
CLIENTS = 8
WAIT_S = 10.0  # for a request, and for the client to take the answer


class ScrapeError(GatewayError):
    """The place to answer at can not be had."""


def parse_place(text: str) -> tuple[str, int]:
    """Return the address and port of `ADDRESS:PORT`. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(host)
        number = int(port) if port.isdecimal() else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise ConfigError([f"--metrics: {text[:80]!r} must be ADDRESS:PORT, as in 127.0.0.1:9469"])
    return host, number


class Scrape:
    """Serves what `text` returns at `place`."""

    def __init__(self, place: tuple[str, int], text: Callable[[], str]) -> None:
        self._place = place
        self._text = text
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def open(self) -> None:
        """Begin to answer. Raises ScrapeError."""
        host, port = self._place
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise ScrapeError(f"--metrics {host}:{port}: {why}") from error

    async def close(self) -> None:
        """Stop to listen, and let every client go."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            async with asyncio.timeout(WAIT_S):
                writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # gone, too slow, or no HTTP
        finally:
            self._clients.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        words = request.split(" ")
        if len(words) != 3 or words[0] != "GET":
            return _response("405 Method Not Allowed", b"only GET\n")
        if words[1].partition("?")[0] != "/metrics":
            return _response("404 Not Found", b"there is /metrics\n")
        if len(self._clients) > CLIENTS:
            return _response("503 Service Unavailable", b"too many clients\n")
        body = self._text().encode()
        is_zipped = any(
            line.lower().startswith("accept-encoding:") and "gzip" in line for line in lines
        )
        return _response("200 OK", gzip.compress(body, 1) if is_zipped else body, is_zipped)


def _response(status: str, body: bytes, is_zipped: bool = False) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {CONTENT_TYPE}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(["Content-Encoding: gzip"] if is_zipped else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
