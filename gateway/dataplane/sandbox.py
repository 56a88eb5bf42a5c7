"""What the data plane process gives up before it reads the first stranger's packet."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CAPABILITY_VERSION_3 = 0x20080522


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def lock_memory() -> bool:
    """
    Keep every page out of swap, as it is touched; return whether that was possible.

    Only without a limit: under one, a later allocation would fail instead.
    """
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (ValueError, OSError):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0)


def become(user: str) -> None:
    """Become another user for good. Raises KeyError if there is no such user, OSError."""
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def drop_capabilities() -> None:
    """Give up every capability; uid 0 is then a user like others. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(ctypes.byref(header), ctypes.byref(none)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def close_doors() -> None:
    """No new privileges by any program, no tracing and no memory dump by the same user."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_DUMPABLE, 0)
