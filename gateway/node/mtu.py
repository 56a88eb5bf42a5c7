"""How large a packet inside a tunnel may be, so that ESP around it fits the path. Pure."""

from __future__ import annotations

from gateway.dataplane.interface import EncapKind
from gateway.sa import Encr, Integ

OUTER_MTU = 1500  # bytes, where nothing else is known of the path
IP_HEADER = {4: 20, 6: 40}
UDP_HEADER = 8
ESP_HEADER = 8  # SPI and sequence number; of an ESN only the low half is on the wire
TRAILER = 2  # pad length and next header (RFC 4303 section 2)
TCP_HEADER = 20
INNER_MTU_MIN = 576  # the data plane carries no less

IV = {Encr.AES_CBC: 16, Encr.AES_GCM_16: 8, Encr.CHACHA20_POLY1305: 8}
BLOCK = {Encr.AES_CBC: 16, Encr.AES_GCM_16: 4, Encr.CHACHA20_POLY1305: 4}
ICV = {
    Integ.NONE: 16,  # the tag of an AEAD
    Integ.HMAC_SHA2_256_128: 16,
    Integ.HMAC_SHA2_384_192: 24,
    Integ.HMAC_SHA2_512_256: 32,
}


def inner_mtu(
    encr: Encr, integ: Integ, encap: EncapKind, outer_version: int, outer_mtu: int = OUTER_MTU
) -> int:
    """
    Return the largest inner packet, in bytes, whose ESP packet is no larger than `outer_mtu`.

    `outer_version` is 4 or 6. Raises ValueError if less than 576 bytes would remain.
    """
    around = IP_HEADER[outer_version] + (UDP_HEADER if encap is EncapKind.UDP else 0)
    room = outer_mtu - around - ESP_HEADER - IV[encr] - ICV[integ]
    mtu = room - room % BLOCK[encr] - TRAILER
    if mtu < INNER_MTU_MIN:
        raise ValueError(f"outer MTU {outer_mtu} leaves {mtu} bytes inside, need {INNER_MTU_MIN}")
    return mtu


def tcp_mss(mtu: int, inner_version: int) -> int:
    """Return the TCP MSS, in bytes, of packets of `mtu` bytes without IP or TCP options."""
    return mtu - IP_HEADER[inner_version] - TCP_HEADER
