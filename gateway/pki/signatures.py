"""
Digital signatures in IKE: the AUTH method 14 of RFC 7427 with RSA (PKCS#1 v1.5 and PSS), ECDSA,
Ed25519 and Ed448 (RFC 8420), and the older methods 1 (RSA with SHA-1) and 9 to 11 (RFC 4754).

An algorithm identifier is looked up as a whole among those that we know: one that a peer has made
up, with other parameters or another encoding, is unknown, and nothing in it is interpreted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm

from gateway.errors import WireError
from gateway.pki import der
from gateway.pki.keys import PrivateKey, PublicKey
from gateway.pki.problem import NotTrusted

SHA1_ID, SHA256_ID, SHA384_ID, SHA512_ID, IDENTITY_ID = 1, 2, 3, 4, 5  # RFC 7427, RFC 8420
HASHES: dict[int, HashAlgorithm] = {
    SHA1_ID: SHA1(),  # noqa: S303 - known to be told apart, used with allow_legacy alone
    SHA256_ID: SHA256(),
    SHA384_ID: SHA384(),
    SHA512_ID: SHA512(),
}
OURS = (SHA256_ID, SHA384_ID, SHA512_ID, IDENTITY_ID)  # that we announce, and accept
_HASH_NAMES = {
    SHA1_ID: "SHA-1",
    SHA256_ID: "SHA2-256",
    SHA384_ID: "SHA2-384",
    SHA512_ID: "SHA2-512",
}
METHOD_RSA_SHA1, METHOD_SIGNATURE = 1, 14
# RFC 4754: the curve, the hash, and the length of one of the two numbers in bytes
_OLD_ECDSA = {9: ("secp256r1", 2, 32), 10: ("secp384r1", 3, 48), 11: ("secp521r1", 4, 66)}


class Kind(Enum):
    """What makes the signature."""

    RSA = "RSA"
    PSS = "RSA-PSS"
    ECDSA = "ECDSA"
    ED25519 = "Ed25519"
    ED448 = "Ed448"


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to sign: with what, and over which hash (its number in RFC 7427)."""

    kind: Kind
    hash_id: int

    def __str__(self) -> str:
        if self.hash_id == IDENTITY_ID:
            return self.kind.value
        return f"{self.kind.value} with {_HASH_NAMES[self.hash_id]}"


_NO_VALUE = der.encode(der.NULL, b"")
_HASH_OIDS = {
    SHA1_ID: "1.3.14.3.2.26",
    SHA256_ID: "2.16.840.1.101.3.4.2.1",
    SHA384_ID: "2.16.840.1.101.3.4.2.2",
    SHA512_ID: "2.16.840.1.101.3.4.2.3",
}
_RSA_OIDS = {SHA1_ID: 5, SHA256_ID: 11, SHA384_ID: 12, SHA512_ID: 13}
_ECDSA_OIDS = {SHA1_ID: "1", SHA256_ID: "3.2", SHA384_ID: "3.3", SHA512_ID: "3.4"}


def _identifier(oid: str, parameters: bytes = b"") -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid) + parameters)


def _pss_identifier(hash_id: int, after_hash: bytes) -> bytes:
    """RFC 4055 section 3.1: hash, mask generation with the same hash, salt as long as the hash."""
    digest = _identifier(_HASH_OIDS[hash_id], after_hash)
    mask = _identifier("1.2.840.113549.1.1.8", digest)
    salt = der.encode(der.INTEGER, bytes([HASHES[hash_id].digest_size]))
    fields = der.encode(0xA0, digest) + der.encode(0xA1, mask) + der.encode(0xA2, salt)
    return _identifier("1.2.840.113549.1.1.10", der.encode(der.SEQUENCE, fields))


def _known() -> dict[bytes, Scheme]:
    """Return every identifier that is understood; of each scheme the one that we send is first."""
    found = {
        _identifier("1.3.101.112"): Scheme(Kind.ED25519, IDENTITY_ID),
        _identifier("1.3.101.113"): Scheme(Kind.ED448, IDENTITY_ID),
    }
    for hash_id in HASHES:
        # RFC 4055 section 2.1: NULL parameters of a hash may be missing.
        for parameters in (_NO_VALUE, b""):
            rsa_oid = f"1.2.840.113549.1.1.{_RSA_OIDS[hash_id]}"
            found[_identifier(rsa_oid, parameters)] = Scheme(Kind.RSA, hash_id)
            if hash_id != SHA1_ID:
                found[_pss_identifier(hash_id, parameters)] = Scheme(Kind.PSS, hash_id)
        ecdsa_oid = f"1.2.840.10045.4.{_ECDSA_OIDS[hash_id]}"
        found[_identifier(ecdsa_oid)] = Scheme(Kind.ECDSA, hash_id)
    return found


SCHEMES = _known()
_IDENTIFIERS = {scheme: blob for blob, scheme in reversed(SCHEMES.items())}


# ---- making ----


def choose(key: PrivateKey, peer_hashes: Collection[int], use_pss: bool) -> Scheme | None:
    """
    Return how to sign with a key for a peer that has announced these hashes; None if the two have
    nothing in common.
    """
    if key.kind in ("ed25519", "ed448"):
        kind = Kind.ED25519 if key.kind == "ed25519" else Kind.ED448
        return Scheme(kind, IDENTITY_ID) if IDENTITY_ID in peer_hashes else None
    kind = Kind.ECDSA if key.kind == "ec" else Kind.PSS if use_pss else Kind.RSA
    best = _hash_for(key)
    for hash_id in (best, SHA256_ID, SHA384_ID, SHA512_ID):
        if hash_id in peer_hashes:
            return Scheme(kind, hash_id)
    return None


