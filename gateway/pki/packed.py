"""A key with its certificates in one file, as CAs hand them out: PKCS #12 (RFC 7292). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from gateway.pki.certificate import Certificate, parse
from gateway.pki.keys import PRIVATE, PrivateKey
from gateway.pki.problem import BadText
from gateway.secret import Secret


@dataclass(frozen=True, slots=True)
class Packed:
    """What one end needs: its key, its certificate with those above it, and the roots."""

    key: PrivateKey
    chain: tuple[Certificate, ...]
    roots: tuple[Certificate, ...]


def unpack(content: bytes, passphrase: Secret) -> Packed:
    """Return what is in a PKCS #12 file. Raises BadText."""
    try:
        found = pkcs12.load_pkcs12(content, passphrase.reveal() or None)
    except (ValueError, UnsupportedAlgorithm):
        raise BadText("is no PKCS #12 file, or the passphrase is another one") from None
    if not isinstance(found.key, PRIVATE):
        raise BadText("holds no RSA, ECDSA, Ed25519 or Ed448 key")
    if found.cert is None:
        raise BadText("holds no certificate of its key")
    own = parse(found.cert.certificate.public_bytes(Encoding.DER))
    others = [parse(one.certificate.public_bytes(Encoding.DER)) for one in found.additional_certs]
    above = _in_order(own, others)
    roots = tuple(one for one in others if one.subject == one.issuer)
    return Packed(PrivateKey(found.key), (own, *above), roots)


def _in_order(own: Certificate, others: list[Certificate]) -> list[Certificate]:
    """Return the certificates between ours and a root, each behind the one that it has issued."""
    by_subject = {one.subject: one for one in others if one.subject != one.issuer}
    found, last = [], own
    while (upper := by_subject.pop(last.issuer, None)) is not None:
        found.append(upper)
        last = upper
    return found
