"""From a peer's certificate to one that is trusted: good ways, and the codes of all others."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis.strategies import binary, lists

from gateway.pki.certificate import GIVEN_KEPT, certificates_of, parse, parse_given
from gateway.pki.chain import DEPTH_MAX, find_way
from gateway.pki.keys import PublicKey
from gateway.pki.problem import BadText, NotTrusted
from tests.support.authority import AT, DAY, NOW, Entity, Wish, authority, key

ROOT = authority()
PEER = ROOT.issue(Wish(), key())


def code_of(entity: Entity, *anchors: Entity, at: float = AT, legacy: bool = False) -> str:
    """Return the code of the refusal of an entity's chain, "" if it is taken."""
    blobs = [one.der for one in entity.chain]
    try:
        find_way(
            blobs, tuple(one.certificate for one in anchors or (ROOT,)), at, allow_legacy=legacy
        )
    except NotTrusted as error:
        return error.code
    return ""


def test_a_chain_of_any_length_up_to_the_bound_is_followed() -> None:
    ca = ROOT
    for depth in range(1, DEPTH_MAX + 2):
        peer = ca.issue(Wish(), key())
        is_fine = depth + 1 <= DEPTH_MAX
        assert code_of(peer) == ("" if is_fine else "certificate_invalid"), depth
        ca = ca.intermediate(depth)


def test_the_order_of_the_certificates_and_strange_ones_among_them_do_not_matter() -> None:
    first = ROOT.intermediate(1)
    second = first.intermediate(2)
    peer = second.issue(Wish(), key())
    other = authority("Other", number=98)
    mixed = [other.certificate.der, b"no certificate", *(one.der for one in reversed(peer.above))]
    way = find_way([peer.certificate.der, *mixed], (ROOT.certificate,), AT)
    assert way == (*peer.chain, ROOT.certificate)


def test_trust_begins_where_it_is_given() -> None:
    middle = ROOT.intermediate(1)
    peer = middle.issue(Wish(), key())
    assert code_of(peer, middle) == ""
    assert code_of(peer, peer) == ""  # its own certificate is trusted, and no other
    assert code_of(replace(peer, above=())) == "certificate_untrusted"
    assert code_of(PEER, authority("Root", number=97)) == "certificate_untrusted"  # name alone


def test_what_peers_show_fills_no_memory_and_has_nothing_of_ours_forgotten() -> None:
    stranger = key("ecdsa", 61)
    for number in range(GIVEN_KEPT + 5):
        other = authority("Other", number=number).issue(Wish(f"peer-{number}"), stranger)
        assert code_of(other) == "certificate_untrusted"
        parse.cache_clear()  # by those who have issued these
    assert code_of(PEER) == ""
    assert parse.cache_info().currsize == 0
    assert parse_given.cache_info().currsize == GIVEN_KEPT


def test_a_loop_of_issuers_ends() -> None:
    one, two = authority("One", number=81), authority("Two", number=82)
    ca = Wish("One", (), is_ca=True, key_usage=None)
    crossed = two.issue(ca, one.key)
    back = one.issue(replace(ca, subject="Two"), two.key)
    peer = one.issue(Wish(), key())
    loop = replace(peer, above=(crossed.certificate, back.certificate))
    assert code_of(loop) == "certificate_untrusted"
    assert code_of(loop, two) == ""


WRONG = {
    "expired": (Wish(ends=NOW - DAY), "certificate_expired"),
    "not yet": (Wish(starts=NOW + DAY), "certificate_not_yet_valid"),
    "clock is a little late": (Wish(starts=NOW + timedelta(minutes=4)), ""),
    "for encryption only": (Wish(key_usage="key_encipherment"), "certificate_invalid"),
    "no usage said": (Wish(key_usage=None), ""),
    "for code": (Wish(uses=(ExtendedKeyUsageOID.CODE_SIGNING,)), "certificate_invalid"),
    "for servers": (Wish(uses=(ExtendedKeyUsageOID.SERVER_AUTH,)), ""),
    "for IKE": (Wish(uses=(x509.ObjectIdentifier("1.3.6.1.5.5.7.3.17"),)), ""),
    "unknown critical": (
        Wish(extra=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), True),)),
        "certificate_invalid",
    ),
    "unknown": (
        Wish(extra=((x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), False),)),
        "",
    ),
    "after 2038": (Wish(ends=NOW + 30 * 365 * DAY), ""),
}


@pytest.mark.parametrize("which", WRONG)
def test_what_a_peers_certificate_must_be(which: str) -> None:
    wish, code = WRONG[which]
    assert code_of(ROOT.issue(wish, key())) == code


def test_an_issuer_must_be_one() -> None:
    plain = ROOT.issue(Wish("Not a CA", ()), key("ecdsa", 5))
    assert code_of(plain.issue(Wish(), key())) == "certificate_invalid"
    usage = ROOT.intermediate(1, key_usage="crl_sign")
    assert code_of(usage.issue(Wish(), key())) == "certificate_invalid"
    old = ROOT.intermediate(1, ends=NOW - DAY)
    assert code_of(old.issue(Wish(), key())) == "certificate_expired"
    short = ROOT.intermediate(1, path_length=0)
    assert code_of(short.issue(Wish(), key())) == ""
    assert code_of(short.intermediate(2).issue(Wish(), key())) == "certificate_invalid"


