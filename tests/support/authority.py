"""A small CA for tests: certificates of every kind, CRLs and OCSP answers, made when asked for."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from gateway.pki.certificate import Certificate, parse
from gateway.pki.keys import AnyPrivate, PrivateKey

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AT = NOW.timestamp()
DAY = timedelta(days=1)


@functools.cache
def key(kind: str = "ecdsa", number: int = 0) -> AnyPrivate:
    """Return a private key: "ecdsa", "ecdsa384", "ecdsa521", "ed25519", "rsa" (2048) or "rsaN"."""
    curves = {"ecdsa": ec.SECP256R1(), "ecdsa384": ec.SECP384R1(), "ecdsa521": ec.SECP521R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa") or 2048))


def name_of(text: str) -> x509.Name:
    """Return a name of an O and a CN, or of nothing."""
    if not text:
        return x509.Name([])
    parts = [(NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, text)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def names(*texts: str) -> x509.SubjectAlternativeName:
    """Return other names of a subject: addresses, mailboxes and host names."""
    found: list[x509.GeneralName] = []
    for text in texts:
        try:
            found.append(x509.IPAddress(ip_address(text)))
        except ValueError:
            found.append(x509.RFC822Name(text) if "@" in text else x509.DNSName(text))
    return x509.SubjectAlternativeName(found)


@dataclass(frozen=True)
class Wish:
    """What a certificate is to be like."""

    subject: str = "b.gw.test"
    others: tuple[str, ...] = ("b.gw.test",)
    starts: datetime = NOW - 30 * DAY
    ends: datetime = NOW + 300 * DAY
    is_ca: bool = False
    path_length: int | None = None
    key_usage: str | None = "digital_signature"
    uses: tuple[x509.ObjectIdentifier, ...] = ()
    crl: str = ""
    ocsp: str = ""
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    digest: SHA256 | SHA384 | None = field(default_factory=SHA256)
    serial: int = 0


@dataclass(frozen=True)
class Entity:
    """A certificate with its key and, in `above`, what stands between it and the root."""

    key: AnyPrivate
    certificate: Certificate
    above: tuple[Certificate, ...] = ()

    @property
    def private(self) -> PrivateKey:
        return PrivateKey(self.key)

    @property
    def chain(self) -> tuple[Certificate, ...]:
        return (self.certificate, *self.above)

    def issue(self, wish: Wish, own: AnyPrivate) -> Entity:
        """Return what this one signs."""
        made = build(wish, own, self.certificate.x509.subject, self.key)
        above = () if self.certificate.subject == self.certificate.issuer else self.chain
        return Entity(own, made, above)

    def intermediate(self, number: int = 1, **changes: object) -> Entity:
        wish = Wish(f"Intermediate {number}", (), is_ca=True, key_usage=None)
        return self.issue(replace(wish, **changes), key("ecdsa", 100 + number))  # type: ignore[arg-type]

    def crl(
        self,
        *revoked: Entity,
        at: datetime = NOW,
        days: int = 7,
        extra: Iterable[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.x509.subject)
        builder = builder.last_update(at - DAY).next_update(at + days * DAY)
        for one in revoked:
            serial = one.certificate.x509.serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at - DAY)
            builder = builder.add_revoked_certificate(entry.build())
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, digest_of(self.key)).public_bytes(Encoding.DER)

    def ocsp(
        self,
        one: Entity,
        status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
        *,
        by: Entity | None = None,
        at: datetime = NOW,
    ) -> bytes:
        signer = by or self
        is_revoked = status is ocsp.OCSPCertStatus.REVOKED
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=one.certificate.x509,
            issuer=self.certificate.x509,
            algorithm=SHA256(),
            cert_status=status,
            this_update=at - DAY,
            next_update=at + DAY,
            revocation_time=at - DAY if is_revoked else None,
            revocation_reason=None,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate.x509)
        if by is not None:
            builder = builder.certificates([by.certificate.x509])
        return builder.sign(signer.key, digest_of(signer.key)).public_bytes(Encoding.DER)


def digest_of(own: AnyPrivate) -> SHA256 | SHA384 | None:
    return None if isinstance(own, ed25519.Ed25519PrivateKey) else SHA256()


def build(wish: Wish, own: AnyPrivate, issuer: x509.Name, signer: AnyPrivate) -> Certificate:
    """Return a certificate as wished."""
    builder = x509.CertificateBuilder().subject_name(name_of(wish.subject)).issuer_name(issuer)
    builder = builder.not_valid_before(wish.starts).not_valid_after(wish.ends)
    builder = builder.public_key(own.public_key())
    builder = builder.serial_number(wish.serial or x509.random_serial_number())
    for extension, critical in _extensions(wish):
        builder = builder.add_extension(extension, critical)
    digest = None if digest_of(signer) is None else wish.digest
    return parse(builder.sign(signer, digest).public_bytes(Encoding.DER))


def _extensions(wish: Wish) -> Sequence[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = [*wish.extra]
    if wish.is_ca:
        found.append((x509.BasicConstraints(True, wish.path_length), True))
    if wish.others:
        found.append((names(*wish.others), not wish.subject))
    if wish.key_usage is not None:
        flags = dict.fromkeys(_USAGES, False) | {wish.key_usage: True}
        found.append((x509.KeyUsage(**flags), True))
    if wish.uses:
        found.append((x509.ExtendedKeyUsage(wish.uses), False))
    if wish.crl:
        place = x509.DistributionPoint([x509.UniformResourceIdentifier(wish.crl)], None, None, None)
        found.append((x509.CRLDistributionPoints([place]), False))
    if wish.ocsp:
        where = x509.UniformResourceIdentifier(wish.ocsp)
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, where)
        found.append((x509.AuthorityInformationAccess([access]), False))
    return found


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
RESPONDER = Wish("OCSP", (), uses=(ExtendedKeyUsageOID.OCSP_SIGNING,))


def authority(subject: str = "Root", kind: str = "ecdsa", number: int = 99) -> Entity:
    """Return a root."""
    own = key(kind, number)
    wish = Wish(subject, (), is_ca=True, key_usage=None, ends=NOW + 3000 * DAY)
    return Entity(own, build(wish, own, name_of(subject), own))
