"""AUTH method 14 and its ancestors: what is made is verified, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import binary

from gateway.errors import PeerError
from gateway.pki import der
from gateway.pki.keys import PrivateKey, PublicKey
from gateway.pki.problem import BadText, NotTrusted
from gateway.pki.signatures import (
    OURS,
    SCHEMES,
    SHA1_ID,
    Kind,
    Scheme,
    choose,
    sign,
    sign_old,
    verify,
)
from tests.support.authority import key

OCTETS = b"what an end has said"
# RFC 7427 appendix A, RFC 8420 appendix A: algorithm identifiers as they stand there.
PUBLISHED = {
    "300d06092a864886f70d0101050500": "RSA with SHA-1",
    "300d06092a864886f70d01010b0500": "RSA with SHA2-256",
    "300d06092a864886f70d01010c0500": "RSA with SHA2-384",
    "300d06092a864886f70d01010d0500": "RSA with SHA2-512",
    "300906072a8648ce3d0401": "ECDSA with SHA-1",
    "300a06082a8648ce3d040302": "ECDSA with SHA2-256",
    "300a06082a8648ce3d040303": "ECDSA with SHA2-384",
    "300a06082a8648ce3d040304": "ECDSA with SHA2-512",
    # RFC 7427 appendix A.4.3, with the lengths of RFC 4055's fields as they are encoded
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500a11c301a"
    "06092a864886f70d010108300d06096086480165030402010500a203020120": "RSA-PSS with SHA2-256",
    "300506032b6570": "Ed25519",
    "300506032b6571": "Ed448",
}


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_published_identifiers_are_known(text: str) -> None:
    assert str(SCHEMES[bytes.fromhex(text)]) == PUBLISHED[text]


@pytest.mark.parametrize("kind", ["rsa", "ecdsa", "ecdsa384", "ecdsa521", "ed25519"])
@pytest.mark.parametrize("use_pss", [True, False])
def test_every_key_signs_by_every_hash_that_the_peer_knows(kind: str, use_pss: bool) -> None:
    own = PrivateKey(key(kind))
    for hash_id in OURS:
        scheme = choose(own, {hash_id}, use_pss)
        if scheme is None:
            assert (hash_id == 5) is (kind != "ed25519")
            continue
        data = sign(own, scheme, OCTETS)
        assert verify(own.public, 14, data, OCTETS, allow_legacy=False) == str(scheme)
        for at in (0, 1, len(data) // 2, len(data) - 1):
            bad = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(PeerError):
                verify(own.public, 14, bad, OCTETS, allow_legacy=True)


def test_the_hash_is_as_strong_as_the_key() -> None:
    for kind, words in (("ecdsa", "256"), ("ecdsa384", "384"), ("ecdsa521", "512"), ("rsa", "256")):
        assert str(choose(PrivateKey(key(kind)), OURS, False)).endswith(words)


def test_sha1_is_refused_unless_it_is_allowed() -> None:
    own = PrivateKey(key("rsa"))
    data = sign(own, Scheme(Kind.RSA, SHA1_ID), OCTETS)
    with pytest.raises(NotTrusted) as caught:
        verify(own.public, 14, data, OCTETS, allow_legacy=False)
    assert caught.value.code == "auth_method_mismatch"
    assert verify(own.public, 14, data, OCTETS, allow_legacy=True) == "RSA with SHA-1"


def test_the_older_methods() -> None:
    for kind, method in (("ecdsa", 9), ("ecdsa384", 10), ("ecdsa521", 11)):
        own = PrivateKey(key(kind))
        made = sign_old(own, OCTETS, allow_legacy=False)
        assert made is not None
        assert made[0] == method
        assert verify(own.public, *made, OCTETS, allow_legacy=False)
        with pytest.raises(NotTrusted):
            verify(own.public, method, made[1][:-1], OCTETS, allow_legacy=True)
    rsa = PrivateKey(key("rsa"))
    assert sign_old(rsa, OCTETS, allow_legacy=False) is None
    old = sign_old(rsa, OCTETS, allow_legacy=True)
    assert old is not None
    assert old[0] == 1
    with pytest.raises(NotTrusted):
        verify(rsa.public, *old, OCTETS, allow_legacy=False)
    for method in (0, 3, 13, 201):
        with pytest.raises(NotTrusted):
            verify(rsa.public, method, old[1], OCTETS, allow_legacy=True)


def test_a_signature_of_one_kind_is_not_verified_with_a_key_of_another() -> None:
    kinds = ("rsa", "ecdsa", "ed25519")
    for one in kinds:
        own = PrivateKey(key(one))
        scheme = choose(own, OURS, False)
        assert scheme is not None
        data = sign(own, scheme, OCTETS)
        for other in kinds:
            if other != one:
                with pytest.raises(NotTrusted):
                    verify(PrivateKey(key(other)).public, 14, data, OCTETS, allow_legacy=True)


@given(binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    for kind in ("rsa", "ecdsa", "ed25519"):
        for method in (1, 9, 14):
            with pytest.raises(PeerError):
                verify(PrivateKey(key(kind)).public, method, data, OCTETS, allow_legacy=True)


def test_pss_with_another_salt_is_unknown() -> None:
    blob = next(one for one, scheme in SCHEMES.items() if scheme.kind is Kind.PSS)
    longer = blob[:-1] + bytes([blob[-1] + 1])
    assert longer not in SCHEMES
    with pytest.raises(NotTrusted, match="algorithm"):
        verify(
            PrivateKey(key("rsa")).public,
            14,
            bytes([len(longer)]) + longer + bytes(256),
            OCTETS,
            allow_legacy=True,
        )


def test_keys_print_no_secret() -> None:
    own = PrivateKey(key("ecdsa"))
    assert repr(own) == f"PrivateKey({own.public})"
    assert str(own.public).startswith("EC-256 sha256:")
    assert PublicKey.parse(own.public.spki) == own.public
    with pytest.raises(BadText):
        PublicKey.parse(b"\x30\x00")


def test_object_identifiers() -> None:
    for dotted in ("1.2.840.113549.1.1.1", "2.5.4.3", "0.9.2342.19200300.100.1.25"):
        assert der.dotted_oid(der.expect(der.encode_oid(dotted), der.OID, "oid")) == dotted
