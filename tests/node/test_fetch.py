"""Fetching CRLs and OCSP answers: from a real server on loopback, and only what may be."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.node import fetch
from gateway.node.fetch import Fetcher, FetchFailed
from gateway.node.journal import Journal
from gateway.pki.question import Question

Serve = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return what starts a server that gives one answer, and returns its URL."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(answer: bytes) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await reader.readuntil(b"\r\n\r\n")
            if answer:
                writer.write(answer)
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a/root.crl?x=1"

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def private(url: str, body: bytes = b"") -> Question:
    return Question(url, body, is_private_allowed=True)


async def test_what_is_there_is_returned(serve: Serve) -> None:
    url = await serve(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n\x30\x00\r\nbinary")
    assert await fetch.fetch(private(url)) == b"\x30\x00\r\nbinary"
    assert await fetch.fetch(private(url, b"question")) == b"\x30\x00\r\nbinary"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * fetch.HEAD_MAX + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(fetch.BYTES_MAX + 1),
    ],
    ids=["404", "redirect", "no http", "long head", "large"],
)
async def test_other_answers_are_none(serve: Serve, answer: bytes) -> None:
    url = await serve(answer)
    with pytest.raises(FetchFailed):
        await fetch.fetch(private(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/x",
        "http://localhost:9/x",
        "http://[::1]:9/x",
        "http://[::ffff:10.0.0.1]:9/x",
        "http://10.0.0.1:9/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]:9/x",
        "http://100.64.0.1:9/x",
        "http://224.0.0.1:9/x",
    ],
)
async def test_private_addresses_are_not_spoken_to(url: str) -> None:
    with pytest.raises(FetchFailed, match="no public address"):
        await fetch.fetch(Question(url))


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "http://", "http://me@127.0.0.1/", "ftp://x/"]
)
async def test_only_plain_http_is_spoken(url: str) -> None:
    with pytest.raises(FetchFailed):
        await fetch.fetch(private(url))


async def test_everyone_is_answered_even_when_there_is_no_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.2)
    taken: dict[Question, bytes | None] = {}
    done = asyncio.Event()

    def take(question: Question, body: bytes | None) -> None:
        taken[question] = body
        if len(taken) == len(questions):
            done.set()

    good = await serve(b"HTTP/1.0 200 OK\r\n\r\nbody")
    tarpit = await serve(b"")
    questions = [private(good), private(tarpit), Question(good), private("http://127.0.0.1:1/x")]
    fetcher = Fetcher(take, Journal(io.StringIO(), time.time))
    for question in questions:
        fetcher.begin(question)
    await asyncio.wait_for(done.wait(), 20)
    assert list(map(taken.get, questions)) == [b"body", None, None, None]
    fetcher.close()
