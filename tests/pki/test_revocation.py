"""What counts as news of a revocation, and what does not; the cache of what was fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis.strategies import binary

from gateway.pki import cache, revocation
from gateway.pki.certificate import Certificate
from gateway.pki.kept import Kept
from gateway.pki.problem import NotTrusted
from gateway.pki.question import Mode, Question
from gateway.pki.revocation import Policy, State, fresh_until, judge, questions_of, read_any
from tests.support.authority import AT, DAY, NOW, Entity, Wish, authority, key

T = TypeVar("T")
ROOT = authority()
PEER = ROOT.issue(Wish(crl="http://ca.test/a.crl", ocsp="http://ca.test/ocsp"), key())
WAY = (PEER.certificate, ROOT.certificate)
STRICT = Policy(Mode.STRICT, AT)


def state(blob: bytes, at: float = AT) -> State:
    return read_any(blob, PEER.certificate, ROOT.certificate, at)


def test_what_a_crl_says() -> None:
    assert state(ROOT.crl()) is State.GOOD
    assert state(ROOT.crl(PEER)) is State.REVOKED
    assert state(ROOT.crl(PEER), AT + 30 * 86400) is State.NOTHING  # out of date
    assert state(ROOT.crl(PEER, at=NOW + 3 * DAY)) is State.NOTHING  # not yet
    assert state(authority("Root", number=98).crl(PEER)) is State.NOTHING  # the name alone
    delta = x509.DeltaCRLIndicator(1)
    assert state(ROOT.crl(extra=((delta, True),))) is State.NOTHING
    part = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    assert state(ROOT.crl(extra=((part, True),))) is State.NOTHING


def test_what_an_answer_of_ocsp_says() -> None:
    assert state(ROOT.ocsp(PEER)) is State.GOOD
    assert state(ROOT.ocsp(PEER), AT + 3 * 86400) is State.NOTHING
    other = ROOT.issue(Wish("other"), key("ecdsa", 3))
    assert state(ROOT.ocsp(other)) is State.NOTHING  # of another certificate


@given(binary(max_size=300))
def test_garbage_says_nothing(blob: bytes) -> None:
    assert state(blob) is State.NOTHING
    assert fresh_until(blob) is None


@pytest.mark.parametrize("make", ["crl", "ocsp"])
def test_changed_bytes_never_make_a_revoked_certificate_good(make: str) -> None:
    blob = ROOT.crl(PEER) if make == "crl" else ROOT.ocsp(PEER)
    for at in range(0, len(blob), 3):
        changed = blob[:at] + bytes([blob[at] ^ 0x11]) + blob[at + 1 :]
        assert state(changed) is State.NOTHING, at


def test_only_plain_http_is_asked_and_not_too_often() -> None:
    for url in (
        "https://ca.test/a",
        "ldap://ca.test/a",
        "file:///etc/passwd",
        "http://a/" + "x" * 600,
    ):
        odd = ROOT.issue(Wish(crl=url), key())
        assert questions_of(odd.certificate, ROOT.certificate, STRICT) == ()
    asked = questions_of(*WAY, STRICT)
    assert [one.url for one in asked] == ["http://ca.test/ocsp", "http://ca.test/a.crl"]
    assert asked[0].body
    assert not asked[1].body


def unknown(question: Question) -> bytes | None:
    raise KeyError(question)


def test_an_answer_in_the_message_needs_no_question() -> None:
    held = Policy(Mode.STRICT, AT, held=(ROOT.ocsp(PEER),))
    assert judge(WAY, held, unknown) == ()
    assert judge(WAY, Policy(Mode.OFF, AT), unknown) == ()


def test_a_revocation_that_is_known_counts_more_than_an_older_answer_of_the_peer() -> None:
    """What a peer sends was true when it was signed, and is valid for days."""
    held = Policy(Mode.RELAXED, AT, held=(ROOT.ocsp(PEER),))

    def listed(question: Question) -> bytes | None:
        return unknown(question) if question.body else ROOT.crl(PEER)

    with pytest.raises(NotTrusted) as refused:
        judge(WAY, held, listed)
    assert refused.value.code == "certificate_revoked"


def _counted(load: Callable[[bytes, Certificate], T], loaded: list[bytes]) -> Callable[..., T]:
    def counting(content: bytes, issuer: Certificate) -> T:
        loaded.append(content)
        return load(content, issuer)

    return counting


def test_a_list_that_was_fetched_is_verified_once_for_all_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long one takes tens of milliseconds; how old it is, is looked at each time."""
    peers = [ROOT.issue(Wish(f"p{number}", crl="http://ca.test/b.crl"), key()) for number in (1, 2)]
    blob = ROOT.crl(peers[1])

    def seen(peer: Entity, at: float = AT) -> str:
        try:
            judge((peer.certificate, ROOT.certificate), Policy(Mode.STRICT, at), lambda _: blob)
        except NotTrusted as error:
            return error.code
        return ""

    loaded: list[bytes] = []
    kept = Kept(_counted(revocation._load, loaded), 16, 2**20)
    monkeypatch.setattr(revocation, "_load_once", kept)
    assert [seen(peer) for peer in peers] == ["", "certificate_revoked"]
    assert [seen(peer, AT + 30 * 86400) for peer in peers] == ["revocation_unknown"] * 2
    assert loaded == [blob]
    assert state(ROOT.crl(peers[0])) is State.GOOD  # what a peer sends itself takes no place there
    assert loaded == [blob]


