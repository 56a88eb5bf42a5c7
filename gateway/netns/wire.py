"""
What the gateway process and the namespace keeper say to each other: one JSON object a message, with
the descriptors that belong to it, over a SEQPACKET Unix socket.

A request has `op` and its arguments, an answer `ok` with the result or `error` and `errno`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from enum import StrEnum

from gateway.errors import GatewayError, WireError
from gateway.nft import NETLINK_NETFILTER

SOCKET_NAME = "netns.sock"
MESSAGE_MAX = 1 << 16  # bytes
DESCRIPTORS_MAX = 8
NAMES_MAX = 500  # settings in one request

NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_INT = struct.Struct("=i")
_INTERFACE = r"[A-Za-z0-9._-]{1,15}"

Message = dict[str, object]


class Op(StrEnum):
    """What may be asked for."""

    MAKE = "make"  # a namespace, if it is missing: whether it was
    OPEN = "open"  # a namespace that is there: descriptors, as in `What`
    READ = "read"  # kernel settings in a namespace
    WRITE = "write"  # one kernel setting in a namespace
    BIRD = "bird"  # start BIRD in a namespace: its process id
    MADE = "made"  # the namespaces that were made by MAKE and are still there
    REMOVE = "remove"  # one of those
    END = "end"  # the keeper itself


class What(StrEnum):
    """A descriptor to be opened in a namespace."""

    NAMESPACE = "namespace"
    RTNETLINK = "rtnetlink"  # socket
    CONTROL = "control"  # socket for ioctl
    ICMP4 = "icmp4"  # raw socket
    ICMP6 = "icmp6"
    NETFILTER = "netfilter"  # socket for nf_tables
    PACKET = "packet"  # socket that puts IP packets into a device, and receives none


# Family, kind and protocol of those that are sockets.
SOCKETS: Mapping[What, tuple[int, int, int]] = {
    What.RTNETLINK: (socket.AF_NETLINK, socket.SOCK_DGRAM, 0),
    What.NETFILTER: (socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_NETFILTER),
    What.CONTROL: (socket.AF_INET, socket.SOCK_DGRAM, 0),
    What.ICMP4: (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    What.ICMP6: (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    What.PACKET: (socket.AF_PACKET, socket.SOCK_DGRAM, 0),
}


# The settings of a namespace that carries Border Gateways: those of deploy/sysctl.d.
DEFAULTS: Mapping[str, str] = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv4/conf/default/ignore_routes_with_linkdown": "1",
    "ipv6/conf/default/ignore_routes_with_linkdown": "1",
    "ipv4/fib_multipath_hash_policy": "1",
    "ipv6/fib_multipath_hash_policy": "1",
    "ipv4/conf/default/rp_filter": "2",
    "ipv4/conf/all/rp_filter": "0",
}
_WRITABLE = re.compile(rf"ipv6/conf/{_INTERFACE}/ignore_routes_with_linkdown")


class NamespaceError(GatewayError):
    """A network namespace can not be used. `errno` is the system's error number, 0 if none."""

    def __init__(self, text: str, number: int = 0) -> None:
        super().__init__(text)
        self.errno = number


def is_readable(setting: str) -> bool:
    """Return whether the keeper tells of a setting."""
    return setting in DEFAULTS or is_writable(setting)


def is_writable(setting: str) -> bool:
    """Return whether the keeper sets a setting."""
    return bool(_WRITABLE.fullmatch(setting)) and "/../" not in setting


def namespace_of(request: Mapping[str, object]) -> str:
    """Return the namespace that a request names. Raises WireError."""
    name = request.get("namespace")
    if not isinstance(name, str) or not NAMESPACE.fullmatch(name):
        raise WireError(f"no name of a namespace: {str(name)[:40]!r}")
    return name


def texts_of(request: Mapping[str, object], key: str) -> list[str]:
    """Return a list of texts in a request. Raises WireError."""
    found = request.get(key)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise WireError(f"{key} is no list of texts")
    return found


def text_of(request: Mapping[str, object], key: str) -> str:
    """Return a text in a request. Raises WireError."""
    found = request.get(key)
    if not isinstance(found, str):
        raise WireError(f"{key} is no text")
    return found


def send(sock: socket.socket, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
    """Send a message with descriptors. Raises OSError."""
    socket.send_fds(sock, [json.dumps(message).encode()], fds)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """
    Return the next message and its descriptors, None at the end.

    Raises WireError for what is no message, then without descriptors; OSError.
    """
    # Not socket.recv_fds(), which in Python 3.11 forgets the flags it is given.
    room = socket.CMSG_LEN(DESCRIPTORS_MAX * _INT.size)
    data, ancillary, flags, _ = sock.recvmsg(MESSAGE_MAX, room, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    fds = [fd for *_, block in ancillary for (fd,) in _INT.iter_unpack(block)]
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise WireError("a message that is too long")
        return _parsed(data), fds
    except WireError:
        for fd in fds:
            os.close(fd)
        raise


def _parsed(data: bytes) -> Message:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise WireError("no JSON") from None
    if not isinstance(found, dict):
        raise WireError("no object")
    return found
