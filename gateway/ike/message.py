"""
Messages: the header, the clear form and the sealed form (RFC 7296 sections 3.1 and 3.14).

What an unauthenticated datagram can cause is decided by the class of the error. `parse_header` and
`parse_clear` raise WireError. `open_sealed` raises IntegrityError for all that is wrong
before the integrity check has passed, and WireError or UnsupportedCriticalPayload only
for what the peer itself has sealed. So whoever answers a WireError answers the peer.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TypeVar

from gateway.errors import IntegrityError, WireError
from gateway.ike.cipher import SkCipher
from gateway.ike.iana import IKE_VERSION, ExchangeType, Flags, NotifyType, PayloadType
from gateway.ike.payloads import Notify, Payload, parse_chain, serialise_chain

__all__ = [
    "CLEAR_MAX",
    "HEADER_LEN",
    "Header",
    "InvalidMajorVersion",
    "Message",
    "SkCipher",
    "open_sealed",
    "parse_clear",
    "parse_header",
    "seal",
    "serialise_clear",
]

HEADER_LEN = 28
# IKE_SA_INIT can not be fragmented, so a real one is small. Bounds what a stranger makes us parse.
CLEAR_MAX = 8192
GENERIC_HEADER_LEN = 4
_HEADER = struct.Struct("!8s8sBBBBII")
_INITIATOR, _RESPONSE = int(Flags.INITIATOR), int(Flags.RESPONSE)
_T = TypeVar("_T", bound=Payload)


@dataclass(frozen=True, slots=True)
class Header:
    """
    IKE header (section 3.1).

    SPIi (8), SPIr (8), next payload (1), version (1), exchange type (1), flags (1), message ID (4),
    length (4) of the whole message.
    """

    spi_i: bytes
    spi_r: bytes
    next_payload: int
    version: int
    exchange: int
    flags: int
    message_id: int
    length: int

    @property
    def is_response(self) -> bool:
        return self.flags & _RESPONSE != 0

    @property
    def from_original_initiator(self) -> bool:
        return self.flags & _INITIATOR != 0

    def serialise(self) -> bytes:
        numbers = bytes([self.next_payload, self.version, self.exchange, self.flags])
        ends = self.message_id.to_bytes(4, "big") + self.length.to_bytes(4, "big")
        return self.spi_i + self.spi_r + numbers + ends


class InvalidMajorVersion(WireError):
    """
    The message is not of version 2: INVALID_MAJOR_VERSION.

    `header` is what it says; only a request of a higher version is answered (section 2.5).
    """

    notify = NotifyType.INVALID_MAJOR_VERSION

    def __init__(self, header: Header) -> None:
        super().__init__(f"version {header.version >> 4}.{header.version & 15}, need 2.0")
        self.header = header


@dataclass(frozen=True, slots=True)
class Message:
    """
    A message with its payloads, before it is sealed or after it was opened.

    `octets` is what AUTH will cover of an IKE_INTERMEDIATE that was opened; empty in all others.
    """

    spi_i: bytes
    spi_r: bytes
    exchange: int
    message_id: int
    is_response: bool
    from_original_initiator: bool
    payloads: tuple[Payload, ...]
    octets: bytes = field(default=b"", repr=False, compare=False)

    def all(self, kind: type[_T]) -> tuple[_T, ...]:
        """Return the payloads of a class, in order."""
        return tuple(one for one in self.payloads if isinstance(one, kind))

    def maybe(self, kind: type[_T]) -> _T | None:
        """Return the payload of a class, or None. Raises WireError if there are several."""
        found = self.all(kind)
        if len(found) > 1:
            raise WireError(f"{len(found)} payloads {kind.__name__}")
        return found[0] if found else None

    def one(self, kind: type[_T]) -> _T:
        """Return the payload of a class. Raises WireError if there is none, or several."""
        found = self.maybe(kind)
        if found is None:
            raise WireError(f"no payload {kind.__name__}")
        return found

    def notify(self, kind: int) -> Notify | None:
        """Return the first notify of a type, or None."""
        return next((one for one in self.all(Notify) if one.type == kind), None)

    def header(self, next_payload: int, length: int) -> Header:
        """Return the header that the message has on the wire."""
        flags = Flags.INITIATOR if self.from_original_initiator else Flags(0)
        if self.is_response:
            flags |= Flags.RESPONSE
        return Header(
            self.spi_i,
            self.spi_r,
            next_payload,
            IKE_VERSION,
            self.exchange,
            int(flags),
            self.message_id,
            length,
        )


def message_of(header: Header, payloads: tuple[Payload, ...]) -> Message:
    """Return the message that a header and its payloads make."""
    return Message(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.message_id,
        header.is_response,
        header.from_original_initiator,
        payloads,
    )


def parse_header(datagram: bytes) -> Header:
    """
    Return the header of a datagram without non-ESP marker.

    Raises WireError: short, a length that is not the datagram's, SPIi zero; and its subclass
    InvalidMajorVersion. A higher minor version is ignored (section 2.5).
    """
    if len(datagram) < HEADER_LEN:
        raise WireError(f"header: need {HEADER_LEN} bytes, have {len(datagram)}")
    header = Header(*_HEADER.unpack_from(datagram))
    if not any(header.spi_i):  # of no version: there is nobody to answer to
        raise WireError("header: SPIi is zero")
    if header.version >> 4 != IKE_VERSION >> 4:
        raise InvalidMajorVersion(header)
    if header.length != len(datagram):
        raise WireError(f"header: length {header.length} in a datagram of {len(datagram)} bytes")
    return header


def parse_clear(datagram: bytes) -> Message:
    """
    Return a message that is not encrypted: IKE_SA_INIT, or an answer outside of an IKE SA.

    Raises WireError, also for an encrypted payload or more than 8192 bytes, and
    UnsupportedCriticalPayload.
    """
    header = parse_header(datagram)
    if len(datagram) > CLEAR_MAX:
        raise WireError(f"message of {len(datagram)} bytes that is not encrypted")
    return message_of(header, parse_chain(header.next_payload, datagram[HEADER_LEN:]))


def serialise_clear(message: Message) -> bytes:
    """Return the datagram of a message that is not encrypted."""
    first, chain = serialise_chain(message.payloads)
    return message.header(first, HEADER_LEN + len(chain)).serialise() + chain


def seal(message: Message, cipher: SkCipher, iv: bytes) -> bytes:
    """
    Return the datagram of a message whose payloads are all inside SK (section 3.14).

    `iv` has `cipher.iv_len` bytes: for an AEAD never used before with this key, for CBC
    unpredictable.
    """
    first, chain = serialise_chain(message.payloads)
    return seal_payload(message, PayloadType.SK, first, b"", chain, cipher, iv)


def seal_payload(
    message: Message,
    kind: PayloadType,
    first: int,
    prologue: bytes,
    content: bytes,
    cipher: SkCipher,
    iv: bytes,
) -> bytes:
    """Return a datagram with one SK or SKF payload; `prologue` is SKF's numbers (RFC 7383)."""
    body_len = len(prologue) + cipher.sealed_len(len(content))
    payload_len = GENERIC_HEADER_LEN + body_len
    header = message.header(kind, HEADER_LEN + payload_len).serialise()
    prefix = header + bytes([first, 0]) + payload_len.to_bytes(2, "big") + prologue
    return prefix + cipher.seal(prefix, iv, content)


