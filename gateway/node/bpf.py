"""
Programs for the kernel's virtual machine (RFC 9669): assembled from steps, and loaded.

Only what a socket filter without memory of its own needs: it reads a packet and returns a number.
A read beyond the packet's end ends the program with 0.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable
from enum import IntEnum

from gateway.errors import GatewayError

# The system call's number (asm/unistd.h), by machine; linux/bpf.h
_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _SOCKET_FILTER = 5, 1
# linux/prctl.h, linux/capability.h
_PR_CAP_AMBIENT, _AMBIENT_RAISE, _AMBIENT_LOWER, _CAP_BPF = 47, 2, 3, 39
_LICENSE = b"Dual MIT/GPL"
_ATTRIBUTES = struct.Struct("=IIQQ")  # type, instructions, where they and the licence are
_ATTRIBUTE_BYTES = 128  # of union bpf_attr: the kernel wants zeros behind what it is told

_INSTRUCTION = struct.Struct("=BBhi")
_MOVE, _JUMP = 0xBF, 0x05

# RFC 9669 section 4 and 5.5 (packet access). "32": on the lower half, the upper one becomes zero.
LOAD_WORD, LOAD_HALF, LOAD_BYTE, LOAD_WORD_BEHIND = 0x20, 0x28, 0x30, 0x40
AND, SHIFT_LEFT, SHIFT_RIGHT, MULTIPLY = 0x57, 0x67, 0x77, 0x27
MULTIPLY_32, SHIFT_RIGHT_32, SET = 0x24, 0x74, 0xB7
XOR_REGISTER, SET_REGISTER = 0xAF, 0xBF
IF_EQUAL, IF_ANY_BIT = 0x15, 0x45
_EXIT = 0x95


class Register(IntEnum):
    """Packet loads leave their result in R0 and spoil R1 to R5."""

    R0 = 0
    R1 = 1
    PACKET = 6
    R7 = 7
    R8 = 8


Step = tuple[int, int, int, str, int] | str  # operation, destination, source, label, number


class BpfError(GatewayError):
    """The kernel does not take a program; the text says why."""


def load(operation: int, at: int) -> Step:
    """Load from the packet, in network byte order, into R0."""
    return (operation, 0, 0, "", at)


def load_behind(register: Register, at: int) -> Step:
    """Load four bytes that lie `at` bytes behind where a register points into R0."""
    return (LOAD_WORD_BEHIND, 0, register, "", at)


def number(operation: int, register: Register, value: int) -> Step:
    """Change a register by a number."""
    return (operation, register, 0, "", value)


def registers(operation: int, register: Register, other: Register) -> Step:
    """Change a register by another one."""
    return (operation, register, other, "", 0)


def jump_if(operation: int, value: int, label: str) -> Step:
    """Go to a label if R0 compares so with a number."""
    return (operation, 0, 0, label, value)


def jump(label: str) -> Step:
    """Go to a label."""
    return (_JUMP, 0, 0, label, 0)


def end(value: int) -> tuple[Step, ...]:
    """End with this number as the result."""
    return number(SET, Register.R0, value), (_EXIT, 0, 0, "", 0)


def end_with_r0() -> Step:
    """End with R0 as the result."""
    return (_EXIT, 0, 0, "", 0)


def assemble(steps: Iterable[Step]) -> bytes:
    """Return a program; a text among the steps is the label of the next one. Jumps go forward."""
    done: list[Step] = [registers(_MOVE, Register.PACKET, Register.R1)]
    labels: dict[str, int] = {}
    for step in steps:
        if isinstance(step, str):
            labels[step] = len(done)
        else:
            done.append(step)
    return b"".join(
        _encode(step, labels.get(step[3], at + 1) - at - 1)
        for at, step in enumerate(done)
        if not isinstance(step, str)
    )


def _encode(step: tuple[int, int, int, str, int], offset: int) -> bytes:
    operation, destination, source, _, value = step
    signed = value - (1 << 32) if value >= 1 << 31 else value
    return _INSTRUCTION.pack(operation, destination | source << 4, offset, signed)


def load_filter(program: bytes) -> int:
    """
    Give a socket filter to the kernel and return its descriptor. Raises BpfError.

    It needs CAP_BPF, or a machine that allows it to everybody.
    """
    call = _SYS_BPF.get(platform.machine())
    if call is None:
        raise BpfError(f"not known how on {platform.machine()}")
    code, license_ = ctypes.create_string_buffer(program), ctypes.create_string_buffer(_LICENSE)
    counts = (_SOCKET_FILTER, len(program) // _INSTRUCTION.size)
    places = (ctypes.addressof(code), ctypes.addressof(license_))
    attributes = ctypes.create_string_buffer(_ATTRIBUTES.pack(*counts, *places), _ATTRIBUTE_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.syscall(call, _PROG_LOAD, attributes, _ATTRIBUTE_BYTES))
    if descriptor < 0:
        raise BpfError(_why(ctypes.get_errno()))
    os.set_inheritable(descriptor, False)
    return descriptor


def keep_from_children() -> None:
    """Have programs that this process starts not get CAP_BPF, where it has it from its unit."""
    _set_ambient(_AMBIENT_LOWER)


def give_to_next() -> None:
    """Have the program that this process becomes get CAP_BPF, where it has it from its unit."""
    _set_ambient(_AMBIENT_RAISE)


def _set_ambient(change: int) -> None:
    """Change whether CAP_BPF outlives execve(2) (capabilities(7)); nothing where we lack it."""
    zero = ctypes.c_ulong(0)
    arguments = (ctypes.c_ulong(value) for value in (change, _CAP_BPF))
    ctypes.CDLL(None).prctl(_PR_CAP_AMBIENT, *arguments, zero, zero)


def _why(number_: int) -> str:
    if number_ == errno.EPERM:
        return (
            "not permitted: CAP_BPF is needed, and that a container's seccomp profile allows bpf()"
        )
    if number_ == errno.ENOSYS:
        return "there is no bpf(): this kernel has none, or a container's seccomp profile hides it"
    return os.strerror(number_)
