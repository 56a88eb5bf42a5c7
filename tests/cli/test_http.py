"""The client of the API against servers that answer as they should not."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.client import Unreachable
from gateway.cli.remote.contexts import Context
from gateway.cli.remote.http import Api, ApiRefused, problem_text


def http(status: str, body: str, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body.encode()


def one_request(peer: socket.socket) -> bytes:
    text = b""
    while (end := text.find(b"\r\n\r\n")) < 0:
        text += peer.recv(65536)
    length = re.search(rb"Content-Length: (\d+)", text)
    while length and len(text) < end + 4 + int(length[1]):
        text += peer.recv(65536)
    return text


@contextmanager
def answering(place: Path, answers: list[list[bytes]]) -> Iterator[tuple[Api, list[bytes]]]:
    """A server that gives each connection its own answers, then ends it; and what it was asked."""
    asked: list[bytes] = []
    path = place / "control.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for each in answers:
                peer, _ = listener.accept()
                with peer:
                    for answer in each:
                        asked.append(one_request(peer))
                        peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        api = Api(Context(f"unix:{path}", token="t-1", tenant="red"), timeout_s=5.0)
        yield api, asked
        api.close()
        thread.join()


def test_who_we_are_goes_with_every_request(tmp_path: Path) -> None:
    with answering(tmp_path, [[http("200 OK", '{"id": "x"}', 'ETag: "7"\r\n')]]) as (api, asked):
        answer = api.send("POST", "/v1/x", {"name": "a"}, query={"dry_run": "true"}, expected=3)
    assert (answer.body, answer.revision) == ({"id": "x"}, 7)
    head = asked[0].decode()
    assert head.startswith("POST /v1/x?dry_run=true HTTP/1.1\r\n")
    for line in ("Authorization: Bearer t-1", "X-Tenant: red", 'If-Match: "3"', "Idempotency-Key"):
        assert line in head


def test_a_connection_that_was_closed_meanwhile_is_made_anew(tmp_path: Path) -> None:
    once = http("200 OK", '{"n": 1}')
    with answering(tmp_path, [[once], [http("201 Created", '{"n": 2}')]]) as (api, asked):
        assert api.get("/v1/x") == {"n": 1}
        assert api.send("POST", "/v1/x", {}).body == {"n": 2}
    assert len(asked) == 2


def test_pages_are_followed_to_their_end(tmp_path: Path) -> None:
    pages = [
        http("200 OK", '{"items": [{"id": "a"}, {"id": "b"}], "next": "b"}'),
        http("200 OK", '{"items": [{"id": "c"}], "next": null}'),
    ]
    with answering(tmp_path, [pages]) as (api, asked):
        assert [item["id"] for item in api.pages("/v1/x", {"name": "n"})] == ["a", "b", "c"]
    assert b"name=n&limit=500&after=b " in asked[1]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        http("200 OK", "<html>"),
        http("200 OK", "[1]"),
        http("200 OK", "[" * 100_000),
    ],
)
def test_garbage_is_no_control_plane(tmp_path: Path, answer: bytes) -> None:
    with (
        answering(tmp_path, [[answer]]) as (api, _),
        pytest.raises(Unreachable, match=r"control\.sock: "),
    ):
        api.get("/v1/x")


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [(401, 6), (403, 6), (404, 4), (409, 5), (412, 5), (422, 1), (429, 1), (500, 1)],
)
def test_each_refusal_has_its_exit_status(tmp_path: Path, status: int, exit_status: int) -> None:
    refusal = http(f"{status} No", '{"detail": "no"}')
    with answering(tmp_path, [[refusal]]) as (api, _), pytest.raises(ApiRefused) as caught:
        api.get("/v1/x")
    assert (str(caught.value), caught.value.exit_status) == ("no", exit_status)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        ({}, "HTTP status 422"),
        ({"title": "A value is not allowed"}, "A value is not allowed"),
        ({"detail": "no", "field": "bgw.asn", "value": 0}, "bgw.asn: no (0)"),
        ({"detail": "bgw.asn: no", "field": "bgw.asn", "value": None}, "bgw.asn: no"),
        ({"detail": "'x' is taken", "field": "a.name", "value": "x"}, "a.name: 'x' is taken"),
        (
            {"detail": "two", "errors": [{"field": "a", "detail": "b"}, {"field": "c"}]},
            "a: b\nc: ",
        ),
    ],
)
def test_a_problem_is_one_line_for_each_mistake(problem: dict[str, object], text: str) -> None:
    assert problem_text(422, problem) == text
