"""What the service manager is told, read from a socket in its place."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.node.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_ready_reloading_status_and_stopping_are_said(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager))
    notifier.ready("2 tunnels")
    notifier.reloading()
    notifier.status("1 of 2 tunnels up")
    notifier.stopping()
    assert manager.recv(200) == b"READY=1\nSTATUS=2 tunnels"
    assert manager.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert manager.recv(200) == b"STATUS=1 of 2 tunnels up"
    assert manager.recv(200) == b"STOPPING=1"


def test_an_abstract_address_works_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"twinspan-test-{os.getpid()}"
        sock.bind("\0" + name)
        sock.settimeout(5)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready("up")
        assert sock.recv(100).startswith(b"READY=1")


async def test_the_watchdog_is_pinged_in_half_its_interval(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager, WATCHDOG_USEC="20000"))
    task = asyncio.create_task(notifier.keep_watchdog_quiet())
    loop = asyncio.get_running_loop()
    manager.setblocking(False)
    for _ in range(3):
        assert await asyncio.wait_for(loop.sock_recv(manager, 100), 5) == b"WATCHDOG=1"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_watchdog_of_another_process_is_not_ours(manager: socket.socket) -> None:
    notifier = Notifier(environment(manager, WATCHDOG_USEC="20000", WATCHDOG_PID="1"))
    assert notifier.watchdog_s == 0
    await notifier.keep_watchdog_quiet()


def test_without_a_service_manager_nothing_is_said() -> None:
    Notifier({}).ready("up")


def test_a_service_manager_that_went_away_stops_nothing(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("up")
