"""
The data plane process: `twinspan dataplane`.

It owns the fast path and serves it to one gateway process at a time over a SEQPACKET connection
(`control.py` has the messages). The main thread waits for control messages and signals; the workers
carry packets and write their punt records to the same connection by themselves. When the gateway
process goes away the workers go on: the next one connects, asks for the state and the records, and
carries on.

Before the first connection is accepted the process has given up root, every capability and, by a
system call filter, everything but its own descriptors.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import pwd
import select
import signal
import socket
import stat
import sys
import time
from collections.abc import Sequence
from types import FrameType

from gateway._native import lib
from gateway.dataplane import fdstore, sandbox, seccomp
from gateway.dataplane.fastpath import TUNNELS_MAX, FastPath
from gateway.dataplane.fdstore import Store
from gateway.dataplane.interface import PuntType
from gateway.dataplane.manager import Manager
from gateway.dataplane.punt import make_record
from gateway.dataplane.server import Connection, Service
from gateway.errors import ConfigError, DataPlaneError
from gateway.unix import (
    BACKLOG,
    adopt,
    allowed_uids,
    handed,
    peer_of,
    raise_limits,
)

DEFAULT_USER = "twinspan"


def log(event: str, **fields: object) -> None:
    """Write one logfmt line to stderr. The reader may be gone: the process outlives the gateway."""
    line = " ".join([f"dataplane {event}", *(f"{name}={value}" for name, value in fields.items())])
    try:
        os.write(2, line.encode() + b"\n")
    except OSError:
        return


class Process:
    """The main thread: one listener, at most one connection, signals, words from dying workers."""

    def __init__(
        self,
        path: FastPath,
        listener: socket.socket | None,
        connected: socket.socket | None,
        allowed: frozenset[int] | None,
        store: Store,
    ) -> None:
        self._path = path
        self._store = store
        self._service = Service(path, store)
        self._listener = listener
        if listener is not None:
            listener.setblocking(False)  # the peer may have left the queue before accept()
        self._allowed = allowed
        self._connection: Connection | None = None
        # Workers that fail write text, signals their number: both wake the main thread.
        self._wake, self._wake_in = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wake.setblocking(False)
        self._wake_in.setblocking(False)
        self._failures: list[str] = []
        self._ended = False
        if connected is not None:
            self._accept(connected)

    def start(self) -> None:
        """Start the workers; SIGTERM and SIGINT end `serve()` from now on."""
        signal.set_wakeup_fd(self._wake_in.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._signalled)
        signal.signal(signal.SIGINT, self._signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._path.start(self._worker_failed)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._ended = True

    def _worker_failed(self, text: str) -> None:
        # On the worker's thread. An empty record could not be told from nothing.
        self._wake_in.send(b"!" + text.encode())

    def serve(self, manager: Manager) -> None:
        """Answer until a signal, a STOP request, or the end of the only connection."""
        while not self._ended and not self._service.stopped:
            manager.alive()
            self._store.tick(time.monotonic())
            ready = self._wait(manager)
            # The connection before the listener: an old gateway process that is gone makes room for
            # the new one that waits.
            if self._connection is not None and self._connection.sock.fileno() in ready:
                self._serve_connection(self._connection)
            if self._wake.fileno() in ready:
                self._read_wake()
            if self._listener is not None and self._listener.fileno() in ready:
                self._accept_waiting(self._listener)
            if self._listener is None and self._connection is None:
                log("ended", reason="the gateway process is gone and cannot come back")
                return

    def _wait(self, manager: Manager) -> set[int]:
        now = time.monotonic()
        waits = (manager.next_s(now), self._store.next_s(now))
        most_ms = min((each * 1000 for each in waits if each is not None), default=None)
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._listener is not None:
            poll.register(self._listener, select.POLLIN)
        if self._connection is not None:
            poll.register(self._connection.sock, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(most_ms)}

    def _serve_connection(self, connection: Connection) -> None:
        greeted = connection.greeted
        if not connection.serve_one():
            self._drop(connection)
        elif connection.greeted and not greeted:
            self._path.set_punt(connection.sock.fileno())
            log("gateway_connected", peer=connection.peer)
            self._tell_failures()

    def _drop(self, connection: Connection) -> None:
        # The workers must have left the descriptor before it is closed and its number used again.
        self._path.set_punt(-1)
        connection.sock.close()
        self._connection = None
        log("gateway_gone", peer=connection.peer)

    def _hear_out(self) -> None:
        """Read what a gateway process that is gone has sent before: it counts."""
        while self._connection is not None and has_hung_up(self._connection.sock):
            self._serve_connection(self._connection)

    def bequeath(self) -> None:
        """Leave the records to the next process, unless a gateway process has its own, or STOP."""
        self._hear_out()
        if self._ended and self._connection is None and not self._service.stopped:
            self._store.keep_records()

    def _accept_waiting(self, listener: socket.socket) -> None:
        self._hear_out()
        try:
            sock, _ = listener.accept()
        except OSError as error:
            # The peer left the queue again, or no descriptor is free: neither ends the service.
            log("accept_failed", reason=error.strerror)
            return
        self._accept(sock)

    def _accept(self, sock: socket.socket) -> None:
        pid, uid, _ = peer_of(sock)
        connection = Connection(sock, self._service, f"pid:{pid}")
        reason = ""
        if self._allowed is not None and uid not in self._allowed:
            reason = f"uid {uid} may not control this data plane"
        elif self._connection is not None:
            reason = f"another gateway process is connected ({self._connection.peer})"
        if reason:
            connection.reply(0, lib.GW_E_EXISTS, errno.EPERM, reason.encode())
            sock.close()
            log("gateway_refused", peer=connection.peer, uid=uid)
            return
        self._connection = connection

    def _read_wake(self) -> None:
        try:
            while True:
                record = self._wake.recv(4096)
                if record.startswith(b"!"):
                    self._failures.append(record[1:].decode())
                    log("worker_failed", reason=repr(self._failures[-1]))
        except BlockingIOError:
            self._tell_failures()

    def _tell_failures(self) -> None:
        connection = self._connection
        if connection is None or not connection.greeted:
            return
        while self._failures:
            record = make_record(PuntType.WORKER_FAILED, self._failures[0].encode())
            if not connection.send(record, []):
                return
            del self._failures[0]

    def close(self) -> None:
        """End the workers, free the fast path (keys wiped), close every socket."""
        signal.set_wakeup_fd(-1)
        self._path.close()
        self._service.close()
        self._store.close()
        if self._listener is not None:
            self._listener.close()
        # Last: who asked for the end waits for this, and may then start another process.
        if self._connection is not None:
            self._connection.sock.close()
        self._wake.close()
        self._wake_in.close()


def has_hung_up(sock: socket.socket) -> bool:
    """Return whether the other end is closed, even if something still waits to be read."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def listen(path: str) -> socket.socket:
    """
    Return a socket that listens on `path`, mode 0600. A dead process's socket file is replaced.

    Raises ConfigError if another process serves it, or if it is something else.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        if sock.connect_ex(path) == 0:
            raise ConfigError([f"--socket: {path} is served by another data plane"])
        remove_dead_socket(path)
    except BaseException:
        sock.close()
        raise
    sock.close()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    old = os.umask(0o177)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ConfigError([f"--socket: {path}: {error.strerror}"]) from error
    finally:
        os.umask(old)
    return sock


def remove_dead_socket(path: str) -> None:
    """Remove a socket file nobody listens on. Raises ConfigError if `path` is no socket."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ConfigError([f"--socket: {path} exists and is not a socket"])
        os.unlink(path)
    except FileNotFoundError:
        return


