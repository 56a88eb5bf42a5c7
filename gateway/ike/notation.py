"""
Messages in the notation of RFC 7296 section 1.2: `HDR, SK {IDi, AUTH, SAi2, TSi, TSr}`. Pure.

What is told of a payload is what both ends may know of each other: proposals, groups, identities,
selectors, SPIs, notifies. Of nonces, key exchange values, authentication data and cookies only the
length is told, and keys are no part of a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

from gateway.ike.config import describe_identity
from gateway.ike.iana import AuthMethod, ExchangeType, NotifyType, PayloadType, ProtocolId
from gateway.ike.message import Message
from gateway.ike.names import group_name
from gateway.ike.payloads import (
    Auth,
    Certificate,
    CertificateRequest,
    Delete,
    IdInitiator,
    IdResponder,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Raw,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
    VendorId,
)
from gateway.ike.selectors import selector_text

RESOURCE_SHOWN = 8  # bytes of what a peer calls its resource (RFC 9611)
_SIDED = {KeyExchange: "KE", Nonce: "N"}
_PLAIN = {
    IdInitiator: "IDi",
    IdResponder: "IDr",
    Certificate: "CERT",
    CertificateRequest: "CERTREQ",
    Auth: "AUTH",
    Delete: "D",
    TrafficSelectorsI: "TSi",
    TrafficSelectorsR: "TSr",
    VendorId: "V",
}
_SA_NUMBER = {int(ExchangeType.IKE_SA_INIT): "1", int(ExchangeType.IKE_AUTH): "2"}


def told(message: Message) -> tuple[str, str, tuple[str, ...]]:
    """Return a message's exchange, its line in RFC notation, and what its payloads say."""
    kind = "response" if message.is_response else "request"
    exchange = f"{_name(ExchangeType, message.exchange)} {message.message_id} {kind}"
    names = [_payload_name(message, one) for one in message.payloads]
    inside = ", ".join(names)
    if message.exchange == ExchangeType.IKE_SA_INIT:
        line = f"HDR, {inside}"
    else:
        line = f"HDR, SK {{{inside}}}"
    details = (
        f"{name}: {text}"
        for name, one in zip(names, message.payloads, strict=True)
        if (text := _printable(_detail(one)))
    )
    return exchange, _printable(line), tuple(details)


def _payload_name(message: Message, payload: Payload) -> str:
    side = "r" if message.is_response else "i"
    match payload:
        case Notify():
            return f"N({_name(NotifyType, payload.type)})"
        case SecurityAssociation():
            number = _SA_NUMBER.get(message.exchange)
            return f"SA{side}{number}" if number else "SA"
        case Raw():
            return _name(PayloadType, payload.type)
    sided = _SIDED.get(type(payload))
    return sided + side if sided else _PLAIN[type(payload)]


def _name(kind: type[IntEnum], number: int) -> str:
    """Return the name of a number, or the number where it has none."""
    try:
        return kind(number).name
    except ValueError:
        return str(number)


def _detail(payload: Payload) -> str:
    match payload:
        case SecurityAssociation():
            return "; ".join(_proposals(payload))
        case KeyExchange():
            return f"{group_name(payload.group)}, {len(payload.public)} bytes"
        case Nonce():
            return f"{len(payload.value)} bytes"
        case IdInitiator() | IdResponder():
            return describe_identity(payload.id_type, payload.value)
        case Auth():
            return f"{_name(AuthMethod, payload.method)}, {len(payload.data)} bytes"
        case Certificate() | CertificateRequest():
            return f"encoding {payload.encoding}, {len(payload.value)} bytes"
        case TrafficSelectorsI() | TrafficSelectorsR():
            return ", ".join(selector_text(one) for one in payload.selectors)
        case Delete():
            return _spis(payload.protocol, payload.spis) if payload.spis else "the IKE SA"
        case Notify():
            return _notified(payload)
        case VendorId():
            return f"{len(payload.value)} bytes"
        case _:
            return ""


def _proposals(payload: SecurityAssociation) -> Iterator[str]:
    for one in payload.proposals:
        yield str(one) + (f" ({_spis(one.protocol, (one.spi,))})" if one.spi else "")


def _spis(protocol: int, spis: Sequence[bytes]) -> str:
    return f"{_name(ProtocolId, protocol)} SPI " + ", ".join("0x" + spi.hex() for spi in spis)


def _notified(notify: Notify) -> str:
    parts = [_spis(notify.protocol, (notify.spi,))] if notify.spi else []
    if notify.data and notify.type == NotifyType.SA_RESOURCE_INFO:
        parts.append(f"resource {notify.data[:RESOURCE_SHOWN].hex()}")
    elif notify.data:
        parts.append(f"{len(notify.data)} bytes")
    return ", ".join(parts)


def _printable(text: str) -> str:
    """Return a text for a terminal: what a peer has sent must not steer it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
