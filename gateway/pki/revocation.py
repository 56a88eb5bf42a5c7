"""
Whether a certificate has been revoked: by OCSP (RFC 6960), else by a CRL (RFC 5280 section 5).

Both are fetched elsewhere. `judge` says from what is known, and names what it would have to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from gateway.pki.certificate import MALFORMED, Certificate, crl_urls, ocsp_urls, parse_given
from gateway.pki.kept import Kept
from gateway.pki.problem import BadText, NotTrusted
from gateway.pki.question import Mode, Question

URLS_MAX = 2  # of each kind that are asked for one certificate
URL_CHARACTERS_MAX = 512
SKEW_S = 300.0
CRLS_KEPT = 16  # that were verified: a long one takes tens of milliseconds
CRL_BYTES_KEPT = 16 * 2**20  # of all of these; one that is fetched has 4 MiB at most
OCSP_LIFE_S = 86400.0  # of an answer that does not say when the next one comes


class State(Enum):
    """What an answer says of a certificate."""

    GOOD = auto()
    REVOKED = auto()
    NOTHING = auto()  # no answer, or none that counts


# What is known: the answer, None where there was none, KeyError where it was not asked for.
Known = Callable[[Question], bytes | None]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a peer's chain is judged. `held` are CRLs and OCSP answers that came another way."""

    mode: Mode
    at: float  # seconds since 1970
    is_private_allowed: bool = False
    held: tuple[bytes, ...] = ()


def judge(way: tuple[Certificate, ...], policy: Policy, known: Known) -> tuple[Question, ...]:
    """
    Return what has to be asked first; nothing if the chain is good enough. Raises NotTrusted.

    The last of `way` is trusted as it is.
    """
    if policy.mode is Mode.OFF:
        return ()
    open_questions: list[Question] = []
    for one, issuer in pairwise(way):
        state, missing = _state(one, issuer, policy, known)
        if state is State.REVOKED:
            raise _revoked(one)
        if state is State.NOTHING and missing:
            open_questions += missing
        elif state is State.NOTHING and policy.mode is Mode.STRICT:
            raise _unknown(one)
    return tuple(open_questions)


def _revoked(one: Certificate) -> NotTrusted:
    return NotTrusted(
        "certificate_revoked",
        f"the certificate {one.name} has been revoked",
        "",
        f"{one.name}, serial number {one.x509.serial_number:x}",
        "the peer needs a new certificate",
    )


def _unknown(one: Certificate) -> NotTrusted:
    urls = ", ".join((*ocsp_urls(one), *crl_urls(one)))
    remedy = "can this gateway reach that server by HTTP?" if urls else _NO_SERVER
    return NotTrusted(
        "revocation_unknown",
        f"whether the certificate {one.name} has been revoked can not be found out",
        'revocation = "strict"',
        urls or "it names no OCSP server and no CRL",
        f'{remedy} revocation = "relaxed" does without an answer',
    )


_NO_SERVER = "have it issued with the address of a CRL or of an OCSP server;"


def questions_of(one: Certificate, issuer: Certificate, policy: Policy) -> tuple[Question, ...]:
    """Return what can be asked about a certificate, best first."""
    private = policy.is_private_allowed
    asked = [url for url in ocsp_urls(one) if _is_usable(url)][:URLS_MAX]
    lists = [url for url in crl_urls(one) if _is_usable(url)][:URLS_MAX]
    body = _ocsp_request(one, issuer) if asked else b""
    return (
        *(Question(url, body, private) for url in asked if body),
        *(Question(url, b"", private) for url in lists),
    )


def _is_usable(url: str) -> bool:
    """Return whether it is plain HTTP: what it carries is signed, and TLS would need this first."""
    is_clean = url.isascii() and url.isprintable() and " " not in url
    return url.lower().startswith("http://") and len(url) <= URL_CHARACTERS_MAX and is_clean


def _ocsp_request(one: Certificate, issuer: Certificate) -> bytes:
    builder = ocsp.OCSPRequestBuilder()
    try:
        # By this hash responders keep their answers ready (RFC 5019 section 2.1.1).
        built = builder.add_certificate(one.x509, issuer.x509, SHA1()).build()  # noqa: S303
    except MALFORMED:
        return b""
    return built.public_bytes(Encoding.DER)


def _state(
    one: Certificate, issuer: Certificate, policy: Policy, known: Known
) -> tuple[State, list[Question]]:
    """
    Return what is known of a certificate; if nothing is, what to ask.

    Whoever says that it has been revoked is right: an older answer that it was good, which the peer
    itself may have sent, stays valid for days.
    """
    missing: list[Question] = []
    found = {read_any(blob, one, issuer, policy.at) for blob in policy.held}
    for question in questions_of(one, issuer, policy):
        try:
            answer = known(question)
        except KeyError:
            missing.append(question)
            continue
        read = _read_ocsp if question.body else _read_fetched_crl
        found.add(read(answer, one, issuer, policy.at) if answer else State.NOTHING)
    for state in (State.REVOKED, State.GOOD):
        if state in found:
            return state, []
    return State.NOTHING, missing


def read_any(blob: bytes, one: Certificate, issuer: Certificate, at: float) -> State:
    """Return what a CRL or an answer of OCSP, whichever it is, says of a certificate."""
    state = _read_crl(blob, one, issuer, at)
    return state if state is not State.NOTHING else _read_ocsp(blob, one, issuer, at)


# ---- CRL ----


def _read_crl(blob: bytes, one: Certificate, issuer: Certificate, at: float) -> State:
    return _listed(lambda: _load(blob, issuer), one, at)


