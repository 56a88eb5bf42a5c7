"""Start BIRD in a network namespace, as the user who asks and with three capabilities alone."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path

from gateway.netns import kernel
from gateway.netns.wire import NamespaceError

# linux/prctl.h, linux/securebits.h, linux/capability.h
_SET_SECUREBITS, _SET_NO_NEW_PRIVS, _SET_KEEPCAPS, _CAP_AMBIENT = 28, 38, 8, 47
_AMBIENT_RAISE, _NOROOT_LOCKED = 2, 0x3
_CAPABILITY_VERSION_3 = 0x20080522
NET_BIND_SERVICE, NET_ADMIN, NET_RAW = 10, 12, 13
CAPABILITIES = (NET_BIND_SERVICE, NET_ADMIN, NET_RAW)
_LIBC = ctypes.CDLL(None, use_errno=True)


def start(namespace: int, user: tuple[int, int], argv: list[str], log: Path) -> int:
    """
    Start `argv` in a namespace, in a session of its own, as (uid, gid); return its process id.

    Its output goes to `log`, which is opened as that user. Raises NamespaceError with what went
    wrong before it ran.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become_or_tell(writer, lambda: _become(namespace, user, argv, log))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    if told:
        number = struct.unpack_from("=i", told)[0]
        raise NamespaceError(f"start {argv[0]}: {told[4:].decode()}", number)
    return pid


def _become_or_tell(writer: int, become: Callable[[], None]) -> None:
    """In the child: run the program, or tell why not, and end."""
    try:
        become()
    except Exception as error:  # nothing may unwind into the parent's code
        number = error.errno if isinstance(error, OSError | NamespaceError) else 0
        os.write(writer, struct.pack("=i", number or 0) + str(error).encode())
    finally:
        os._exit(127)


def _become(namespace: int, user: tuple[int, int], argv: list[str], log: Path) -> None:
    os.setsid()
    kernel.enter(namespace)
    _drop(*user)
    _redirect(log)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.execve(argv[0], argv, {"PATH": os.defpath})  # noqa: S606 - no shell is the point


def _drop(uid: int, gid: int) -> None:
    """Become a user who has CAPABILITIES and can get no others. Raises OSError."""
    if uid == 0:  # else exec would give it all capabilities again
        _prctl(_SET_SECUREBITS, _NOROOT_LOCKED)
    else:
        _prctl(_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    mask = sum(1 << number for number in CAPABILITIES)
    # Effective, permitted, inheritable: the lower 32, then the upper 32.
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if _LIBC.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
        raise OSError(ctypes.get_errno(), "capset")
    for number in CAPABILITIES:
        _prctl(_CAP_AMBIENT, _AMBIENT_RAISE, number)
    _prctl(_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, *values: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _LIBC.prctl(option, *padded) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _redirect(log: Path) -> None:
    """Give the three standard descriptors: nothing in, the log out."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(nothing, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
