"""VICI's socket with the `vici` package as its client, and with clients that misbehave."""

from __future__ import annotations

import asyncio
import io
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import vici

from gateway.node.journal import Journal
from gateway.vici.server import BACKLOG_BYTES, CLIENTS, Refused, Stream, ViciServer
from gateway.vici.wire import (
    LENGTH,
    PACKET_MAX,
    Packet,
    PacketType,
    Section,
    decode_packet,
    encode_packet,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, its socket and its log."""

    path: Path
    server: ViciServer
    log: io.StringIO
    registered: list[str]


async def echo(request: Section, stream: Stream) -> Section:
    return {"got": request}


async def stream_three(request: Section, stream: Stream) -> Section:
    for number in range(3):
        await stream.event("list-sa", {f"tunnel-{number}": {"state": "ESTABLISHED"}})
    return {}


async def refuse(request: Section, stream: Stream) -> Section:
    raise Refused("not today")


async def break_down(request: Section, stream: Stream) -> Section:
    raise RuntimeError("a bug")


COMMANDS = {
    "version": echo,
    "list-sas": stream_three,
    "initiate": refuse,
    "terminate": break_down,
}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    path, log, registered = tmp_path / "vici.sock", io.StringIO(), list[str]()
    server = ViciServer(path, COMMANDS, Journal(log, time.time), registered.append)
    await server.open()
    yield Place(path, server, log, registered)
    await server.close()
    assert not path.exists()


async def by_package(path: Path, ask: Callable[[vici.Session], Any]) -> Any:
    """Return what the package's session gives, in a thread: it blocks."""

    def talk() -> Any:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10.0)
            sock.connect(str(path))
            return ask(vici.Session(sock))

    return await asyncio.to_thread(talk)


async def exchange(path: Path, *packets: Packet) -> list[Packet]:
    """Send packets, end, and return all that comes."""
    return await raw(path, b"".join(encode_packet(packet) for packet in packets))


async def raw(path: Path, data: bytes) -> list[Packet]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    writer.write_eof()
    came = await reader.read()
    writer.close()
    found = []
    while came:
        (length,) = LENGTH.unpack(came[:4])
        found.append(decode_packet(came[4 : 4 + length]))
        came = came[4 + length :]
    return found


async def test_the_socket_is_its_owners_alone(place: Place) -> None:
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


async def test_the_package_gets_answers_events_and_refusals(place: Place) -> None:
    assert await by_package(place.path, lambda session: session.version()) == {"got": {}}
    listed = await by_package(place.path, lambda session: list(session.list_sas()))
    assert [list(one) for one in listed] == [["tunnel-0"], ["tunnel-1"], ["tunnel-2"]]
    with pytest.raises(vici.exception.CommandException, match="not today"):
        await by_package(place.path, lambda session: list(session.initiate({"child": "a"})))


async def test_events_go_only_to_those_who_registered(place: Place) -> None:
    request = Packet(PacketType.CMD_REQUEST, "list-sas")
    (answer,) = await exchange(place.path, request)
    assert answer == Packet(PacketType.CMD_RESPONSE)
    on = Packet(PacketType.EVENT_REGISTER, "list-sa")
    off = Packet(PacketType.EVENT_UNREGISTER, "list-sa")
    answers = await exchange(place.path, on, request, off, request, off)
    assert [answer.type.name for answer in answers] == [
        "EVENT_CONFIRM",
        "EVENT",
        "EVENT",
        "EVENT",
        "CMD_RESPONSE",
        "EVENT_CONFIRM",
        "CMD_RESPONSE",
        "EVENT_UNKNOWN",
    ]
    assert place.registered == ["list-sa"]


async def test_unknown_commands_and_events_are_named_so(place: Place) -> None:
    answers = await exchange(
        place.path,
        Packet(PacketType.CMD_REQUEST, "make-coffee"),
        Packet(PacketType.EVENT_REGISTER, "coffee"),
    )
    assert [answer.type.name for answer in answers] == ["CMD_UNKNOWN", "EVENT_UNKNOWN"]


BAD = [
    LENGTH.pack(0),
    LENGTH.pack(PACKET_MAX + 1),
    LENGTH.pack(5) + b"\x00",
    b"\x00\x00",
    LENGTH.pack(1) + b"\x63",
    LENGTH.pack(1) + b"\x05",
    encode_packet(Packet(PacketType.EVENT, "log", {"a": "b"})),
]


@pytest.mark.parametrize("data", BAD)
async def test_a_client_that_breaks_the_protocol_is_let_go(place: Place, data: bytes) -> None:
    assert await raw(place.path, data) == []
    assert "vici client let go" in place.log.getvalue()
    assert await by_package(place.path, lambda session: session.version()) == {"got": {}}


async def test_a_bug_of_ours_ends_one_client_only(place: Place) -> None:
    assert await exchange(place.path, Packet(PacketType.CMD_REQUEST, "terminate")) == []
    assert "a bug" in place.log.getvalue()
    assert await by_package(place.path, lambda session: session.version()) == {"got": {}}


async def test_a_slow_reader_is_let_go_and_the_others_are_not(place: Place) -> None:
    register = encode_packet(Packet(PacketType.EVENT_REGISTER, "log"))
    slow, slow_writer = await asyncio.open_unix_connection(place.path, limit=1024)
    quick, quick_writer = await asyncio.open_unix_connection(place.path)
    for reader, writer in ((slow, slow_writer), (quick, quick_writer)):
        writer.write(register)
        assert await reader.readexactly(5) == b"\x00\x00\x00\x01\x05"
    size = len(encode_packet(Packet(PacketType.EVENT, "log", {"msg": "m" * 60000})))
    for _ in range(3 * BACKLOG_BYTES // size):
        place.server.publish("log", {"msg": "m" * 60000})
        await quick.readexactly(size)
    assert "does not read its events" in place.log.getvalue()
    assert place.server.is_wanted("log")
    place.server.publish("log", {"msg": "still here"})
    (length,) = LENGTH.unpack(await quick.readexactly(4))
    assert decode_packet(await quick.readexactly(length)).message == {"msg": "still here"}
    for writer in (slow_writer, quick_writer):
        writer.close()


async def test_there_are_so_many_clients_and_no_more(place: Place) -> None:
    clients = [await asyncio.open_unix_connection(place.path) for _ in range(CLIENTS)]
    for reader, writer in clients:
        writer.write(encode_packet(Packet(PacketType.CMD_REQUEST, "version")))
        await reader.readexactly(4)
    assert await raw(place.path, b"") == []
    assert "too many clients" in place.log.getvalue()
    for _, writer in clients:
        writer.close()
