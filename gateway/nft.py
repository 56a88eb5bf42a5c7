"""
nf_tables as it is on the wire, for one small table: who may not forward to whom.

The messages are those of linux/netfilter/nf_tables.h and nfnetlink.h. One batch replaces the
table, so there is no moment without it. Interfaces are told apart by their group (IFLA_GROUP), so a
rule costs the same for two interfaces and for a thousand, and none of them names one.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence

from gateway.rtnl import attribute

NETLINK_NETFILTER = 12
_HEAD = struct.Struct("=IHHII")
_BATCH_BEGIN, _BATCH_END, _ERROR = 0x10, 0x11, 2
_NFTABLES = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = (_NFTABLES | n for n in (0, 1, 2, 3, 6))
_REQUEST, _ACK, _CREATE, _APPEND = 0x1, 0x4, 0x400, 0x800
_INET, _UNSPEC, _FORWARD, _DROP, _ACCEPT = 1, 0, 2, 0, 1
_IIFGROUP, _OIFGROUP, _REGISTER, _VERDICT = 21, 22, 1, 0
_NESTED = 0x8000
_PATIENCE_S = 5.0
_ENOENT = 2

Message = tuple[int, int, bytes]  # kind, flags beside _REQUEST, body
Pair = tuple[int, int]  # groups of the interfaces that a packet comes in and goes out by


def nft_socket() -> socket.socket:
    """Return a socket for nf_tables in the calling thread's network namespace."""
    return socket.socket(
        socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )


def write_table(link: socket.socket, table: str, dropped: Sequence[Pair]) -> None:
    """
    Make a table that drops what is forwarded between these groups, and nothing else.

    A table of that name that is there is replaced. Raises OSError with what the kernel refuses.
    """
    rules = [_rule(table, pair) for pair in dropped]
    _do(link, [*_gone(table), _table(_NEWTABLE, table, _CREATE), _chain(table), *rules])


def remove_table(link: socket.socket, table: str) -> None:
    """Remove a table, if it is there. Raises OSError with what the kernel refuses."""
    _do(link, _gone(table))


def has_table(link: socket.socket, table: str) -> bool:
    """Return whether a table is there. Raises OSError with what the kernel refuses."""
    try:
        _send(link, [_table(_GETTABLE, table, _ACK)])
    except FileNotFoundError:
        return False
    return True


def _gone(table: str) -> list[Message]:
    """Return what leaves no table of that name; one must be there to be removed."""
    return [_table(_NEWTABLE, table, _CREATE), _table(_DELTABLE, table, 0)]


def _do(link: socket.socket, messages: list[Message]) -> None:
    kind, flags, body = messages[-1]
    ends = struct.pack("!BBH", _UNSPEC, 0, _NFTABLES >> 8)
    whole = [*messages[:-1], (kind, flags | _ACK, body)]
    _send(link, [(_BATCH_BEGIN, 0, ends), *whole, (_BATCH_END, 0, ends)])


def _send(link: socket.socket, messages: list[Message]) -> None:
    """Send messages and wait for the answer to the one that asks for it, or for a refusal."""
    link.settimeout(_PATIENCE_S)
    sent = b"".join(
        _HEAD.pack(_HEAD.size + len(body), kind, _REQUEST | flags, number, 0) + body
        for number, (kind, flags, body) in enumerate(messages)
    )
    link.send(sent)
    while True:
        for kind, body in _answers(link.recv(1 << 16)):
            if kind != _ERROR:
                continue
            code = -struct.unpack_from("=i", body)[0]
            if code:
                raise OSError(code, os.strerror(code))
            return


def _answers(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(data):
        length, kind, *_ = _HEAD.unpack_from(data, at)
        yield kind, data[at + _HEAD.size : at + length]
        at += max(_HEAD.size, (length + 3) & ~3)


# ---- what is sent ----


def _body(*parts: bytes) -> bytes:
    return struct.pack("!BBH", _INET, 0, 0) + b"".join(parts)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _nested(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(parts))


def _table(kind: int, table: str, flags: int) -> Message:
    return kind, flags, _body(_text(1, table))


def _chain(table: str) -> Message:
    """A chain at the forward hook with the priority of filters; it accepts what no rule drops."""
    hook = _nested(4, _number(1, _FORWARD), _number(2, 0))
    parts = (_text(1, table), _text(3, "forward"), hook, _number(5, _ACCEPT), _text(7, "filter"))
    return _NEWCHAIN, _CREATE, _body(*parts)


def _rule(table: str, pair: Pair) -> Message:
    """`iifgroup A oifgroup B counter drop`."""
    drop = _nested(2, _nested(2, _number(1, _DROP)))
    expressions = _nested(
        4,
        *_is_group(_IIFGROUP, pair[0]),
        *_is_group(_OIFGROUP, pair[1]),
        _expression("counter"),
        _expression("immediate", _number(1, _VERDICT), drop),
    )
    parts = (_text(1, table), _text(2, "forward"), expressions)
    return _NEWRULE, _CREATE | _APPEND, _body(*parts)


def _is_group(key: int, group: int) -> Iterator[bytes]:
    yield _expression("meta", _number(2, key), _number(1, _REGISTER))
    value = _nested(3, attribute(1, struct.pack("=I", group)))
    yield _expression("cmp", _number(1, _REGISTER), _number(2, 0), value)


def _expression(name: str, *parts: bytes) -> bytes:
    return _nested(1, _text(1, name), _nested(2, *parts))
