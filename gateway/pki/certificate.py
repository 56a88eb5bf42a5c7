"""One X.509 certificate, parsed once, with what path building asks for again and again."""

from __future__ import annotations

import hashlib
import re
import warnings
from functools import lru_cache
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtensionOID

from gateway.pki import dn
from gateway.pki.keys import PublicKey
from gateway.pki.problem import BadText

E = TypeVar("E", bound=x509.ExtensionType)

BYTES_MAX = 16384
PARSED_KEPT = 2048  # of our own and of those we trust
GIVEN_KEPT = 64  # that peers have shown, be they trusted or not; of up to BYTES_MAX each
SIGNED_KEPT = 256
# What `cryptography` raises for bytes that are not what they should be.
MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class Certificate:
    """
    A certificate. Two are equal if their bytes are. Made by `parse`, which remembers those that we
    were configured with, or by `parse_given`.
    """

    __slots__ = ("_digest", "der", "extensions", "issuer", "key", "key_id", "subject", "x509")

    def __init__(self, content: bytes) -> None:
        if len(content) > BYTES_MAX:
            raise BadText(f"is larger than {BYTES_MAX} bytes")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the library will refuse one day
                self.x509 = x509.load_der_x509_certificate(content)
            self._digest = self.x509.signature_hash_algorithm
            self.extensions = self.x509.extensions
            self.key = PublicKey.of(self.x509.public_key())
            self.subject = self.x509.subject.public_bytes()
            self.issuer = self.x509.issuer.public_bytes()
        except BadText:
            raise
        # What it is that is wrong in the depth of ASN.1 helps nobody.
        except MALFORMED as error:
            raise BadText(f"is no certificate: {str(error)[:120]}") from None
        self.der = content
        self.key_id = _key_id(self.x509.public_key())

    @property
    def starts_at(self) -> float:
        """Return from when it is valid, in seconds since 1970."""
        return self.x509.not_valid_before_utc.timestamp()

    @property
    def ends_at(self) -> float:
        """Return until when it is valid, in seconds since 1970."""
        return self.x509.not_valid_after_utc.timestamp()

    @property
    def name(self) -> str:
        """Return the subject for a person; its first other name where it is empty."""
        if self.x509.subject.rdns:
            return dn.text_of(self.subject)
        names = self.extension(x509.SubjectAlternativeName)
        return str(next(iter(names)).value) if names is not None and len(names) else "no subject"

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the whole certificate in hexadecimal."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def is_ca(self) -> bool:
        """Return whether it may issue others."""
        basic = self.extension(x509.BasicConstraints)
        usage = self.extension(x509.KeyUsage)
        return basic is not None and basic.ca and (usage is None or usage.key_cert_sign)

    @property
    def has_sha1(self) -> bool:
        """Return whether its issuer has signed it over a hash that is broken."""
        return self._digest is not None and self._digest.name in ("sha1", "md5")

    def extension(self, kind: type[E]) -> E | None:
        """Return the value of an extension, None if there is none."""
        try:
            return self.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None

    def is_issued_by(self, issuer: Certificate) -> bool:
        """Return whether `issuer` has signed this, by name and by signature."""
        if self.issuer != issuer.subject:
            return False
        return _is_signed(self, issuer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        return f"Certificate({self.fingerprint})"


def _key_id(loaded: object) -> bytes:
    """Return the SHA-1 of a SubjectPublicKeyInfo, as CERTREQ names it (RFC 7296 section 3.7)."""
    assert isinstance(
        loaded,
        rsa.RSAPublicKey
        | ec.EllipticCurvePublicKey
        | ed25519.Ed25519PublicKey
        | ed448.Ed448PublicKey,
    )
    spki = loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(spki, usedforsecurity=False).digest()


@lru_cache(PARSED_KEPT)
def parse(content: bytes) -> Certificate:
    """Return the certificate in DER. Raises BadText."""
    return Certificate(content)


@lru_cache(GIVEN_KEPT)
def parse_given(content: bytes) -> Certificate:
    """
    Return the certificate in DER that a peer shows. Raises BadText.

    Only the last few are remembered: whoever can begin an IKE SA can show as many as he likes, and
    must neither fill our memory nor have our own certificates forgotten.
    """
    return Certificate(content)


@lru_cache(SIGNED_KEPT)
def _is_signed(one: Certificate, issuer: Certificate) -> bool:
    try:
        one.x509.verify_directly_issued_by(issuer.x509)
    except (InvalidSignature, *MALFORMED):
        return _is_signed_sha1(one.x509, issuer.x509)
    return True


def _is_signed_sha1(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return the same for RSA over SHA-1, which `cryptography` leaves to its caller to judge."""
    key = issuer.public_key()
    digest = one.signature_hash_algorithm
    if not isinstance(key, rsa.RSAPublicKey) or digest is None or digest.name != "sha1":
        return False
    try:
        key.verify(one.signature, one.tbs_certificate_bytes, padding.PKCS1v15(), SHA1())  # noqa: S303
    except InvalidSignature:
        return False
    return True


def certificates_of(text: str, most: int = 100) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM text, in their order, at least one. Raises BadText."""
    found = []
    for block in _PEM.finditer(text):
        if block[1] != "CERTIFICATE":
            continue
        try:
            content = x509.load_pem_x509_certificate(block[0].encode())
        except MALFORMED as error:
            raise BadText(f"holds a certificate that can not be read: {error}") from None
        found.append(parse(content.public_bytes(Encoding.DER)))
    if not found:
        raise BadText("holds no certificate in PEM")
    if len(found) > most:
        raise BadText(f"holds {len(found)} certificates, at most {most}")
    return tuple(found)


def ocsp_urls(certificate: Certificate) -> tuple[str, ...]:
    """Return where a certificate says that its state can be asked for (RFC 6960)."""
    access = certificate.extension(x509.AuthorityInformationAccess)
    if access is None:
        return ()
    return tuple(
        one.access_location.value
        for one in access
        if one.access_method == AuthorityInformationAccessOID.OCSP
        and isinstance(one.access_location, x509.UniformResourceIdentifier)
    )


def crl_urls(certificate: Certificate) -> tuple[str, ...]:
    """Return where a certificate says that its issuer's CRL is (RFC 5280 section 4.2.1.13)."""
    points = certificate.extension(x509.CRLDistributionPoints)
    return tuple(
        name.value
        for point in points or ()
        if point.crl_issuer is None and point.reasons is None
        for name in point.full_name or ()
        if isinstance(name, x509.UniformResourceIdentifier)
    )


# What path building and matching understand (RFC 5280 section 4.2); policies are not asked for.
UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.ISSUER_ALTERNATIVE_NAME,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)
