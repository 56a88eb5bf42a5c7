"""A network namespace of a test's own: devices, addresses and routes that nobody else sees."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """Put the calling thread into a new network namespace with loopback up; go back at the end."""
    # thread-self: the namespace belongs to the thread, and only this one changes.
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        _check(_LIBC.unshare(_CLONE_NEWNET))
        try:
            ip("link set lo up")
            yield
        finally:
            _check(_LIBC.setns(before.fileno(), _CLONE_NEWNET))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ip(arguments: str) -> str:
    """Run iproute2's `ip` in the calling thread's namespace and return what it prints."""
    done = subprocess.run(["ip", *arguments.split()], check=True, capture_output=True, text=True)
    return done.stdout