def test_lists_that_were_verified_are_kept_by_number_and_by_bytes() -> None:
    asked: list[bytes] = []

    def load(content: bytes, issuer: Certificate) -> int:
        asked.append(content)
        if content == b"bad":
            raise ValueError("bad")
        return len(content)

    kept = Kept(load, most=3, bytes_max=10)
    assert [kept(content, ROOT.certificate) for content in (b"a", b"bb", b"a", b"ccc")] == [
        1,
        2,
        1,
        3,
    ]
    assert asked == [b"a", b"bb", b"ccc"]
    kept(b"d", ROOT.certificate)  # one too many: that of b"bb" was asked for longest ago
    assert (len(kept), kept.bytes) == (3, 5)
    kept(b"e" * 8, ROOT.certificate)  # too many bytes
    assert (len(kept), kept.bytes) == (2, 9)
    kept(b"f" * 11, ROOT.certificate)  # more than there is room for: it is not kept
    assert (len(kept), kept.bytes) == (0, 0)
    with pytest.raises(ValueError, match="bad"):
        kept(b"bad", ROOT.certificate)
    assert len(kept) == 0
    assert kept(b"d", PEER.certificate) == kept(b"d", ROOT.certificate) == 1
    assert asked[-2:] == [b"d", b"d"]  # of each issuer by itself


def test_the_cache_is_bounded_and_forgets() -> None:
    kept = cache.RevocationCache()
    blob = ROOT.crl(days=7)
    for number in range(cache.ENTRIES_MAX + 10):
        kept.put(Question(f"http://ca.test/{number}"), blob, 0.0, AT)
    with pytest.raises(KeyError):
        kept.look(Question("http://ca.test/0"), 1.0)
    last = Question(f"http://ca.test/{cache.ENTRIES_MAX + 9}")
    assert kept.look(last, cache.MOST_S - 1) == blob
    with pytest.raises(KeyError):
        kept.look(last, cache.MOST_S + 1)
    kept.put(last, None, 0.0, AT)
    assert kept.look(last, cache.AGAIN_S - 1) is None
    big = bytes(cache.BYTES_MAX // 2)
    for number in range(4):
        kept.put(Question(f"http://big/{number}"), big, 0.0, AT)
    with pytest.raises(KeyError):
        kept.look(Question("http://big/1"), 1.0)
    assert kept.look(Question("http://big/3"), 1.0) == big
    kept.clear()
    with pytest.raises(KeyError):
        kept.look(last, 1.0)


def test_what_can_not_be_found_out_is_asked_of_nobody_or_of_a_server_that_is_named() -> None:
    for peer, where, remedy in (
        (PEER, "http://ca.test/a.crl", "can this gateway reach that server"),
        (ROOT.issue(Wish(), key()), "no OCSP server and no CRL", "have it issued with"),
    ):
        with pytest.raises(NotTrusted) as refused:
            judge((peer.certificate, ROOT.certificate), STRICT, lambda _: None)
        assert where in refused.value.theirs
        assert refused.value.hint.startswith(remedy)