def _hash_for(key: PrivateKey) -> int:
    """Return the hash that is as strong as the key (NIST SP 800-57 part 1, table 2)."""
    medium, large = (256, 384) if key.kind == "ec" else (3072, 7680)
    if key.bits <= medium:
        return SHA256_ID
    return SHA384_ID if key.bits <= large else SHA512_ID


def sign(key: PrivateKey, scheme: Scheme, octets: bytes) -> bytes:
    """Return the data of an AUTH payload of method 14 (RFC 7427 section 3)."""
    identifier = _IDENTIFIERS[scheme]
    return bytes([len(identifier)]) + identifier + _raw_sign(key, scheme, octets)


def _raw_sign(key: PrivateKey, scheme: Scheme, octets: bytes) -> bytes:
    own = key.loaded
    match own:
        case rsa.RSAPrivateKey():
            return own.sign(octets, _padding(scheme), HASHES[scheme.hash_id])
        case ec.EllipticCurvePrivateKey():
            return own.sign(octets, ec.ECDSA(HASHES[scheme.hash_id]))
        case _:
            return own.sign(octets)


def _padding(scheme: Scheme) -> padding.AsymmetricPadding:
    if scheme.kind is Kind.RSA:
        return padding.PKCS1v15()
    digest = HASHES[scheme.hash_id]
    return padding.PSS(padding.MGF1(digest), digest.digest_size)


def sign_old(key: PrivateKey, octets: bytes, allow_legacy: bool) -> tuple[int, bytes] | None:
    """
    Return AUTH method and data for a peer that does not know RFC 7427; None if there is no way.
    """
    own = key.loaded
    if isinstance(own, rsa.RSAPrivateKey) and allow_legacy:
        return METHOD_RSA_SHA1, own.sign(octets, padding.PKCS1v15(), HASHES[SHA1_ID])
    if not isinstance(own, ec.EllipticCurvePrivateKey):
        return None
    for method, (curve, hash_id, length) in _OLD_ECDSA.items():
        if own.curve.name == curve:
            r, s = decode_dss_signature(own.sign(octets, ec.ECDSA(HASHES[hash_id])))
            return method, r.to_bytes(length, "big") + s.to_bytes(length, "big")
    return None


# ---- verifying ----


def verify(key: PublicKey, method: int, data: bytes, octets: bytes, *, allow_legacy: bool) -> str:
    """Return how the peer has signed, for a person. Raises NotTrusted."""
    if method == METHOD_SIGNATURE:
        scheme, signature = _read(data)
    else:
        scheme, signature = _read_old(key, method, data)
    if scheme.hash_id == SHA1_ID and not allow_legacy:
        raise _unwanted(str(scheme), "set allow_legacy = true if the peer can do no better")
    _check(key, scheme, signature, octets)
    return str(scheme)


def _unwanted(theirs: str, hint: str) -> NotTrusted:
    return NotTrusted(
        "auth_method_mismatch",
        f"the peer signs by {theirs}, which is not accepted",
        "",
        theirs,
        hint,
    )


def _read(data: bytes) -> tuple[Scheme, bytes]:
    if not data or len(data) <= 1 + data[0]:
        raise WireError("AUTH: truncated algorithm identifier")
    identifier, signature = data[1 : 1 + data[0]], data[1 + data[0] :]
    scheme = SCHEMES.get(identifier)
    if scheme is None:
        raise _unwanted(
            f"algorithm {identifier[:24].hex()}",
            "RSA (also PSS, with a salt as long as the hash), ECDSA or Ed25519 with SHA-2",
        )
    return scheme, signature


def _read_old(key: PublicKey, method: int, data: bytes) -> tuple[Scheme, bytes]:
    if method == METHOD_RSA_SHA1:
        return Scheme(Kind.RSA, SHA1_ID), data
    if method not in _OLD_ECDSA:
        raise _unwanted(f"AUTH method {method}", "both ends must use the same kind of auth")
    curve, hash_id, length = _OLD_ECDSA[method]
    if key.curve != curve or len(data) != 2 * length:
        raise bad_signature()
    r, s = int.from_bytes(data[:length], "big"), int.from_bytes(data[length:], "big")
    return Scheme(Kind.ECDSA, hash_id), encode_dss_signature(r, s)


def bad_signature() -> NotTrusted:
    """Return what is raised when a signature does not fit key and messages."""
    return NotTrusted(
        "authentication_failed",
        "the peer's signature does not fit its certificate or key",
        hint="does the peer's private key belong to its certificate?",
    )


def _check(key: PublicKey, scheme: Scheme, signature: bytes, octets: bytes) -> None:
    loaded, kind = key.loaded, scheme.kind
    try:
        match loaded:
            case rsa.RSAPublicKey() if kind in (Kind.RSA, Kind.PSS):
                loaded.verify(signature, octets, _padding(scheme), HASHES[scheme.hash_id])
            case ec.EllipticCurvePublicKey() if kind is Kind.ECDSA:
                loaded.verify(signature, octets, ec.ECDSA(HASHES[scheme.hash_id]))
            case ed25519.Ed25519PublicKey() if kind is Kind.ED25519:
                loaded.verify(signature, octets)
            case ed448.Ed448PublicKey() if kind is Kind.ED448:
                loaded.verify(signature, octets)
            case _:
                raise bad_signature()
    except InvalidSignature:
        raise bad_signature() from None
