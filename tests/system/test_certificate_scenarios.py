"""
strongSwan's scenarios with certificates that are more than a kind of key: what is wrong with one,
who says that it is revoked, how identities are matched, and who is not let in again.

OCSP is answered by OpenSSL's own responder, which stands beside the peer, as do the CRLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.pki import issue
from gateway.pki.issue import Wish
from lab import sites
from lab.commands import LabError, Process, wait_for
from tests.support.authority import Entity, build, key, name_of
from tests.support.authority import Wish as Any
from tests.system.certified import (
    OURS,
    PEER,
    ROOT,
    Made,
    authority,
    made,
    ours,
    serve,
    settings_of,
    swan_of,
)
from tests.system.support import FIRST, SECOND, Ends, reach_each_other, wait_reason

pytestmark = pytest.mark.system

# It would not load a certificate of its own that it must not take from others.
CHARON = ("make_before_break = yes", "x509 {\n    enforce_critical = no\n  }")
NOW = datetime.now(UTC)
HTTP, OCSP, OTHER_OCSP, NOBODY = 8091, 8092, 8093, 8094
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.36906.1"), b"\x05\x00")


@pytest.fixture
def rested(ends: Ends) -> None:
    """
    Let our gateway forget whom it has refused: of one address it holds ten half-open IKE SAs, 30 s
    each, and then lets none in.
    """
    ends.ours.stop()
    ends.ours.start()


# ---- what is wrong with a certificate ----

TOP = Entity(ROOT.key.loaded, ROOT.certificate)


def wish(subject: str = PEER, **changes: object) -> Any:
    found = Any(subject, (subject,), NOW - timedelta(days=1), NOW + timedelta(days=100))
    return replace(found, **changes)  # type: ignore[arg-type]  # named by the test


def ca(subject: str, **changes: object) -> Any:
    return wish(subject, others=(), is_ca=True, key_usage=None, **changes)


def of(one: Entity) -> Made:
    return Made(one.certificate, one.private, one.above)


def too_deep() -> Made:
    """Return a certificate with two CAs above it, of which the upper one allows none below it."""
    upper = TOP.issue(ca("Upper", path_length=0), key("ecdsa", 11))
    lower = upper.issue(ca("Lower"), key("ecdsa", 12))
    return of(lower.issue(wish(), key("ecdsa", 13)))


def looped() -> Made:
    """Return a certificate whose CAs have issued each other."""
    one, other = key("ecdsa", 14), key("ecdsa", 15)
    first = build(ca("One"), one, name_of("Other"), other)
    second = build(ca("Other"), other, name_of("One"), one)
    leaf = Entity(one, first, (second,)).issue(wish(), key("ecdsa", 16))
    return replace(of(leaf), above=(first, second))


WRONG = {
    "critical-extension": (
        of(TOP.issue(wish(extra=((UNKNOWN, True),)), key("ecdsa", 10))),
        "certificate_invalid",
    ),
    "multi-ca-pathlen": (too_deep(), "certificate_invalid"),
    "multi-ca-loop": (looped(), "certificate_untrusted"),
}


@pytest.mark.parametrize("which", WRONG)
def test_a_certificate_that_breaks_a_rule_is_refused(ends: Ends, which: str) -> None:
    """ikev2/critical-extension, ikev2-multi-ca/pathlen, ikev2-multi-ca/loop."""
    peer, code = WRONG[which]
    refused(ends, peer, code)


def refused(ends: Ends, peer: Made, code: str, **settings: object) -> None:
    """Check that charon does not get in, and why."""
    told = settings_of(ends, ours(), start="respond", **settings)  # type: ignore[arg-type]
    ends.agree([swan_of(ends, peer)], told)
    with pytest.raises(LabError):
        ends.swan.initiate(FIRST)
    wait_reason(ends.ours, FIRST, code)
    assert not ends.swan.children()


def let_in(ends: Ends, peer: Made, **settings: object) -> None:
    """Check that charon gets in."""
    told = settings_of(ends, ours(), start="respond", **settings)  # type: ignore[arg-type]
    ends.agree([swan_of(ends, peer)], told)
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()


# ---- revocation ----


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the peer: a folder that is served, and responders of OCSP."""

    ends: Ends
    place: Path
    running: list[Process]

    def url(self, port: int, name: str = "") -> str:
        return f"http://{self.ends.pair.b.public(4)[0]}:{port}/{name}"

    def respond(self, port: int, signer: Made, good: Sequence[Made], bad: Sequence[Made]) -> None:
        """Have OpenSSL answer for these certificates, and for no others."""
        stem = self.place / f"ocsp-{port}"
        lines = [f"V\t{_day(one)}\t\t{_hex(one)}\tunknown\t/CN={one.serial}" for one in good]
        lines += [
            f"R\t{_day(one)}\t{_at(NOW)}\t{_hex(one)}\tunknown\t/CN={one.serial}" for one in bad
        ]
        stem.with_suffix(".index").write_text("\n".join(lines) + "\n")
        stem.with_suffix(".pem").write_text(signer.pem)
        stem.with_suffix(".key").write_text(issue.private_pem(signer.key))
        (self.place / "root.pem").write_text(issue.certificate_pem(ROOT.certificate))
        words = ("-port", str(port), "-index", f"{stem}.index", "-CA", f"{self.place}/root.pem")
        signing = ("-rsigner", f"{stem}.pem", "-rkey", f"{stem}.key", "-ndays", "1")
        gateway = self.ends.pair.b.gateway
        process = gateway.start(f"ocsp-{port}", "openssl", "ocsp", *words, *signing)
        self.running.append(process)
        wait_for("the responder", lambda: "waiting" in process.tail(), 10.0)


