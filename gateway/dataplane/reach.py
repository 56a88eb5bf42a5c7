"""
The way to a data plane process: one that runs, the next one, or one that is started now.

`connect()` reaches a process that runs, `spawn_dataplane()` one that runs or is started. Where the
one that runs has another ABI it is ended, and what it had goes to the next one.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path as FilePath

from gateway._native import lib
from gateway.dataplane.channel import Channel, Reply, parse_record
from gateway.dataplane.control import Op
from gateway.dataplane.estate import Estate, ask
from gateway.dataplane.remote import TIMEOUT_S, RemotePlane, has_ended
from gateway.errors import DataPlaneError
from gateway.unix import bind_private, start_process

SOCKET_NAME = "dataplane.sock"
MODULE = "gateway.dataplane.process"
RETRY_S = 0.01
TOO_OLD = (
    "it can not hand over what it has: end it (systemctl stop twinspan-dataplane), "
    "then its tunnels are made anew"
)


class OtherAbi(DataPlaneError):
    """The data plane process that runs is of a version that we can not speak with."""

    def __init__(self, error: DataPlaneError, estate: Estate) -> None:
        super().__init__(str(error), error.code, error.errno)
        self.estate = estate  # of that process; the receiver's to close


def connect(path: str | FilePath, timeout_s: float = TIMEOUT_S) -> RemotePlane:
    """
    Return a connection to the data plane process that listens on `path`.

    Raises FileNotFoundError or ConnectionRefusedError if none does, DataPlaneError if it refuses.
    """
    sock = _reach(path)
    try:
        estate, answer = ask(sock, timeout_s)
        _raise_refusal(answer)
    except (DataPlaneError, OSError):
        sock.close()
        raise
    try:
        plane = RemotePlane(sock, timeout_s=timeout_s)
    except DataPlaneError as error:
        if error.errno in (errno.ETIMEDOUT, errno.ECONNRESET):
            estate.close()
            raise
        if not estate.is_whole:
            estate.close()
            raise DataPlaneError(f"{error}; {TOO_OLD}", error.code, error.errno) from error
        raise OtherAbi(error, estate) from error
    plane.inherit(estate)
    return plane


def _reach(path: str | FilePath) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def _raise_refusal(answer: bytes) -> None:
    """Raise DataPlaneError if the process has sent us away; one may know of no estate."""
    try:
        reply = parse_record(memoryview(answer), ())
    except DataPlaneError:
        return
    if isinstance(reply, Reply) and reply.code == lib.GW_E_EXISTS:
        raise DataPlaneError(reply.content.decode(errors="replace"), reply.code, reply.errno)


def end_other(path: FilePath, timeout_s: float) -> None:
    """End a process of another ABI. Raises DataPlaneError if it does not, OSError."""
    channel = Channel(_reach(path), timeout_s)
    try:
        channel.post(Op.STOP)
        channel.wait_end()
    finally:
        channel.close()


def spawn_dataplane(
    runtime_dir: str | FilePath,
    options: Sequence[str] = (),
    timeout_s: float = TIMEOUT_S,
    *,
    replace: bool = True,
) -> RemotePlane:
    """
    Return a connection to the data plane process of `runtime_dir`; start one if none runs.

    One of another ABI ends, and `left` has what it had; without `replace` it stays, and OtherAbi is
    raised. `options` are those of `twinspan dataplane`, such as ["--workers", "2"], for a new
    process. It is in a session of its own, so it outlives this process. Raises OSError,
    DataPlaneError.
    """
    path = FilePath(runtime_dir) / SOCKET_NAME
    try:
        return _connect_or_start(path, options, timeout_s)
    except OtherAbi as other:
        if not replace:
            raise
        other.estate.join_stored()
        other.estate.since = time.monotonic()
        try:
            end_other(path, timeout_s)
            plane = _connect_or_start(path, options, timeout_s)
        except (DataPlaneError, OSError):
            other.estate.close()
            raise
        plane.leave(other.estate)
        return plane


def _connect_or_start(path: FilePath, options: Sequence[str], timeout_s: float) -> RemotePlane:
    try:
        return _connect_to_living(path, timeout_s)
    except FileNotFoundError:
        pass
    except ConnectionRefusedError:
        path.unlink()
    # The socket listens before the process starts: connecting to it waits for nothing.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        bind_private(listener, path)
        log = path.with_suffix(".log")
        child = start_process(MODULE, listener.fileno(), log, options)
    return adopt_child(path, log, child, timeout_s)


def _connect_to_living(path: FilePath, timeout_s: float) -> RemotePlane:
    """Do as `connect`, again if it is a process that is about to end."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            return connect(path, timeout_s)
        except DataPlaneError as error:
            if error.errno != errno.ECONNRESET or time.monotonic() >= give_up_at:
                raise
        time.sleep(RETRY_S)


def adopt_child(path: FilePath, log: FilePath, child: int, timeout_s: float) -> RemotePlane:
    """Connect to a process just started. Raises DataPlaneError if it ended instead of answering."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.connect(str(path))
        return RemotePlane(sock, child, timeout_s)
    except (DataPlaneError, OSError) as error:
        sock.close()
        if not has_ended(child):
            raise
        _, status = os.waitpid(child, 0)
        last = log.read_text(errors="replace").rstrip().rpartition("\n")[2]
        code = os.waitstatus_to_exitcode(status)
        text = f"the data plane process ended with status {code}: {last}"
        raise DataPlaneError(text, lib.GW_E_SYS, errno.ECHILD) from error
