"""Changes that a scripted peer can make to a message: the deliberate faults of the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.ike.iana import PayloadType
from tests.ike.conformance.script import Edit, Part, Wire

UNKNOWN = 200  # a payload type that nobody has given a meaning
CRITICAL = 0x80
RESERVED = 0x7F


def unchanged(wire: Wire) -> Wire:
    return wire


def both(one: Edit, other: Edit) -> Edit:
    return lambda wire: other(one(wire))


# ---- the header ----


def header(**changes: int | bytes) -> Edit:
    """Change fields of the header."""

    def edit(wire: Wire) -> Wire:
        return replace(wire, header=replace(wire.header, **changes))  # type: ignore[arg-type]

    return edit


def flags(turned: int) -> Edit:
    """Turn bits of the header's flags over."""
    return lambda wire: header(flags=wire.header.flags ^ turned)(wire)


def message_id(more: int) -> Edit:
    return lambda wire: header(message_id=(wire.header.message_id + more) % 2**32)(wire)


def length(more: int) -> Edit:
    """Let the header's length lie."""
    return lambda wire: replace(wire, length_change=more)


def tail(data: bytes) -> Edit:
    """Leave bytes after the last payload."""
    return lambda wire: replace(wire, tail=data)


# ---- the chain ----


def first(kind: int, body: bytes = b"", bits: int = 0) -> Edit:
    return lambda wire: replace(wire, parts=(Part(kind, body, bits), *wire.parts))


def last(kind: int, body: bytes = b"", bits: int = 0, times: int = 1) -> Edit:
    return lambda wire: replace(wire, parts=(*wire.parts, *[Part(kind, body, bits)] * times))


def notify(kind: int, data: bytes = b"", protocol: int = 0, spi: bytes = b"") -> Edit:
    """Add a Notify payload."""
    body = bytes([protocol, len(spi)]) + kind.to_bytes(2, "big") + spi + data
    return last(PayloadType.NOTIFY, body)


def said_length(value: int) -> Edit:
    """Let the first payload's header lie about its length."""
    return lambda wire: replace(wire, parts=(replace(wire.parts[0], length=value), *wire.parts[1:]))


def said_next(kind: int) -> Edit:
    """Let the last payload's header name one more."""
    return lambda wire: replace(
        wire, parts=(*wire.parts[:-1], replace(wire.parts[-1], following=kind))
    )


def only(edit: Edit) -> Edit:
    """Send nothing but what `edit` adds."""
    return lambda wire: edit(replace(wire, parts=()))


def without(kind: int) -> Edit:
    return lambda wire: replace(wire, parts=tuple(part for part in wire.parts if part.kind != kind))


def without_notify(kind: int) -> Edit:
    """Leave a Notify payload of a type out."""

    def is_it(part: Part) -> bool:
        return part.kind == PayloadType.NOTIFY and part.body[2:4] == kind.to_bytes(2, "big")

    return lambda wire: replace(wire, parts=tuple(one for one in wire.parts if not is_it(one)))


def twice(kind: int) -> Edit:
    return lambda wire: replace(
        wire,
        parts=tuple(
            one for part in wire.parts for one in ((part, part) if part.kind == kind else (part,))
        ),
    )


def reversed_order(wire: Wire) -> Wire:
    return replace(wire, parts=wire.parts[::-1])


def all_flags(bits: int) -> Edit:
    """Set bits in the generic header of each payload."""
    return lambda wire: replace(wire, parts=tuple(replace(part, flags=bits) for part in wire.parts))


# ---- a body ----


def with_spi_of(kind: int, make: Callable[[bytes], bytes]) -> Edit:
    """Replace the body of an SA payload by one with the SPI that it has."""
    return body(kind, lambda old: make(old[8 : 8 + old[6]]))


def body(kind: int, change: Callable[[bytes], bytes]) -> Edit:
    """Change the body of each payload of a type."""

    def edit(wire: Wire) -> Wire:
        assert any(part.kind == kind for part in wire.parts)
        return replace(
            wire,
            parts=tuple(
                replace(part, body=change(part.body)) if part.kind == kind else part
                for part in wire.parts
            ),
        )

    return edit


def put(kind: int, data: bytes) -> Edit:
    """Replace the body of a payload."""
    return body(kind, lambda _: data)


def at(kind: int, where: int, data: bytes) -> Edit:
    """Overwrite bytes of a body."""
    return body(kind, lambda old: old[:where] + data + old[where + len(data) :])


def grown(kind: int, data: bytes) -> Edit:
    """Add bytes at the end of a body."""
    return body(kind, lambda old: old + data)


def cut(kind: int, count: int) -> Edit:
    """Take bytes from the end of a body."""
    return body(kind, lambda old: old[:-count])


def flip(kind: int, where: int) -> Edit:
    """Turn a bit of a body over; a negative place counts from the end."""

    def change(old: bytes) -> bytes:
        start = where % len(old)
        return old[:start] + bytes([old[start] ^ 1]) + old[start + 1 :]

    return body(kind, change)
