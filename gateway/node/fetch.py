"""
Fetches CRLs and answers of OCSP by HTTP, as the IKE core asks for them.

The URL stands in a certificate that a trusted CA has signed, and still it must not make this
gateway talk to the network around it: only public addresses are spoken to unless the tunnel allows
private ones, the address that was judged is the one that is connected to, redirects are not
followed, and size, time and number are bounded. What comes is signed; who uses it verifies that.

Servers that are slow hold up no other Border Gateway: each has turns of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from gateway.node.fair import FairTurns
from gateway.node.journal import Journal, Level
from gateway.pki.question import Question

TIMEOUT_S = 8.0  # for all of it; the core waits a little longer
BYTES_MAX = 4 * 2**20
HEAD_MAX = 16384
AT_ONCE, AT_ONCE_EACH = 32, 4  # of all Border Gateways, and of each; the others wait in line
WAITING_MAX, WAITING_EACH = 512, 128  # those under way counted
# RFC 6052, and what is left of RFC 4291's addresses that are "compatible" with IPv4.
_TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
Taken = Callable[[Question, bytes | None], None]


class FetchFailed(Exception):
    """There is no answer, and why."""


class Fetcher:
    """Carries out fetches and hands each answer, or None, to `taken`."""

    def __init__(self, taken: Taken, journal: Journal) -> None:
        self._taken = taken
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = FairTurns(AT_ONCE, AT_ONCE_EACH)
        self._count: Counter[str] = Counter()  # by owner

    def begin(self, question: Question, owner: str = "") -> None:
        """
        Begin to fetch for a Border Gateway; `taken` is called in any case, but never from within
        this call.
        """
        if len(self._tasks) >= WAITING_MAX or self._count[owner] >= WAITING_EACH:
            asyncio.get_running_loop().call_soon(self._taken, question, None)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(question, owner))
        self._tasks.add(task)
        self._count[owner] += 1
        task.add_done_callback(partial(self._is_over, owner))

    def _is_over(self, owner: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._count[owner] -= 1
        if not self._count[owner]:
            del self._count[owner]

    async def _carry_out(self, question: Question, owner: str) -> None:
        body = None
        try:
            async with asyncio.timeout(TIMEOUT_S), self._turns.taken(owner):
                body = await fetch(question)
        except TimeoutError:
            self._failed(question, f"no answer within {TIMEOUT_S:g} s")
        except (FetchFailed, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._failed(question, str(error))
        self._taken(question, body)

    def _failed(self, question: Question, text: str) -> None:
        self._journal.from_peer(Level.WARNING, "revocation_fetch", url=str(question), text=text)

    def close(self) -> None:
        """Give up what is under way; nobody is told."""
        for task in self._tasks:
            task.cancel()


async def fetch(question: Question) -> bytes:
    """Return what is there. Raises FetchFailed, OSError, ValueError or IncompleteReadError."""
    url = urlsplit(question.url)
    host, port = url.hostname, url.port or 80
    if url.scheme.lower() != "http" or not host or url.username is not None:
        raise FetchFailed("not a plain http URL")
    address = await _address_of(host, port, question.is_private_allowed)
    reader, writer = await asyncio.open_connection(address, port, limit=HEAD_MAX)
    try:
        writer.write(_request(question, url.netloc, (url.path or "/") + _query(url.query)))
        return await _answer(reader)
    finally:
        writer.close()


def _query(text: str) -> str:
    return f"?{text}" if text else ""


async def _address_of(host: str, port: int, is_private_allowed: bool) -> str:
    """Return the first address of a host that may be spoken to. Raises FetchFailed, OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = [str(one[4][0]) for one in found]
    for text in texts:
        if is_private_allowed or _is_public(text):
            return text
    raise FetchFailed(f"{host} has no public address ({', '.join(texts)})")


def _is_public(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        address = _inside(address) or address
    return address.is_global and not address.is_multicast


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address come to at last, if there is one."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


def _request(question: Question, host: str, target: str) -> bytes:
    """Return a request of HTTP/1.0: the answer ends with the connection, and is not in chunks."""
    lines = [f"Host: {host}", "Accept: */*", "Connection: close"]
    if question.body:
        lines += ["Content-Type: application/ocsp-request", f"Content-Length: {len(question.body)}"]
    verb = "POST" if question.body else "GET"
    head = "\r\n".join([f"{verb} {target} HTTP/1.0", *lines, "", ""])
    return head.encode("ascii") + question.body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise FetchFailed("the head of the answer is too long") from None
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or status[1] != b"200":
        raise FetchFailed(f"the answer is {head[:40]!r}")
    body = bytearray()
    while part := await reader.read(65536):
        body += part
        if len(body) > BYTES_MAX:
            raise FetchFailed(f"the answer is larger than {BYTES_MAX} bytes")
    return bytes(body)
