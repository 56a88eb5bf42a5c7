"""
Payloads: one class per type, and the chain of payloads of a message or SK (RFC 7296 section 3).

A class reads and writes a payload's body, without the generic header, which belongs to the chain.
Parsers refuse what is no encoding and do not judge policy: an unknown group, method or notify type
parses. Payloads of types that we do not act on become `Raw`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import ClassVar

from gateway.errors import UnsupportedCriticalPayload, WireError
from gateway.ike.iana import NotifyType, PayloadType, ProtocolId
from gateway.ike.proposals import Proposal
from gateway.ike.wire import Reader
from gateway.sa import TrafficSelector

PAYLOADS_MAX = 100  # in one chain; a real message has under 20
_PROPOSALS_MAX = 255  # they are numbered from 1 in one byte (section 3.3)
_CRITICAL = 0x80
_NONCE_LENS = range(16, 257)  # RFC 7296 section 3.9
_ID_LENS = {1: 4, 5: 16}  # ID_IPV4_ADDR, ID_IPV6_ADDR
_ID_NULL = 13  # RFC 7619: the only identity that may be empty


@dataclass(frozen=True, slots=True)
class SecurityAssociation:
    """SA payload body (section 3.3): proposals, 1 to 255."""

    TYPE: ClassVar[PayloadType] = PayloadType.SA
    proposals: tuple[Proposal, ...]

    @classmethod
    def parse(cls, body: Reader) -> SecurityAssociation:
        proposals: list[Proposal] = []
        is_last = False
        while not is_last:
            if len(proposals) == _PROPOSALS_MAX:
                raise WireError(f"SA: more than {_PROPOSALS_MAX} proposals")
            proposal, is_last = Proposal.parse(body)
            proposals.append(proposal)
        return cls(tuple(proposals))

    def serialise(self) -> bytes:
        count = len(self.proposals)
        return b"".join(one.serialise(at, at == count) for at, one in enumerate(self.proposals, 1))


@dataclass(frozen=True, slots=True)
class KeyExchange:
    """KE payload body (section 3.4): group (2), reserved (2), public value (rest)."""

    TYPE: ClassVar[PayloadType] = PayloadType.KE
    group: int
    public: bytes  # its length is the group's; `dh` checks it

    @classmethod
    def parse(cls, body: Reader) -> KeyExchange:
        group = body.u16("KE: group")
        body.u16("KE: reserved")
        return cls(group, body.rest())

    def serialise(self) -> bytes:
        return self.group.to_bytes(2, "big") + bytes(2) + self.public


@dataclass(frozen=True, slots=True)
class IdInitiator:
    """
    IDi payload body (section 3.5): type (1), reserved (3), value (rest).

    `reserved` is kept because AUTH covers the body as it was sent (section 2.15).
    """

    TYPE: ClassVar[PayloadType] = PayloadType.ID_I
    id_type: int
    value: bytes
    reserved: bytes = bytes(3)

    @classmethod
    def parse(cls, body: Reader) -> IdInitiator:
        return cls(*_parse_id(body, "IDi"))

    def serialise(self) -> bytes:
        return bytes([self.id_type]) + self.reserved + self.value


@dataclass(frozen=True, slots=True)
class IdResponder:
    """IDr payload body (section 3.5), as IDi's."""

    TYPE: ClassVar[PayloadType] = PayloadType.ID_R
    id_type: int
    value: bytes
    reserved: bytes = bytes(3)

    @classmethod
    def parse(cls, body: Reader) -> IdResponder:
        return cls(*_parse_id(body, "IDr"))

    def serialise(self) -> bytes:
        return bytes([self.id_type]) + self.reserved + self.value


def _parse_id(body: Reader, what: str) -> tuple[int, bytes, bytes]:
    id_type = body.u8(f"{what}: type")
    reserved = body.take(3, f"{what}: reserved")
    value = body.rest()
    if len(value) != _ID_LENS.get(id_type, len(value)):
        raise WireError(f"{what}: type {id_type} with {len(value)} bytes")
    if not value and id_type != _ID_NULL:
        raise WireError(f"{what}: empty identity")
    return id_type, value, reserved


