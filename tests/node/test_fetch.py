"""Fetching CRLs and OCSP answers: from a real server on loopback, and only what may be."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gateway.node import fetch
from gateway.node.fetch import Fetcher, FetchFailed
from gateway.node.journal import Journal
from gateway.pki.issue import certificate_pem, private_pem
from gateway.pki.question import Mode, Question
from gateway.pki.revocation import Policy, State, questions_of, read_any
from tests.support.authority import Entity, Wish, authority, key

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
        "http://[64:ff9b::a9fe:a9fe]:9/x",
        "http://[2002:7f00:1::]:9/x",
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


async def test_slow_servers_of_one_hold_up_no_other(serve: Serve) -> None:
    taken: dict[Question, bytes | None] = {}
    done = asyncio.Event()

    def take(question: Question, body: bytes | None) -> None:
        taken[question] = body
        if question == wanted:
            done.set()

    tarpit = await serve(b"")
    wanted = private(await serve(b"HTTP/1.0 200 OK\r\n\r\nbody"))
    fetcher = Fetcher(take, Journal(io.StringIO(), time.time))
    for number in range(fetch.WAITING_EACH + 3):
        fetcher.begin(private(f"{tarpit}{number}"), "slow")
    fetcher.begin(wanted, "other")
    await asyncio.wait_for(done.wait(), fetch.TIMEOUT_S)
    assert taken[wanted] == b"body"
    assert len(taken) == 4  # those that were one too many got no answer at once
    fetcher.close()
    for _ in range(10):  # their connections are closed in the next turns of the loop
        await asyncio.sleep(0)


async def test_an_ocsp_server_of_openssl_is_asked_and_believed(tmp_path: Path) -> None:
    """openssl answers by HTTP for two certificates, of which one is revoked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = authority()
    url = f"http://127.0.0.1:{port}/ocsp"
    good, bad = (root.issue(Wish(name, ocsp=url), key("ecdsa", 60)) for name in ("good", "bad"))
    lines = [_index(good, "V", ""), _index(bad, "R", "260101000000Z")]
    (tmp_path / "index.txt").write_text("".join(lines))
    (tmp_path / "ca.pem").write_text(certificate_pem(root.certificate))
    (tmp_path / "ca.key").write_text(private_pem(root.private))
    files = ("-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key")
    server = await asyncio.create_subprocess_exec(
        *("openssl", "ocsp", "-port", str(port), *files, "-ndays", "1"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        policy = Policy(Mode.STRICT, time.time(), is_private_allowed=True)
        for one, outcome in ((good, State.GOOD), (bad, State.REVOKED)):
            (question,) = questions_of(one.certificate, root.certificate, policy)
            body = await _fetched(question)
            assert read_any(body, one.certificate, root.certificate, policy.at) is outcome
    finally:
        server.kill()
        await server.wait()


def _index(one: Entity, state: str, revoked: str) -> str:
    serial = f"{one.certificate.x509.serial_number:040X}"
    return "\t".join([state, "270101000000Z", revoked, serial, "unknown", f"/CN={state}"]) + "\n"


async def _fetched(question: Question) -> bytes:
    """Return the answer as soon as the server listens."""
    for _ in range(200):
        try:
            return await fetch.fetch(question)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
    raise AssertionError("the server does not listen")
