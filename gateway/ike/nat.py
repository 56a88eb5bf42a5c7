"""NAT detection (RFC 7296 section 2.23)."""

from __future__ import annotations

import hashlib

from gateway.sa import Address


def detection_hash(spi_i: bytes, spi_r: bytes, address: Address, port: int) -> bytes:
    """
    Return the data of a NAT_DETECTION_*_IP notify: SHA-1 of SPIi | SPIr | address | port, 20 bytes.

    `spi_r` is zero in an IKE_SA_INIT request. SHA-1 is the RFC's; nothing rests on its strength.
    """
    hashed = spi_i + spi_r + address.packed + port.to_bytes(2, "big")
    return hashlib.sha1(hashed, usedforsecurity=False).digest()