@dataclass(frozen=True, slots=True)
class Certificate:
    """CERT payload body (section 3.6): encoding (1), certificate (rest)."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERT
    encoding: int
    value: bytes

    @classmethod
    def parse(cls, body: Reader) -> Certificate:
        return cls(body.u8("CERT: encoding"), body.rest())

    def serialise(self) -> bytes:
        return bytes([self.encoding]) + self.value


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """CERTREQ payload body (section 3.7): encoding (1), hashes of authorities (rest)."""

    TYPE: ClassVar[PayloadType] = PayloadType.CERTREQ
    encoding: int
    value: bytes

    @classmethod
    def parse(cls, body: Reader) -> CertificateRequest:
        return cls(body.u8("CERTREQ: encoding"), body.rest())

    def serialise(self) -> bytes:
        return bytes([self.encoding]) + self.value


@dataclass(frozen=True, slots=True)
class Auth:
    """AUTH payload body (section 3.8): method (1), reserved (3), data (rest)."""

    TYPE: ClassVar[PayloadType] = PayloadType.AUTH
    method: int
    data: bytes

    @classmethod
    def parse(cls, body: Reader) -> Auth:
        method = body.u8("AUTH: method")
        body.take(3, "AUTH: reserved")
        return cls(method, body.rest())

    def serialise(self) -> bytes:
        return bytes([self.method, 0, 0, 0]) + self.data


@dataclass(frozen=True, slots=True)
class Nonce:
    """Nonce payload body (section 3.9): 16 to 256 bytes."""

    TYPE: ClassVar[PayloadType] = PayloadType.NONCE
    value: bytes

    @classmethod
    def parse(cls, body: Reader) -> Nonce:
        value = body.rest()
        if len(value) not in _NONCE_LENS:
            raise WireError(f"nonce: {len(value)} bytes, need 16 to 256")
        return cls(value)

    def serialise(self) -> bytes:
        return self.value


# Lengths of notification data, where the type fixes them (sections 3.10.1, 2.6 and 2.23).
_NOTIFY_LENS: dict[int, range] = {
    NotifyType.INVALID_KE_PAYLOAD: range(2, 3),
    NotifyType.SET_WINDOW_SIZE: range(4, 5),
    NotifyType.NAT_DETECTION_SOURCE_IP: range(20, 21),
    NotifyType.NAT_DETECTION_DESTINATION_IP: range(20, 21),
    NotifyType.COOKIE: range(1, 65),
    NotifyType.SIGNATURE_HASH_ALGORITHMS: range(0, 65536, 2),
}


@dataclass(frozen=True, slots=True)
class Notify:
    """Notify payload body (section 3.10): protocol (1), SPI size (1), type (2), SPI, data."""

    TYPE: ClassVar[PayloadType] = PayloadType.NOTIFY
    type: int
    data: bytes = b""
    protocol: int = 0
    spi: bytes = b""

    @classmethod
    def parse(cls, body: Reader) -> Notify:
        protocol = body.u8("notify: protocol")
        spi_len = body.u8("notify: SPI size")
        kind = body.u16("notify: type")
        spi = body.take(spi_len, f"notify {kind}: SPI")
        data = body.rest()
        if kind in _NOTIFY_LENS and len(data) not in _NOTIFY_LENS[kind]:
            raise WireError(f"notify {kind}: {len(data)} bytes of data")
        return cls(kind, data, protocol, spi)

    def serialise(self) -> bytes:
        head = bytes([self.protocol, len(self.spi)]) + self.type.to_bytes(2, "big")
        return head + self.spi + self.data


@dataclass(frozen=True, slots=True)
class Delete:
    """
    Delete payload body (section 3.11): protocol (1), SPI size (1), SPI count (2), SPIs.

    An IKE SA is named by the header, so a Delete for it holds no SPI.
    """

    TYPE: ClassVar[PayloadType] = PayloadType.DELETE
    protocol: int
    spis: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, body: Reader) -> Delete:
        protocol = body.u8("delete: protocol")
        spi_len = body.u8("delete: SPI size")
        count = body.u16("delete: SPI count")
        _check_delete(protocol, spi_len, count)
        return cls(protocol, tuple(body.take(spi_len, "delete: SPI") for _ in range(count)))

    def serialise(self) -> bytes:
        spi_len = len(self.spis[0]) if self.spis else _DELETE_SPI_LENS.get(self.protocol, 0)
        head = bytes([self.protocol, spi_len]) + len(self.spis).to_bytes(2, "big")
        return head + b"".join(self.spis)


_DELETE_SPI_LENS: dict[int, int] = {ProtocolId.IKE: 0, ProtocolId.AH: 4, ProtocolId.ESP: 4}


def _check_delete(protocol: int, spi_len: int, count: int) -> None:
    if spi_len != _DELETE_SPI_LENS.get(protocol, spi_len):
        raise WireError(f"delete: protocol {protocol} with SPI size {spi_len}")
    if spi_len == 0 and count:
        raise WireError(f"delete: {count} SPIs of size 0")


@dataclass(frozen=True, slots=True)
class VendorId:
    """Vendor ID payload body (section 3.12)."""

    TYPE: ClassVar[PayloadType] = PayloadType.VENDOR
    value: bytes

    @classmethod
    def parse(cls, body: Reader) -> VendorId:
        return cls(body.rest())

    def serialise(self) -> bytes:
        return self.value


@dataclass(frozen=True, slots=True)
class TrafficSelectorsI:
    """
    TSi payload body (section 3.13): count (1), reserved (3), selectors.

    Selectors of other types than address ranges (RFC 4595, RFC 9478) are checked for length and
    left out.
    """

    TYPE: ClassVar[PayloadType] = PayloadType.TS_I
    selectors: tuple[TrafficSelector, ...]

    @classmethod
    def parse(cls, body: Reader) -> TrafficSelectorsI:
        return cls(_parse_selectors(body, "TSi"))

    def serialise(self) -> bytes:
        return _selectors_bytes(self.selectors)


@dataclass(frozen=True, slots=True)
class TrafficSelectorsR:
    """TSr payload body (section 3.13), as TSi's."""

    TYPE: ClassVar[PayloadType] = PayloadType.TS_R
    selectors: tuple[TrafficSelector, ...]

    @classmethod
    def parse(cls, body: Reader) -> TrafficSelectorsR:
        return cls(_parse_selectors(body, "TSr"))

    def serialise(self) -> bytes:
        return _selectors_bytes(self.selectors)


