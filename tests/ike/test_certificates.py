"""IKE_AUTH by certificates and raw keys: between two endpoints, and every way in which it fails."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.x509 import ocsp

from gateway.ike.config import Identity, Ppk, Start, Timers, TunnelConfig
from gateway.ike.events import Failed, Fetch, IkeSaDown, IkeSaUp
from gateway.ike.exchanges import proof
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.pki.credentials import Credentials
from gateway.pki.keys import PrivateKey
from gateway.pki.question import Mode
from gateway.secret import Secret
from tests.ike.test_reauth import step_b, told
from tests.support.authority import AT, DAY, NOW, RESPONDER, Entity, Wish, authority, key
from tests.support.pair import A_ADDRESS, B_ADDRESS, IkePair, Side, config_a, config_b

ROOT = authority()
CRL, OCSP = "http://ca.test/root.crl", "http://ca.test/ocsp"
KINDS = ("ecdsa", "ecdsa384", "ecdsa521", "ed25519", "rsa", "rsa3072")


def entity(name: str, kind: str = "ecdsa", ca: Entity = ROOT, **changes: object) -> Entity:
    wish = replace(Wish(name, (name,)), **changes)  # type: ignore[arg-type]
    return ca.issue(wish, key(kind, ord(name[0])))


def with_certificate(config: TunnelConfig, own: Entity, **changes: object) -> TunnelConfig:
    fields: dict[str, object] = {"revocation": Mode.OFF}
    names = {one.name for one in dataclasses.fields(Credentials)}
    fields |= {name: changes.pop(name) for name in tuple(changes) if name in names}
    anchors = fields.pop("anchors", (ROOT.certificate,))
    credentials = Credentials(own.private, own.chain, anchors, **fields)  # type: ignore[arg-type]
    return dataclasses.replace(config, psk=None, credentials=credentials, **changes)  # type: ignore[arg-type]


def a(own: Entity | None = None, **changes: object) -> TunnelConfig:
    return with_certificate(config_a(), own or entity("a.gw.test"), **changes)


def b(own: Entity | None = None, **changes: object) -> TunnelConfig:
    return with_certificate(config_b(), own or entity("b.gw.test"), **changes)


def begun(one: TunnelConfig, other: TunnelConfig) -> IkePair:
    """Return a pair that knows the date, and has said all that it has to say."""
    pair = IkePair(one, other)
    for side in pair.sides():
        side.endpoint.set_clock(AT - pair.now)
    pair.start()
    pair.deliver_all()
    return pair


def is_up(pair: IkePair) -> bool:
    return pair.a.state == pair.b.state == "established" and pair.has_traffic()


def answer(side: Side, **bodies: bytes | None) -> list[str]:
    """Answer what a side has asked to be fetched: CRL by `crl`, OCSP by `ocsp`; return the URLs."""
    asked = [event.question for event in side.all(Fetch)]
    side.events = [event for event in side.events if not isinstance(event, Fetch)]
    for question in asked:
        body = bodies.get("ocsp" if question.body else "crl")
        side.take(side.endpoint.fetched(question, body, side.pair.now))
    return [question.url for question in asked]


# ---- what works ----


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_key_authenticates_both_ends(kind: str) -> None:
    pair = begun(a(entity("a.gw.test", kind)), b(entity("b.gw.test", kind)))
    assert is_up(pair), pair.story()
    proof = pair.a.endpoint.tunnel_status("office").peer_proof
    assert proof is not None
    assert proof.name == "O=Example, CN=b.gw.test"
    assert proof.ends_at == (NOW + 300 * DAY).timestamp()
    words = {"rsa": "RSA with SHA2-256", "ed25519": "Ed25519", "ecdsa384": "ECDSA with SHA2-384"}
    assert proof.method == words.get(kind, proof.method)


def test_pss_is_sent_where_it_is_wanted_and_taken_in_any_case() -> None:
    pair = begun(a(entity("a.gw.test", "rsa"), use_pss=True), b())
    assert is_up(pair), pair.story()
    proof = pair.b.endpoint.tunnel_status("office").peer_proof
    assert proof is not None
    assert proof.method == "RSA-PSS with SHA2-256"


def test_a_chain_goes_in_fragments() -> None:
    deep = ROOT.intermediate(1).intermediate(2).intermediate(3)
    pair = begun(a(entity("a.gw.test", ca=deep)), b(entity("b.gw.test", ca=deep)))
    assert is_up(pair), pair.story()
    parts = [one for one in pair.link.seen if one.exchange == ExchangeType.IKE_AUTH]
    assert len(parts) >= 4
    assert max(len(one.datagram) for one in parts) < 1280


def test_certificates_go_with_ml_kem_ppk_and_restart() -> None:
    ike = (parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE),)
    for required in (True, False):
        ppk = Ppk(b"quantum-1", Secret(bytes(32)), required)
        pair = begun(a(ike_proposals=ike, ppk=ppk), b(ike_proposals=ike, ppk=ppk))
        assert is_up(pair), pair.story()
        status = pair.a.endpoint.tunnel_status("office")
        assert status.has_ppk
        assert status.is_post_quantum
        pair.a.restart()
        pair.b.restart()
        assert pair.has_traffic()
        assert pair.a.endpoint.tunnel_status("office").peer_proof == status.peer_proof
    pair = begun(a(ike_proposals=ike, ppk=ppk), b(ike_proposals=ike))
    assert is_up(pair), pair.story()
    assert not pair.a.endpoint.tunnel_status("office").has_ppk


def test_identities_of_every_type_are_found_in_the_certificate() -> None:
    own = entity("b.gw.test", others=("b.gw.test", "ops@gw.test", "198.51.100.1", "2001:db8::1"))
    digest = own.certificate.key_id.hex()
    for text, wanted, fits in (
        ("b.gw.test", "B.gw.test", True),
        ("b.gw.test", "*.gw.test", True),
        ("b.gw.test", "*.other.test", False),
        ("ops@gw.test", "*@gw.test", True),
        ("ops@gw.test", "ops@gw.test", True),
        ("198.51.100.1", "198.51.100.1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("O=Example, CN=b.gw.test", "O=example, CN=*", True),
        ("O=Example, CN=b.gw.test", "CN=b.gw.test", False),
        ("c.gw.test", "any", False),
        ("198.51.100.2", "any", False),
        ("O=Example, CN=c", "any", False),
        (f"keyid:{digest}", "any", False),  # it has no subject key identifier
        ("b.gw.test", "any", True),
    ):
        remote = None if wanted == "any" else Identity.parse(wanted)
        pair = begun(a(remote_id=remote), b(own, local_id=Identity.parse(text)))
        assert is_up(pair) is fits, (text, wanted)
        assert fits or "identity_mismatch" in (*pair.a.codes(), *pair.b.codes()), (text, wanted)


def test_raw_public_keys() -> None:
    keys = {name: PrivateKey(key("ed25519", ord(name))) for name in "abc"}

    def raw(config: TunnelConfig, own: str, peer: str) -> TunnelConfig:
        credentials = Credentials(keys[own], peer_keys=(keys[peer].public,))
        return dataclasses.replace(config, psk=None, credentials=credentials)

    pair = begun(raw(config_a(), "a", "b"), raw(config_b(), "b", "a"))
    assert is_up(pair), pair.story()
    wrong = begun(raw(config_a(), "a", "b"), raw(config_b(), "b", "c"))
    assert wrong.b.codes() == ["certificate_untrusted"]


def test_the_certificate_at_hand_and_nothing_else_is_the_key() -> None:
    """A stolen certificate without its key, and a key of another certificate, are of no use."""
    stolen = replace(entity("b.gw.test"), key=key("ecdsa", 77))
    pair = begun(a(), b(stolen))
    assert pair.a.codes() == ["authentication_failed"]
    assert not pair.a.all(IkeSaUp)


# ---- what does not ----

OTHER = authority("Other", number=98)
REFUSALS = {
    "untrusted": (entity("b.gw.test", ca=OTHER), "certificate_untrusted"),
    "expired": (entity("b.gw.test", ends=NOW - DAY), "certificate_expired"),
    "not yet": (entity("b.gw.test", starts=NOW + DAY), "certificate_not_yet_valid"),
    "weak": (entity("b.gw.test", "rsa1024"), "certificate_invalid"),
    "another name": (entity("c.gw.test"), "identity_mismatch"),
    "missing one between": (
        replace(entity("b.gw.test", ca=ROOT.intermediate(1)), above=()),
        "certificate_untrusted",
    ),
}


def test_who_is_refused_for_a_certificate_of_its_own_that_has_ended_says_so() -> None:
    ended = entity("a.gw.test", ends=NOW - DAY)
    pair = begun(a(ended), b())
    reason = pair.a.all(Failed)[0].reason
    assert (reason.code, reason.ours) == ("authentication_failed", "a.gw.test to b.gw.test")
    assert "a.gw.test has ended on" in reason.hint
    assert "renew it" in reason.hint
    # As the responder, too: it believes the IKE SA up, and is told on it.
    calls = b(local=A_ADDRESS, remote=B_ADDRESS, start=Start.INITIATE)
    pair = begun(calls, c(ended))
    reason = pair.b.all(IkeSaDown)[0].reason
    assert reason.code == "authentication_failed"
    assert "a.gw.test has ended on" in reason.hint


def test_what_has_ended_is_set_beside_our_clock() -> None:
    pair = begun(a(), b(entity("b.gw.test", ends=NOW - DAY)))
    reason = pair.a.all(Failed)[0].reason
    assert reason.ours == f"clock {NOW:%Y-%m-%d %H:%M:%S} UTC"
    pair = begun(a(), b(entity("b.gw.test", starts=NOW + DAY)))
    assert "renew" not in pair.a.all(Failed)[0].reason.hint


def test_a_pre_shared_key_and_a_certificate_do_not_meet() -> None:
    pair = begun(a(), config_b())
    reason = pair.b.all(Failed)[0].reason
    assert (reason.code, reason.ours, reason.theirs) == (
        "auth_method_mismatch",
        "pre-shared key",
        "certificate or raw key",
    )
    assert "want a certificate" in pair.a.all(Failed)[0].reason.hint


@pytest.mark.parametrize("which", REFUSALS)
def test_refusals_have_their_codes_with_us_and_none_with_the_peer(which: str) -> None:
    bad, code = REFUSALS[which]
    # As the initiator judges the responder,
    pair = begun(a(), b(bad))
    assert pair.a.codes() == [code], pair.story()
    assert not pair.a.all(IkeSaUp)
    # and as the responder judges the initiator, who is told that it failed and no more.
    begins = {"local": A_ADDRESS, "remote": B_ADDRESS, "start": Start.INITIATE}
    pair = begun(b(bad, **begins), c())
    assert pair.b.codes() == [code], pair.story()
    assert pair.a.codes() == ["authentication_failed"]
    reason = pair.b.all(Failed)[0].reason
    assert reason.hint
    assert reason.theirs
    assert pair.b.endpoint.inbound_spis == 0


def c(own: Entity | None = None) -> TunnelConfig:
    """Return the configuration of an end that answers b."""
    changes = {"local_id": Identity.parse("a.gw.test"), "remote_id": Identity.parse("b.gw.test")}
    return with_certificate(config_b(**changes), own or entity("a.gw.test"))


def test_the_two_ends_must_authenticate_in_the_same_way() -> None:
    for one, other in ((a(), config_b()), (config_a(), b())):
        pair = begun(one, other)
        assert not pair.a.all(IkeSaUp)
        assert not pair.b.all(IkeSaUp)
        codes = {*pair.a.codes(), *pair.b.codes()}
        assert codes & {"auth_method_mismatch", "authentication_failed"}, pair.story()


def test_a_tunnel_with_certificates_never_takes_a_pre_shared_key() -> None:
    pair = begun(config_a(psk=Secret(b"")), b())
    assert pair.b.codes() == ["auth_method_mismatch"]


# ---- revocation ----


def watched(**changes: object) -> Entity:
    return entity("b.gw.test", **{"crl": CRL, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [Mode.STRICT, Mode.RELAXED])
def test_an_initiator_waits_for_the_crl_of_its_peer(mode: Mode) -> None:
    own = watched()
    pair = begun(a(revocation=mode), b(own))
    assert pair.a.state == "connecting"
    assert not pair.a.all(IkeSaUp)
    assert answer(pair.a, crl=ROOT.crl()) == [CRL]
    assert pair.a.state == "established"
    pair.deliver_all()
    assert is_up(pair), pair.story()


@pytest.mark.parametrize(
    ("mode", "body", "code"),
    [
        (Mode.STRICT, "revoked", "certificate_revoked"),
        (Mode.RELAXED, "revoked", "certificate_revoked"),
        (Mode.STRICT, "old", "revocation_unknown"),
        (Mode.RELAXED, "old", ""),
        (Mode.STRICT, "none", "revocation_unknown"),
        (Mode.RELAXED, "none", ""),
        (Mode.STRICT, "other", "revocation_unknown"),
        (Mode.STRICT, "garbage", "revocation_unknown"),
        (Mode.STRICT, "good", ""),
    ],
)
def test_a_responder_judges_by_what_was_fetched(mode: Mode, body: str, code: str) -> None:
    own = entity("a.gw.test", crl=CRL)
    bodies = {
        "revoked": ROOT.crl(own),
        "old": ROOT.crl(at=NOW - 30 * DAY),
        "none": None,
        "other": OTHER.crl(),
        "garbage": b"\x30\x03abc",
        "good": ROOT.crl(),
    }
    pair = begun(a(own), b(revocation=mode))
    assert not pair.b.all(IkeSaUp)
    assert answer(pair.b, crl=bodies[body]) == [CRL]
    pair.deliver_all()
    assert [*pair.b.codes()] == ([code] if code else [])
    assert is_up(pair) is not bool(code), pair.story()


def test_ocsp_is_asked_first_and_its_answer_suffices() -> None:
    own = watched(ocsp=OCSP)
    pair = begun(a(revocation=Mode.STRICT), b(own))
    assert set(answer(pair.a, ocsp=ROOT.ocsp(own))) == {OCSP, CRL}
    assert pair.a.state == "established"
    revoked = ocsp.OCSPCertStatus.REVOKED
    pair = begun(a(revocation=Mode.STRICT), b(own))
    answer(pair.a, ocsp=ROOT.ocsp(own, revoked), crl=ROOT.crl())
    assert pair.a.codes() == ["certificate_revoked"]
    by = ROOT.issue(RESPONDER, key("ecdsa", 55))
    pair = begun(a(revocation=Mode.STRICT), b(own))
    answer(pair.a, ocsp=ROOT.ocsp(own, by=by))
    assert pair.a.state == "established"
    # A responder that the issuer has not made one counts for nothing.
    for by in (entity("x.gw.test"), OTHER.issue(RESPONDER, key("ecdsa", 56))):
        pair = begun(a(revocation=Mode.STRICT), b(own))
        answer(pair.a, ocsp=ROOT.ocsp(own, by=by))
        assert pair.a.codes() == ["revocation_unknown"]


def test_nothing_is_asked_about_who_is_not_to_be_trusted_anyway() -> None:
    bad = replace(watched(), key=key("ecdsa", 77))
    others = (bad, watched(ca=OTHER), watched(ends=NOW - DAY))
    for own in (*others, replace(entity("c.gw.test", crl=CRL))):
        pair = begun(a(revocation=Mode.STRICT), b(own))
        assert pair.a.codes()
        assert not pair.a.all(Fetch)


def test_a_revoked_intermediate_is_noticed() -> None:
    middle = ROOT.intermediate(1, crl=CRL)
    own = entity("b.gw.test", ca=middle)
    pair = begun(a(revocation=Mode.RELAXED), b(own))
    answer(pair.a, crl=ROOT.crl(middle))
    assert pair.a.codes() == ["certificate_revoked"]


def test_retransmissions_meanwhile_are_dropped_and_the_answer_is_given_once() -> None:
    own = entity("a.gw.test", crl=CRL)
    pair = begun(a(own), b(revocation=Mode.STRICT))
    pair.advance(4.0)
    assert pair.b.drops("replayed") >= 2
    assert len(pair.b.all(Fetch)) == 1
    answer(pair.b, crl=ROOT.crl())
    pair.deliver_all()
    assert is_up(pair), pair.story()
    assert len(pair.b.all(IkeSaUp)) == 1


def test_a_fetch_that_never_ends_is_given_up() -> None:
    for mode, code in ((Mode.STRICT, "revocation_unknown"), (Mode.RELAXED, "")):
        own = entity("a.gw.test", crl=CRL)
        pair = begun(a(own), b(revocation=mode))
        pair.advance(13.0)
        assert pair.b.codes()[:1] == ([code] if code else [])
        assert is_up(pair) is not bool(code)


def test_one_answer_serves_all_and_is_asked_for_again_when_it_is_old() -> None:
    own, quiet = entity("a.gw.test", crl=CRL), Timers(liveness=0.0)  # a day is long
    pair = begun(a(own, timers=quiet), b(revocation=Mode.STRICT, timers=quiet))
    answer(pair.b, crl=ROOT.crl(days=1))
    pair.deliver_all()
    for wait, asked in ((600.0, []), (90000.0, [CRL])):
        pair.advance(wait)
        pair.a.crash()
        pair.a.endpoint.set_clock(AT - 1000.0)
        pair.deliver_all()
        assert answer(pair.b, crl=ROOT.crl(days=9)) == asked
        pair.deliver_all()


@pytest.mark.parametrize(
    ("kind", "legacy", "works"),
    [("rsa", False, False), ("rsa", True, True), ("ecdsa", False, True), ("ed25519", True, False)],
)
def test_a_peer_that_knows_no_rfc_7427(
    kind: str, legacy: bool, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "hashes_of", lambda message: frozenset())
    one, other = entity("a.gw.test", kind), entity("b.gw.test", kind)
    pair = begun(a(one, allow_legacy=legacy), b(other, allow_legacy=legacy))
    assert is_up(pair) is works, pair.story()
    assert works or pair.a.codes() == ["auth_method_mismatch"]


def test_reauthentication_shows_a_renewed_certificate_and_refuses_a_revoked_one() -> None:
    """A new IKE SA beside the old one (RFC 4478): b judges a's certificate anew."""
    for revoked in (False, True):
        own = entity("a.gw.test", crl=CRL)
        pair = begun(a(own), b(revocation=Mode.STRICT))
        answer(pair.b, crl=ROOT.crl(at=NOW - 7 * DAY + timedelta(seconds=500)))  # soon old
        pair.deliver_all()
        assert is_up(pair), pair.story()
        told(pair, 1000)
        step_b(pair)
        crl = ROOT.crl(own) if revoked else ROOT.crl()
        while pair.now < 1000.0 + 950.0:
            pair.advance(10.0)
            answer(pair.b, crl=crl)
            pair.deliver_all()
        ups = [one for one in pair.b.all(IkeSaUp) if one.replaces is None]
        assert len(ups) == (1 if revoked else 2)
        assert ("certificate_revoked" in pair.b.codes()) is revoked
        # What a has set up by the same certificate ends with it.
        assert pair.a.ike_sas == pair.b.ike_sas == (0 if revoked else 1), pair.story()
        assert not revoked or pair.b.all(IkeSaDown)[-1].reason.code == "certificate_revoked"


def test_what_was_set_up_by_another_certificate_of_the_peer_stays() -> None:
    """Who has the key of an old one, which is revoked, ends nothing of its successor."""
    old, new = entity("a.gw.test", crl=CRL), entity("a.gw.test", crl=CRL)
    pair = begun(a(new), b(revocation=Mode.STRICT))
    answer(pair.b, crl=ROOT.crl(old))
    pair.deliver_all()
    assert is_up(pair), pair.story()
    told(pair, 1000)
    step_b(pair)
    pair.a.reconfigure(a(old))
    while pair.now < 1000.0 + 950.0:
        pair.advance(10.0)
        pair.deliver_all()
    assert "certificate_revoked" in pair.b.codes()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert is_up(pair), pair.story()
