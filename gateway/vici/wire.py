"""
The encoding of strongSwan's VICI protocol, by its published description: packets and messages.

A packet on the socket is a 32-bit length and so many bytes: a type, for most types a name, for some
a message. A message is a tree of sections, key/value pairs and lists of values, written as a flat
sequence of elements. Values are bytes on the wire; here they are text, and what is no UTF-8 is kept
by surrogates, so that decoding and encoding gives the same bytes. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Union

from gateway.errors import GatewayError

Value = Union[str, Sequence[str], "Section"]
Section = Mapping[str, Value]

LENGTH = struct.Struct("!I")
PACKET_MAX = 512 * 1024  # bytes after the length, as in strongSwan
NAME_MAX = 0xFF
VALUE_MAX = 0xFFFF
DEPTH_MAX = 32  # sections within sections; strongSwan's own messages have six


class ViciError(GatewayError):
    """Not a valid packet or message, or one that can not be written."""


class PacketType(IntEnum):
    """The first byte of a packet."""

    CMD_REQUEST = 0
    CMD_RESPONSE = 1
    CMD_UNKNOWN = 2
    EVENT_REGISTER = 3
    EVENT_UNREGISTER = 4
    EVENT_CONFIRM = 5
    EVENT_UNKNOWN = 6
    EVENT = 7


class Element(IntEnum):
    """The first byte of a message's element."""

    SECTION_START = 1
    SECTION_END = 2
    KEY_VALUE = 3
    LIST_START = 4
    LIST_ITEM = 5
    LIST_END = 6


NAMED = frozenset(
    {
        PacketType.CMD_REQUEST,
        PacketType.EVENT_REGISTER,
        PacketType.EVENT_UNREGISTER,
        PacketType.EVENT,
    }
)
WITH_MESSAGE = frozenset({PacketType.CMD_REQUEST, PacketType.CMD_RESPONSE, PacketType.EVENT})


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet; `name` is of a command or event, "" where the type has none."""

    type: PacketType
    name: str = ""
    message: Section = field(default_factory=dict)


# ---- writing ----


def encode_packet(packet: Packet) -> bytes:
    """Return a packet with its length in front. Raises ViciError if it is too large."""
    parts = [bytes([packet.type])]
    if packet.type in NAMED:
        parts.append(_name(packet.name))
    if packet.type in WITH_MESSAGE:
        parts.append(encode_message(packet.message))
    body = b"".join(parts)
    if len(body) > PACKET_MAX:
        raise ViciError(f"a packet of {len(body)} bytes, at most {PACKET_MAX}")
    return LENGTH.pack(len(body)) + body


def encode_message(message: Section) -> bytes:
    """Return the elements of a message. Raises ViciError."""
    parts: list[bytes] = []
    _encode_section(message, parts, 0)
    return b"".join(parts)


def _encode_section(section: Section, parts: list[bytes], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise ViciError(f"more than {DEPTH_MAX} sections within each other")
    for name, value in section.items():
        if isinstance(value, str):
            parts += (bytes([Element.KEY_VALUE]), _name(name), _value(value))
        elif isinstance(value, Mapping):
            parts += (bytes([Element.SECTION_START]), _name(name))
            _encode_section(value, parts, depth + 1)
            parts.append(bytes([Element.SECTION_END]))
        else:
            parts += (bytes([Element.LIST_START]), _name(name))
            for item in value:
                parts += (bytes([Element.LIST_ITEM]), _value(item))
            parts.append(bytes([Element.LIST_END]))


def _name(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) > NAME_MAX:
        raise ViciError(f"a name of {len(encoded)} bytes, at most {NAME_MAX}")
    return bytes([len(encoded)]) + encoded


def _value(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if len(encoded) > VALUE_MAX:
        raise ViciError(f"a value of {len(encoded)} bytes, at most {VALUE_MAX}")
    return len(encoded).to_bytes(2, "big") + encoded


# ---- reading ----


class _Cursor:
    """Reads from left to right and never beyond the end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise ViciError(f"{count} bytes wanted, {len(self._data) - self._at} are left")
        taken, self._at = self._data[self._at : end], end
        return taken

    def name(self) -> str:
        return self.take(self.take(1)[0]).decode("utf-8", "surrogateescape")

    def value(self) -> str:
        length = int.from_bytes(self.take(2), "big")
        return self.take(length).decode("utf-8", "surrogateescape")


def decode_packet(body: bytes) -> Packet:
    """Return the packet in the bytes after a length. Raises ViciError."""
    cursor = _Cursor(body)
    code = cursor.take(1)[0]
    try:
        kind = PacketType(code)
    except ValueError:
        raise ViciError(f"packet type {code}") from None
    name = cursor.name() if kind in NAMED else ""
    message = _decode_elements(cursor) if kind in WITH_MESSAGE else {}
    if not cursor.is_at_end:
        raise ViciError(f"something stands after a {kind.name}")
    return Packet(kind, name, message)


def decode_message(data: bytes) -> Section:
    """Return a message; of a key that stands twice the last one counts. Raises ViciError."""
    return _decode_elements(_Cursor(data))


def _decode_elements(cursor: _Cursor) -> Section:
    top: dict[str, Value] = {}
    stack = [top]
    while not cursor.is_at_end:
        match cursor.take(1)[0]:
            case Element.SECTION_START:
                if len(stack) > DEPTH_MAX:
                    raise ViciError(f"more than {DEPTH_MAX} sections within each other")
                inner: dict[str, Value] = {}
                stack[-1][cursor.name()] = inner
                stack.append(inner)
            case Element.SECTION_END:
                if len(stack) == 1:
                    raise ViciError("the end of a section that has not begun")
                stack.pop()
            case Element.KEY_VALUE:
                name = cursor.name()
                stack[-1][name] = cursor.value()
            case Element.LIST_START:
                name = cursor.name()
                stack[-1][name] = _decode_list(cursor)
            case code:
                raise ViciError(f"element {code} has no place here")
    if len(stack) > 1:
        raise ViciError("a section has no end")
    return top


def _decode_list(cursor: _Cursor) -> list[str]:
    items: list[str] = []
    while (code := cursor.take(1)[0]) == Element.LIST_ITEM:
        items.append(cursor.value())
    if code != Element.LIST_END:
        raise ViciError(f"element {code} within a list")
    return items
