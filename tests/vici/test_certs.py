"""list-certs of VICI: what of a document's certificates and keys is listed, and which is meant."""

from __future__ import annotations

from dataclasses import replace

from gateway.ike.config import Identity
from gateway.node.plan import TunnelPlan, plan
from gateway.pki.credentials import Credentials
from gateway.pki.keys import PublicKey
from gateway.vici.certs import listed
from gateway.vici.wire import Section
from tests.support.authority import Wish, authority, key
from tests.support.documents import document

ROOT = authority()
BETWEEN = ROOT.intermediate(1)
OWN = BETWEEN.issue(Wish("a.gw.test", ("a.gw.test",)), key("ecdsa", 1))
PROOF = Credentials(OWN.private, OWN.chain, (ROOT.certificate,))


def plans(credentials: Credentials | None) -> list[TunnelPlan]:
    ours, theirs = Identity.parse("a.gw.test"), Identity.parse("b.gw.test")
    found = []
    for one in plan(document()).tunnels:
        ike = replace(one.ike, credentials=credentials, local_id=ours, remote_id=theirs)
        found.append(replace(one, ike=ike))
    return found


def meant(credentials: Credentials | None, **request: str) -> list[Section]:
    return [one.section for one in listed(plans(credentials)) if one.is_meant(request)]


def der(section: Section) -> bytes:
    return str(section["data"]).encode("utf-8", "surrogateescape")


def test_a_chain_and_what_we_trust_are_listed_once() -> None:
    found = meant(PROOF)
    assert [der(one) for one in found] == [
        one.der for one in (OWN.certificate, BETWEEN.certificate, ROOT.certificate)
    ]
    assert [one["flag"] for one in found] == ["NONE", "CA", "CA"]
    assert [one.get("has_privkey") for one in found] == ["yes", None, None]


def test_a_raw_key_is_listed_under_its_identity() -> None:
    peer = PublicKey.of(key("ecdsa", 2).public_key())
    found = meant(Credentials(OWN.private, peer_keys=(peer,)))
    assert [(one["type"], one["subject"], one.get("has_privkey")) for one in found] == [
        ("PUBKEY", "a.gw.test", "yes"),
        ("PUBKEY", "b.gw.test", None),
    ]
    assert der(found[1]) == peer.spki


def test_type_flag_and_subject_select() -> None:
    assert len(meant(PROOF, type="x509", flag="any")) == 3
    assert len(meant(PROOF, flag="ca")) == 2
    assert meant(PROOF, type="pubkey") == meant(PROOF, flag="OCSP") == []
    assert [der(one) for one in meant(PROOF, subject="a.gw.test")] == [OWN.certificate.der]
    assert [der(one) for one in meant(PROOF, subject="O=Example, CN=Root")] == [
        ROOT.certificate.der
    ]
    assert meant(PROOF, subject="b.gw.test") == meant(PROOF, subject="=") == []


def test_pre_shared_keys_are_no_certificates() -> None:
    assert meant(None) == []