def _read_fetched_crl(blob: bytes, one: Certificate, issuer: Certificate, at: float) -> State:
    """Return the same for a list that was fetched: it may be long, and many peers ask for it."""
    return _listed(lambda: _load_once(blob, issuer), one, at)


def _listed(
    load: Callable[[], x509.CertificateRevocationList | None], one: Certificate, at: float
) -> State:
    try:
        found = load()
        if found is None or not _is_now(found.last_update_utc, found.next_update_utc, at):
            return State.NOTHING
        entry = found.get_revoked_certificate_by_serial_number(one.x509.serial_number)
    except MALFORMED:
        return State.NOTHING
    if entry is None:
        return State.GOOD
    return State.NOTHING if _is_taken_back(entry) else State.REVOKED


def _load(blob: bytes, issuer: Certificate) -> x509.CertificateRevocationList | None:
    """Return a CRL, None if it is not the issuer's or can not be concluded from."""
    found = x509.load_der_x509_crl(blob)
    is_by_issuer = found.issuer.public_bytes() == issuer.subject
    return found if is_by_issuer and _counts(found, issuer) else None


_load_once = Kept(_load, CRLS_KEPT, CRL_BYTES_KEPT)


def _counts(found: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    """Return whether a CRL is whole and signed by the issuer."""
    usage = issuer.extension(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        return False
    # Of parts of a list (deltas, lists for some certificates) nothing can be concluded.
    if any(
        ext.critical and ext.oid != ExtensionOID.AUTHORITY_KEY_IDENTIFIER
        for ext in found.extensions
    ):
        return False
    digest = found.signature_hash_algorithm
    is_weak = digest is not None and digest.name in ("md5", "sha1")
    return not is_weak and found.is_signature_valid(issuer.key.loaded)


def _is_taken_back(entry: x509.RevokedCertificate) -> bool:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return False
    return reason is x509.ReasonFlags.remove_from_crl


def _is_now(since: datetime, until: datetime | None, at: float) -> bool:
    ends_at = until.timestamp() if until is not None else since.timestamp() + OCSP_LIFE_S
    return since.timestamp() - SKEW_S <= at <= ends_at + SKEW_S


# ---- OCSP ----


def _read_ocsp(blob: bytes, one: Certificate, issuer: Certificate, at: float) -> State:
    try:
        found = ocsp.load_der_ocsp_response(blob)
        if found.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return State.NOTHING
        single = _single(found.responses, one, issuer)
        if single is None or not _is_now(single.this_update_utc, single.next_update_utc, at):
            return State.NOTHING
        if not _is_of_responder(found, issuer, at):
            return State.NOTHING
        status = single.certificate_status
    except MALFORMED:
        return State.NOTHING
    if status is ocsp.OCSPCertStatus.REVOKED:
        return State.REVOKED
    return State.GOOD if status is ocsp.OCSPCertStatus.GOOD else State.NOTHING


def _single(
    found: Iterable[ocsp.OCSPSingleResponse], one: Certificate, issuer: Certificate
) -> ocsp.OCSPSingleResponse | None:
    """Return the part that is about a certificate."""
    asked = ocsp.OCSPRequestBuilder()
    for single in found:
        if single.serial_number != one.x509.serial_number:
            continue
        same = asked.add_certificate(one.x509, issuer.x509, single.hash_algorithm).build()
        if (same.issuer_name_hash, same.issuer_key_hash) == (
            single.issuer_name_hash,
            single.issuer_key_hash,
        ):
            return single
    return None


def _is_of_responder(found: ocsp.OCSPResponse, issuer: Certificate, at: float) -> bool:
    """
    Return whether an answer is signed by the issuer, or by whom it has made its responder (RFC 6960
    section 4.2.2.2).
    """
    if _is_signed(found, issuer):
        return True
    for content in found.certificates[:4]:
        try:
            other = parse_given(content.public_bytes(Encoding.DER))
        except BadText:
            continue
        uses = other.extension(x509.ExtendedKeyUsage)
        is_responder = uses is not None and ExtendedKeyUsageOID.OCSP_SIGNING in uses
        is_valid = other.starts_at - SKEW_S <= at <= other.ends_at and not other.has_sha1
        if is_responder and is_valid and other.is_issued_by(issuer) and _is_signed(found, other):
            return True
    return False


def _is_signed(found: ocsp.OCSPResponse, signer: Certificate) -> bool:
    key, digest = signer.key.loaded, found.signature_hash_algorithm
    content, signature = found.tbs_response_bytes, found.signature
    if digest is not None and digest.name in ("md5", "sha1"):
        return False
    try:
        if isinstance(key, rsa.RSAPublicKey) and digest is not None:
            key.verify(signature, content, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and digest is not None:
            key.verify(signature, content, ec.ECDSA(digest))
        elif not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            key.verify(signature, content)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def fresh_until(blob: bytes) -> float | None:
    """Return until when a CRL or an answer of OCSP holds, in seconds since 1970; None: not said."""
    until: datetime | None
    try:
        until = x509.load_der_x509_crl(blob).next_update_utc
    except MALFORMED:
        until = _ocsp_until(blob)
    return until.astimezone(UTC).timestamp() if until is not None else None


def _ocsp_until(blob: bytes) -> datetime | None:
    try:
        singles = list(ocsp.load_der_ocsp_response(blob).responses)
        return min((one.next_update_utc for one in singles if one.next_update_utc), default=None)
    except MALFORMED:
        return None
