"""
BIRD's control socket from asyncio: a connection for each question, one question at a time.

A question takes BIRD some milliseconds (30 for 1,000 sessions); one that it does not answer within
`TIMEOUT_S` raises, so nobody waits for a BIRD that hangs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.routing.replies import (
    BirdError,
    Line,
    ReplyError,
    Unanswered,
    line_of,
    parse_bfd,
    parse_preferred,
    parse_routes,
    parse_sessions,
)
from gateway.routing.state import BfdState, BgpState, LearnedRoute

TIMEOUT_S = 10.0  # of a question; BIRD itself answers in milliseconds
REPLY_BYTES_MAX = 1 << 26  # 64 MiB: some 200,000 routes
LINE_BYTES_MAX = 1 << 16  # an AS path may be long
ERROR = 8000
WELCOME = 1
CONFIGURED, CONFIGURING = 3, 4


class Bird:
    """The BIRD that listens at `path`."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    async def sessions(self) -> tuple[tuple[BgpState, ...], dict[str, int]]:
        """
        Return its BGP sessions, and for each protocol of how many prefixes it has the best route.

        Raises BirdError.
        """
        lines = await self.ask("show protocols all")
        return parse_sessions(lines), parse_preferred(lines)

    async def bfd(self) -> tuple[BfdState, ...]:
        """Return its BFD sessions; none where BFD is not configured. Raises BirdError."""
        lines = await self.ask("show bfd sessions", refusals=True)
        return () if lines[-1].code >= ERROR else parse_bfd(lines)

    async def routes(self) -> tuple[LearnedRoute, ...]:
        """Return its routes, those that our rules refuse at the end. Raises BirdError."""
        taken = parse_routes(await self.ask("show route all"))
        refused = parse_routes(await self.ask("show route all filtered"), filtered=True)
        return taken + refused

    async def configure(self) -> None:
        """Make it read its configuration file; it goes over, or refuses. Raises BirdError."""
        lines = await self.ask("configure")
        if lines[-1].code not in (CONFIGURED, CONFIGURING):
            raise BirdError(f"configure: {lines[-1].text}")

    async def down(self) -> None:
        """End it: its sessions are closed, its routes stay in the kernel. Raises BirdError."""
        await self.ask("down")

    async def ask(self, question: str, *, refusals: bool = False) -> list[Line]:
        """
        Return the lines of one reply, at least one.

        Raises Unanswered, ReplyError; without `refusals` also BirdError with what BIRD refuses.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                lines = await self._ask(question)
        except TimeoutError:
            raise Unanswered(f"BIRD at {self.path} does not answer {question!r}") from None
        except OSError as error:
            raise Unanswered(f"no BIRD answers at {self.path}: {error.strerror}") from None
        except (ReplyError, ValueError) as error:
            raise ReplyError(f"BIRD at {self.path}, {question!r}: {error}") from None
        if lines[-1].code >= ERROR and not refusals:
            raise BirdError(f"BIRD refuses {question!r}: {lines[-1].text}")
        return lines

    async def _ask(self, question: str) -> list[Line]:
        reader, writer = await asyncio.open_unix_connection(self.path, limit=LINE_BYTES_MAX)
        try:
            welcome = await _reply(reader)
            if welcome[-1].code != WELCOME:
                raise ReplyError(f"greets with {welcome[-1].text!r}")
            writer.write(question.encode() + b"\n")
            return await _reply(reader)
        finally:
            writer.close()


async def _reply(reader: asyncio.StreamReader) -> list[Line]:
    lines: list[Line] = []
    code = size = 0
    while not lines or not lines[-1].is_last:
        raw = await reader.readline()
        if not raw.endswith(b"\n"):
            raise ReplyError("the connection ended within a reply")
        size += len(raw)
        if size > REPLY_BYTES_MAX:
            raise ReplyError(f"a reply of more than {REPLY_BYTES_MAX} bytes")
        lines.append(line_of(raw[:-1].decode("utf-8", "replace"), code))
        code = lines[-1].code
    return lines
