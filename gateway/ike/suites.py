"""The functions behind a suite's numbers: PRFs, and the lengths of keys."""

from __future__ import annotations

import hmac

from gateway.ike.iana import Prf
from gateway.sa import Encr, Integ

_PRF_HASHES = {
    Prf.HMAC_SHA2_256: "sha256",
    Prf.HMAC_SHA2_384: "sha384",
    Prf.HMAC_SHA2_512: "sha512",
}
_PRF_LENS = {Prf.HMAC_SHA2_256: 32, Prf.HMAC_SHA2_384: 48, Prf.HMAC_SHA2_512: 64}
_INTEG_HASHES = {
    Integ.HMAC_SHA2_256_128: "sha256",
    Integ.HMAC_SHA2_384_192: "sha384",
    Integ.HMAC_SHA2_512_256: "sha512",
}
_INTEG_LENS = {
    Integ.NONE: 0,
    Integ.HMAC_SHA2_256_128: 32,
    Integ.HMAC_SHA2_384_192: 48,
    Integ.HMAC_SHA2_512_256: 64,
}
_AEAD_SALT_LEN = 4


def prf(function: Prf, key: bytes, data: bytes) -> bytes:
    """Return the pseudorandom function's value (RFC 4868 section 2.1.2)."""
    return hmac.digest(key, data, _PRF_HASHES[function])


def prf_len(function: Prf) -> int:
    """Return the length in bytes of the PRF's key and value."""
    return _PRF_LENS[function]


def prf_plus(function: Prf, key: bytes, seed: bytes, length: int) -> bytes:
    """Return `length` bytes of prf+ (RFC 7296 section 2.13): at most 255 values of the PRF."""
    if length > 255 * prf_len(function):
        raise ValueError(f"prf+ of {length} bytes")
    stream = value = b""
    for count in range(1, -(-length // prf_len(function)) + 1):
        value = prf(function, key, value + seed + bytes([count]))
        stream += value
    return stream[:length]


def encr_key_len(encr: Encr, key_bits: int) -> int:
    """Return how many bytes of key material a cipher takes: its key, for an AEAD also its salt."""
    return key_bits // 8 + (_AEAD_SALT_LEN if encr.is_aead else 0)


def integ_key_len(integ: Integ) -> int:
    """Return the length in bytes of an integrity key (RFC 4868 section 2.1.1); 0 for an AEAD."""
    return _INTEG_LENS[integ]


def icv_len(integ: Integ) -> int:
    """Return the length in bytes of the integrity check value: half the hash, or an AEAD's tag."""
    return _INTEG_LENS[integ] // 2 or 16


def integ_value(integ: Integ, key: bytes, data: bytes) -> bytes:
    """Return the integrity check value, truncated as it stands on the wire."""
    return hmac.digest(key, data, _INTEG_HASHES[integ])[: icv_len(integ)]
