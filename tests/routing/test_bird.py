"""The client of the control socket, against servers that do not do what BIRD does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.routing.bird import Bird
from gateway.routing.replies import BirdError, ReplyError, Unanswered

WELCOME = b"0001 BIRD 2.0.12 ready.\n"


@asynccontextmanager
async def server(
    place: Path, answer: Callable[[bytes], bytes | None], timeout_s: float = 10.0
) -> AsyncIterator[Bird]:
    """Serve one reply a connection: `answer` gets the question; None is silence."""
    silent = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WELCOME)
        reply = answer(await reader.readline())
        if reply is None:
            await silent.wait()
        else:
            writer.write(reply)
        writer.close()

    listening = await asyncio.start_unix_server(serve, place / "bird.sock")
    async with listening:
        yield Bird(place / "bird.sock", timeout_s)
        silent.set()


async def test_a_question_and_its_reply_are_one_line_each_way(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def answer(question: bytes) -> bytes:
        asked.append(question)
        return b"0003 Reconfigured\n"

    async with server(tmp_path, answer) as bird:
        await bird.configure()
    assert asked == [b"configure\n"]


@pytest.mark.parametrize("code", [b"0003 Reconfigured\n", b"0004 Reconfiguration in progress\n"])
async def test_a_configuration_is_taken_at_once_or_soon(tmp_path: Path, code: bytes) -> None:
    async with server(tmp_path, lambda _: b"0002-Reading configuration\n" + code) as bird:
        await bird.configure()


async def test_what_bird_refuses_is_said_in_its_words(tmp_path: Path) -> None:
    refusal = b"0002-Reading configuration from x\n8002 x:1:1 syntax error\n"
    async with server(tmp_path, lambda _: refusal) as bird:
        with pytest.raises(BirdError, match="x:1:1 syntax error"):
            await bird.configure()


async def test_a_bird_that_is_silent_is_not_waited_for(tmp_path: Path) -> None:
    async with server(tmp_path, lambda _: None, timeout_s=0.2) as bird:
        with pytest.raises(Unanswered, match="does not answer 'show protocols all'"):
            await bird.sessions()


async def test_nobody_at_the_socket_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match="no BIRD answers"):
        await Bird(tmp_path / "nothing", timeout_s=1.0).routes()


@pytest.mark.parametrize(
    "reply", [b"", b"0002-half a reply\n", b"no number\n", b"0000-" + b"x" * (1 << 17) + b"\n"]
)
async def test_what_is_no_reply_is_an_error(tmp_path: Path, reply: bytes) -> None:
    async with server(tmp_path, lambda _: reply) as bird:
        with pytest.raises(ReplyError):
            await bird.sessions()


async def test_without_bfd_configured_there_are_no_sessions(tmp_path: Path) -> None:
    async with server(tmp_path, lambda _: b"8003 No protocols match\n") as bird:
        assert await bird.bfd() == ()