_TS_ADDRESS_LENS = {7: 4, 8: 16}  # TS_IPV4_ADDR_RANGE, TS_IPV6_ADDR_RANGE


def _parse_selectors(body: Reader, what: str) -> tuple[TrafficSelector, ...]:
    count = body.u8(f"{what}: count")
    body.take(3, f"{what}: reserved")
    if count == 0:
        raise WireError(f"{what}: no traffic selector")
    found = [_parse_selector(body, what) for _ in range(count)]
    return tuple(one for one in found if one is not None)


def _parse_selector(body: Reader, what: str) -> TrafficSelector | None:
    """Read type (1), protocol (1), length (2), ports (2 + 2), addresses; None: unknown type."""
    kind = body.u8(f"{what}: type")
    protocol = body.u8(f"{what}: protocol")
    inner = body.sub(body.u16(f"{what}: length") - 4, f"{what}: selector")
    if kind not in _TS_ADDRESS_LENS:
        return None
    first_port, last_port = inner.u16(f"{what}: port"), inner.u16(f"{what}: port")
    first = ip_address(inner.take(_TS_ADDRESS_LENS[kind], f"{what}: address"))
    last = ip_address(inner.take(_TS_ADDRESS_LENS[kind], f"{what}: address"))
    inner.end(f"{what}: selector")
    if int(first) > int(last):
        raise WireError(f"{what}: range {first} to {last}")
    if first_port > last_port and (first_port, last_port) != (65535, 0):
        raise WireError(f"{what}: ports {first_port} to {last_port}")
    return TrafficSelector(first, last, protocol, first_port, last_port)


def _selectors_bytes(selectors: tuple[TrafficSelector, ...]) -> bytes:
    return bytes([len(selectors), 0, 0, 0]) + b"".join(_selector_bytes(one) for one in selectors)


