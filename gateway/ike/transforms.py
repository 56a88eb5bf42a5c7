"""
Transforms and proposals as they stand in an SA payload (RFC 7296 section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from gateway.errors import WireError
from gateway.ike.iana import ADDITIONAL, ProtocolId, TransformType
from gateway.ike.names import PRF_OF_INTEG, transform_name
from gateway.ike.wire import Reader
from gateway.sa import Encr

_TRANSFORM = Struct(">BxHBxH")  # last, reserved, length, type, reserved, number
_KEY_LENGTH = 0x800E  # attribute 14 in its short form (RFC 7296 section 3.3.5)
_SPI_LENS = {ProtocolId.IKE: (0, 8), ProtocolId.AH: (4,), ProtocolId.ESP: (4,)}
_KNOWN_MAX = 512  # bytes of transforms in one proposal
EXCHANGES = frozenset({TransformType.DH, *ADDITIONAL})  # types of key exchanges


class Transform(NamedTuple):
    """
    One transform substructure (RFC 7296 section 3.3.2).

    `attributes` holds, as they came, all attributes but one key length; a transform that has
    any matches nothing of ours. A tuple, since it is hashed for whatever is remembered below.
    """

    type: int
    id: int
    key_bits: int | None = None
    attributes: bytes = b""

    @classmethod
    def parse(cls, reader: Reader, is_last: bool) -> Transform:
        """
        Read one.

        Last (1), reserved (1), length (2), type (1), reserved (1), number (2), attributes.
        """
        # Read in one piece: a stranger may send hundreds of them.
        last, length, kind, number = _TRANSFORM.unpack(reader.take(8, "transform"))
        _check_last(last, 0 if is_last else 3, "transform")
        attributes = reader.sub(length - 8, "transform: attributes")
        return cls(kind, number, *_parse_attributes(attributes))

    def serialise(self, is_last: bool) -> bytes:
        body = bytes([self.type, 0]) + self.id.to_bytes(2, "big")
        if self.key_bits is not None:
            body += _KEY_LENGTH.to_bytes(2, "big") + self.key_bits.to_bytes(2, "big")
        body += self.attributes
        return bytes([0 if is_last else 3, 0]) + (len(body) + 4).to_bytes(2, "big") + body

    def __str__(self) -> str:
        name = transform_name(self.type, self.id, self.key_bits)
        return name + "?" if self.attributes else name

    def accepts(self, offered: Transform) -> bool:
        """
        Return whether `offered` is this algorithm with this key length.

        ChaCha20-Poly1305 has one key length, so naming it (256) changes nothing.
        """
        if (self.type, self.id) != (offered.type, offered.id) or offered.attributes:
            return False
        if self.type == TransformType.ENCR and self.id == Encr.CHACHA20_POLY1305:
            return offered.key_bits in (None, 256)
        return self.key_bits == offered.key_bits


def _parse_attributes(body: Reader) -> tuple[int | None, bytes]:
    """Return the key length and all other attributes (RFC 7296 section 3.3.5)."""
    key_bits: int | None = None
    others = b""
    while body.left:
        kind = body.u16("attribute: type")
        value = body.take(2, "attribute: value")
        if kind == _KEY_LENGTH and key_bits is None:
            key_bits = int.from_bytes(value, "big")
            continue
        others += kind.to_bytes(2, "big") + value
        if not kind & 0x8000:
            others += body.take(int.from_bytes(value, "big"), "attribute: value")
    return key_bits, others


def _check_last(found: int, expected: int, what: str) -> None:
    if found != expected:
        raise WireError(f"{what}: last-substructure field {found}, need {expected}")


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    One proposal substructure (RFC 7296 section 3.3.1).

    `number` 0 means "by position": an SA payload numbers its proposals from 1.
    """

    protocol: int
    transforms: tuple[Transform, ...]
    spi: bytes = b""
    number: int = 0

    @classmethod
    def parse(cls, reader: Reader) -> tuple[Proposal, bool]:
        """
        Read one, and whether it is the last.

        Last (1), reserved (1), length (2), number (1), protocol (1), SPI size (1), transform
        count (1), SPI, transforms.
        """
        last = reader.u8("proposal: last")
        reader.u8("proposal: reserved")
        body = reader.sub(reader.u16("proposal: length") - 4, "proposal")
        number = body.u8("proposal: number")
        protocol = body.u8("proposal: protocol")
        spi_len = body.u8("proposal: SPI size")
        count = body.u8("proposal: transform count")
        _check_spi_len(number, protocol, spi_len)
        spi = body.take(spi_len, "proposal: SPI")
        transforms, left = _transforms_in(body.rest(), count)
        if left:
            raise WireError(f"proposal {number}: {left} trailing bytes")
        if last not in (0, 2):
            raise WireError(f"proposal {number}: last-substructure field {last}")
        if number == 0:
            raise WireError("proposal: number 0, they begin with 1")
        return cls(protocol, transforms, spi, number), last == 0

    def serialise(self, number: int, is_last: bool) -> bytes:
        """Return the substructure, numbered `number` if it has no number of its own."""
        count = len(self.transforms)
        body = bytes([self.number or number, self.protocol, len(self.spi), count]) + self.spi
        body += _bytes_of(self.transforms)
        return bytes([0 if is_last else 2, 0]) + (len(body) + 4).to_bytes(2, "big") + body

    def of_type(self, kind: int) -> tuple[Transform, ...]:
        """Return the transforms of one type, in order."""
        return tuple(transform for transform in self.transforms if transform.type == kind)

    def with_spi(self, spi: bytes) -> Proposal:
        return replace(self, spi=spi)

    def without_group(self) -> Proposal:
        """
        Return the proposal as it stands in IKE_AUTH (RFC 7296 section 1.2, RFC 9370 section 2.2.4).
        """
        kept = tuple(one for one in self.transforms if one.type not in EXCHANGES)
        return replace(self, transforms=kept)

    def without_further(self) -> Proposal | None:
        """Return the proposal without additional key exchanges, None if it insists on one."""
        kinds = {one.type for one in self.transforms if one.type in ADDITIONAL}
        if any(all(one.id for one in self.of_type(kind)) for kind in kinds):
            return None
        kept = tuple(one for one in self.transforms if one.type not in kinds or not one.id)
        return replace(self, transforms=kept)

    def __str__(self) -> str:
        return _text(self.transforms)


