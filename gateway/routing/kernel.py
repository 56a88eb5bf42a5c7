"""
Take BIRD's routes out of the kernel, when BIRD has ended and is not wanted again.

BIRD leaves them on purpose (`persist`), and a BIRD that was killed could not take them along.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from gateway.routing.replies import BirdError
from gateway.rtnl import DELROUTE, GETROUTE, NEWROUTE, RawNetlink, attributes

# linux/rtnetlink.h
_BIRD = 12  # RTPROT_BIRD
_RTA_PRIORITY = 6
_RTMSG = struct.Struct("=8BI")
_MAIN = 254


def flush_routes(metric: int, link: socket.socket) -> int:
    """
    Remove BIRD's routes with this metric from the main table; return how many there were.

    `link` is an rtnetlink socket of the network namespace that they are in, and is closed. Raises
    BirdError with what the kernel says.
    """
    kernel = RawNetlink(link)
    try:
        return sum(_flush(kernel, family, metric) for family in (socket.AF_INET, socket.AF_INET6))
    except OSError as error:
        raise BirdError(f"routes of BIRD stay in the kernel: {error.strerror}") from None
    finally:
        kernel.close()


def _flush(kernel: RawNetlink, family: int, metric: int) -> int:
    request = _RTMSG.pack(family, 0, 0, 0, _MAIN, _BIRD, 0, 0, 0)
    answers = kernel.dump(GETROUTE, request)
    routes = [body for kind, body in answers if kind == NEWROUTE and _is(body, metric)]
    for body in routes:
        with contextlib.suppress(ProcessLookupError):  # its device went, and the route with it
            kernel.change(DELROUTE, body)  # what the kernel said of a route is what names it
    return len(routes)


def _is(body: bytes, metric: int) -> bool:
    """Return whether a route is BIRD's, in the main table, with this metric."""
    fields = _RTMSG.unpack_from(body)
    if (fields[4], fields[5]) != (_MAIN, _BIRD):
        return False
    priority = attributes(body, _RTMSG.size).get(_RTA_PRIORITY)
    return priority is not None and bool(struct.unpack("=I", priority)[0] == metric)
