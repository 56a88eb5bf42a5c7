"""
Whether a certificate bears an identity of IKE (RFC 7296 section 3.5, RFC 4945 section 3.1), and
whether an identity fits the one that is configured.
"""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509

from gateway.pki import dn
from gateway.pki.certificate import Certificate

IPV4, FQDN, EMAIL, IPV6, DN, KEY_ID = 1, 2, 3, 5, 9, 11  # ID types of RFC 7296 section 3.5


def bears(certificate: Certificate, kind: int, value: bytes) -> bool:
    """
    Return whether an identity stands in a certificate: the subject for a distinguished name, the
    subject key identifier for a key ID, else one of the subject's alternative names.
    """
    match kind:
        case 9:
            return dn.is_same(value, certificate.subject)
        case 11:
            return value == _subject_key_id(certificate)
        case 1 | 5:
            names = _alternative(certificate, x509.IPAddress)
            return str(ip_address(value)) in names if len(value) in (4, 16) else False
        case 2:
            return _plain(value) in _alternative(certificate, x509.DNSName)
        case 3:
            return _plain(value) in _alternative(certificate, x509.RFC822Name)
        case _:
            return False


def _plain(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace").casefold()


def _subject_key_id(certificate: Certificate) -> bytes | None:
    found = certificate.extension(x509.SubjectKeyIdentifier)
    return found.digest if found is not None else None


def _alternative(
    certificate: Certificate, kind: type[x509.DNSName | x509.RFC822Name | x509.IPAddress]
) -> set[str]:
    names = certificate.extension(x509.SubjectAlternativeName)
    return {str(one.value).casefold() for one in names or () if isinstance(one, kind)}


def identities_of(certificate: Certificate) -> str:
    """Return the identities that a certificate bears, for a person."""
    names = certificate.extension(x509.SubjectAlternativeName)
    kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress)
    others = [str(one.value) for one in names or () if isinstance(one, kinds)]
    subject = [certificate.name] if certificate.x509.subject.rdns else []
    return "; ".join((*others, *subject))


def fits(kind: int, value: bytes, wanted_kind: int, wanted: bytes) -> bool:
    """
    Return whether an identity fits a configured one of the same type.

    Only with certificates may the configured one stand for several: "*" is any value of a part of
    a distinguished name, "*.example.org" any name below, "*@example.org" any user there.
    """
    if kind != wanted_kind:
        return False
    if kind == DN:
        return dn.fits(value, wanted)
    if kind in (FQDN, EMAIL):
        own, pattern = value.lower(), wanted.lower()
        if pattern.startswith((b"*.", b"*@")):
            return len(own) >= len(pattern) and own.endswith(pattern[1:])
        return own == pattern
    return value == wanted
