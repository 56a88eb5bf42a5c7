"""Makes keys, certificates and CRLs of a small CA. Time comes in; serial numbers are random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from gateway.pki import dn
from gateway.pki.certificate import Certificate, parse
from gateway.pki.keys import AnyPrivate, PrivateKey
from gateway.pki.problem import BadText

KEY_KINDS = ("ecdsa", "ecdsa384", "ecdsa521", "ed25519", "rsa", "rsa4096")
_CURVES: dict[str, ec.EllipticCurve] = {
    "ecdsa": ec.SECP256R1(),
    "ecdsa384": ec.SECP384R1(),
    "ecdsa521": ec.SECP521R1(),
}
_RSA_BITS = {"rsa": 3072, "rsa4096": 4096}
BACK = timedelta(minutes=5)  # valid from so long ago: clocks differ
_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_IPSEC_IKE = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17")  # RFC 4945 section 5.1.3.12


@dataclass(frozen=True, slots=True)
class Wish:
    """What a certificate is to be: a CA, or an end that bears `names`."""

    subject: str  # a distinguished name as text, or a plain name, which becomes its CN
    days: int
    names: Sequence[str] = ()
    is_ca: bool = False
    crl_urls: Sequence[str] = ()
    ocsp_urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA with its key."""

    certificate: Certificate
    key: PrivateKey


def make_key(kind: str) -> PrivateKey:
    """Return a new key of one of KEY_KINDS."""
    if kind in _CURVES:
        return PrivateKey(ec.generate_private_key(_CURVES[kind]))
    if kind == "ed25519":
        return PrivateKey(ed25519.Ed25519PrivateKey.generate())
    return PrivateKey(rsa.generate_private_key(65537, _RSA_BITS[kind]))


def issue(wish: Wish, own: PrivateKey, issuer: Issuer | None, now: datetime) -> Certificate:
    """Return a certificate, signed by `issuer`, or by itself. Raises BadText."""
    subject = subject_of(wish.subject)
    signer = issuer.key if issuer is not None else own
    above = issuer.certificate.x509.subject if issuer is not None else subject
    ends = now + timedelta(days=wish.days)
    if issuer is not None and ends.timestamp() > issuer.certificate.ends_at:
        raise BadText(f"would outlive its CA, which ends on {_day(issuer.certificate)}")
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(above)
    builder = builder.public_key(own.loaded.public_key()).not_valid_before(now - BACK)
    builder = builder.not_valid_after(ends).serial_number(x509.random_serial_number())
    for extension, is_critical in _extensions(wish, own, signer):
        builder = builder.add_extension(extension, is_critical)
    made = builder.sign(signer.loaded, _digest(signer.loaded))
    return parse(made.public_bytes(Encoding.DER))


def _day(one: Certificate) -> str:
    return f"{one.x509.not_valid_after_utc:%Y-%m-%d}"


def subject_of(text: str) -> x509.Name:
    """Return a name; one without `=` is its CN. Raises BadText."""
    if "=" not in text:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    pairs = [next(iter(part)) for part in dn.parts_of(dn.parse_text(text))]
    try:
        attributes = [x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in pairs]
    except ValueError as error:
        raise BadText(f"{str(error)[:1].lower()}{str(error)[1:]}") from None
    return x509.Name(attributes)


def _extensions(
    wish: Wish, own: PrivateKey, signer: PrivateKey
) -> Iterable[tuple[x509.ExtensionType, bool]]:
    yield x509.SubjectKeyIdentifier.from_public_key(own.loaded.public_key()), False
    above = signer.loaded.public_key()
    yield x509.AuthorityKeyIdentifier.from_issuer_public_key(above), False
    yield x509.BasicConstraints(wish.is_ca, None), True
    yield key_usage(wish.is_ca), True
    if not wish.is_ca:
        yield x509.ExtendedKeyUsage([*_USES, _IPSEC_IKE]), False
    if wish.names:
        yield x509.SubjectAlternativeName([_name(text) for text in wish.names]), False
    if wish.crl_urls:
        points = [
            x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
            for url in wish.crl_urls
        ]
        yield x509.CRLDistributionPoints(points), False
    if wish.ocsp_urls:
        kind = AuthorityInformationAccessOID.OCSP
        access = [
            x509.AccessDescription(kind, x509.UniformResourceIdentifier(url))
            for url in wish.ocsp_urls
        ]
        yield x509.AuthorityInformationAccess(access), False


def key_usage(is_ca: bool) -> x509.KeyUsage:
    """Return what a key may do: sign certificates and CRLs, or prove who one is."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    try:
        return x509.RFC822Name(text) if "@" in text else x509.DNSName(text)
    except ValueError:
        raise BadText(f"is no address, host name or mailbox: {text}") from None


def _digest(key: AnyPrivate) -> SHA256 | SHA384 | SHA512 | None:
    match key:
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            return None
        case ec.EllipticCurvePrivateKey() if key.key_size > 384:
            return SHA512()
        case ec.EllipticCurvePrivateKey() if key.key_size > 256:
            return SHA384()
        case _:
            return SHA256()


def make_crl(
    issuer: Issuer, revoked: Mapping[int, datetime], number: int, now: datetime, days: int
) -> bytes:
    """Return a CRL in DER of the certificates with these serial numbers, and when each was."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.x509.subject)
    builder = builder.last_update(now - BACK).next_update(now + timedelta(days=days))
    for serial, when in revoked.items():
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when)
        builder = builder.add_revoked_certificate(entry.build())
    above = issuer.key.loaded.public_key()
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(above)
    builder = builder.add_extension(authority, False).add_extension(x509.CRLNumber(number), False)
    made = builder.sign(issuer.key.loaded, _digest(issuer.key.loaded))
    return made.public_bytes(Encoding.DER)


def certificate_pem(*certificates: Certificate) -> str:
    """Return certificates as PEM."""
    return "".join(one.x509.public_bytes(Encoding.PEM).decode() for one in certificates)


def private_pem(key: PrivateKey) -> str:
    """Return a private key as PEM (PKCS #8), without a passphrase."""
    made = key.loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.decode()


def public_pem(key: PrivateKey) -> str:
    """Return the public half of a key as PEM."""
    form = PublicFormat.SubjectPublicKeyInfo
    return key.loaded.public_key().public_bytes(Encoding.PEM, form).decode()
