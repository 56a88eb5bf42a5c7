"""
The service manager that looks after the data plane process, if one does: sd_notify(3).

Readiness, the watchdog, and its descriptor store, of which `fdstore.py` has the use. Everything
here works behind the system call filter: the socket is made before it.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import time
from collections.abc import Sequence

from gateway.unix import ready_notifier

SAID_WITHIN_S = 0.2  # a manager whose queue stays full so long is busy, or hangs
BUSY_S = 5.0  # then it is asked nothing more: the gateway process waits for us meanwhile
BARRIER_S = 1.0
_ODD = ("ascii", "surrogateescape")  # a name may be anything that the environment can have


class Manager:
    """Says nothing where there is no service manager."""

    def __init__(self) -> None:
        self._sock = ready_notifier()  # now: later no socket can be connected
        watchdog_s = int(os.environ.pop("WATCHDOG_USEC", "0")) / 1e6
        self._every_s = watchdog_s / 2 if self._sock is not None and watchdog_s else None
        self._said_at = 0.0  # monotonic seconds, as the next
        self._busy_until = 0.0

    @property
    def is_there(self) -> bool:
        """Say whether there is one."""
        return self._sock is not None

    @property
    def is_busy(self) -> bool:
        """Say whether it has not taken something lately, so that it is asked nothing."""
        return time.monotonic() < self._busy_until

    def ready(self) -> None:
        """Say that we serve, however long that takes; from now on nobody waits for the manager."""
        self._send(b"READY=1")
        if self._sock is not None:
            limit = struct.pack("@qq", 0, int(SAID_WITHIN_S * 1e6))  # struct timeval
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def alive(self) -> None:
        """Say that the main thread turns, so often as it wants to hear it, busy or not."""
        now = time.monotonic()
        is_due = self._every_s is not None and now - self._said_at >= self._every_s
        if is_due and self._send(b"WATCHDOG=1"):
            self._said_at = now

    def next_s(self, now: float) -> float | None:
        """Return in how many seconds `alive` has something to say, None for never."""
        if self._every_s is None:
            return None
        return max(self._every_s - (now - self._said_at), SAID_WITHIN_S)

    # ---- the descriptor store ----

    def store(self, name: str, descriptor: int) -> bool:
        """
        Have a descriptor kept for the next process; return whether that was said.

        FDPOLL=0: whether it is of use still, we say ourselves. Watched, a socket would leave the
        store with the first ICMP error.
        """
        return self._say(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0".encode(*_ODD), [descriptor])

    def forget(self, name: str) -> bool:
        """Have it let go of what is stored under a name; return whether that was said."""
        return self._say(f"FDSTOREREMOVE=1\nFDNAME={name}".encode(*_ODD))

    def wait(self) -> None:
        """Wait until it has done what was said before (BARRIER=1), for a second at most."""
        if self._sock is None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            with theirs:
                said = self._say(b"BARRIER=1", [theirs.fileno()])
            poll = select.poll()
            poll.register(ours, 0)  # until it has closed the other end
            if said and not poll.poll(BARRIER_S * 1000):
                self._busy_until = time.monotonic() + BUSY_S

    def close(self) -> None:
        """Say nothing any more."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _say(self, text: bytes, descriptors: Sequence[int] = ()) -> bool:
        if self.is_busy:
            return False
        said = self._send(text, descriptors)
        if not said:
            self._busy_until = time.monotonic() + BUSY_S
        return said

    def _send(self, text: bytes, descriptors: Sequence[int] = ()) -> bool:
        if self._sock is None:
            return False
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        try:
            self._sock.sendmsg([text], ancillary)
        except OSError:  # it may be gone: that does not end the tunnels
            return False
        return True