def close_others(needed: set[int]) -> None:
    """Close whatever else was inherited: it would stay open as long as this process lives."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in needed:
            with contextlib.suppress(OSError):  # the listing's own, closed by now
                os.close(descriptor)


def user_to_become(wanted: str | None) -> str | None:
    """Return the user to become, None to stay. Raises ConfigError for a user that is not there."""
    if os.geteuid() != 0:
        return None
    name = DEFAULT_USER if wanted is None else wanted
    try:
        pwd.getpwnam(name)
    except KeyError as error:
        if wanted is None:
            return None
        raise ConfigError([f"--user: no user {name}"]) from error
    return name


def confine(user: str | None, process: Process) -> None:
    """Start the workers between the two halves of giving up: users first, then system calls."""
    if user is not None:
        sandbox.become(user)
    sandbox.drop_capabilities()
    sandbox.close_doors()
    # The filter allows no new thread and covers those that run (SECCOMP_FILTER_FLAG_TSYNC).
    process.start()
    filtered = seccomp.install()
    log("ready", pid=os.getpid(), uid=os.geteuid(), seccomp=filtered, abi=lib.GW_ABI_VERSION)


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="twinspan dataplane", description=__doc__.split("\n")[1])
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--socket", metavar="PATH", help="listen on this Unix socket (mode 0600)")
    place.add_argument("--fd", type=int, help="serve this inherited, connected socket")
    place.add_argument("--listen-fd", type=int, help="listen on this inherited socket")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tunnels-max", type=int, default=TUNNELS_MAX)
    parser.add_argument("--user", help=f"become this user (default: {DEFAULT_USER}, if there)")
    parser.add_argument("--no-gso", action="store_true", help="never use UDP_SEGMENT")
    parser.add_argument(
        "--gso-tail",
        action=argparse.BooleanOptionalAction,
        help="end runs of equal UDP_SEGMENT segments with a keepalive (default: with the kernels"
        " that spoil them otherwise, 7.0 to 7.1.4)",
    )
    parser.add_argument("--pin-cpus", action="store_true", help="run worker i on CPU i")
    return parser.parse_args(argv)


def sockets(
    options: argparse.Namespace, started: socket.socket | None
) -> tuple[socket.socket | None, socket.socket | None]:
    """
    Return the listener and the connection that the options name; one of them is None. `started` is
    what systemd listens on for us.
    """
    if options.fd is not None:
        return None, adopt(options.fd, "--fd")
    if options.listen_fd is not None:
        return adopt(options.listen_fd, "--listen-fd"), None
    if options.socket is not None:
        return listen(options.socket), None
    if started is None:
        raise ConfigError(["need --socket PATH, --fd N, --listen-fd N or socket activation"])
    return started, None


def run(options: argparse.Namespace) -> None:
    """Serve until the end. Raises ConfigError, DataPlaneError or OSError if it cannot begin."""
    user = user_to_become(options.user)
    started, stored = fdstore.sort(handed())
    listener, connected = sockets(options, started)
    allowed = allowed_uids(listener)
    os.chdir("/")
    ours = {sock.fileno() for sock in (listener, connected) if sock is not None}
    close_others(ours | {one.descriptor for one in stored})
    manager = Manager()
    raise_limits()
    sandbox.lock_memory()
    path = FastPath(
        options.workers,
        options.tunnels_max,
        no_gso=options.no_gso,
        gso_tail=options.gso_tail,
        pin_cpus=options.pin_cpus,
    )
    store = Store(manager, path.estate, log)
    store.take(stored)
    process = Process(path, listener, connected, allowed, store)
    try:
        confine(user, process)
        manager.ready()
        process.serve(manager)
        process.bequeath()
    finally:
        process.close()
        manager.close()
    log("ended")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the process and return its status: 0 ended as asked, 1 failed, 2 bad options."""
    try:
        run(arguments(sys.argv[1:] if argv is None else argv))
    except ConfigError as error:
        for problem in error.problems:
            log("refused", reason=repr(problem))
        return 2
    except (DataPlaneError, OSError) as error:
        log("failed", reason=repr(str(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
