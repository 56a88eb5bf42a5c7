"""
Where TCP connections come in: so many of one source at most, and so many of all.

They count from the moment they are accepted, so with the handshake of TLS, which costs us more than
who begins it. uvicorn counts none of them. A source is an address, of IPv6 its /64. This machine
itself, and the proxies that others come by, are many in one and have no share of their own; nor has
who is known by a certificate.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from gateway.control.auth.buckets import source_of
from gateway.model.types import AnyNetwork

MOST = 8192  # connections of all; the descriptors are more
EACH = 256  # of one source: an office behind one address has this many
HANDSHAKE_S = 10.0
AT_A_TIME = 64  # accepted before others have their turn
PAUSE_S = 0.5  # when there is no descriptor left
_RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: what is refused leaves nothing behind


@dataclass(slots=True)
class Visits:
    """Who is in. `free` are networks whose connections have no share."""

    most: int = MOST
    each: int = EACH
    free: tuple[AnyNetwork, ...] = ()
    count: int = 0
    refused: int = 0
    by_source: Counter[str] = field(default_factory=Counter)

    def enter(self, address: str) -> Visit | None:
        """Return the visit of a connection from an address, None if there is no room for it."""
        source = "" if self._is_free(address) else source_of(address)
        if self.count >= self.most or (source and self.by_source[source] >= self.each):
            self.refused += 1
            return None
        self.count += 1
        if source:
            self.by_source[source] += 1
        return Visit(self, source)

    def _is_free(self, address: str) -> bool:
        parsed = ip_address(address.partition("%")[0])
        return parsed.is_loopback or any(parsed in network for network in self.free)


@dataclass(slots=True)
class Visit:
    """One connection, from when it is accepted."""

    _visits: Visits
    _source: str
    _is_over: bool = False

    def is_known(self) -> None:
        """Give back the share of its source: it has shown who it is."""
        if self._source:
            self._visits.by_source[self._source] -= 1
            if not self._visits.by_source[self._source]:
                del self._visits.by_source[self._source]
            self._source = ""

    def end(self) -> None:
        """It is closed."""
        self.is_known()
        if not self._is_over:
            self._is_over = True
            self._visits.count -= 1


class Visited(asyncio.Protocol):
    """What serves one connection: it tells the end of the visit, if it has one."""

    visit: Visit | None


Make = Callable[[], Visited]


class Door:
    """Accepts the connections of a listening socket until it is closed."""

    def __init__(
        self, sock: socket.socket, make: Make, tls: ssl.SSLContext | None, visits: Visits
    ) -> None:
        self._sock = sock
        self._make = make
        self._tls = tls
        self._visits = visits
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Let nobody in any more; who is in stays."""
        self._loop.remove_reader(self._sock.fileno())
        if self._pause is not None:
            self._pause.cancel()
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until no handshake is under way any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                connection, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    return self._rest()
                continue  # it has gone already
            self._let_in(connection, str(address[0]))

    def _rest(self) -> None:
        """Wait until some have gone."""
        self._loop.remove_reader(self._sock.fileno())
        again = self._loop.add_reader
        self._pause = self._loop.call_later(PAUSE_S, again, self._sock.fileno(), self._accept)

    def _let_in(self, connection: socket.socket, address: str) -> None:
        visit = self._visits.enter(address)
        if visit is None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            connection.close()
            return
        task = self._loop.create_task(self._serve(connection, visit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket, visit: Visit) -> None:
        """Begin to serve a connection, after the handshake of TLS if there is one."""
        protocol = self._make()
        protocol.visit = visit
        within = HANDSHAKE_S if self._tls is not None else None
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls, ssl_handshake_timeout=within
            )
        except (OSError, ssl.SSLError, asyncio.CancelledError):
            visit.end()
            connection.close()


def free_networks(texts: Sequence[str]) -> tuple[AnyNetwork, ...]:
    """Return networks, as `--behind-proxy` names them."""
    return tuple(ip_network(text) for text in texts)