def _transforms_in(content: bytes, count: int) -> tuple[tuple[Transform, ...], int]:
    """
    Return the transforms that a proposal begins with, and how many bytes are left after them.

    Raises WireError. Peers name the same few again and again; what is longer than any
    of ours is not remembered.
    """
    parse = _known_transforms if len(content) <= _KNOWN_MAX else _known_transforms.__wrapped__
    return parse(content, count)


@lru_cache(maxsize=128)
def _known_transforms(content: bytes, count: int) -> tuple[tuple[Transform, ...], int]:
    body = Reader(content)
    found = tuple(Transform.parse(body, at == count) for at in range(1, count + 1))
    return found, body.left


@lru_cache(maxsize=128)
def _bytes_of(transforms: tuple[Transform, ...]) -> bytes:
    last = len(transforms) - 1
    return b"".join(one.serialise(at == last) for at, one in enumerate(transforms))


@lru_cache(maxsize=64)
def _text(transforms: tuple[Transform, ...]) -> str:
    derived = _derived_prfs(transforms)
    shown = [one for one in transforms if one not in derived]
    order = (TransformType.ENCR, TransformType.INTEG, TransformType.PRF)
    shown.sort(key=lambda one: order.index(one.type) if one.type in order else one.type)
    return "-".join(str(one) for one in shown) or "nothing"


def _derived_prfs(transforms: tuple[Transform, ...]) -> tuple[Transform, ...]:
    """Return the PRFs that a text need not name: the integrity algorithms imply them."""
    prfs = tuple(one for one in transforms if one.type == TransformType.PRF)
    integs = (one for one in transforms if one.type == TransformType.INTEG)
    derived = [PRF_OF_INTEG.get(one.id) for one in integs]
    return prfs if prfs and [one.id for one in prfs] == derived else ()


def _check_spi_len(number: int, protocol: int, spi_len: int) -> None:
    try:
        allowed = _SPI_LENS[ProtocolId(protocol)]
    except (KeyError, ValueError):
        return  # an unknown protocol is refused when a proposal is chosen
    if spi_len not in allowed:
        needed = " or ".join(str(one) for one in allowed)
        raise WireError(f"proposal {number}: SPI length {spi_len}, need {needed}")
