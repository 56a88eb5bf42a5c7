"""
rtnetlink as it is on the wire (RFC 3549), for what has to be fast or to run without pyroute2.

A socket belongs to the network namespace it was made in, whoever uses it. One request at a time.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

# linux/rtnetlink.h, linux/netlink.h
NEWLINK, GETLINK = 16, 18
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
REPLACE, CREATE = 0x100, 0x400
_NOOP, _ERROR, _DONE = 1, 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_HEAD = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NESTED = 0x8000
_BUFFER_BYTES = 1 << 18
_PATIENCE_S = 5.0


def rtnetlink_socket() -> socket.socket:
    """Return a socket for rtnetlink in the calling thread's network namespace."""
    # SOCK_DGRAM is SOCK_RAW by another name here, and the only one asyncio takes (netlink(7)).
    return socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)


class RawNetlink:
    """Asks the kernel through one socket. Raises OSError with what the kernel refuses."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._number = 0
        link.settimeout(_PATIENCE_S)

    def close(self) -> None:
        self._link.close()

    def dump(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """Return kind and body of each message that answers a dump."""
        self._send(kind, _REQUEST | _DUMP, body)
        return list(self._messages())

    def ask(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """Return kind and body of what answers a request for one thing."""
        self._send(kind, _REQUEST | _ACK, body)
        return list(self._messages())

    def change(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Have something changed; `flags` are those of the request, as CREATE."""
        self._send(kind, _REQUEST | _ACK | flags, body)
        for _ in self._messages():
            pass

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._number += 1
        self._link.send(_HEAD.pack(_HEAD.size + len(body), kind, flags, self._number, 0) + body)

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """Yield the messages of one answer; what is left of an earlier one is passed over."""
        while True:
            answer = self._link.recv(_BUFFER_BYTES)
            at = 0
            while at + _HEAD.size <= len(answer):
                length, kind, _, number, _ = _HEAD.unpack_from(answer, at)
                body = answer[at + _HEAD.size : at + length]
                at += max(_HEAD.size, (length + 3) & ~3)
                if number != self._number or kind == _NOOP:
                    continue
                if kind in (_DONE, _ERROR):
                    code = -struct.unpack_from("=i", body)[0]
                    if kind == _ERROR and code:
                        raise OSError(code, os.strerror(code))
                    return
                yield kind, body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute as it stands in a message."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(-len(value) % 4)


def attributes(body: bytes, at: int = 0) -> dict[int, bytes]:
    """Return the attributes in a message's body from `at` on, by type."""
    found: dict[int, bytes] = {}
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        found[kind & ~_NESTED] = body[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, (length + 3) & ~3)
    return found
