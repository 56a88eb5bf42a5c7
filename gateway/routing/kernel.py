"""
Take BIRD's routes out of the kernel, when BIRD has ended and is not wanted again.

BIRD leaves them on purpose (`persist`), and a BIRD that was killed could not take them along.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from gateway.routing.replies import BirdError

# linux/rtnetlink.h, linux/netlink.h
_BIRD = 12  # RTPROT_BIRD
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_RTA_PRIORITY = 6
_HEAD = struct.Struct("=IHHII")
_RTMSG = struct.Struct("=8BI")
_MAIN = 254
_BUFFER_BYTES = 1 << 18
_PATIENCE_S = 5.0


def flush_routes(metric: int) -> int:
    """
    Remove BIRD's routes with this metric from the main table; return how many there were.

    Raises BirdError with what the kernel says.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as link:
        link.settimeout(_PATIENCE_S)
        try:
            return sum(_flush(link, family, metric) for family in (socket.AF_INET, socket.AF_INET6))
        except OSError as error:
            raise BirdError(f"routes of BIRD stay in the kernel: {error.strerror}") from None


def _flush(link: socket.socket, family: int, metric: int) -> int:
    request = _RTMSG.pack(family, 0, 0, 0, _MAIN, _BIRD, 0, 0, 0)
    link.send(_HEAD.pack(_HEAD.size + len(request), _GETROUTE, _REQUEST | _DUMP, 1, 0) + request)
    routes = [body for kind, body in _messages(link) if kind == _NEWROUTE and _is(body, metric)]
    for body in routes:
        # What the kernel said of a route is what names it.
        link.send(_HEAD.pack(_HEAD.size + len(body), _DELROUTE, _REQUEST | _ACK, 2, 0) + body)
        for _ in _messages(link):
            pass
    return len(routes)


def _is(body: bytes, metric: int) -> bool:
    """Return whether a route is BIRD's, in the main table, with this metric."""
    fields = _RTMSG.unpack_from(body)
    if (fields[4], fields[5]) != (_MAIN, _BIRD):
        return False
    at = _RTMSG.size
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == _RTA_PRIORITY:
            return bool(struct.unpack_from("=I", body, at + 4)[0] == metric)
        at += max(4, (length + 3) & ~3)
    return False


def _messages(link: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield the messages of one answer. Raises OSError with what the kernel refuses."""
    while True:
        answer = link.recv(_BUFFER_BYTES)
        at = 0
        while at + _HEAD.size <= len(answer):
            length, kind, *_ = _HEAD.unpack_from(answer, at)
            body = answer[at + _HEAD.size : at + length]
            at += (length + 3) & ~3
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                if number not in (0, errno.ESRCH):  # its device went, and the route with it
                    raise OSError(number, os.strerror(number))
                return
            yield kind, body
