"""
The gateway's control socket: one JSON object a line each way.

A request is `{"command": NAME, ...}`. Each answer is `{"ok": true, "result": ...}`, the last line
before the end of the connection (or the next request's answer), or `{"ok": false, "error": TEXT}`.
Only root and the daemon's own user may speak; the socket's mode and the kernel's word on the peer
both say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from gateway.errors import GatewayError

Request = dict[str, object]
Answer = Callable[[Request], AsyncIterator[object]]

REQUEST_BYTES = 65536  # a request that is longer is refused
IDLE_S = 60.0  # a client that asks nothing that long is let go
CLIENTS = 32


class ControlError(GatewayError):
    """A request that can not be served; the text is for the person who asked."""


def parse_request(line: bytes) -> Request:
    """Return the request on one line. Raises ControlError."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ControlError(f"not a JSON object: {error}") from None
    if not isinstance(request, dict):
        raise ControlError("not a JSON object")
    if not isinstance(request.get("command"), str):
        raise ControlError('a request needs a text under "command"')
    return request


def peer_uid(sock: socket.socket) -> int:
    """Return the user id of the process at the other end, as the kernel recorded it."""
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


class ControlSocket:
    """Listens at `path` and has `answer` serve each request; several results may come for one."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """
        Start to listen. The caller holds the runtime directory's lock, so a socket there is a dead
        one.
        """
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the mode holds from the first moment
        try:
            listening.bind(str(self._path))
        except OSError as error:
            listening.close()
            raise ControlError(f"can not make {self._path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=REQUEST_BYTES
        )

    async def close(self) -> None:
        """Stop to listen and let every client go."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # gone, silent, or we are closing
        finally:
            self._clients.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock: socket.socket = writer.get_extra_info("socket")
        if peer_uid(sock) not in (0, os.geteuid()):
            return await _say(writer, {"ok": False, "error": "only root may use this socket"})
        if len(self._clients) > CLIENTS:
            return await _say(writer, {"ok": False, "error": "too many clients"})
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), IDLE_S)
            except ValueError:
                error = f"a request has at most {REQUEST_BYTES} bytes"
                return await _say(writer, {"ok": False, "error": error})
            if not line:
                return None
            await self._answer_one(line, writer)

    async def _answer_one(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            async for result in self._answer(parse_request(line)):
                await _say(writer, {"ok": True, "result": result})
        except GatewayError as error:
            await _say(writer, {"ok": False, "error": str(error)})


async def _say(writer: asyncio.StreamWriter, message: dict[str, object]) -> None:
    writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    await writer.drain()
