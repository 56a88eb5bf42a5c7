"""
What decides whether an IKE_SA_INIT request is read at all: its nonce and its cookie.

A stranger's request costs a walk from payload to payload and one HMAC, not the parsing of proposals
and key exchange values that may come from nobody (RFC 7296 section 2.6).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.errors import WireError
from gateway.ike.iana import NotifyType, PayloadType
from gateway.ike.message import CLEAR_MAX, HEADER_LEN, Header
from gateway.ike.payloads import PAYLOADS_MAX

_GENERIC = struct.Struct("!BxH")  # next payload, critical and reserved, length
_NOTIFY = struct.Struct("!BBH")  # protocol, SPI size, type
_NONCE, _NOTIFY_TYPE = int(PayloadType.NONCE), int(PayloadType.NOTIFY)
_COOKIE = int(NotifyType.COOKIE)
_NONCE_LEN = range(16, 257)  # section 3.9


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The nonce of a request, and the cookie that it brings back, if there is one."""

    nonce: bytes
    cookie: bytes | None


def first_look(header: Header, datagram: bytes) -> FirstLook:
    """
    Return nonce and cookie of an IKE_SA_INIT request. Raises WireError.

    What else is wrong with it is found when it is parsed.
    """
    if len(datagram) > CLEAR_MAX:
        raise WireError(f"message of {len(datagram)} bytes that is not encrypted")
    nonce: bytes | None = None
    cookie: bytes | None = None
    for kind, body in _bodies(header.next_payload, datagram):
        if kind == _NONCE:
            if nonce is not None:
                raise WireError("2 payloads Nonce")
            nonce = body
        elif kind == _NOTIFY_TYPE and cookie is None:
            cookie = _cookie(body)
    if nonce is None or len(nonce) not in _NONCE_LEN:
        raise WireError("no nonce of 16 to 256 bytes")
    return FirstLook(nonce, cookie)


def _bodies(kind: int, datagram: bytes) -> list[tuple[int, bytes]]:
    """Return the bodies of nonces and notifies, which end where the datagram does."""
    found: list[tuple[int, bytes]] = []
    at, end = HEADER_LEN, len(datagram)
    for _ in range(PAYLOADS_MAX):
        if kind == 0:
            break
        if end - at < _GENERIC.size:
            raise WireError(f"payload {kind}: {end - at} bytes")
        following, length = _GENERIC.unpack_from(datagram, at)
        if not _GENERIC.size <= length <= end - at:
            raise WireError(f"payload {kind}: length {length}, {end - at} bytes left")
        if kind in (_NONCE, _NOTIFY_TYPE):
            found.append((kind, datagram[at + _GENERIC.size : at + length]))
        kind, at = following, at + length
    if kind != 0 or at != end:
        raise WireError("the chain of payloads does not end with the message")
    return found


def _cookie(body: bytes) -> bytes | None:
    """Return the cookie that a notify's body is, None if it is another one."""
    if len(body) < _NOTIFY.size:
        raise WireError(f"notify of {len(body)} bytes")
    _, spi_size, kind = _NOTIFY.unpack_from(body)
    return body[_NOTIFY.size + spi_size :] if kind == _COOKIE else None