def _at(when: datetime) -> str:
    return f"{when:%y%m%d%H%M%SZ}"


def _day(one: Made) -> str:
    return _at(one.certificate.x509.not_valid_after_utc)


def _hex(one: Made) -> str:
    """Return a serial number as OpenSSL's index has it: whole bytes."""
    text = f"{one.serial:X}"
    return "0" * (len(text) % 2) + text


@pytest.fixture(scope="module")
def beside(ends: Ends) -> Iterator[Beside]:
    place = ends.lab.directory / "beside"
    place.mkdir()
    found = Beside(ends, place, [serve(ends, place, HTTP)])
    yield found
    for process in found.running:
        process.stop(5.0)


def signer(by: Entity, *uses: x509.ObjectIdentifier) -> Made:
    return of(by.issue(wish("OCSP", others=(), uses=uses), key("ecdsa", 17)))


@pytest.mark.usefixtures("rested")
def test_a_responder_of_ocsp_says_who_is_revoked(ends: Ends, beside: Beside) -> None:
    """ikev2/ocsp-signer-cert, ocsp-revoked; what it does not know is no better than no answer."""
    good, bad, unknown = (made(PEER, ocsp=beside.url(OCSP)) for _ in range(3))
    beside.respond(OCSP, signer(TOP, ExtendedKeyUsageOID.OCSP_SIGNING), [good], [bad])
    strict = {"revocation": "strict", "revocation_private": True}
    let_in(ends, good, **strict)
    reach_each_other(ends.pair)
    refused(ends, bad, "certificate_revoked", **strict)
    refused(ends, bad, "certificate_revoked", **{**strict, "revocation": "relaxed"})
    refused(ends, unknown, "revocation_unknown", **strict)


@pytest.mark.usefixtures("rested")
def test_a_responder_that_is_none_says_nothing(ends: Ends, beside: Beside) -> None:
    """ikev2/ocsp-no-signer-cert, ocsp-untrusted-cert, ocsp-timeouts-good, -unknown."""
    strict = {"revocation": "strict", "revocation_private": True}
    # Of the same CA, but not for this; and one that may, of a CA that nobody trusts.
    wrong, other = signer(TOP), Entity(key("ecdsa", 18), authority("Other").certificate)
    peers = [made(PEER, ocsp=beside.url(port)) for port in (OCSP + 10, OTHER_OCSP, NOBODY)]
    beside.respond(OCSP + 10, wrong, peers, [])
    beside.respond(OTHER_OCSP, signer(other, ExtendedKeyUsageOID.OCSP_SIGNING), peers, [])
    for peer in peers:
        refused(ends, peer, "revocation_unknown", **strict)
    let_in(ends, peers[2], **{**strict, "revocation": "relaxed"})


def test_an_intermediate_ca_that_is_revoked_takes_its_certificates_along(
    ends: Ends, beside: Beside
) -> None:
    """ikev2-multi-ca/revoked."""
    between = TOP.issue(ca("Between", crl=beside.url(HTTP, "between.crl")), key("ecdsa", 19))
    peer = of(between.issue(wish(), key("ecdsa", 20)))
    serial = between.certificate.x509.serial_number
    crl = issue.make_crl(ROOT, {serial: NOW}, 3, datetime.now(UTC), 7)
    (beside.place / "between.crl").write_bytes(crl)
    refused(ends, peer, "certificate_revoked", revocation_private=True)


# ---- identities ----


@pytest.mark.usefixtures("rested")
def test_a_name_with_a_star_chooses_who_may_come(ends: Ends) -> None:
    """ikev2/wildcards."""
    peer = of(TOP.issue(wish(), key("ecdsa", 21)))
    name = f"O=Example, CN={PEER}"
    for pattern, code in (("O=Example, CN=*", ""), ("O=Elsewhere, CN=*", "identity_mismatch")):
        told = settings_of(ends, ours(), start="respond", remote_id=pattern)
        ends.agree([swan_of(ends, peer, local_id=name)], told)
        if code:
            with pytest.raises(LabError):
                ends.swan.initiate(FIRST)
            wait_reason(ends.ours, FIRST, code)
        else:
            ends.swan.initiate(FIRST)
            ends.ours.wait_up()


