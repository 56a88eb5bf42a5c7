"""
IKE message fragmentation (RFC 7383).

The content of SK is cut in pieces, each sealed in an SKF payload of a datagram of its own, so each
is authenticated before it is kept: an attacker can not fill the memory. What one peer may make us
hold is bounded by `FRAGMENTS_MAX` and `CONTENT_MAX`, or `STRANGER_MAX`; the owner drops the whole
after a time.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import IntegrityError, UsageError
from gateway.ike.cipher import SkCipher
from gateway.ike.iana import PayloadType
from gateway.ike.message import (
    GENERIC_HEADER_LEN,
    HEADER_LEN,
    Header,
    Message,
    open_payload,
    opened,
    seal_payload,
)
from gateway.ike.payloads import serialise_chain
from gateway.ike.window import digest

FRAGMENTS_MAX = 64
CONTENT_MAX = 65536  # bytes of one message
STRANGER_MAX = 16384  # the same, of a peer that is not authenticated yet
_NUMBERS_LEN = 4  # fragment number (2), total (2)


def is_fragment(header: Header) -> bool:
    """Return whether a datagram is a fragment."""
    return header.next_payload == PayloadType.SKF


def is_first(datagram: bytes, header: Header, cipher: SkCipher) -> bool:
    """Return whether a datagram is a genuine fragment 1, whatever the total."""
    try:
        number, _ = _numbers(datagram, header)
        return number == 1 and bool(open_payload(datagram, _NUMBERS_LEN, cipher))
    except IntegrityError:
        return False


def split(
    message: Message, cipher: SkCipher, ivs: Callable[[int], bytes], limit: int
) -> tuple[bytes, ...]:
    """
    Return the sealed datagrams of a message, each of at most `limit` bytes; one if it fits in one.

    `limit` counts the IKE datagram: no IP and UDP header, no non-ESP marker. `ivs(count)` gives
    a new IV of `count` bytes and is called once for each datagram. Raises UsageError if `limit`
    leaves no room for content, or if the message needs more than 65535 fragments.
    """
    first, chain = serialise_chain(message.payloads)
    whole_len = HEADER_LEN + GENERIC_HEADER_LEN + cipher.sealed_len(len(chain))
    if whole_len <= limit:
        iv = ivs(cipher.iv_len)
        return (seal_payload(message, PayloadType.SK, first, b"", chain, cipher, iv),)
    room = cipher.content_max(limit - HEADER_LEN - GENERIC_HEADER_LEN - _NUMBERS_LEN)
    if room < 1:
        raise UsageError(f"no room for content in datagrams of {limit} bytes")
    pieces = [chain[at : at + room] for at in range(0, len(chain), room)]
    if len(pieces) > 65535:
        raise UsageError(f"{len(pieces)} fragments")
    datagrams = []
    for number, piece in enumerate(pieces, 1):
        numbers = number.to_bytes(2, "big") + len(pieces).to_bytes(2, "big")
        following = first if number == 1 else PayloadType.NONE
        iv = ivs(cipher.iv_len)
        datagrams.append(
            seal_payload(message, PayloadType.SKF, following, numbers, piece, cipher, iv)
        )
    return tuple(datagrams)


class Reassembly:
    """
    The fragments that one side of an IKE SA has sent of one message.

    A fragment of another message (message ID, exchange, direction) begins anew, as does one with a
    larger total: the peer sends smaller fragments now (section 2.5.2). The owner passes only
    messages within its window, so a replayed old fragment does not get here.
    """

    __slots__ = ("_first", "_key", "_pieces", "_total", "first_digest")

    def __init__(self) -> None:
        self.first_digest = b""  # of the last fragment 1 that was genuine
        self._key: tuple[int, int, int] | None = None
        self._total = 0
        self._first = int(PayloadType.NONE)
        self._pieces: dict[int, bytes] = {}

    @property
    def held_bytes(self) -> int:
        """Return how much content is held."""
        return sum(len(piece) for piece in self._pieces.values())

    def add(
        self, datagram: bytes, header: Header, cipher: SkCipher, content_max: int = CONTENT_MAX
    ) -> Message | None:
        """
        Take a fragment; return the message when it is the last that was missing.

        Fragments that are known, or of a smaller total, are ignored. Raises IntegrityError for what
        is not authenticated or breaks a limit, and then keeps nothing of it; WireError and
        UnsupportedCriticalPayload for the content of the whole.
        """
        number, total = _numbers(datagram, header)
        key = (header.exchange, header.flags, header.message_id)
        if key == self._key and (total < self._total or self._has(number, total)):
            return None
        following, piece = open_payload(datagram, _NUMBERS_LEN, cipher)
        if key != self._key or total > self._total:
            self._begin(key, total)
        if self.held_bytes + len(piece) > content_max:
            self._begin(None, 0)
            raise IntegrityError(f"fragments of more than {content_max} bytes")
        self._pieces[number] = piece
        if number == 1:
            self._first = following
            self.first_digest = digest(datagram)
        if len(self._pieces) < total:
            return None
        content = b"".join(self._pieces[at] for at in range(1, total + 1))
        first = self._first
        self._begin(None, 0)
        return opened(header, first, content)

    def _has(self, number: int, total: int) -> bool:
        return total == self._total and number in self._pieces

    def _begin(self, key: tuple[int, int, int] | None, total: int) -> None:
        self._key, self._total, self._pieces = key, total, {}
        self._first = int(PayloadType.NONE)


def _numbers(datagram: bytes, header: Header) -> tuple[int, int]:
    """Return fragment number and total (section 2.5), within the limits."""
    if not is_fragment(header):
        raise IntegrityError(f"first payload is {header.next_payload}, need SKF")
    at = HEADER_LEN + GENERIC_HEADER_LEN
    numbers = datagram[at : at + _NUMBERS_LEN]
    if len(numbers) < _NUMBERS_LEN:
        raise IntegrityError(f"fragment of {len(datagram)} bytes has no numbers")
    number, total = int.from_bytes(numbers[:2], "big"), int.from_bytes(numbers[2:], "big")
    if not 1 <= number <= total <= FRAGMENTS_MAX:
        raise IntegrityError(f"fragment {number} of {total}, at most {FRAGMENTS_MAX}")
    return number, total