def open_sealed(datagram: bytes, header: Header, cipher: SkCipher) -> Message:
    """
    Return the message inside SK.

    Raises IntegrityError unless SK is the one payload and its check value is right; WireError and
    UnsupportedCriticalPayload for what is inside.
    """
    if header.next_payload != PayloadType.SK:
        raise IntegrityError(f"first payload is {header.next_payload}, need SK")
    first, content = open_payload(datagram, 0, cipher)
    return opened(header, first, content)


def opened(header: Header, first: int, content: bytes) -> Message:
    """Return the message of a header and the content of SK. Raises as `parse_chain`."""
    message = message_of(header, parse_chain(first, content))
    if header.exchange != ExchangeType.IKE_INTERMEDIATE:
        return message
    return replace(message, octets=_unsealed(header, first, content))


def octets_of(message: Message) -> bytes:
    """Return what AUTH will cover of an IKE_INTERMEDIATE of ours: `Message.octets` at the peer."""
    first, chain = serialise_chain(message.payloads)
    return _unsealed(message.header(PayloadType.SK, 0), first, chain)


def _unsealed(header: Header, first: int, content: bytes) -> bytes:
    """
    Return a message as if SK's content stood in it as it is and in one piece, whatever pieces it
    came in: IntAuth_A | IntAuth_P, with the lengths adjusted (RFC 9242 section 3.3.2).
    """
    payload_len = GENERIC_HEADER_LEN + len(content)
    whole = replace(header, next_payload=PayloadType.SK, length=HEADER_LEN + payload_len)
    return whole.serialise() + bytes([first, 0]) + payload_len.to_bytes(2, "big") + content


def open_payload(datagram: bytes, prologue_len: int, cipher: SkCipher) -> tuple[int, bytes]:
    """Return the next-payload field and the content of SK or SKF. Raises as open_sealed."""
    start = HEADER_LEN + GENERIC_HEADER_LEN + prologue_len
    if len(datagram) < start:
        raise IntegrityError(f"datagram of {len(datagram)} bytes has no room for SK")
    first = datagram[HEADER_LEN]
    length = int.from_bytes(datagram[HEADER_LEN + 2 : HEADER_LEN + 4], "big")
    if HEADER_LEN + length != len(datagram):
        raise IntegrityError(f"SK: length {length} in a datagram of {len(datagram)} bytes")
    return first, cipher.open(datagram[:start], datagram[start:])
