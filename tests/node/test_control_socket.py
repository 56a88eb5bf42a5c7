"""The control socket's protocol, with good and with bad input."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.node.control_socket import (
    REQUEST_BYTES,
    ControlError,
    ControlSocket,
    Request,
    parse_request,
)


async def echo(request: Request) -> AsyncIterator[object]:
    """Answer `count` times with what was asked, then refuse if told to."""
    count = request.get("count", 1)
    assert isinstance(count, int)
    for _ in range(count):
        yield request["command"]
    if request["command"] == "refuse":
        raise ControlError("not today")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "gateway.sock"
    control = ControlSocket(path, echo)
    await control.open()
    yield path
    await control.close()
    assert not path.exists()


async def talk(path: Path, sent: bytes) -> list[dict[str, object]]:
    """Send bytes, end, and return the answers."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    writer.write_eof()
    answers = [json.loads(line) async for line in reader]
    writer.close()
    await writer.wait_closed()
    return answers


async def test_a_request_is_answered_and_several_in_turn(place: Path) -> None:
    answers = await talk(place, b'{"command": "a", "count": 2}\n{"command": "b"}\n')
    assert [answer["result"] for answer in answers] == ["a", "a", "b"]
    assert all(answer["ok"] for answer in answers)


async def test_only_its_user_may_open_it(place: Path) -> None:
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o600  # it does not block


async def test_a_refusal_comes_with_its_words_and_the_connection_goes_on(place: Path) -> None:
    answers = await talk(place, b'{"command": "refuse", "count": 0}\n{"command": "b"}\n')
    assert answers == [{"ok": False, "error": "not today"}, {"ok": True, "result": "b"}]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"hello\n", "not a JSON object"),
        (b"[1]\n", "not a JSON object"),
        (b"{}\n", 'under "command"'),
        (b'{"command": 7}\n', 'under "command"'),
        (b"\xff\xfe\n", "not a JSON object"),
        (b"[" * 20000 + b"\n", "not a JSON object"),
    ],
)
async def test_a_bad_request_is_refused_and_the_next_is_served(
    place: Path, sent: bytes, words: str
) -> None:
    refused, served = await talk(place, sent + b'{"command": "b"}\n')
    assert words in str(refused["error"])
    assert served == {"ok": True, "result": "b"}


async def test_a_line_without_end_is_refused(place: Path) -> None:
    answers = await talk(place, b"x" * (REQUEST_BYTES + 10))
    assert answers == [{"ok": False, "error": f"a request has at most {REQUEST_BYTES} bytes"}]


async def test_a_client_that_goes_away_harms_nobody(place: Path) -> None:
    for _ in range(3):
        _, writer = await asyncio.open_unix_connection(place)
        writer.write(b'{"command": "a", "count": 5000}\n')
        writer.transport.abort()
    assert await talk(place, b'{"command": "b"}\n') == [{"ok": True, "result": "b"}]


async def test_too_many_clients_are_turned_away(place: Path) -> None:
    held = [await asyncio.open_unix_connection(place) for _ in range(32)]
    for reader, writer in held:
        writer.write(b'{"command": "a"}\n')
        await reader.readline()
    assert await talk(place, b"") == [{"ok": False, "error": "too many clients"}]
    for _, writer in held:
        writer.close()
        await writer.wait_closed()


async def test_closing_lets_waiting_clients_go(tmp_path: Path) -> None:
    control = ControlSocket(tmp_path / "s", echo)
    await control.open()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
    writer.write(b'{"command": "a"}\n')
    await reader.readline()
    await control.close()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("left behind")
    control = ControlSocket(tmp_path / "s", echo)
    await control.open()
    assert await talk(tmp_path / "s", b'{"command": "b"}\n') == [{"ok": True, "result": "b"}]
    await control.close()


async def test_a_place_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"can not make .*nowhere"):
        await ControlSocket(tmp_path / "nowhere" / "s", echo).open()


@given(st.binary(max_size=300))
def test_any_line_is_a_request_or_a_control_error(line: bytes) -> None:
    with contextlib.suppress(ControlError):
        assert isinstance(parse_request(line)["command"], str)
