"""The values that IKE, the data plane and the node share: path, traffic selector, ESP SA. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from gateway.secret import Secret

Address = IPv4Address | IPv6Address

IKE_PORT = 500
NAT_T_PORT = 4500


class Encr(IntEnum):
    """Encryption algorithms, IANA transform type 1."""

    AES_CBC = 12  # RFC 3602
    AES_GCM_16 = 20  # RFC 4106, RFC 5282
    CHACHA20_POLY1305 = 28  # RFC 7634

    @property
    def is_aead(self) -> bool:
        return self is not Encr.AES_CBC


class Integ(IntEnum):
    """Integrity algorithms, IANA transform type 3."""

    NONE = 0
    HMAC_SHA2_256_128 = 12  # RFC 4868
    HMAC_SHA2_384_192 = 13
    HMAC_SHA2_512_256 = 14


@dataclass(frozen=True, slots=True, order=True)
class Path:
    """Local and remote UDP address of a packet or tunnel. Ports are 0 for raw ESP (protocol 50)."""

    local: Address
    local_port: int
    remote: Address
    remote_port: int

    def __str__(self) -> str:
        return f"{_host(self.local)}:{self.local_port}-{_host(self.remote)}:{self.remote_port}"


def _host(address: Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


@dataclass(frozen=True, slots=True)
class TrafficSelector:
    """
    One address range with protocol and ports (RFC 7296 section 3.13.1). Ranges are inclusive.

    `protocol` 0 means any. Ports 0 to 65535 mean any; 65535 to 0 means OPAQUE.
    For ICMP the "ports" hold type and code.
    """

    first: Address
    last: Address
    protocol: int = 0
    first_port: int = 0
    last_port: int = 65535


@dataclass(frozen=True, slots=True)
class Limits:
    """When an ESP SA is rekeyed (soft) and refused (hard), in packets and bytes; 0 = no limit."""

    soft_packets: int = 0
    hard_packets: int = 0
    soft_bytes: int = 0
    hard_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EspSa:
    """
    One direction of a Child SA (RFC 4301 section 4.1).

    `encr_key` holds the cipher's key, for an AEAD followed by its 4-byte salt; `integ_key` is empty
    for an AEAD. `key_bits` is 128, 192 or 256 without the salt.
    """

    spi: int
    encr: Encr
    key_bits: int
    encr_key: Secret
    integ: Integ
    integ_key: Secret
    esn: bool
