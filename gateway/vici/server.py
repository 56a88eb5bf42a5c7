"""
VICI's socket: clients, their requests in turn, and the events they have registered for.

Only root and the gateway's own user may speak. A client that breaks the protocol, or reads its
events too slowly, is let go with a log line; the gateway never waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from gateway.errors import GatewayError
from gateway.node.control_socket import ControlError
from gateway.node.journal import Journal, Level
from gateway.unix import bind_private, peer_of
from gateway.vici.wire import (
    LENGTH,
    PACKET_MAX,
    Packet,
    PacketType,
    Section,
    ViciError,
    decode_packet,
    encode_packet,
)

CLIENTS = 32
BACKLOG_BYTES = 1 << 20  # that a client may leave unread before it is let go
DRAIN_S = 10.0  # that an answer may wait for its reader
PACKET_S = 10.0  # from a packet's length to its last byte
EVENTS = frozenset(
    {
        "log",
        "control-log",
        "list-sa",
        "list-policy",
        "list-conn",
        "list-cert",
        "list-authority",
        "ike-updown",
        "ike-rekey",
        "ike-update",
        "child-updown",
        "child-rekey",
        "alert",
    }
)


class Refused(GatewayError):
    """A command that is answered with success = no; the text is its errmsg."""


class Stream(Protocol):
    """Where a command's own events go: to the client that asked, if it has registered for them."""

    async def event(self, name: str, message: Section) -> None: ...


class Command(Protocol):
    """Serves one command. Raises Refused."""

    def __call__(self, request: Section, stream: Stream, /) -> Awaitable[Section]: ...


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.events: set[str] = set()

    async def receive(self) -> Packet | None:
        """Return the next packet, None at the end. Raises ViciError, ConnectionError."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            if not 0 < length <= PACKET_MAX:
                raise ViciError(f"a packet of {length} bytes, at most {PACKET_MAX}")
            async with asyncio.timeout(PACKET_S):
                return decode_packet(await self._reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise ViciError("the connection ends within a packet") from None
            return None

    async def send(self, packet: Packet) -> None:
        """Send a packet, and wait until most of what was sent is taken. Raises TimeoutError."""
        self._writer.write(encode_packet(packet))
        async with asyncio.timeout(DRAIN_S):
            await self._writer.drain()

    async def event(self, name: str, message: Section) -> None:
        """Send an event of the command being served, if the client wants it."""
        if name in self.events:
            await self.send(Packet(PacketType.EVENT, name, message))

    def push(self, packet: bytes) -> bool:
        """Send an encoded event without waiting; False if the client has left too much unread."""
        if self._writer.transport.get_write_buffer_size() > BACKLOG_BYTES:
            self._writer.transport.abort()
            return False
        self._writer.write(packet)
        return True

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    @property
    def uid(self) -> int:
        """Return the user at the other end."""
        return peer_of(self._writer.get_extra_info("socket"))[1]


class ViciServer:
    """Listens at `path` and serves the commands."""

    def __init__(
        self,
        path: Path,
        commands: Mapping[str, Command],
        journal: Journal,
        registering: Callable[[str], None] = lambda event: None,
    ) -> None:
        """`registering` is called with an event's name before a client gets the first one."""
        self._registering = registering
        self._path = path
        self._commands = commands
        self._journal = journal
        self._clients: dict[asyncio.Task[None], Client] = {}
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen; the caller holds the runtime directory's lock. Raises ControlError."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bind_private(listening, self._path)
        except OSError as error:
            listening.close()
            raise ControlError(f"can not make {self._path}: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._serve, sock=listening)

    async def close(self) -> None:
        """Stop to listen and let every client go."""
        if self._server is not None:
            self._server.close()
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def is_wanted(self, *events: str) -> bool:
        """Return whether any client has registered for one of these events."""
        return any(not client.events.isdisjoint(events) for client in self._clients.values())

    def publish(self, name: str, message: Section) -> None:
        """Send an event to every client that has registered for it; waits for none."""
        wanting = [client for client in self._clients.values() if name in client.events]
        if not wanting:
            return
        packet = encode_packet(Packet(PacketType.EVENT, name, message))
        for client in wanting:
            if not client.push(packet):
                client.events.clear()
                self._let_go("does not read its events")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = self._clients[task] = Client(reader, writer)
        try:
            await self._talk(client)
        except ViciError as error:
            self._let_go(str(error))
        except TimeoutError:
            self._let_go("stands still")
        except (ConnectionError, asyncio.CancelledError):
            pass  # gone, or we are closing
        except Exception as error:  # a bug of ours must not take the gateway along
            self._journal.error("bug", where="vici", text=repr(error))
        finally:
            del self._clients[task]
            await client.close()

    def _let_go(self, why: str) -> None:
        self._journal.from_peer(Level.WARNING, "vici client let go", text=why)

    async def _talk(self, client: Client) -> None:
        if client.uid not in (0, os.geteuid()):
            return self._let_go(f"user {client.uid} may not use this socket")
        if len(self._clients) > CLIENTS:
            return self._let_go("too many clients")
        while (packet := await client.receive()) is not None:
            await self._answer(client, packet)
        return None

    async def _answer(self, client: Client, packet: Packet) -> None:
        match packet.type:
            case PacketType.CMD_REQUEST:
                await self._serve_command(client, packet)
            case PacketType.EVENT_REGISTER | PacketType.EVENT_UNREGISTER:
                await client.send(Packet(self._register(client, packet)))
            case kind:
                raise ViciError(f"a {kind.name} is not for us")

    def _register(self, client: Client, packet: Packet) -> PacketType:
        known = EVENTS if packet.type is PacketType.EVENT_REGISTER else client.events
        if packet.name not in known:
            return PacketType.EVENT_UNKNOWN
        if packet.type is PacketType.EVENT_REGISTER:
            self._registering(packet.name)
            client.events.add(packet.name)
        else:
            client.events.discard(packet.name)
        return PacketType.EVENT_CONFIRM

    async def _serve_command(self, client: Client, packet: Packet) -> None:
        serve = self._commands.get(packet.name)
        if serve is None:
            await client.send(Packet(PacketType.CMD_UNKNOWN))
            return
        try:
            answer = await serve(packet.message, client)
        except Refused as error:
            answer = {"success": "no", "errmsg": str(error)}
        await client.send(Packet(PacketType.CMD_RESPONSE, message=answer))
