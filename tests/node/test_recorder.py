"""What is remembered of a tunnel's negotiation: bounded, and without repetition."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.ike.events import Dropped, Event, Failed, Note, Reason, Spoken
from gateway.node.recorder import LINES, STRANGERS_MAX, Recorder
from gateway.sa import Path

PATH = Path(IPv4Address("192.0.2.1"), 500, IPv4Address("203.0.113.9"), 500)


class Daemon:
    """A daemon that knows some tunnels and tells its onlooker what the test says."""

    def __init__(self) -> None:
        self.known = frozenset({"office-1"})
        self.endpoint = SimpleNamespace(record=lambda: None)
        self.see: Callable[[Event], None] = lambda event: None

    def look_on(self, see: Callable[[Event], None]) -> None:
        self.see = see


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def recorder(daemon: Daemon) -> Recorder:
    return Recorder(cast(Any, daemon), lambda: 1000.25)


def spoken(line: str, tunnel: str = "office-1") -> Spoken:
    return Spoken(tunnel, PATH, True, "IKE_AUTH 1 request", line, ("IDi: a",))


def test_messages_and_what_came_of_them_are_remembered(daemon: Daemon, recorder: Recorder) -> None:
    daemon.see(spoken("HDR, SK {IDi}"))
    daemon.see(Failed("office-1", Reason("auth_failed", "the peer refuses our key")))
    daemon.see(Note("office-2", "another's"))
    message, failed = recorder.of("office-1")
    assert message == {
        "at": 1000.25,
        "kind": "message",
        "sent": True,
        "local": "192.0.2.1:500",
        "remote": "203.0.113.9:500",
        "exchange": "IKE_AUTH 1 request",
        "line": "HDR, SK {IDi}",
        "details": ["IDi: a"],
    }
    assert (failed["kind"], failed["text"]) == ("failed", "auth_failed: the peer refuses our key")
    assert recorder.of("office-3") == []


def test_what_repeats_is_one_line_and_the_oldest_go(daemon: Daemon, recorder: Recorder) -> None:
    for _ in range(500):
        daemon.see(Dropped("replayed", PATH, "office-1"))
    (line,) = recorder.of("office-1")
    assert line["times"] == 500
    for number in range(100):
        daemon.see(spoken(f"HDR, {number}"))
    assert [one["line"] for one in recorder.of("office-1")] == [
        f"HDR, {number}" for number in range(100 - LINES, 100)
    ]


def test_tunnels_that_are_gone_are_forgotten_in_the_end(daemon: Daemon, recorder: Recorder) -> None:
    daemon.see(spoken("HDR"))
    for number in range(1000):
        daemon.see(spoken("HDR", f"gone-{number}"))
    assert len(recorder.of("office-1")) == 1
    assert len(recorder._lines) <= STRANGERS_MAX + 2
