"""
What our processes that serve a Unix socket have in common: how they are started, by systemd or by
the gateway process, what they may open, and who may speak to them.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

from gateway.errors import ConfigError

LISTEN_FDS_START = 3  # sd_listen_fds(3)
BACKLOG = 8
# For 4096 tunnels with four workers and a rate cap each: 17 TUN queues, as many timers, room.
DESCRIPTORS = 262144
PACKAGE_PARENT = FilePath(__file__).resolve().parent.parent


def raise_limits() -> None:
    """Allow as many descriptors as possible, and no core file: it would have keys in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return
        except (ValueError, OSError):
            continue  # more than `hard` needs CAP_SYS_RESOURCE


def adopt(
    descriptor: int, option: str, kind: socket.SocketKind = socket.SOCK_SEQPACKET
) -> socket.socket:
    """Return the inherited Unix socket of that kind. Raises ConfigError for something else."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError([f"{option}: descriptor {descriptor}: {error.strerror}"]) from error
    if sock.family != socket.AF_UNIX or sock.type != kind:
        sock.detach()
        name = kind.name.removeprefix("SOCK_")
        raise ConfigError([f"{option}: descriptor {descriptor} is not a {name} Unix socket"])
    sock.set_inheritable(False)
    return sock


@dataclass(frozen=True, slots=True)
class Handed:
    """A descriptor that systemd gave us, and what it is called."""

    name: str
    descriptor: int


def handed() -> list[Handed]:
    """
    Return, once, what systemd gave us: sockets of .socket units first, then what was stored
    (sd_listen_fds_with_names(3)). Nothing has a name where the names do not fit the descriptors.
    """
    pid, count, listed = (os.environ.pop(f"LISTEN_{key}", "") for key in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()):
        return []
    total = int(count) if count.isascii() and count.isdecimal() else 0
    names = listed.split(":")
    if len(names) != total:
        names = [""] * total
    return [Handed(name, LISTEN_FDS_START + at) for at, name in enumerate(names)]


def activated(kind: socket.SocketKind = socket.SOCK_SEQPACKET) -> socket.socket | None:
    """Return the listening socket systemd gave us (sd_listen_fds(3)), None if it gave none."""
    found = handed()
    if not found:
        return None
    if len(found) != 1:
        raise ConfigError(["LISTEN_FDS: need exactly one socket"])
    return adopt(found[0].descriptor, "LISTEN_FDS", kind)


def allowed_uids(listener: socket.socket | None) -> frozenset[int] | None:
    """
    Return who may connect: root, the user who started us, the owner of the socket file.

    None where the file's directory is closed to us: there the file's mode alone decides.
    """
    uids = {0, os.getuid()}
    place = listener.getsockname() if listener is not None else ""
    if isinstance(place, str) and place:
        try:
            uids.add(os.stat(place).st_uid)
        except PermissionError:
            return None
    return frozenset(uids)


def ready_notifier() -> socket.socket | None:
    """Return the socket that takes READY=1 (sd_notify(3)), None if nobody asks for it."""
    place = os.environ.pop("NOTIFY_SOCKET", "")
    if not place:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.connect("\0" + place[1:] if place.startswith("@") else place)
    return sock


def peer_of(sock: socket.socket) -> tuple[int, int, int]:
    """
    Return process id, user and group at the other end of a connection (SO_PEERCRED of unix(7)).
    """
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, gid = struct.unpack("=iII", credentials)
    return pid, uid, gid


def bind_private(listener: socket.socket, path: FilePath) -> None:
    """Listen on `path`, mode 0600."""
    old = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(old)
    listener.listen(BACKLOG)


def start_process(module: str, listener: int, log: FilePath, options: Sequence[str]) -> int:
    """
    Start a module of ours that serves the listening socket; return its process id.

    It writes to a file: our own output may be a pipe whose reader waits for its last writer.
    """
    command = [sys.executable, "-m", module, "--listen-fd", "3", *options]
    # Nothing else of our environment: it may hold secrets, and NOTIFY_SOCKET is ours alone.
    environment = {"PYTHONPATH": str(PACKAGE_PARENT), "PATH": os.defpath}
    # Above 9, so that no copy below overwrites what a later one reads.
    source = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_DUP2, source, 3),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawn(
            sys.executable,
            command,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
        )
    finally:
        os.close(source)
