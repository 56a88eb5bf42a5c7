"""Private and public keys that sign: RSA, ECDSA on the NIST curves, Ed25519 and Ed448."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.pki.problem import BadText

CURVES = ("secp256r1", "secp384r1", "secp521r1")
RSA_BITS = range(2048, 8193)
RSA_BITS_LEGACY = range(1024, 8193)
AnyPrivate = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
AnyPublic = (
    rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
)
PRIVATE = (
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)
_PUBLIC = (
    rsa.RSAPublicKey,
    ec.EllipticCurvePublicKey,
    ed25519.Ed25519PublicKey,
    ed448.Ed448PublicKey,
)


class PublicKey:
    """A key that verifies. Two are equal if their SubjectPublicKeyInfo is."""

    __slots__ = ("loaded", "spki")

    def __init__(self, loaded: AnyPublic) -> None:
        self.loaded = loaded
        self.spki = loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def of(cls, loaded: object) -> PublicKey:
        """Return a key of `cryptography`. Raises BadText for kinds that are not used here."""
        if not isinstance(loaded, _PUBLIC):
            raise BadText("is no RSA, ECDSA, Ed25519 or Ed448 key")
        return cls(loaded)

    @classmethod
    def parse(cls, spki: bytes) -> PublicKey:
        """Return the key in a SubjectPublicKeyInfo (RFC 7670 section 3). Raises BadText."""
        try:
            return cls.of(load_der_public_key(spki))
        except (ValueError, UnsupportedAlgorithm):
            raise BadText("is no public key") from None

    @property
    def kind(self) -> str:
        """Return "rsa", "ec", "ed25519" or "ed448"."""
        return _kind(self.loaded)

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return _bits(self.loaded)

    @property
    def curve(self) -> str:
        """Return the name of the curve of an ECDSA key, "" for others."""
        loaded = self.loaded
        return loaded.curve.name if isinstance(loaded, ec.EllipticCurvePublicKey) else ""

    def weakness(self, allow_legacy: bool) -> str:
        """Return why this key is not good enough, "" if it is."""
        if self.kind == "rsa":
            allowed = RSA_BITS_LEGACY if allow_legacy else RSA_BITS
            if self.bits not in allowed:
                return f"an RSA key of {self.bits} bits, need {allowed.start} to {allowed.stop - 1}"
        if self.kind == "ec" and self.curve not in CURVES:
            return f"an ECDSA key on the curve {self.curve}, need P-256, P-384 or P-521"
        return ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __str__(self) -> str:
        size = "" if self.kind.startswith("ed") else f"-{self.bits}"
        return f"{self.kind.upper()}{size} sha256:{hashlib.sha256(self.spki).hexdigest()[:32]}"

    __repr__ = __str__


class PrivateKey:
    """A key that signs. It prints as its public half, and is compared by it."""

    __slots__ = ("loaded", "public")

    def __init__(self, loaded: AnyPrivate) -> None:
        self.loaded = loaded
        self.public = PublicKey(loaded.public_key())

    @property
    def kind(self) -> str:
        """Return "rsa", "ec", "ed25519" or "ed448"."""
        return self.public.kind

    @property
    def bits(self) -> int:
        """Return the size of the key."""
        return self.public.bits

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PrivateKey) and self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"PrivateKey({self.public})"


def _kind(loaded: AnyPublic) -> str:
    match loaded:
        case rsa.RSAPublicKey():
            return "rsa"
        case ec.EllipticCurvePublicKey():
            return "ec"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case _:
            return "ed448"


def _bits(loaded: AnyPublic) -> int:
    match loaded:
        case rsa.RSAPublicKey() | ec.EllipticCurvePublicKey():
            return loaded.key_size
        case ed25519.Ed25519PublicKey():
            return 256
        case _:
            return 456


def private_key_of(text: str) -> PrivateKey:
    """Return the private key in a PEM text that has no passphrase. Raises BadText."""
    try:
        loaded = load_pem_private_key(text.encode(), None)
    except TypeError:
        raise BadText("is encrypted with a passphrase; give it without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadText("is no private key in PEM") from None
    if not isinstance(loaded, PRIVATE):
        raise BadText("is no RSA, ECDSA, Ed25519 or Ed448 key")
    return PrivateKey(loaded)


def public_key_of(text: str) -> PublicKey:
    """Return the public key in a PEM text. Raises BadText."""
    try:
        return PublicKey.of(load_pem_public_key(text.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, BadText):
            raise
        raise BadText("is no public key in PEM") from None
