"""
Certificates and raw keys against strongSwan: every kind of key, chains, revocation, refusals.

The CA is our own; its CRLs are served by HTTP beside the peer. One pair of daemons serves all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.pki import issue
from lab.commands import LabError, wait_for
from lab.swan_certificates import Certificates
from lab.twinspan import Value
from tests.system.certified import (
    OURS,
    PEER,
    ROOT,
    authority,
    made,
    ours,
    serve,
    settings_of,
    swan_of,
)
from tests.system.support import FIRST, SECOND, Ends, reach_each_other, wait_reason, wait_status

pytestmark = pytest.mark.system

PORT = 8089

KINDS = [
    ("ecdsa", "pubkey", "ECDSA with SHA2-256"),
    ("ecdsa384", "pubkey", "ECDSA with SHA2-384"),
    ("ecdsa521", "pubkey", "ECDSA with SHA2-512"),
    ("ed25519", "pubkey", "Ed25519"),
    ("rsa", "pubkey", "RSA with SHA2-256"),
    ("rsa", "rsa-sha512", "RSA with SHA2-512"),
    ("rsa", "rsa/pss-sha512", "RSA-PSS with SHA2-512"),
]


@pytest.mark.parametrize(("kind", "auth", "method"), KINDS, ids=[f"{k}-{a}" for k, a, _ in KINDS])
def test_every_kind_of_key_from_either_end(ends: Ends, kind: str, auth: str, method: str) -> None:
    own, peer = ours(kind), made(PEER, kind)
    for start in ("respond", "initiate"):
        settings = settings_of(ends, own, start=start, rsa_pss="pss" in auth)
        ends.agree([swan_of(ends, peer, auth)], settings)
        if start == "respond":
            ends.swan.initiate(FIRST)
        ends.ours.wait_up()
        ike = ends.ours.tunnels()[FIRST].raw["ike"]
        assert isinstance(ike, dict)
        proof = ike["peer_certificate"]
        assert (proof["method"], proof["name"]) == (method, f"CN={PEER}")
    reach_each_other(ends.pair)


def test_chains_of_intermediate_cas_travel_in_fragments(ends: Ends) -> None:
    """Both ends send two certificates between theirs and the root, with large keys."""
    first = authority("First", ROOT, "rsa4096")
    second = authority("Second", first, "rsa4096", days=100)
    above = (second.certificate, first.certificate)
    own, peer = made(OURS, "rsa", second, above), made(PEER, "rsa", second, above)
    ends.agree([swan_of(ends, peer)], settings_of(ends, own, start="initiate"))
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    assert len(peer.pem) > 4000
    assert _listed(ends) == [OURS, "Second", "First", "Root"]
    assert _listed(ends, "--subject", OURS, "--type", "x509") == [OURS]
    assert "has private key" in ends.ours.swanctl("--list-certs", "--flag", "none")


def _listed(ends: Ends, *words: str) -> list[str]:
    """Return the names of the certificates that strongSwan's swanctl lists of our gateway."""
    text = ends.ours.swanctl("--list-certs", *words)
    return re.findall(r'subject:  "CN=(.*)"', text)


def test_raw_public_keys(ends: Ends) -> None:
    own, peer = issue.make_key("ecdsa"), issue.make_key("ecdsa")
    place = ends.ours.directory
    (place / "gw.key").write_text(issue.private_pem(own))
    (place / "peer.pub").write_text(issue.public_pem(peer))
    settings: Mapping[str, Value] = {
        "auth": "raw-key",
        "private_key_file": "gw.key",
        "remote_public_key_file": "peer.pub",
        "local_id": OURS,
        "remote_id": PEER,
    }
    shown = Certificates((), issue.private_pem(peer), (issue.public_pem(own),))
    connection = replace(ends.connection(), local_id=PEER, remote_id=OURS, certificates=shown)
    for start in ("respond", "initiate"):
        ends.agree([connection], {**settings, "start": start})
        if start == "respond":
            ends.swan.initiate(FIRST)
        ends.ours.wait_up()
    reach_each_other(ends.pair)


