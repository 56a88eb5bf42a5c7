"""The server of the API: who says nothing, says it too slowly or does not listen is let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.control.api import pace, server
from gateway.control.api.server import listen_tcp, make_server

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class App:
    """Says how long a body is; `gone` counts whose end it did not see."""

    gone: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self.answer(Request(scope, receive))
        except ClientDisconnect:
            self.gone += 1
            return
        await answer(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        if request.url.path == "/refused":
            return PlainTextResponse("no", 401)
        if request.url.path == "/large":
            return PlainTextResponse("x" * (32 << 20))
        return PlainTextResponse(f"well {len(await request.body())}")


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    """Run a server on loopback; give its port."""
    sock = listen_tcp("127.0.0.1", 0)
    serving = make_server(app)
    running = asyncio.create_task(serving.serve([sock]))
    await serving.is_up.wait()
    yield sock.getsockname()[1]
    serving.should_exit = True
    await running
    sock.close()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOOK_S", 0.05)
    monkeypatch.setattr(pace, "HEAD_S", 0.3)
    monkeypatch.setattr(pace, "BODY_S", 0.3)


@pytest.mark.parametrize(
    ("sent", "drip"),
    [
        (b"", b""),
        (GET, b"a"),
        (GET + b"\r\n" + GET, b"a"),  # the second request of a connection
        (GET + b"\r\n", b"G"),
        (POST, b"a"),
        (POST.replace(b"/", b"/refused", 1), b"a"),  # answered long before its end
    ],
)
async def test_a_request_that_comes_too_slowly_ends_its_connection(
    sent: bytes, drip: bytes
) -> None:
    app = App()
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(sent)

        async def go_on() -> None:
            while drip:
                writer.write(drip)
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(go_on())
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                said = await reader.read()
        dripping.cancel()
        if sent and b"401" not in said:
            assert b"HTTP/1.1 408 Request Timeout" in said
            assert said.endswith(b"}")
        async with connected(port) as (other, asking):
            asking.write(GET + b"\r\n")
            assert (await other.readuntil(b"well 0")).startswith(b"HTTP/1.1 200")
    assert app.gone == (1 if sent == POST else 0)


async def test_a_body_that_comes_steadily_is_taken_and_so_is_the_next_request() -> None:
    async with serving(App()) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(POST)
            for _ in range(10):
                writer.write(bytes(100))
                await asyncio.sleep(0.01)
            async with asyncio.timeout(5):
                await reader.readuntil(b"well 1000")


async def test_who_does_not_read_his_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "UNREAD_S", 0.2)
    cut = asyncio.Event()

    class Seen(server.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            cut.set()

    monkeypatch.setattr(server, "Protocol", Seen)
    async with serving(App()) as port, connected(port) as (reader, writer):
        writer.write(GET.replace(b"/", b"/large", 1) + b"\r\n")
        async with asyncio.timeout(5):
            await reader.readexactly(1)  # what is beyond its limit it leaves to the kernel
            await cut.wait()
