"""
Tell systemd how the service is (sd_notify protocol), and keep its watchdog quiet while the loop
turns.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The service manager's notification socket; says nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(environ.get("WATCHDOG_USEC", "0")) / 1e6 if mine else 0.0

    @property
    def is_heard(self) -> bool:
        """Say whether there is a service manager; it may start us again."""
        return bool(self._address)

    def _say(self, text: str) -> None:
        if not self._address:
            return
        # "@" stands for the zero byte of an abstract address.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(text.encode(), address)
            except OSError:
                # A service manager that went away must not end the tunnels.
                self._address = ""

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def status(self, text: str) -> None:
        self._say(f"STATUS={text}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    async def keep_watchdog_quiet(self) -> None:
        """Ping the watchdog from the event loop, twice in its interval, until cancelled."""
        while self._address and self.watchdog_s:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)