def test_twins_of_one_certificate_do_not_take_each_other_down(ends: Ends) -> None:
    """
    strongSwan ends all that it has with an identity whose INITIAL_CONTACT comes, also on other
    addresses and of other connections; and both tunnels of ours show one identity.
    """
    first = swan_of(ends, made(PEER), unique="no")  # its default
    second = ends.connection(2)
    second = replace(first, name=second.name, local=second.local, remote=second.remote)
    ends.agree([first, second], settings_of(ends, ours(), start="initiate"), tunnels=2)
    for name in (FIRST, SECOND):
        wait_status(ends.ours, name, "up")
    before = {sa.name: sa.unique_id for sa in ends.swan.sas()}
    ends.swan.terminate(SECOND)  # and ours begins it anew at once
    wait_for("anew", lambda: {sa.name: sa.unique_id for sa in ends.swan.sas()} != before, 10.0)
    wait_status(ends.ours, SECOND, "up")
    after = {sa.name: sa.unique_id for sa in ends.swan.sas()}
    assert after[FIRST] == before[FIRST]
    assert {child.name for child in ends.swan.children()} == {FIRST, SECOND}
    # One of a pair is taken down after the other: that is to be over before the next test.
    ends.agree([first], settings_of(ends, ours(), start="initiate"))
    wait_for("one tunnel", lambda: set(ends.ours.tunnels()) == {FIRST}, 20.0)
    ends.ours.wait_up()


OTHER = authority("Other")
REFUSED = {
    "untrusted": (made(PEER, issuer=OTHER), "certificate_untrusted"),
    "expired": (made(PEER, age=timedelta(days=11)), "certificate_expired"),
    "wrong identity": (made("c.gw.test"), "identity_mismatch"),
    "missing one between": (made(PEER, issuer=authority("Between", ROOT)), "certificate_untrusted"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_a_refusal_has_its_code_and_hint(ends: Ends, which: str) -> None:
    peer, code = REFUSED[which]
    # Its identity is what its certificate bears, so that charon shows it.
    name = "c.gw.test" if which == "wrong identity" else PEER
    ends.agree([swan_of(ends, peer, local_id=name)], settings_of(ends, ours(), start="respond"))
    with pytest.raises(LabError):
        ends.swan.initiate(FIRST)
    wait_reason(ends.ours, FIRST, code)
    explained = ends.ours.cli("explain", FIRST, check=False)
    assert code in explained
    assert "hint" in explained or "look" in explained
    assert not ends.swan.children()


# ---- revocation ----


@pytest.fixture(scope="module")
def served(ends: Ends) -> Iterator[Path]:
    """Return a directory that is served by HTTP beside the peer."""
    place = ends.lab.directory / "crl"
    place.mkdir()
    process = serve(ends, place, PORT)
    yield place
    process.stop(5.0)


def test_a_revoked_certificate_is_refused_by_the_crl(ends: Ends, served: Path) -> None:
    url = f"http://{ends.pair.b.public(4)[0]}:{PORT}"
    good, bad = (made(PEER, crl=f"{url}/{name}.crl") for name in ("good", "bad"))
    now = datetime.now(UTC)
    (served / "good.crl").write_bytes(issue.make_crl(ROOT, {}, 1, now, 7))
    revoked = {bad.certificate.x509.serial_number: now}
    (served / "bad.crl").write_bytes(issue.make_crl(ROOT, revoked, 2, now, 7))
    strict = settings_of(
        ends, ours(), start="respond", revocation="strict", revocation_private=True
    )
    ends.agree([swan_of(ends, good)], strict)
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    ends.agree([swan_of(ends, bad)], strict)
    with pytest.raises(LabError):
        ends.swan.initiate(FIRST)
    wait_reason(ends.ours, FIRST, "certificate_revoked")
    # Its server is in a private network: strict does not trust what it may not ask about.
    lost = made(PEER, crl=f"{url}/good.crl")
    ends.agree([swan_of(ends, lost)], {**strict, "revocation_private": False})
    with pytest.raises(LabError):
        ends.swan.initiate(FIRST)
    wait_reason(ends.ours, FIRST, "revocation_unknown")
    assert "has no public address" in ends.ours.log_text()
    ends.agree([swan_of(ends, lost)], {**strict, "start": "initiate", "revocation": "relaxed"})
    ends.ours.wait_up()


def test_strongswan_says_no_and_so_do_we(ends: Ends) -> None:
    """Our certificate is of a CA that the peer does not trust: it tells us no more than that."""
    own = made(OURS, issuer=OTHER)
    ends.agree([swan_of(ends, made(PEER))], settings_of(ends, own, start="initiate"))
    wait_reason(ends.ours, FIRST, "authentication_failed")
    wait_for("charon's log", lambda: "no issuer certificate found" in ends.swan.log_text(), 10.0)
