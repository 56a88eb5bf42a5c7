"""The node's HTTP client against a server that does what it likes, over real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.control.nodes.ca import Authority, new_authority
from gateway.fleet.messages import CONTROL_NAME, Credential
from gateway.node.fleet.http import Http, LinkError, Place
from gateway.node.fleet.identity import identity_of, new_key, request_for, trusting

NOW = datetime.datetime.now(datetime.UTC)
CA = new_authority(NOW)
MOST = 1 << 20

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def server_context(
    place: Path, authority: Authority = CA, at: datetime.datetime = NOW
) -> ssl.SSLContext:
    file = place / "server.pem"
    file.write_bytes(authority.server(at))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


@contextlib.asynccontextmanager
async def served(serve: Serve, context: ssl.SSLContext) -> AsyncIterator[Http]:
    talks: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks[asyncio.current_task()] = writer
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    http = Http(Place("127.0.0.1", port, CONTROL_NAME), trusting(CA.pem))
    try:
        yield http
    finally:
        http.close()
        server.close()
        for task, writer in talks.items():
            if task is not None:
                task.cancel()
            writer.transport.abort()
        await asyncio.sleep(0)


def says(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return serve


def answer(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


async def ask(http: Http, timeout_s: float = 5.0) -> bytes:
    return (await http.request("GET", "/x", timeout_s=timeout_s, most_bytes=MOST)).body


async def test_requests_share_a_connection_and_bodies_are_unpacked(tmp_path: Path) -> None:
    ports = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports.add(writer.get_extra_info("peername")[1])
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer(gzip.compress(b"hello", mtime=0), "Content-Encoding: gzip"))

    async with served(serve, server_context(tmp_path)) as http:
        assert [await ask(http) for _ in range(3)] == [b"hello"] * 3
    assert len(ports) == 1


async def test_a_connection_that_the_server_has_closed_is_made_anew(tmp_path: Path) -> None:
    async with served(says(answer(b"once")), server_context(tmp_path)) as http:
        assert await ask(http) == b"once"
        await asyncio.sleep(0.02)
        assert await ask(http) == b"once"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "ended before the answer"),
        (b"garbage\r\n\r\n", "not an HTTP answer"),
        (b"\x00\xff" * 40 + b"\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "no Content-Length"),
        (b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n", "not an HTTP header"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n", "at most"),
        (answer(bytes(10 << 20)), "at most 1048576"),
        (
            answer(gzip.compress(bytes(10 << 20), mtime=0), "content-encoding: gzip"),
            "when unpacked",
        ),
        (answer(b"no gzip", "content-encoding: gzip"), "is damaged"),
        (answer(gzip.compress(b"x" * 99, mtime=0)[:-9], "content-encoding: gzip"), "cut short"),
        (answer(b"half a document" * 9)[:-5], "ends 5 bytes too early"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 40000, "more than 16384 bytes"),
    ],
)
async def test_what_is_no_answer_is_said(tmp_path: Path, said: bytes, words: str) -> None:
    async with served(says(said), server_context(tmp_path)) as http:
        with pytest.raises(LinkError, match=words):
            await ask(http)


async def test_an_answer_that_drips_is_given_up(tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in answer(b"x" * 1000):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(drip, server_context(tmp_path)) as http:
        with pytest.raises(LinkError, match=r"no whole answer within 0\.3 s"):
            await ask(http, 0.3)


async def test_nobody_there_is_said() -> None:
    http = Http(Place("127.0.0.1", 1, CONTROL_NAME), trusting(CA.pem))
    with pytest.raises(LinkError, match="refused"):
        await ask(http)


async def test_a_server_of_another_ca_is_not_talked_to(tmp_path: Path) -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))

    other = server_context(tmp_path, new_authority(NOW))
    async with served(serve, other) as http:
        with pytest.raises(LinkError, match="certificate is not accepted"):
            await ask(http)
    assert asked in ([], [b""])


@pytest.mark.parametrize(("days", "words"), [(-400, "has expired"), (400, "not yet valid")])
async def test_a_clock_that_is_wrong_is_said(tmp_path: Path, days: int, words: str) -> None:
    at = NOW + datetime.timedelta(days=days)
    async with served(says(answer(b"")), server_context(tmp_path, at=at)) as http:
        with pytest.raises(LinkError, match=f"certificate is not accepted: .*{words}.*clock"):
            await ask(http)


async def test_a_node_can_not_play_the_control_plane(tmp_path: Path) -> None:
    key = new_key()
    issued = CA.issue(request_for(key), "node-a", NOW)
    told = Credential(node="node-a", certificate=issued.pem, ca=CA.pem, renew_at=issued.renew_at)
    file = tmp_path / "node.pem"
    file.write_bytes(identity_of(told, key).pem.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    async with served(says(answer(b"")), context) as http:
        with pytest.raises(LinkError, match="certificate is not accepted"):
            await ask(http)
