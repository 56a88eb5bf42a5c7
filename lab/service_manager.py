"""
A service manager for one data plane process, as systemd is one: socket activation, readiness, and a
descriptor store (sd_notify(3), sd_listen_fds_with_names(3)).

    python -m lab.service_manager SOCKET OPTIONS...

It listens on SOCKET for it, starts it with these options, and starts it again when it dies, with
what it has stored before. SIGHUP restarts it as `systemctl restart` does. It ends when the process
ends by itself with status 0, as on SIGTERM. Each thing it does is a line on its standard output.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

FIRST = 3  # SD_LISTEN_FDS_START
ABOVE = 1000  # where descriptors are put aside until each has its number
MESSAGE_MAX, DESCRIPTORS_MAX = 4096, 253


def say(*words: object) -> None:
    print(*words, flush=True)


class Manager:
    """Holds the listening socket, the notification socket and the store."""

    def __init__(self, place: Path, options: Sequence[str]) -> None:
        self._argv: list[str] = [sys.executable, "-m", "gateway.dataplane.process", *options]
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        place.unlink(missing_ok=True)
        self._listener.bind(str(place))
        self._listener.listen()
        self._words = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify = place.with_name("notify")
        notify.unlink(missing_ok=True)
        self._words.bind(str(notify))
        self._environ = {**os.environ, "NOTIFY_SOCKET": str(notify)}
        self._store: list[tuple[str, int]] = []
        self._child = 0
        self._restarts = False
        signal.signal(signal.SIGTERM, self._end)
        signal.signal(signal.SIGHUP, self._end)

    def run(self) -> int:
        """Look after the process until it ends well. Return its status."""
        while True:
            self._start()
            code = os.waitstatus_to_exitcode(self._wait())
            say("ended", code)
            if code == 0 and not self._restarts:
                return 0
            self._restarts = False

    def _end(self, number: int, _: FrameType | None) -> None:
        self._restarts = number == signal.SIGHUP
        os.kill(self._child, signal.SIGTERM)

    # ---- the process ----

    def _start(self) -> None:
        given = [("twinspan-dataplane.socket", self._listener.fileno()), *self._store]
        say("starts", *(name for name, _ in given))
        self._child = os.fork()
        if self._child:
            return
        try:
            self._become(given)
        finally:
            os._exit(127)

    def _become(self, given: Sequence[tuple[str, int]]) -> None:
        """In the child: become it, with the descriptors under numbers from 3 on."""
        for at, (_, descriptor) in enumerate(given):
            os.dup2(descriptor, ABOVE + at, inheritable=False)
        os.closerange(FIRST, ABOVE)
        for at in range(len(given)):
            os.dup2(ABOVE + at, FIRST + at)
        told = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(given)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in given),
        }
        os.execve(self._argv[0], self._argv, {**self._environ, **told})  # noqa: S606

    def _wait(self) -> int:
        """Listen to it until it has ended, and to what it said last; return its status."""
        ended = os.pidfd_open(self._child)
        poll = select.poll()
        for each in (ended, self._words.fileno()):
            poll.register(each, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._words.fileno() in ready:
                self._hear()
            elif ended in ready:
                os.close(ended)
                return os.waitpid(self._child, 0)[1]

    # ---- what it says ----

    def _hear(self) -> None:
        content, descriptors, _, _ = socket.recv_fds(self._words, MESSAGE_MAX, DESCRIPTORS_MAX)
        told = dict(line.split("=", 1) for line in content.decode().splitlines())
        name = told.get("FDNAME", "stored")
        if "FDSTORE" in told:
            say("stores", name, len(descriptors))
            self._store += [(name, each) for each in descriptors]
            return
        for descriptor in descriptors:  # of BARRIER=1: whoever waits sees it closed
            os.close(descriptor)
        if "FDSTOREREMOVE" in told:
            say("forgets", name)
            for gone in [each for each in self._store if each[0] == name]:
                os.close(gone[1])
                self._store.remove(gone)
        if "READY" in told:
            say("ready", self._child)


if __name__ == "__main__":
    sys.exit(Manager(Path(sys.argv[1]), sys.argv[2:]).run())
