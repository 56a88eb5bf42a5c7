"""
How large a packet gets through to a peer: echo requests that must not be fragmented.

A size that is answered has passed both ways. At most some twenty requests go to a peer, one after
the other, and only to those of the document. Path MTU that the kernel has learned is left aside
(IP_PMTUDISC_PROBE): the question is what the path does now.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time

from gateway.cli.doctor.verdict import Unseen
from gateway.sa import Address

_HEADERS = {4: 28, 6: 48}  # bytes of IP and ICMP
_LEAST = {4: 576, 6: 1280}  # RFC 791, RFC 8200: what every path takes
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
# linux/in.h, linux/in6.h
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PROBE = 10, 23, 3
_TRIES = 2
_WAIT_S, _WAIT_LEAST_S = 1.0, 0.15
_NONCE_BYTES = 16


def probe(local: Address, remote: Address, most: int) -> int | Unseen:
    """Return the largest packet to `remote` that is answered, at most `most` bytes."""
    try:
        with _open(local, remote) as sock:
            return _search(sock, local.version, most)
    except PermissionError:
        return Unseen("not probed: that needs root")
    except OSError as error:
        return Unseen(f"not probed: {error.strerror}")


def _open(local: Address, remote: Address) -> socket.socket:
    """Return a socket for echo requests to one peer. Raises OSError."""
    is_v4 = local.version == 4
    family = socket.AF_INET if is_v4 else socket.AF_INET6
    protocol = socket.IPPROTO_ICMP if is_v4 else socket.IPPROTO_ICMPV6
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    try:
        if is_v4:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PROBE)
        sock.bind((str(local), 0))
        sock.connect((str(remote), 0))
    except OSError:
        sock.close()
        raise
    return sock


def _search(sock: socket.socket, version: int, most: int) -> int | Unseen:
    largest, wait_s = most, _WAIT_S
    if _is_answered(sock, version, largest, wait_s) is not None:
        return largest
    good = min(_LEAST[version], most)
    took_s = _is_answered(sock, version, good, wait_s)
    if took_s is None:
        return Unseen("the peer answers no echo requests")
    wait_s = max(_WAIT_LEAST_S, 3 * took_s)
    while largest - good > 1:
        middle = (good + largest) // 2
        if _is_answered(sock, version, middle, wait_s) is not None:
            good = middle
        else:
            largest = middle
    return good


def _is_answered(sock: socket.socket, version: int, size: int, wait_s: float) -> float | None:
    """Return how long the answer to a packet of `size` bytes took, None without an answer."""
    for number in range(_TRIES):
        nonce = secrets.token_bytes(_NONCE_BYTES)
        began_at = time.monotonic()
        try:
            sock.send(_request(version, size, number, nonce))
        except OSError:
            return None  # larger than the device takes, or than a router has just said
        while (left_s := began_at + wait_s - time.monotonic()) > 0:
            if _answer_comes(sock, version, nonce, left_s):
                return time.monotonic() - began_at
    return None


def _answer_comes(sock: socket.socket, version: int, nonce: bytes, left_s: float) -> bool:
    if not select.select([sock], [], [], left_s)[0]:
        return False
    try:
        data = sock.recv(1 << 16)
    except OSError:  # a router says that it was too large
        return False
    start = (data[0] & 15) * 4 if version == 4 else 0
    return data[start : start + 1] == bytes([_REPLY[version]]) and nonce in data


def _request(version: int, size: int, number: int, nonce: bytes) -> bytes:
    body = nonce + bytes(size - _HEADERS[version] - len(nonce))
    head = struct.pack("!BBHHH", _REQUEST[version], 0, 0, 0, number)
    if version == 6:
        return head + body  # the kernel fills in the checksum (RFC 3542 section 3.1)
    total = int.from_bytes(head + body + b"\0" * (len(body) % 2), "big") % 0xFFFF  # RFC 1071
    return struct.pack("!BBHHH", _REQUEST[version], 0, ~total & 0xFFFF, 0, number) + body
