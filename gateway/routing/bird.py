"""
BIRD's control socket from asyncio: a connection for each question, one question at a time.

A question takes BIRD some milliseconds (30 for 1,000 sessions); one that it does not answer in time
raises, so nobody waits for a BIRD that hangs. Long replies take us longer to read than BIRD to give
(0.2 s for 1,000 sessions), so they are read in a thread: IKE does not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.routing.replies import (
    BirdError,
    Line,
    ReplyError,
    Unanswered,
    is_last,
    lines_of,
    parse_bfd,
    parse_preferred,
    parse_routes,
    parse_sessions,
)
from gateway.routing.state import BfdState, BgpState, LearnedRoute

T = TypeVar("T")

REPLY_BYTES_MAX = 1 << 26  # 64 MiB: some 200,000 routes
LINE_BYTES_MAX = 1 << 16  # an AS path may be long
ERROR = 8000
WELCOME = b"0001 "
CONFIGURED, CONFIGURING = 3, 4


class Bird:
    """The BIRD that listens at `path`."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        self.path = path
        self._timeout_s = timeout_s

    async def sessions(self) -> tuple[tuple[BgpState, ...], dict[str, int]]:
        """
        Return its BGP sessions, and for each protocol of how many prefixes it has the best route.

        Raises BirdError.
        """
        return await self._read("show protocols all", _both)

    async def bfd(self) -> tuple[BfdState, ...]:
        """Return its BFD sessions; none where BFD is not configured. Raises BirdError."""
        return await self._read("show bfd sessions", _bfd)

    async def routes(self) -> tuple[LearnedRoute, ...]:
        """Return its routes, those that our rules refuse at the end. Raises BirdError."""
        taken = await self._read("show route all", parse_routes)
        refused = await self._read("show route all filtered", _refused)
        return taken + refused

    async def configure(self) -> None:
        """Make it read its configuration file; it goes over, or refuses. Raises BirdError."""
        last = await self._read("configure", _last)
        if last.code not in (CONFIGURED, CONFIGURING):
            raise BirdError(f"configure: {last.text}")

    async def reload(self, protocol: str) -> None:
        """Make it ask a peer for all its routes; its limits count anew. Raises BirdError."""
        await self._read(f"reload in '{protocol}'", _last)

    async def down(self) -> None:
        """End it: its sessions are closed, its routes stay in the kernel. Raises BirdError."""
        await self._read("down", _last)

    async def _read(self, question: str, parse: Callable[[list[Line]], T]) -> T:
        """
        Return what `parse` makes of the reply to a question.

        Raises Unanswered, ReplyError, and BirdError with what BIRD refuses.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await self._ask(question)
        except TimeoutError:
            raise Unanswered(f"BIRD at {self.path} does not answer {question!r}") from None
        except OSError as error:
            raise Unanswered(f"no BIRD answers at {self.path}: {error.strerror}") from None
        except (ReplyError, ValueError) as error:
            raise ReplyError(f"BIRD at {self.path}, {question!r}: {error}") from None
        return await asyncio.to_thread(_parsed, question, reply, parse)

    async def _ask(self, question: str) -> list[bytes]:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=LINE_BYTES_MAX)
        try:
            welcome = await _reply(reader)
            if not welcome[-1].startswith(WELCOME):
                raise ReplyError(f"greets with {welcome[-1][:80]!r}")
            writer.write(question.encode() + b"\n")
            return await _reply(reader)
        finally:
            writer.close()


async def _reply(reader: asyncio.StreamReader) -> list[bytes]:
    """Return the lines of one reply, at least one."""
    lines: list[bytes] = []
    size = 0
    while not lines or not is_last(lines[-1]):
        raw = await reader.readline()
        if not raw.endswith(b"\n"):
            raise ReplyError("the connection ended within a reply")
        size += len(raw)
        if size > REPLY_BYTES_MAX:
            raise ReplyError(f"a reply of more than {REPLY_BYTES_MAX} bytes")
        lines.append(raw[:-1])
    return lines


def _parsed(question: str, reply: list[bytes], parse: Callable[[list[Line]], T]) -> T:
    lines = lines_of(reply)
    if lines[-1].code >= ERROR and parse is not _bfd:
        raise BirdError(f"BIRD refuses {question!r}: {lines[-1].text}")
    return parse(lines)


def _last(lines: list[Line]) -> Line:
    return lines[-1]


def _both(lines: list[Line]) -> tuple[tuple[BgpState, ...], dict[str, int]]:
    return parse_sessions(lines), parse_preferred(lines)


def _bfd(lines: list[Line]) -> tuple[BfdState, ...]:
    # Where BFD is not configured, BIRD refuses the question.
    return () if lines[-1].code >= ERROR else parse_bfd(lines)


def _refused(lines: list[Line]) -> tuple[LearnedRoute, ...]:
    return parse_routes(lines, filtered=True)
