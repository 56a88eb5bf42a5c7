"""
The control messages between the gateway process and the data plane process.

One SEQPACKET connection carries three kinds of message:

    gateway -> data plane   request: REQUEST header, then a C struct's bytes or text
    data plane -> gateway   reply: `struct gw_punt` of type GW_PUNT_REPLY, ANSWER header, then
                            a C struct's bytes, or the text of an error
    data plane -> gateway   punt record: `struct gw_punt` of another type, written by a worker

Descriptors travel with the message (SCM_RIGHTS): TUN queues and sockets upward; what may be large
(records, the state) as a sealed memfd in either direction. KEEP alone is not answered unless it is
refused: what was sent is kept, whatever becomes of the sender, so nobody has to wait for it.
INHERIT is answered by messages of its own (`estate.py`). SETTLE says that what a service manager
has kept, and was not put in again, is not wanted any more (`fdstore.py`).

The first request is HELLO: both ends must have the same ABI version and struct sizes, so no field
is ever translated. Neither end trusts the other's lengths.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from enum import IntEnum

from gateway._native import ffi, lib
from gateway.errors import DataPlaneError


class Op(IntEnum):
    """What a request asks for: a function of the ABI, or one of the process itself (100 and up)."""

    ADD_SOCKET = 1
    DEL_SOCKET = 2
    SEND_IKE = 3
    SEND_KEEPALIVE = 4
    ADD_TUNNEL = 5
    DEL_TUNNEL = 6
    SET_OPTIONS = 7
    SET_PATH = 8
    SET_CARRIER = 9
    ADD_INBOUND = 10
    DEL_INBOUND = 11
    SET_OUTBOUND = 12
    CLEAR_OUTBOUND = 13
    TUNNEL_STATS = 14
    INBOUND_STATS = 15
    OUTBOUND_STATS = 16
    WORKER_STATS = 17
    HELLO = 100
    STATE = 101
    KEEP = 102
    KEPT = 103
    STOP = 104
    INHERIT = 105
    SETTLE = 106


# Those that go before HELLO, so with an ABI that is not ours: neither they nor STOP ever change.
BEFORE_HELLO = frozenset({Op.HELLO, Op.INHERIT, Op.STOP})


# op, outbound slot, request number, tunnel or SPI or worker, bytes that follow
REQUEST = struct.Struct("=HHIII")
# Those that are about one outbound slot; the slot of any other is 0.
OF_SLOT = frozenset({Op.SET_OUTBOUND, Op.CLEAR_OUTBOUND, Op.OUTBOUND_STATS})
# request number, enum gw_err, errno, bytes that follow
ANSWER = struct.Struct("=IiiI")
# workers, process id
WELCOME = struct.Struct("=II")

NAME_MAX = 255  # bytes of a tunnel's name in UTF-8
PAYLOAD_MAX = ffi.sizeof("struct gw_path") + lib.GW_PUNT_DATA_MAX  # SEND_IKE is the longest
ERROR_MAX = 1024  # bytes of an error's text
MEMORY_MAX = 64 << 20  # bytes of a memory file
DESCRIPTORS_MAX = int(lib.GW_QUEUES_MAX)
BUFFER = 4 << 20  # SO_SNDBUF: room for a burst of punts while the gateway process is busy

STRUCTS = (
    "struct gw_path",
    "struct gw_selector",
    "struct gw_sa",
    "struct gw_tunnel_options",
    "struct gw_tunnel_queue",
    "struct gw_tunnel",
    "struct gw_socket",
    "struct gw_punt",
    "struct gw_tunnel_stats",
    "struct gw_sa_stats",
    "struct gw_worker_stats",
)
# ABI version, then the size of each struct
HELLO = struct.Struct(f"={1 + len(STRUCTS)}I")


def hello() -> bytes:
    """Return the HELLO of this build: what both ends must have in common."""
    return HELLO.pack(lib.GW_ABI_VERSION, *(ffi.sizeof(name) for name in STRUCTS))


@dataclass(frozen=True, slots=True)
class Received:
    """One received message: bytes in its buffer, and the descriptors that came with it."""

    length: int  # bytes of the message
    descriptors: tuple[int, ...]  # the receiver's to close
    complete: bool  # False if the kernel had to cut the message or its descriptors


def receive(sock: socket.socket, buffers: list[memoryview], flags: int = 0) -> Received:
    """
    Read one message into `buffers`; `flags` are further ones of recvmsg(2). Raises BlockingIOError
    if none waits, OSError.

    Length 0 means that the other end is gone: no message is empty.
    """
    width = array.array("i").itemsize
    space = socket.CMSG_SPACE(DESCRIPTORS_MAX * width)
    flags |= socket.MSG_CMSG_CLOEXEC
    length, ancillary, told, _ = sock.recvmsg_into(buffers, space, flags)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % width])
    complete = not told & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
    return Received(length, tuple(descriptors), complete)


def send(sock: socket.socket, parts: list[bytes | memoryview], descriptors: list[int]) -> None:
    """Send one message with descriptors. Raises BlockingIOError, OSError."""
    rights = array.array("i", descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
    sock.sendmsg(parts, ancillary, socket.MSG_NOSIGNAL)


def close_all(descriptors: tuple[int, ...] | list[int]) -> None:
    """Close descriptors that nobody took."""
    for descriptor in descriptors:
        os.close(descriptor)


SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def write_memory(content: bytes, seals: int = SEALS) -> int:
    """Return a new descriptor of a sealed memory file: nobody can change it any more."""
    descriptor = os.memfd_create("twinspan", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def check_memory(descriptor: int, wanted: int = SEALS) -> int:
    """Return the size of a sealed memory file. Raises DataPlaneError if it is anything else."""
    try:
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        size = os.lseek(descriptor, 0, os.SEEK_END)
    except OSError as error:
        text = "the descriptor is not a memory file"
        raise DataPlaneError(text, lib.GW_E_INVALID) from error
    if seals & wanted != wanted:
        raise DataPlaneError("the memory file is not sealed", lib.GW_E_INVALID)
    if size > MEMORY_MAX:
        raise DataPlaneError(f"{size} bytes, at most {MEMORY_MAX}", lib.GW_E_INVALID)
    return size


def read_memory(descriptor: int, seals: int = SEALS) -> bytes:
    """Return the content of a sealed memory file. Raises DataPlaneError."""
    size = check_memory(descriptor, seals)
    content = bytearray()
    while len(content) < size:
        part = os.pread(descriptor, size - len(content), len(content))
        if not part:
            raise DataPlaneError("the memory file is shorter than its size", lib.GW_E_SHORT)
        content += part
    return bytes(content)
