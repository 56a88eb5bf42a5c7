"""What the data plane process gives up before it reads the first stranger's packet."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4
CAPABILITY_VERSION_3 = 0x20080522

# For 4096 tunnels with two workers each: nine TUN queues, sockets, and room.
DESCRIPTORS = 65536


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


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
