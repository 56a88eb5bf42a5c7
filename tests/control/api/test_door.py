"""How many connections a source may have, and all of them, from before the handshake of TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.control.api import door, server
from gateway.control.api.door import Visits, free_networks
from tests.control.test_service import certificate


def test_a_source_has_a_share_and_all_have_a_bound() -> None:
    visits = Visits(most=5, each=2)
    first, second = visits.enter("203.0.113.1"), visits.enter("203.0.113.1")
    assert first is not None
    assert second is not None
    assert visits.enter("203.0.113.1") is None
    assert visits.enter("::ffff:203.0.113.1") is None
    others = [visits.enter(f"203.0.113.{number}") for number in (2, 3, 4)]
    assert None not in others
    assert visits.enter("203.0.113.5") is None
    assert visits.refused == 3
    for _ in range(2):  # the second time it is over already
        first.end()
    assert visits.enter("203.0.113.1") is not None
    assert visits.enter("203.0.113.1") is None


def test_a_network_of_ipv6_is_one_source() -> None:
    visits = Visits(each=1)
    assert visits.enter("2001:db8::1") is not None
    assert visits.enter("2001:db8::2:1") is None
    assert visits.enter("2001:db8:0:1::1") is not None


def test_who_is_many_in_one_has_no_share() -> None:
    visits = Visits(most=6, each=1, free=free_networks(["10.0.0.0/8"]))
    for address in ("127.0.0.1", "::1", "10.9.9.9"):
        assert visits.enter(address) is not None
        assert visits.enter(address) is not None
    assert visits.enter("127.0.0.1") is None


def test_who_has_shown_who_he_is_takes_nothing_of_his_source() -> None:
    visits = Visits(most=3, each=1)
    node = visits.enter("203.0.113.1")
    assert node is not None
    node.is_known()
    assert visits.by_source == {}
    assert visits.enter("203.0.113.1") is not None
    assert visits.enter("203.0.113.1") is None
    node.end()
    assert (visits.count, visits.by_source) == (1, {"203.0.113.1": 1})


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext, most: int) -> AsyncIterator[tuple[server.Server, int]]:
    async def hello(_: Request) -> PlainTextResponse:
        return PlainTextResponse("hello")

    made = server.make_server(Starlette(routes=[Route("/", hello)]), tls)
    made.visits.most = most
    sock = server.listen_tcp("127.0.0.1", 0)
    port = sock.getsockname()[1]
    task = asyncio.create_task(made.serve(sockets=[sock]))
    await made.is_up.wait()
    try:
        yield made, port
    finally:
        made.should_exit = True
        await task


async def until_count(made: server.Server, count: int) -> None:
    for _ in range(2000):
        if made.visits.count == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{made.visits.count} are in, not {count}")


@contextlib.asynccontextmanager
async def silent(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """Connect, and say nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_a_handshake_that_does_not_come_counts_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, key = certificate("control", tmp_path)
    async with serving(server.tls_context(chain, key), 2) as (made, port):
        async with silent(port), silent(port):
            await until_count(made, 2)
            with contextlib.suppress(ConnectionError):  # it may be reset before we know it
                async with silent(port) as refused:
                    assert await refused.read() == b""
            assert made.visits.refused == 1
        await until_count(made, 0)
        monkeypatch.setattr(door, "HANDSHAKE_S", 0.05)
        async with silent(port) as late:
            assert await late.read() == b""
        await until_count(made, 0)
        monkeypatch.undo()
        assert (await asked(port, chain)).endswith(b"hello")
        await until_count(made, 0)


async def asked(port: int, chain: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(chain))
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return answer
