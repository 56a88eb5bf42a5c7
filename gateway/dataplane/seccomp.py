"""
The system call filter of the data plane process: what a running fast path needs, nothing else.

Classic BPF over `struct seccomp_data` (seccomp(2)). A call that is not in the list fails with
EPERM: the process that carries everybody's traffic must not die because a library asked for
something harmless. Opening files, making sockets, starting programs, threads or traces, and
executable memory are all outside the list.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass

ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
DENY = 0x00050000 | errno.EPERM  # SECCOMP_RET_ERRNO

# Opcodes of <linux/bpf_common.h>: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, ...
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# Offsets in struct seccomp_data. Arguments are 64 bits, least significant half first.
NUMBER, ARCH, ARGUMENTS = 0, 4, 16

PROT_EXEC, AF_UNIX = 4, 1
TUNSETCARRIER, FIONBIO, FIOCLEX = 0x400454E2, 0x5421, 0x5451

SECCOMP_SET_MODE_FILTER, FLAG_TSYNC = 1, 1


@dataclass(frozen=True, slots=True)
class Machine:
    """An instruction set: its AUDIT_ARCH, the number of seccomp(2), and numbers by name."""

    arch: int
    seccomp: int
    numbers: dict[str, int]


X86_64 = Machine(
    0xC000003E,
    317,
    {
        "read": 0, "write": 1, "close": 3, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10,
        "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "ioctl": 16, "pread64": 17, "readv": 19, "writev": 20, "select": 23, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45,
        "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "getsockname": 51, "socketpair": 53,
        "setsockopt": 54, "getsockopt": 55, "exit": 60, "fcntl": 72, "gettimeofday": 96,
        "getuid": 102, "geteuid": 107, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228,
        "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233,
        "ppoll": 271, "epoll_pwait": 281, "accept4": 288, "recvmmsg": 299, "sendmmsg": 307,
        "getrandom": 318, "memfd_create": 319, "membarrier": 324, "rseq": 334,
        "timerfd_create": 283, "timerfd_settime": 286, "epoll_pwait2": 441,
    },
)  # fmt: skip

AARCH64 = Machine(
    0xC00000B7,
    277,
    {
        "epoll_ctl": 21, "epoll_pwait": 22, "fcntl": 25, "ioctl": 29, "close": 57, "lseek": 62,
        "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72,
        "ppoll": 73, "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101,
        "clock_gettime": 113, "clock_nanosleep": 115, "sched_getaffinity": 123,
        "sched_yield": 124, "restart_syscall": 128, "timerfd_create": 85,
        "timerfd_settime": 86, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "gettimeofday": 169, "getpid": 172,
        "getuid": 174, "geteuid": 175, "gettid": 178, "socketpair": 199, "getsockname": 204,
        "sendto": 206, "recvfrom": 207, "setsockopt": 208, "getsockopt": 209, "shutdown": 210,
        "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222,
        "mprotect": 226, "madvise": 233, "accept4": 242, "recvmmsg": 243, "sendmmsg": 269,
        "getrandom": 278, "memfd_create": 279, "membarrier": 283, "rseq": 293, "epoll_pwait2": 441,
    },
)  # fmt: skip

MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}


def instruction(code: int, k: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return one `struct sock_filter`."""
    return struct.pack("=HBBI", code, if_true, if_false, k)


def build_filter(machine: Machine) -> bytes:
    """
    Return the filter program.

    Each rule is a test of the number that falls through to the next rule, so no jump is longer than
    its own rule and the list may grow.
    """
    low_half = [ARGUMENTS + 8 * i for i in range(6)]
    program = [
        instruction(LOAD, ARCH),
        instruction(JUMP_EQUAL, machine.arch, 1, 0),
        instruction(RETURN, KILL),
        instruction(LOAD, NUMBER),
    ]
    if machine is X86_64:
        # The x32 ABI has the same AUDIT_ARCH and a second set of numbers.
        program += [instruction(JUMP_AT_LEAST, 0x40000000, 0, 1), instruction(RETURN, DENY)]
    for name, number in machine.numbers.items():
        if name in ("mmap", "mprotect"):
            program += [
                instruction(JUMP_EQUAL, number, 0, 4),
                instruction(LOAD, low_half[2]),
                instruction(JUMP_SET, PROT_EXEC, 1, 0),
                instruction(RETURN, ALLOW),
                instruction(RETURN, DENY),
            ]
        elif name == "socketpair":  # of Unix sockets: they reach nobody else
            program += [
                instruction(JUMP_EQUAL, number, 0, 4),
                instruction(LOAD, low_half[0]),
                instruction(JUMP_EQUAL, AF_UNIX, 0, 1),
                instruction(RETURN, ALLOW),
                instruction(RETURN, DENY),
            ]
        elif name == "ioctl":
            program += [
                instruction(JUMP_EQUAL, number, 0, 6),
                instruction(LOAD, low_half[1]),
                instruction(JUMP_EQUAL, TUNSETCARRIER, 2, 0),
                instruction(JUMP_EQUAL, FIONBIO, 1, 0),
                instruction(JUMP_EQUAL, FIOCLEX, 0, 1),
                instruction(RETURN, ALLOW),
                instruction(RETURN, DENY),
            ]
        else:
            program += [instruction(JUMP_EQUAL, number, 0, 1), instruction(RETURN, ALLOW)]
    program.append(instruction(RETURN, DENY))
    return b"".join(program)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> bool:
    """
    Filter the system calls of every thread of this process from now on; there is no way back.

    The process must have no_new_privs (or CAP_SYS_ADMIN). False on a machine without a list here.
    Raises OSError if the kernel refuses, also when another thread could not be included.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = build_filter(machine)
    fprog = _Program(len(program) // 8, program)
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_uint(SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(FLAG_TSYNC),
        ctypes.byref(fprog),
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if result > 0:
        raise OSError(errno.ESRCH, f"thread {result} could not be included in the filter")
    return True
