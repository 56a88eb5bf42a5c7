"""
Named network namespaces, as iproute2 keeps them: a file in /run/netns on which the namespace is
mounted.

For a process with one thread: to work in a namespace it enters it and comes back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from gateway.netns.wire import DEFAULTS, NamespaceError

PLACE = Path("/run/netns")
SYSCTL = Path("/proc/sys/net")
_HERE = "/proc/thread-self/ns/net"
# linux/sched.h, linux/mount.h, net/if.h, linux/sockios.h
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED, _MNT_DETACH = 0x1000, 0x4000, 1 << 20, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise NamespaceError(f"{what}: {os.strerror(number)}", number)


def _mount(source: str, target: Path, flags: int) -> None:
    result = _LIBC.mount(source.encode(), os.fsencode(target), b"none", ctypes.c_ulong(flags), None)
    _check(result, f"mount on {target}")


def open_namespace(name: str) -> int:
    """Return a descriptor of a namespace. Raises NamespaceError if it is not there."""
    path = PLACE / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise NamespaceError(f"there is no network namespace {name}", errno.ENOENT) from None
    except OSError as error:
        raise NamespaceError(f"{path}: {error.strerror}", error.errno or 0) from None
    if os.fstat(descriptor).st_dev != os.stat(_HERE).st_dev:
        os.close(descriptor)
        raise NamespaceError(f"{path} is no network namespace; remove the file", errno.EEXIST)
    return descriptor


def inode(descriptor: int) -> int:
    """Return the number by which the kernel tells namespaces apart."""
    return os.fstat(descriptor).st_ino


@contextlib.contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """Work in a namespace. Raises NamespaceError."""
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(descriptor)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def enter(descriptor: int) -> None:
    """Go into a namespace for good. Raises NamespaceError."""
    _check(_LIBC.setns(descriptor, _CLONE_NEWNET), "enter a network namespace")


def unnamed() -> int:
    """
    Return the descriptor of a new namespace without a name: it goes when the descriptor closes.

    Its loopback is up and it forwards (DEFAULTS). Raises NamespaceError, OSError.
    """
    home = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_LIBC.unshare(_CLONE_NEWNET), "make a network namespace")
        try:
            _set_up()
            return os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            enter(home)
    finally:
        os.close(home)


def _set_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("=H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    for setting, value in DEFAULTS.items():
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            (SYSCTL / setting).write_text(value + "\n")


def give_name(descriptor: int, name: str) -> None:
    """Mount a namespace under a name that is free. Raises NamespaceError, OSError."""
    _make_place()
    path = PLACE / name
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    try:
        _mount(f"/proc/self/fd/{descriptor}", path, _MS_BIND)
    except NamespaceError:
        path.unlink()
        raise


def _make_place() -> None:
    """Make /run/netns a mount that is shared, so that others see the names too (`ip netns add`)."""
    PLACE.mkdir(mode=0o755, exist_ok=True)
    try:
        _mount("", PLACE, _MS_SHARED | _MS_REC)
    except NamespaceError as error:
        if error.errno != errno.EINVAL:  # not a mount yet
            raise
        _mount(str(PLACE), PLACE, _MS_BIND | _MS_REC)
        _mount("", PLACE, _MS_SHARED | _MS_REC)


def take_name(name: str) -> None:
    """Take the name from a namespace: it goes when nothing uses it any more."""
    path = PLACE / name
    _LIBC.umount2(os.fsencode(path), _MNT_DETACH)
    path.unlink(missing_ok=True)
