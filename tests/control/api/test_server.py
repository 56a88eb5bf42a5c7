"""The server of the API: who says nothing, or says it too slowly, is let go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from gateway.control.api import server
from gateway.control.api.server import listen_unix, make_server


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_a_connection_without_a_request_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_S", 0.3)
    path = tmp_path / "s"
    serving = make_server(PlainTextResponse("well"))
    running = asyncio.create_task(serving.serve([listen_unix(path)]))
    await serving.is_up.wait()
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(sent)
    begun = time.monotonic()
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    assert time.monotonic() - begun >= 0.2
    other, asking = await asyncio.open_unix_connection(str(path))
    asking.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await other.readuntil(b"well")).startswith(b"HTTP/1.1 200")
    for each in (writer, asking):
        each.close()
        with contextlib.suppress(OSError):
            await each.wait_closed()
    serving.should_exit = True
    await running
