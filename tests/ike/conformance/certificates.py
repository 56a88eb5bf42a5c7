"""Tables: what is made of certificates and signatures that are not as they should be (D14-D16)."""

from __future__ import annotations

from gateway.ike.iana import NotifyType, PayloadType
from gateway.pki.signatures import SCHEMES, SHA256_ID, Kind, Scheme
from tests.ike.conformance.edits import at, body, cut, flip, grown, last, put, unchanged, without
from tests.ike.conformance.rows import AUTH, GOOD, Case, Outcome, ends, fails, rows
from tests.ike.conformance.script import at_auth
from tests.ike.test_certificates import a, b
from tests.support.authority import AT
from tests.support.pair import IkePair

CERT, CERTREQ = PayloadType.CERT, PayloadType.CERTREQ
RSA = next(blob for blob, one in SCHEMES.items() if one == Scheme(Kind.RSA, SHA256_ID))


def pair() -> IkePair:
    """Return two ends that authenticate by certificates, and know the date."""
    found = IkePair(a(), b())
    for side in found.sides():
        side.endpoint.set_clock(AT - found.now)
    return found


def signed_by(identifier: bytes, signature: bytes = bytes(256)) -> bytes:
    """Return the body of an AUTH payload of method 14."""
    return b"\x0e\0\0\0" + bytes([len(identifier)]) + identifier + signature


IGNORED: tuple[Case, ...] = (
    ("1.1.11", "nothing is changed", unchanged),
    ("1.1.11", "CERTREQ of an unknown encoding", last(CERTREQ, b"\xc8whatever")),
    ("1.1.11", "CERTREQ of whom we do not know", last(CERTREQ, b"\4" + bytes(200))),
    ("1.1.11", "CERTREQ of three bytes", last(CERTREQ, b"\4ab")),
    ("D16", "a certificate behind it that is none", last(CERT, b"\4garbage")),
    ("D16", "fifty certificates that are none", last(CERT, b"\4garbage", times=50)),
    ("D16", "an encoding that nobody knows", last(CERT, b"\xc8garbage")),
    ("D16", "hash and URL, which we do not fetch", last(CERT, b"\x0c" + bytes(20) + b"http://x/")),
    ("D16", "a CRL that is none", last(CERT, b"\7garbage")),
    ("D16", "an answer of OCSP that is none", last(CERT, b"\x0egarbage")),
)
REFUSED: dict[str, tuple[Case, ...]] = {
    "certificate_missing": (
        ("1.1.11", "no certificate", without(CERT)),
        ("D16", "hash and URL in its place", at(CERT, 0, b"\x0c")),
        ("D16", "a PKCS #7 in its place", at(CERT, 0, b"\1")),
    ),
    "certificate_invalid": (
        ("D16", "certificate that is none", put(CERT, b"\4garbage")),
        ("D16", "certificate of no bytes", put(CERT, b"\4")),
        ("D16", "certificate one byte short", cut(CERT, 1)),
        ("D16", "certificate with a byte behind it", grown(CERT, b"x")),
    ),
    "certificate_untrusted": (
        ("D16", "certificate with a mangled signature", flip(CERT, -1)),
        ("D16", "certificate of another serial number", flip(CERT, 20)),
    ),
    "authentication_failed": (
        ("1.1.11", "wrong signature", flip(AUTH, -1)),
        ("D14", "signature one byte short", cut(AUTH, 1)),
        ("D14", "signature with a byte behind it", grown(AUTH, b"x")),
        ("D14", "signature of one byte", body(AUTH, lambda old: old[: 5 + old[4]] + b"x")),
        ("D14", "signature of zeros", body(AUTH, lambda old: old[: 5 + old[4]] + bytes(70))),
        ("D15", "algorithm of another kind of key", put(AUTH, signed_by(RSA))),
        ("D13", "the older method, with a signature of the newer", at(AUTH, 0, b"\x09")),
    ),
    "auth_method_mismatch": (
        ("D13", "a pre-shared key in its place", at(AUTH, 0, b"\2")),
        ("D13", "NULL authentication in place of a signature", at(AUTH, 0, b"\x0d")),
        ("D13", "method 0 in place of a signature", at(AUTH, 0, b"\0")),
        ("D13", "private method in place of a signature", at(AUTH, 0, b"\xc9")),
        ("D15", "RSA with SHA-1, the old method", at(AUTH, 0, b"\1")),
        ("D15", "algorithm of no bytes", put(AUTH, signed_by(b""))),
        ("D15", "algorithm that nobody knows", put(AUTH, signed_by(b"\x30\x03\x06\x01\x2a"))),
        ("D15", "algorithm whose length lies", put(AUTH, signed_by(b"\x30\x7f\x06\x01\x2a"))),
    ),
}
BAD_SYNTAX: tuple[Case, ...] = (
    ("D13", "signature of no bytes", put(AUTH, b"\x0e\0\0\0")),
    ("D15", "algorithm longer than the rest", put(AUTH, b"\x0e\0\0\0\xff\x30")),
    ("D15", "algorithm and no signature", put(AUTH, signed_by(b"\x30\x03\x06\x01\x2a", b""))),
)


def refused(code: str) -> Outcome:
    return ends(NotifyType.AUTHENTICATION_FAILED, code)


REQUESTS = (
    *rows(at_auth, GOOD, *IGNORED, pair=pair),
    *(
        row
        for code, some in REFUSED.items()
        for row in rows(at_auth, refused(code), *some, pair=pair)
    ),
    *rows(at_auth, ends(NotifyType.INVALID_SYNTAX), *BAD_SYNTAX, pair=pair),
)
RESPONSES = (
    *rows(at_auth, GOOD, *IGNORED, pair=pair),
    *(
        row
        for code, some in REFUSED.items()
        for row in rows(at_auth, fails(code, is_up=False), *some, pair=pair)
    ),
    *rows(at_auth, fails("invalid_syntax", is_up=False), *BAD_SYNTAX, pair=pair),
)