def _selector_bytes(ts: TrafficSelector) -> bytes:
    kind = {IPv4Address: 7, IPv6Address: 8}[type(ts.first)]
    ports = ts.first_port.to_bytes(2, "big") + ts.last_port.to_bytes(2, "big")
    body = ports + ts.first.packed + ts.last.packed
    return bytes([kind, ts.protocol]) + (len(body) + 4).to_bytes(2, "big") + body


@dataclass(frozen=True, slots=True)
class Raw:
    """A payload that we do not act on, as it came: CP, EAP, unknown and not critical ones."""

    type: int
    critical: bool
    body: bytes

    @property
    def TYPE(self) -> int:  # noqa: N802 - the same name as in the other payload classes
        return self.type

    def serialise(self) -> bytes:
        return self.body


Payload = (
    SecurityAssociation
    | KeyExchange
    | IdInitiator
    | IdResponder
    | Certificate
    | CertificateRequest
    | Auth
    | Nonce
    | Notify
    | Delete
    | VendorId
    | TrafficSelectorsI
    | TrafficSelectorsR
    | Raw
)


def parse_payload(kind: int, is_critical: bool, body: Reader) -> Payload:
    """
    Return the payload of one type.

    Raises WireError, also for SK and SKF, which never stand inside a chain, and
    UnsupportedCriticalPayload (RFC 7296 section 2.5).
    """
    match kind:
        case PayloadType.SA:
            return SecurityAssociation.parse(body)
        case PayloadType.KE:
            return KeyExchange.parse(body)
        case PayloadType.ID_I:
            return IdInitiator.parse(body)
        case PayloadType.ID_R:
            return IdResponder.parse(body)
        case PayloadType.CERT:
            return Certificate.parse(body)
        case PayloadType.CERTREQ:
            return CertificateRequest.parse(body)
        case PayloadType.AUTH:
            return Auth.parse(body)
        case PayloadType.NONCE:
            return Nonce.parse(body)
        case PayloadType.NOTIFY:
            return Notify.parse(body)
        case PayloadType.DELETE:
            return Delete.parse(body)
        case PayloadType.VENDOR:
            return VendorId.parse(body)
        case PayloadType.TS_I:
            return TrafficSelectorsI.parse(body)
        case PayloadType.TS_R:
            return TrafficSelectorsR.parse(body)
        case PayloadType.SK | PayloadType.SKF:
            raise WireError(f"encrypted payload {kind} inside a chain")
        case PayloadType.CP | PayloadType.EAP:
            return Raw(kind, is_critical, body.rest())
        case _ if is_critical:
            raise UnsupportedCriticalPayload(kind)
        case _:
            return Raw(kind, False, body.rest())


def parse_chain(first: int, body: bytes) -> tuple[Payload, ...]:
    """
    Return the payloads of a chain whose first type is `first` (section 3.2).

    Each has next type (1), critical bit and reserved (1), length with these four bytes (2), body.
    At most 100. Raises WireError or UnsupportedCriticalPayload.
    """
    reader = Reader(body)
    payloads: list[Payload] = []
    kind = first
    while kind != PayloadType.NONE:
        if len(payloads) == PAYLOADS_MAX:
            raise WireError(f"more than {PAYLOADS_MAX} payloads")
        following = reader.u8(f"payload {kind}: next payload")
        is_critical = bool(reader.u8(f"payload {kind}: critical") & _CRITICAL)
        inner = reader.sub(reader.u16(f"payload {kind}: length") - 4, f"payload {kind}")
        payloads.append(parse_payload(kind, is_critical, inner))
        inner.end(f"payload {kind}")
        kind = following
    reader.end("message")
    return tuple(payloads)


def serialise_chain(payloads: Iterable[Payload]) -> tuple[int, bytes]:
    """Return the type of the first payload (0 if there is none) and the chain."""
    following = int(PayloadType.NONE)
    chain: list[bytes] = []
    for payload in reversed(tuple(payloads)):
        body = payload.serialise()
        critical = _CRITICAL if isinstance(payload, Raw) and payload.critical else 0
        chain.append(bytes([following, critical]) + (len(body) + 4).to_bytes(2, "big") + body)
        following = payload.TYPE
    return following, b"".join(reversed(chain))
