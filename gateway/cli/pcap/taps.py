"""
Taps: sockets that get a copy of each packet of a device, or of one peer on all devices.

For root. A tap in another network namespace is opened from within it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.cli.pcap.frames import VNET_HEADER, packets_of
from gateway.netns.kernel import inside, open_namespace
from gateway.sa import Address

# linux/if_ether.h, linux/if_packet.h, linux/if_arp.h, asm/socket.h
_ETH_P_ALL, _PACKET_STATISTICS, _PACKET_VNET_HDR, _OUTGOING = 0x0003, 6, 15, 4
_SOL_PACKET, _SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 263, 26, 33, 35
_WITH_ETHERNET = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_BUFFER_BYTES = 64 << 20
_FRAME_BYTES = 1 << 17
_TIMESPEC = struct.Struct("@ll")
_BATCH = 256
# The kernel tells of UDP segments in the header since 6.2; before, a tap would lose such frames.
_TELLS_SEGMENTS = (6, 2)
_RETURN, _LOAD_WORD, _JUMP_EQUAL = 0x06, 0x20, 0x15
_ETHERNET_BYTES = 14
_ADDRESSES = {4: (12, 16), 6: (8, 24)}  # where source and destination stand in the IP header


@dataclass(frozen=True, slots=True)
class Taken:
    """A packet as it was on the wire, when, and which way."""

    data: bytes
    at_ns: int
    is_outbound: bool


class Tap:
    """One device's packets."""

    def __init__(self, device: str, peer: Address | None = None, namespace: str = "") -> None:
        """Tap a device; of all its packets only those from and to `peer`. Raises OSError."""
        self.device = device
        self._tells = _release() >= _TELLS_SEGMENTS
        with _in(namespace):
            # Protocol 0: nothing comes before the filter is there.
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
            self._sock.bind((device, 0))
        self.has_ethernet = self._sock.getsockname()[3] in _WITH_ETHERNET
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        if self._tells:
            self._sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        if peer is not None:
            self._admit_only(peer)
        self._sock.bind((device, _ETH_P_ALL))

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def lost(self) -> int:
        """Return how many packets did not fit into the buffer since the last time."""
        answer = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", answer)[1])

    def read(self) -> Iterator[Taken]:
        """Yield what has come, at most a few hundred frames of it."""
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, place = self._sock.recvmsg(_FRAME_BYTES, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # the device has gone; others go on
                return
            seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
            at_ns = seconds * 1_000_000_000 + nanoseconds
            whole = frame if self._tells else bytes(VNET_HEADER.size) + frame
            for data in packets_of(whole, has_ethernet=self.has_ethernet):
                yield Taken(data, at_ns, place[2] == _OUTGOING)

    def _admit_only(self, peer: Address) -> None:
        """Have the kernel drop what is neither from nor to an address (socket filter, bpf(4))."""
        base = _ETHERNET_BYTES if self.has_ethernet else 0
        words = struct.unpack(f"!{len(peer.packed) // 4}I", peer.packed)
        code: list[tuple[int, int, int, int]] = []
        ends = [base + at for at in _ADDRESSES[peer.version]]
        for at in ends:
            for index, word in enumerate(words):
                code.append((_LOAD_WORD, 0, 0, at + 4 * index))
                left = 2 * (len(words) - 1 - index)  # to behind the last comparison of this end
                code.append((_JUMP_EQUAL, 0, left + 1, word))
            code.append((_RETURN, 0, 0, _FRAME_BYTES))
        code.append((_RETURN, 0, 0, 0))
        packed = b"".join(struct.pack("=HBBI", *one) for one in code)
        buffer = ctypes.create_string_buffer(packed)
        program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@contextlib.contextmanager
def _in(namespace: str) -> Iterator[None]:
    """Work in a network namespace; "" is the one that this thread is in."""
    if not namespace:
        yield
        return
    descriptor = open_namespace(namespace)
    try:
        with inside(descriptor):
            yield
    finally:
        os.close(descriptor)


def _release() -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return tuple(int(part) for part in found.groups()) if found else ()