def test_another_certificate_of_the_same_name_is_at_hand(ends: Ends) -> None:
    """ikev2/two-certs: the one that the peer shows counts, not an old one that we still have."""
    own = issue.make_key("ecdsa")
    old = issue.issue(Wish(PEER, 10, (PEER,)), own, None, NOW)
    told = settings_of(ends, ours(), (old, ROOT.certificate), start="respond")
    ends.agree([swan_of(ends, made(PEER))], told)
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)


def test_a_peer_that_does_not_say_whom_it_expects(ends: Ends) -> None:
    """ikev2/rw-psk-no-idr: no IDr in IKE_AUTH."""
    ends.agree([replace(ends.connection(), remote_id="%any")], {"start": "respond"})
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)


def test_pre_shared_keys_and_certificates_beside_each_other(ends: Ends) -> None:
    """ikev2/rw-psk-rsa-mixed: each tunnel has its own, from whichever end it is begun."""
    for start in ("respond", "initiate"):
        told = settings_of(ends, ours("rsa"), start=start)
        by_key = replace(ends.connection(2), local_id=PEER, remote_id=OURS)
        ends.agree([swan_of(ends, made(PEER, "rsa")), by_key], told, tunnels=2)
        document = ends.ours.document
        (connection,) = document.connections
        first, second = connection.tunnels
        second = replace(second, settings={**second.settings, "auth": "psk"})
        mixed = replace(connection, tunnels=[first, second])
        ends.ours.write(replace(document, connections=[mixed]))
        ends.ours.cli("reload")
        if start == "respond":
            for name in (FIRST, SECOND):
                ends.swan.initiate(name)
        ends.ours.wait_up(FIRST, SECOND)
        reach_each_other(ends.pair)
        # With a twin to drain to, tunnels end some time after they are told to.
        ends.agree([], {"admin": "down"})
        wait_for("the end of both", lambda: not ends.swan.sas(), 15.0)


def test_how_we_are_to_sign_is_what_the_peer_checks(ends: Ends) -> None:
    """ikev2/rw-sig-auth: charon wants one scheme of us, and refuses another."""
    peer = made(PEER, "rsa")
    for is_pss in (True, False):
        told = settings_of(ends, ours("rsa"), start="initiate", rsa_pss=is_pss)
        ends.agree([swan_of(ends, peer, wanted="ike:rsa/pss-sha256")], told)
        if is_pss:
            ends.ours.wait_up()
        else:
            wait_reason(ends.ours, FIRST, "authentication_failed")


def test_certificates_that_end_after_2038_and_2050(ends: Ends) -> None:
    """ikev2/after-2038-certs: from 2050 on a date is written otherwise."""
    far = authority("Far", days=365 * 50)
    own, peer = (made(name, issuer=far, days=365 * 40) for name in (OURS, PEER))
    assert own.certificate.x509.not_valid_after_utc.year > 2050
    told = settings_of(ends, own, (far.certificate,), start="initiate")
    connection = swan_of(ends, peer)
    assert connection.certificates is not None
    trusted = (issue.certificate_pem(far.certificate),)
    shown = replace(connection.certificates, trusted=trusted)
    ends.agree([replace(connection, certificates=shown)], told)
    ends.ours.wait_up()
    reach_each_other(ends.pair)


# ---- over again ----


@pytest.mark.usefixtures("rested")
def test_who_is_revoked_meanwhile_does_not_get_in_again(ends: Ends, beside: Beside) -> None:
    """ikev2/reauth-mbb-revoked: the new IKE SA is refused, and the old one ends with it."""
    peer = made(PEER, ocsp=beside.url(OCSP + 20))
    beside.respond(OCSP + 20, signer(TOP, ExtendedKeyUsageOID.OCSP_SIGNING), [], [peer])
    connection = swan_of(ends, peer, more={"reauth_time": "4s", "rand_time": "0"})
    told = settings_of(ends, ours(), start="respond", revocation="off", revocation_private=True)
    ends.agree([connection], told)
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    strict = settings_of(
        ends, ours(), start="respond", revocation="strict", revocation_private=True
    )
    ends.ours.write(sites.document(ends.pair.a, ends.pair.b, ends.keys, settings=strict, tunnels=1))
    ends.ours.cli("reload")
    assert ends.ours.tunnels()[FIRST].is_up
    wait_reason(ends.ours, FIRST, "certificate_revoked", 30.0)
    assert not ends.swan.children()
