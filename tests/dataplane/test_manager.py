"""The service manager where it is busy: nothing waits for it, what it must hear is said again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dataplane.manager import SAID_WITHIN_S, Manager


@pytest.fixture
def notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "20000000")
        yield sock


def fill(manager: Manager) -> int:
    """Have it said so much that the manager, who reads nothing, has no room for more."""
    count = 0
    while manager.forget("x"):
        count += 1
    return count


def test_a_watchdog_that_could_not_be_told_is_told_soon(notify: socket.socket) -> None:
    manager = Manager()
    manager.ready()
    manager.alive()
    assert notify.recv(100) == b"READY=1"
    assert notify.recv(100) == b"WATCHDOG=1"
    assert SAID_WITHIN_S < (manager.next_s(time.monotonic()) or 0.0) <= 10.0
    count = fill(manager)
    manager._said_at -= 20.0
    manager.alive()  # in vain
    assert manager.next_s(time.monotonic()) == SAID_WITHIN_S
    for _ in range(count):
        assert notify.recv(100) == b"FDSTOREREMOVE=1\nFDNAME=x"
    manager.alive()
    assert notify.recv(100) == b"WATCHDOG=1"
    manager.close()


def test_a_manager_that_does_not_read_is_asked_nothing_more_for_a_while(
    notify: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Manager()
    manager.ready()
    fill(manager)
    assert notify.recv(100) == b"READY=1"  # there is room again
    assert not manager.store("y", notify.fileno())
    manager.wait()
    monkeypatch.setattr(manager, "_busy_until", 0.0)
    assert manager.forget("y")
    manager.close()


def test_without_a_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    manager = Manager()
    manager.ready()
    manager.alive()
    manager.wait()
    assert (manager.is_there, manager.forget("x"), manager.next_s(0.0)) == (False, False, None)
