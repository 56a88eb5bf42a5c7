"""
From a peer's certificate to one that we trust (RFC 5280 section 6), and why there is no way.

Every certificate of `anchors` is trusted as it is: a root, one in between, or the peer's own. Work
is bounded: so many certificates of the peer are looked at, a way has so many steps, and so many
signatures are verified, whatever the peer sends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import constraints, dn
from gateway.pki.certificate import UNDERSTOOD, Certificate, parse_given
from gateway.pki.problem import BadText, NotTrusted

GIVEN_MAX = 12  # certificates of one message
DEPTH_MAX = 7  # certificates on the way, as strongSwan has it
TRIES_MAX = 20  # of a step from one certificate to another that may be its issuer
SKEW_S = 300.0  # by which clocks may differ
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IKE_USES = frozenset(
    {
        x509.ObjectIdentifier(oid)
        for oid in (
            "1.3.6.1.5.5.7.3.17",  # ipsecIKE (RFC 4945 section 5.1.3.12)
            "1.3.6.1.5.5.8.2.2",  # IKE intermediate
            "1.3.6.1.5.5.7.3.5",  # ipsecEndSystem, ipsecTunnel, ipsecUser
            "1.3.6.1.5.5.7.3.6",
            "1.3.6.1.5.5.7.3.7",
        )
    }
    | {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
)


@dataclass(slots=True)
class _Search:
    anchors: tuple[Certificate, ...]
    others: tuple[Certificate, ...]
    at: float
    allow_legacy: bool
    tries: int = 0
    problem: NotTrusted | None = None  # of the way that went furthest
    reached: int = 0


def find_way(
    given: Sequence[bytes],
    anchors: tuple[Certificate, ...],
    at: float,
    *,
    allow_legacy: bool = False,
) -> tuple[Certificate, ...]:
    """
    Return the way from the first of `given` to one of `anchors`, both included.

    `at` is in seconds since 1970. Raises NotTrusted.
    """
    peer = _read_peer(given)
    others = tuple(one for one in (_maybe(blob) for blob in given[1:GIVEN_MAX]) if one is not None)
    search = _Search(anchors, others, at, allow_legacy)
    way = _extend(search, (peer,))
    if way is None:
        raise search.problem or _untrusted(peer, anchors)
    _check_end(peer)
    constraints.check(way)
    return way


def _read_peer(given: Sequence[bytes]) -> Certificate:
    if not given:
        raise NotTrusted(
            "certificate_missing",
            "the peer has sent no certificate",
            hint="make the peer send its certificate always (strongSwan: send_cert = always)",
        )
    try:
        return parse_given(given[0])
    except BadText as error:
        raise invalid(f"the peer's certificate {error}", "") from None


def _maybe(blob: bytes) -> Certificate | None:
    try:
        return parse_given(blob)
    except BadText:
        return None


def invalid(text: str, theirs: str) -> NotTrusted:
    """Return what is raised for a certificate that does not serve its purpose."""
    return NotTrusted(
        "certificate_invalid", text, "", theirs, "the peer needs a certificate that is made for IKE"
    )


def _untrusted(last: Certificate, anchors: tuple[Certificate, ...]) -> NotTrusted:
    return NotTrusted(
        "certificate_untrusted",
        f"the peer's certificate {last.name} is of an issuer that is not trusted",
        ", ".join(one.name for one in anchors[:4]),
        dn.text_of(last.issuer),
        "give ca the certificate of that issuer, or have the peer send the ones in between",
    )


def _extend(search: _Search, way: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
    """Return `way` as far as an anchor; None if it leads nowhere, and `problem` says why."""
    last = way[-1]
    problem = _flaw(search, last, len(way) - 1)
    if problem is not None:
        _note(search, problem, len(way))
        return None
    if last in search.anchors:
        return way
    if len(way) == DEPTH_MAX:
        problem = invalid(f"the peer's chain has more than {DEPTH_MAX} certificates", last.name)
        _note(search, problem, len(way))
        return None
    for issuer in (*search.anchors, *search.others):
        if issuer in way or issuer.subject != last.issuer:
            continue
        weakness = issuer.key.weakness(search.allow_legacy)
        if weakness:  # also too large: a stranger's signature must not take long
            text = f"the certificate {issuer.name} has {weakness}"
            _note(search, invalid(text, issuer.name), len(way))
            continue
        search.tries += 1
        if search.tries > TRIES_MAX:
            return None
        if last.is_issued_by(issuer):
            found = _extend(search, (*way, issuer))
            if found is not None:
                return found
    _note(search, _untrusted(last, search.anchors), len(way))
    return None


def _note(search: _Search, problem: NotTrusted, reached: int) -> None:
    if reached > search.reached:
        search.problem, search.reached = problem, reached


def _flaw(search: _Search, one: Certificate, below: int) -> NotTrusted | None:
    """Return what is wrong with a certificate that has `below` others of the way under it."""
    problem = out_of_date(one, search.at)
    if problem is not None:
        return problem
    weakness = one.key.weakness(search.allow_legacy)
    if weakness:
        return invalid(f"the certificate {one.name} has {weakness}", one.name)
    is_anchor = one in search.anchors
    if one.has_sha1 and not is_anchor and not search.allow_legacy:
        hint = "have it issued anew with SHA-2, or set allow_legacy = true"
        text = f"the certificate {one.name} is signed over SHA-1"
        return NotTrusted("certificate_invalid", text, "", one.name, hint)
    unknown = [ext.oid for ext in one.extensions if ext.critical and ext.oid not in UNDERSTOOD]
    if unknown:
        oid = unknown[0].dotted_string
        return invalid(f"the certificate {one.name} has an unknown critical extension {oid}", oid)
    return _flaw_as_issuer(one, below) if below else None


def out_of_date(one: Certificate, at: float) -> NotTrusted | None:
    """Return that a certificate has ended, or is not valid yet, at a time in seconds since 1970."""
    if at > one.ends_at:
        code, text, when = "certificate_expired", "has ended on", one.x509.not_valid_after_utc
        hint = "renew the certificate; if it looks right, compare the clocks of both ends"
    elif at < one.starts_at - SKEW_S:
        code, when = "certificate_not_yet_valid", one.x509.not_valid_before_utc
        text, hint = "is valid only from", "compare the clocks of both ends"
    else:
        return None
    text = f"the certificate {one.name} {text} {_time_text(when)}"
    return NotTrusted(code, text, f"clock {_time_text(_utc(at))}", one.name, hint)


def _time_text(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


def _utc(at: float) -> datetime:
    return _EPOCH + timedelta(seconds=at)


def _flaw_as_issuer(one: Certificate, below: int) -> NotTrusted | None:
    if not one.is_ca:
        return invalid(f"the certificate {one.name} may not issue others", one.name)
    basic = one.extension(x509.BasicConstraints)
    # The peer's own certificate does not count (RFC 5280 section 4.2.1.9).
    if basic is not None and basic.path_length is not None and below - 1 > basic.path_length:
        return invalid(f"the chain under {one.name} is longer than it allows", one.name)
    return None


def _check_end(peer: Certificate) -> None:
    """Judge whether the peer's certificate may be used for IKE (RFC 4945 section 5.1.3)."""
    usage = peer.extension(x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise invalid(f"the certificate {peer.name} is not for signatures", peer.name)
    uses = peer.extension(x509.ExtendedKeyUsage)
    if uses is not None and not _IKE_USES.intersection(uses):
        raise invalid(f"the certificate {peer.name} is for other uses than IKE", peer.name)
