"""
The blocks of a pcapng file that a capture needs. Pure.

Standards: draft-ietf-opsawg-pcapng, sections 3 and 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ETHERNET, RAW_IP = 1, 101  # LINKTYPE_...: RAW_IP begins with the IP header
SNAP_BYTES = 1 << 18

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_ORDER = 0x1A2B3C4D
_ANY_LENGTH = 0xFFFFFFFFFFFFFFFF
_COMMENT, _APPLICATION, _NAME, _RESOLUTION, _FLAGS = 1, 4, 2, 9, 2
_NANOSECONDS = b"\x09"
_INBOUND, _OUTBOUND = 1, 2


def section(application: str, comment: str) -> bytes:
    """Return the block that a file begins with."""
    body = struct.pack("=IHHQ", _ORDER, 1, 0, _ANY_LENGTH)
    options = [(_APPLICATION, application.encode()), (_COMMENT, comment.encode())]
    return _block(_SECTION, body + _options(options))


def interface(name: str, link_type: int) -> bytes:
    """Return the block of an interface; they are numbered from 0 in their order."""
    body = struct.pack("=HHI", link_type, 0, SNAP_BYTES)
    options = [(_NAME, name.encode()), (_RESOLUTION, _NANOSECONDS)]
    return _block(_INTERFACE, body + _options(options))


def packet(number: int, at_ns: int, data: bytes, *, is_outbound: bool) -> bytes:
    """Return the block of a packet of an interface; `at_ns` is since 1970."""
    kept = data[:SNAP_BYTES]
    head = struct.pack("=IIIII", number, at_ns >> 32, at_ns & 0xFFFFFFFF, len(kept), len(data))
    flags = struct.pack("=I", _OUTBOUND if is_outbound else _INBOUND)
    return _block(_PACKET, head + _padded(kept) + _options([(_FLAGS, flags)]))


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _options(options: list[tuple[int, bytes]]) -> bytes:
    return b"".join(_option(options)) + bytes(4)


def _option(options: list[tuple[int, bytes]]) -> Iterator[bytes]:
    for code, value in options:
        yield struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
