"""
The small CA that nodes and control plane trust: ECDSA on P-256, one self-signed certificate.

A node's certificate names its id and may only be a client; the control plane's has one name,
wherever it listens, and may only be a server. So neither can be taken for the other.
"""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.control.problems import invalid
from gateway.fleet.messages import CONTROL_NAME
from gateway.pki.issue import key_usage
from gateway.secret import Secret

CA_DAYS = 20 * 365
NODE_DAYS = 365  # a node renews after a third; one that was off for longer needs another token
SERVER_DAYS = 90  # made anew at each start and in time before its end
EARLIER = datetime.timedelta(days=1)  # clocks differ

_CURVES = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued. `serial` is in hexadecimal digits."""

    serial: str
    pem: str
    not_after: float  # seconds since 1970
    renew_at: float


@dataclass(frozen=True, slots=True)
class Authority:
    """The CA's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as hexadecimal digits."""
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return hashlib.sha256(der).hexdigest()

    def key_text(self) -> Secret:
        """Return the private key as PEM, for the store to seal."""
        return Secret(_private(self.key))

    def issue(self, csr: str, node: str, now: datetime.datetime) -> Issued:
        """Return a node's certificate. Raises ApiProblem for a request that is none."""
        key = _key_of(csr)
        made = _sign(
            self._builder(node, key, now, NODE_DAYS)
            .add_extension(_uses(ExtendedKeyUsageOID.CLIENT_AUTH), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"twinspan:{node}")]),
                critical=False,
            ),
            self.key,
        )
        life = made.not_valid_after_utc - made.not_valid_before_utc
        return Issued(
            serial=f"{made.serial_number:040x}",
            pem=made.public_bytes(serialization.Encoding.PEM).decode(),
            not_after=made.not_valid_after_utc.timestamp(),
            renew_at=(made.not_valid_before_utc + life / 3).timestamp(),
        )

    def server(self, now: datetime.datetime) -> bytes:
        """Return a key and certificate for the listener, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _sign(
            self._builder(CONTROL_NAME, key.public_key(), now, SERVER_DAYS)
            .add_extension(_uses(ExtendedKeyUsageOID.SERVER_AUTH), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(CONTROL_NAME)]), critical=False
            ),
            self.key,
        )
        return _private(key) + made.public_bytes(serialization.Encoding.PEM)

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey, now: datetime.datetime, days: int
    ) -> x509.CertificateBuilder:
        return (
            _dated(now, days)
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(is_ca=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )


def new_authority(now: datetime.datetime) -> Authority:
    """Return a new CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Twinspan nodes")
    builder = (
        _dated(now, CA_DAYS)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(_sign(builder, key), key)


def load_authority(certificate: str, key: Secret) -> Authority:
    """Return the CA of a certificate and a key, as PEM. Raises ValueError."""
    loaded = serialization.load_pem_private_key(key.reveal(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("the CA's key is no EC key")
    return Authority(x509.load_pem_x509_certificate(certificate.encode()), loaded)


def serial_of(der: bytes) -> tuple[str, str]:
    """Return the serial number of a certificate that TLS has accepted, and the node's id in it."""
    certificate = x509.load_der_x509_certificate(der)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"{certificate.serial_number:040x}", str(names[0].value) if names else ""


def _key_of(csr: str) -> ec.EllipticCurvePublicKey:
    """Return the key of a certificate request whose signature is right. Raises ApiProblem."""
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        key = request.public_key()
        is_signed = request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        raise invalid("csr", None, "is no certificate request (PKCS #10, PEM)") from None
    if not is_signed or not isinstance(key, ec.EllipticCurvePublicKey):
        raise invalid("csr", None, "must be signed by an EC key")
    if not isinstance(key.curve, _CURVES):
        raise invalid("csr", key.curve.name, "the key must be on P-256 or P-384")
    return key


def _dated(now: datetime.datetime, days: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return builder.sign(key, hashes.SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _uses(use: x509.ObjectIdentifier) -> x509.ExtendedKeyUsage:
    return x509.ExtendedKeyUsage([use])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
