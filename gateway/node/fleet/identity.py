"""
Who a node is: its private key, its certificate and the CA that both ends trust, in one file.

The file is replaced as a whole, so key and certificate always fit. Mode 0600.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.errors import ConfigError, GatewayError
from gateway.files import write_whole
from gateway.fleet.messages import Credential
from gateway.secret import Secret

FILE = "identity.pem"
_CERTIFICATE = re.compile(
    "-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\\s]+-----END CERTIFICATE-----\n?"
)


class IdentityError(GatewayError):
    """A certificate or key that can not be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's identity; `pem` holds key, certificate and CA in this order."""

    node: str
    pem: Secret
    ca: str
    not_before: datetime.datetime
    not_after: datetime.datetime

    @property
    def renew_at(self) -> float:
        """When it should be renewed, in seconds since 1970: a third of its life is over."""
        life = self.not_after - self.not_before
        return (self.not_before + life / 3).timestamp()


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key, ECDSA on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def request_for(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate request (PKCS #10). The control plane chooses the name."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = request.sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def identity_of(credential: Credential, key: ec.EllipticCurvePrivateKey) -> Identity:
    """Return the identity that a credential and its key make. Raises IdentityError."""
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return parse(private + credential.certificate.encode() + credential.ca.encode())


def parse(pem: bytes) -> Identity:
    """Return the identity in a file's content. Raises IdentityError."""
    try:
        key = serialization.load_pem_private_key(pem, None)
        certificate, *cas = x509.load_pem_x509_certificates(pem)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        name = str(names[0].value)
        for ca in cas[:1]:
            certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, IndexError, InvalidSignature) as error:
        raise IdentityError(f"not a key with its certificate and CA: {error}") from None
    if not cas or certificate.public_key() != key.public_key():
        raise IdentityError("key, certificate and CA do not belong together")
    return Identity(
        node=name,
        pem=Secret(pem),
        ca="".join(_CERTIFICATE.findall(pem.decode("ascii", "ignore"))[1:]),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def load(folder: Path) -> Identity | None:
    """Return the identity that is kept in `folder`, None if there is none. IdentityError."""
    path = folder / FILE
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, IdentityError) as error:
        raise IdentityError(f"{path}: {error}: remove it and register the node anew") from None


def save(folder: Path, identity: Identity) -> None:
    """Keep an identity in place of the one before. Raises OSError."""
    write_whole(folder / FILE, identity.pem.reveal())


def fingerprint(ca: str) -> str:
    """Return the SHA-256 of a CA's certificate, as hexadecimal digits. Raises IdentityError."""
    try:
        der = ssl.PEM_cert_to_DER_cert(ca.strip())
    except ValueError as error:
        raise IdentityError(f"not a certificate: {error}") from None
    return hashlib.sha256(der).hexdigest()


def parse_fingerprint(text: str) -> str:
    """Return the digits of a fingerprint, "" for none. Raises ConfigError."""
    digits = text.removeprefix("sha256:").replace(":", "").lower()
    if text and not re.fullmatch("[0-9a-f]{64}", digits):
        raise ConfigError([f"--ca-fingerprint: {text[:80]!r} must be sha256: and 64 digits"])
    return digits


def trusting(ca: str) -> ssl.SSLContext:
    """Return a context that trusts this CA and nobody else. Raises IdentityError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise IdentityError(f"the CA's certificate can not be used: {error}") from None
    return context


def blind() -> ssl.SSLContext:
    """Return a context that trusts anybody: for the CA's certificate, which is judged by hash."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def presenting(identity: Identity, folder: Path) -> ssl.SSLContext:
    """Return a context for a node whose identity is kept in `folder`. Raises IdentityError."""
    context = trusting(identity.ca)
    try:
        context.load_cert_chain(folder / FILE)
    except (ssl.SSLError, OSError) as error:
        raise IdentityError(f"{folder / FILE}: can not be used: {error}") from None
    return context
