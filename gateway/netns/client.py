"""
The gateway process's end of the connection to the namespace keeper.

Calls wait for their answer, some milliseconds. Where no keeper listens, one is started, as the data
plane is, if this process has the right that the keeper needs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import WireError
from gateway.netns.wire import NAMES_MAX, SOCKET_NAME, NamespaceError, Op, What, receive, send
from gateway.unix import bind_private, start_process

MODULE, RECORDS = "gateway.netns.process", "netns"
TIMEOUT_S = 10.0
_CAP_SYS_ADMIN = 21


class KeeperClient:
    """Asks the keeper of `runtime_dir`; connects, or starts it, when first needed."""

    def __init__(self, runtime_dir: Path) -> None:
        self.directory = runtime_dir.resolve()
        self._path = self.directory / SOCKET_NAME
        self._sock: socket.socket | None = None
        self._child: int | None = None  # a keeper that was started here

    def close(self) -> None:
        """Leave the keeper running."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # ---- requests; all raise NamespaceError ----

    def make(self, namespace: str) -> bool:
        """Make a namespace if it is missing; return whether it was."""
        return self._ask(Op.MAKE, namespace=namespace)[0] is True

    def open(self, namespace: str, *what: What) -> list[int]:
        """Return descriptors in a namespace that is there; the caller closes them."""
        _, found = self._ask(Op.OPEN, namespace=namespace, what=[one.value for one in what])
        if len(found) != len(what):
            for fd in found:
                os.close(fd)
            raise NamespaceError(f"the namespace keeper opened {len(found)} of {len(what)}")
        return found

    def read(self, namespace: str, settings: Sequence[str]) -> list[str]:
        """Return kernel settings of a namespace; "" for one it does not have."""
        values: list[str] = []
        for at in range(0, len(settings), NAMES_MAX):
            part = list(settings[at : at + NAMES_MAX])
            found, _ = self._ask(Op.READ, namespace=namespace, settings=part)
            values += [str(one) for one in found] if isinstance(found, list) else []
        return values

    def write(self, namespace: str, setting: str, value: str) -> None:
        """Set a kernel setting of a namespace."""
        self._ask(Op.WRITE, namespace=namespace, setting=setting, value=value)

    def start_bird(self, namespace: str, directory: Path, *, recover: bool) -> int:
        """Start BIRD in a namespace on the files in a directory; return its process id."""
        asked = {"namespace": namespace, "directory": str(directory), "recover": recover}
        pid, _ = self._ask(Op.BIRD, **asked)
        if not isinstance(pid, int):
            raise NamespaceError(f"the namespace keeper sent nonsense: {pid!r}")
        return pid

    def made(self) -> list[str]:
        """Return the namespaces that were made by `make` and are still there."""
        found, _ = self._ask(Op.MADE)
        return [str(one) for one in found] if isinstance(found, list) else []

    def remove(self, namespace: str) -> None:
        """Take the name from a namespace that was made by `make`."""
        self._ask(Op.REMOVE, namespace=namespace)

    def end(self) -> None:
        """End the keeper that was asked, or was once started here; systemd starts it again."""
        if self._sock is not None or (self.directory / RECORDS).exists():
            self._ask(Op.END)
            self.close()
            self._reap()

    # ---- the connection ----

    def _ask(self, op: Op, **arguments: object) -> tuple[object, list[int]]:
        request = {"op": op.value, **arguments}
        try:
            answer, found = self._exchange(request)
        except OSError as error:
            self.close()
            text = error.strerror or str(error)
            raise NamespaceError(f"the namespace keeper: {text}", error.errno or 0) from None
        if "ok" not in answer:
            number = answer.get("errno")
            number = number if isinstance(number, int) else 0
            raise NamespaceError(str(answer.get("error", "the keeper sent nonsense")), number)
        return answer["ok"], found

    def _exchange(self, request: dict[str, object]) -> tuple[dict[str, object], list[int]]:
        """Ask; once more over a new connection if the keeper has ended, or was about to."""
        for is_again in (False, True):
            try:
                self._sock = self._sock or self._connect()
                send(self._sock, request)
                received = receive(self._sock)
                if received is None:
                    raise ConnectionResetError(errno.ECONNRESET, "it has ended")
                return received
            except (BrokenPipeError, ConnectionResetError):
                self.close()
                if is_again:
                    raise
            except WireError as error:
                raise NamespaceError(f"the namespace keeper sent nonsense: {error}") from None
        raise AssertionError  # the second round returns or raises

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(TIMEOUT_S)
        try:
            sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError):
            try:
                self._start()
                sock.connect(str(self._path))
            except BaseException:
                sock.close()
                raise
        except OSError:
            sock.close()
            raise
        return sock

    def _start(self) -> None:
        """Start a keeper. Raises NamespaceError without the right to do so, OSError."""
        if not _may_enter_namespaces():
            raise NamespaceError(
                "network namespaces need the unit twinspan-netns.socket, or root", errno.EPERM
            )
        self._reap()
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            # The socket listens before the process starts: connecting to it waits for nothing.
            bind_private(listener, self._path)
            options = ["--records", str(self.directory / RECORDS)]
            log = self._path.with_suffix(".log")
            self._child = start_process(MODULE, listener.fileno(), log, options)

    def _reap(self) -> None:
        """Forget a child that has ended."""
        with contextlib.suppress(ChildProcessError):
            if self._child is not None and os.waitpid(self._child, os.WNOHANG)[0]:
                self._child = None


def _may_enter_namespaces() -> bool:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(found, 16) >> _CAP_SYS_ADMIN & 1)