def test_keys_and_hashes_that_are_too_weak_need_allow_legacy() -> None:
    weak = ROOT.issue(Wish(), key("rsa1024"))
    assert (code_of(weak), code_of(weak, legacy=True)) == ("certificate_invalid", "")
    for kind in ("rsa", "ecdsa384", "ecdsa521", "ed25519"):
        assert code_of(ROOT.issue(Wish(), key(kind))) == "", kind
        assert code_of(authority("Root", kind).issue(Wish(), key()), authority("Root", kind)) == ""


def test_name_constraints_bound_what_a_ca_may_certify() -> None:
    tree = x509.DNSName("gw.test")
    ranges = x509.IPAddress(ip_network("10.0.0.0/8"))
    limits = x509.NameConstraints([tree, ranges], [x509.DNSName("bad.gw.test")])
    ca = ROOT.intermediate(1, extra=((limits, True),))
    for others, code in (
        (("b.gw.test", "10.1.2.3"), ""),
        (("b.gw.test.evil.org",), "certificate_invalid"),
        (("xgw.test",), "certificate_invalid"),
        (("x.bad.gw.test",), "certificate_invalid"),
        (("b.gw.test", "192.0.2.1"), "certificate_invalid"),
        (("me@other.test",), ""),  # nothing is said of mailboxes
    ):
        assert code_of(ca.issue(Wish(others=others), key())) == code, others


def test_name_constraints_on_subjects_do_not_depend_on_how_they_are_written() -> None:
    denied = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "EXAMPLE"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Head  Office"),
        ]
    )
    limits = x509.NameConstraints(None, [x509.DirectoryName(denied)])
    ca = ROOT.intermediate(1, extra=((limits, True),))
    for subject, code in (("head office", "certificate_invalid"), ("branch", "")):
        assert code_of(ca.issue(Wish(subject=subject), key())) == code, subject


@given(lists(binary(max_size=80), max_size=20))
def test_garbage_is_refused_and_nothing_else(blobs: list[bytes]) -> None:
    with pytest.raises(NotTrusted):
        find_way(blobs, (ROOT.certificate,), AT)


@given(binary(min_size=1, max_size=8))
def test_a_certificate_with_changed_bytes_is_refused(noise: bytes) -> None:
    der = PEER.certificate.der
    at = int.from_bytes(noise, "big") % len(der)
    changed = der[:at] + bytes([der[at] ^ (noise[0] or 1)]) + der[at + 1 :]
    with pytest.raises(NotTrusted):
        find_way([changed], (ROOT.certificate,), AT)


def test_a_hundred_certificates_cost_no_more_than_the_bound() -> None:
    same_name = [authority("Root", "ecdsa", 200 + at).certificate.der for at in range(20)]
    stranger = authority("Root", number=96).issue(Wish(), key())
    with pytest.raises(NotTrusted, match="not trusted"):
        find_way([stranger.certificate.der, *same_name], (ROOT.certificate,), AT)


def test_pem_files_with_several_certificates_are_read() -> None:
    both = (PEER.certificate, ROOT.certificate)
    texts = [one.x509.public_bytes(Encoding.PEM).decode() for one in both]
    assert certificates_of("words before\n" + "".join(texts)) == both
    for bad in ("", "nothing", texts[0].replace("MII", "XXX")):
        with pytest.raises(BadText):
            certificates_of(bad)
    assert parse(PEER.certificate.der) is parse(PEER.certificate.der)


def test_sha1_of_a_certificate_needs_allow_legacy(tmp_path: Path) -> None:
    """openssl makes it: `cryptography` signs over SHA-1 no more."""
    for name in ("ca", "peer"):
        openssl("genrsa", "-out", str(tmp_path / f"{name}.key"), "2048")
    ca = str(tmp_path / "ca.pem")
    root = ("req", "-x509", "-new", "-sha256", "-days", "9", "-subj", "/CN=Old", "-out", ca)
    openssl(*root, "-key", str(tmp_path / "ca.key"))
    request = ("req", "-new", "-subj", "/CN=peer", "-out", str(tmp_path / "peer.csr"))
    openssl(*request, "-key", str(tmp_path / "peer.key"))
    files = ("-in", str(tmp_path / "peer.csr"), "-out", str(tmp_path / "peer.pem"))
    signer = ("-CA", ca, "-CAkey", str(tmp_path / "ca.key"), "-CAcreateserial")
    openssl("x509", "-req", "-sha1", "-days", "9", *files, *signer)
    (anchor,) = certificates_of(Path(ca).read_text())
    (peer,) = certificates_of((tmp_path / "peer.pem").read_text())
    now = peer.starts_at + 60
    with pytest.raises(NotTrusted, match="over SHA-1"):
        find_way([peer.der], (anchor,), now)
    assert find_way([peer.der], (anchor,), now, allow_legacy=True) == (peer, anchor)
    with pytest.raises(NotTrusted, match="not trusted"):
        find_way([peer.der], (ROOT.certificate,), now, allow_legacy=True)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def test_a_key_that_is_too_large_is_weak_as_well() -> None:
    """It is not even tried: a signature of a stranger must not take long."""
    large = rsa.RSAPublicNumbers(65537, (1 << 9215) + 1).public_key()
    assert "9216 bits" in PublicKey.of(large).weakness(allow_legacy=True)
