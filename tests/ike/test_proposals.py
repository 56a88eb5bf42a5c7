"""Proposals: their texts, and which one is chosen (RFC 7296 sections 2.7 and 3.3; D.1 row 11)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import NoProposalChosen
from gateway.ike.iana import ADDITIONAL, Group, Prf, ProtocolId, TransformType
from gateway.ike.names import TOKENS, group_name, transform_name
from gateway.ike.proposals import (
    DEFAULT_ESP,
    DEFAULT_IKE,
    EspSuite,
    IkeSuite,
    Proposal,
    Transform,
    check_answer_esp,
    check_answer_ike,
    groups_of,
    has_further,
    parse_proposal,
    select_esp,
    select_ike,
    texts,
    without_further,
)
from gateway.sa import Encr, Integ

IKE, ESP = ProtocolId.IKE, ProtocolId.ESP
GCM = Transform(1, Encr.AES_GCM_16, 256)
CBC = Transform(1, Encr.AES_CBC, 256)
CHACHA = Transform(1, Encr.CHACHA20_POLY1305)
PRF = Transform(2, Prf.HMAC_SHA2_256)
SHA = Transform(3, Integ.HMAC_SHA2_256_128)
NO_INTEG = Transform(3, 0)
X25519 = Transform(4, Group.X25519)
NO_GROUP = Transform(4, 0)
NO_ESN, ESN = Transform(5, 0), Transform(5, 1)


def ike(*texts: str) -> tuple[Proposal, ...]:
    return tuple(parse_proposal(text, IKE) for text in texts)


def esp(*texts: str) -> tuple[Proposal, ...]:
    return tuple(parse_proposal(text, ESP) for text in texts)


def offer(*transforms: Transform, protocol: int = ESP, number: int = 1) -> tuple[Proposal, ...]:
    return (Proposal(protocol, transforms, b"spi!" if protocol == ESP else b"", number),)


# ---- texts ----


@pytest.mark.parametrize(
    ("text", "protocol", "shown"),
    [
        ("aes256gcm16-prfsha384-x25519", IKE, None),
        ("AES256GCM16-prfsha384-curve25519", IKE, "aes256gcm16-prfsha384-x25519"),
        ("aes256-sha256-modp2048", IKE, None),
        ("aes256-sha256-prfsha512-modp2048", IKE, None),
        ("aes256-aes128-sha512-sha256-ecp521-modp8192", IKE, None),
        ("x25519-prfsha256-chacha20poly1305", IKE, "chacha20poly1305-prfsha256-x25519"),
        ("aes128gcm16-sha256-ecp256", IKE, "aes128gcm16-prfsha256-ecp256"),
        ("aes256gcm16-x25519-esn", ESP, None),
        ("aes256gcm16", ESP, "aes256gcm16-esn-noesn"),
        (" aes192-sha384-noesn ", ESP, "aes192-sha384-noesn"),
        ("noesn-esn-chacha20poly1305", ESP, "chacha20poly1305-noesn-esn"),
        ("aes256gcm128-noesn", ESP, "aes256gcm16-noesn"),
    ],
)
def test_a_text_names_a_proposal(text: str, protocol: ProtocolId, shown: str | None) -> None:
    proposal = parse_proposal(text, protocol)
    assert str(proposal) == (shown or text)
    assert parse_proposal(str(proposal), protocol) == proposal


@pytest.mark.parametrize(
    ("text", "protocol", "complaint"),
    [
        ("", IKE, "unknown algorithm ''"),
        ("aes256gcm16-prfsha384-x25519-", IKE, "unknown algorithm ''"),
        ("aes256-sha1-modp1024", IKE, "unknown algorithm 'sha1'"),
        ("3des-sha256-modp2048", IKE, "unknown algorithm '3des'"),
        ("aes256gcm16-x25519", IKE, "no PRF, as in prfsha384"),
        ("aes256gcm16-prfsha384", IKE, "no key exchange group"),
        ("prfsha384-x25519", IKE, "no encryption algorithm"),
        ("aes256-prfsha256-x25519", IKE, "aes256 needs an integrity algorithm"),
        ("aes256gcm16-aes256-sha256-x25519", IKE, "separate proposals"),
        ("aes256gcm16-sha256-prfsha256-x25519", IKE, "sha256 beside an AEAD"),
        ("aes256gcm16-prfsha256-x25519-esn", IKE, "esn is for ESP"),
        ("aes256-aes256-sha256-x25519", IKE, "'aes256' stands twice"),
        ("aes256-sha256-x25519-curve25519", IKE, "'curve25519' stands twice"),
        ("aes256gcm16-prfsha256", ESP, "prfsha256 is for IKE"),
        ("aes256gcm16-sha256", ESP, "sha256 beside an AEAD"),
        ("aes256", ESP, "aes256 needs an integrity algorithm"),
        ("x25519", ESP, "no encryption algorithm"),
        ("aes256gcm16", ProtocolId.AH, "AH has no proposals"),
    ],
)
def test_a_wrong_text_is_refused_with_its_token(
    text: str, protocol: ProtocolId, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_proposal(text, protocol)
    assert protocol is ProtocolId.AH or repr(text) in str(caught.value)


def test_the_defaults_are_the_crypto_profile() -> None:
    groups = "x25519-ecp384-ecp256-modp3072-modp2048"
    aeads = "aes256gcm16-aes128gcm16-chacha20poly1305"
    plain = f"{aeads}-prfsha384-prfsha256-{groups}, aes256-sha256-{groups}"
    hybrid = plain.replace(groups, f"{groups}-ke1_mlkem768")
    assert texts(DEFAULT_IKE) == f"{hybrid}, {plain}"
    plain = f"{aeads}-{groups}-esn-noesn, aes256-sha256-{groups}-esn-noesn"
    hybrid = plain.replace("-noesn", "-noesn-ke1_mlkem768")
    assert texts(DEFAULT_ESP) == f"{hybrid}, {plain}"
    assert groups_of(DEFAULT_IKE) == (31, 20, 19, 15, 14)


def test_groups_are_listed_once_and_without_none() -> None:
    first = Proposal(ESP, (GCM, NO_GROUP, X25519))
    assert groups_of((first, *esp("aes256gcm16-ecp256-x25519"))) == (31, 19)
    assert groups_of(esp("aes256gcm16")) == ()


def test_unknown_transforms_have_names_too() -> None:
    assert transform_name(1, 12, 512) == "encr12/512"
    assert transform_name(1, 19, 128) == "aes128gcm12"
    assert transform_name(3, 2, None) == "sha1"
    assert transform_name(9, 7, None) == "ke4_group7"
    assert transform_name(13, 7, None) == "transform13/7"
    assert str(Transform(1, 20, 256, b"\x80\x01\0\0")) == "aes256gcm16?"
    assert group_name(36) == "mlkem768"
    assert group_name(1025) == "group1025"


def test_a_list_of_proposals_is_shown_in_bounded_length() -> None:
    many = tuple(Proposal(IKE, tuple(Transform(1, at) for at in range(200))) for _ in range(50))
    assert len(texts(many)) == 2000
    assert texts(()) == "nothing"


# ---- the choice, IKE ----


def test_our_order_of_proposals_decides() -> None:
    offered = ike("aes128-sha256-modp2048", "aes256gcm16-prfsha384-x25519")
    numbered = tuple(Proposal(IKE, one.transforms, b"", at) for at, one in enumerate(offered, 1))
    suite, answer = select_ike(numbered, DEFAULT_IKE)
    assert str(suite) == "aes256gcm16-prfsha384-x25519"
    assert answer.number == 2
    assert answer.spi == b""


def test_our_order_of_transforms_decides() -> None:
    offered = ike("chacha20poly1305-aes128gcm16-aes256gcm16-prfsha512-prfsha256-modp2048-ecp256")
    suite, answer = select_ike(offered, DEFAULT_IKE)
    assert suite == IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_256, Integ.NONE, Group.ECP256)
    assert str(answer) == "aes256gcm16-prfsha256-ecp256"


def test_a_refusal_shows_both_lists() -> None:
    with pytest.raises(NoProposalChosen) as caught:
        select_ike(ike("aes128-sha512-modp4096"), ike("aes256gcm16-prfsha384-x25519"))
    assert "offered aes128-sha512-modp4096;" in str(caught.value)
    assert "allowed aes256gcm16-prfsha384-x25519" in str(caught.value)


@pytest.mark.parametrize(
    ("transforms", "suite"),
    [
        ((GCM, PRF, X25519), "aes256gcm16-prfsha256-x25519"),
        ((GCM, PRF, NO_INTEG, X25519), "aes256gcm16-prfsha256-x25519"),
        ((GCM, PRF, SHA, X25519), None),  # an AEAD with an integrity algorithm
        ((GCM, PRF, SHA, NO_INTEG, X25519), "aes256gcm16-prfsha256-x25519"),
        ((GCM, CBC, PRF, SHA, X25519), "aes256-sha256-x25519"),
        ((GCM, CBC, PRF, SHA, NO_INTEG, X25519), "aes256gcm16-prfsha256-x25519"),
        ((CBC, PRF, SHA, X25519), "aes256-sha256-x25519"),
        ((CBC, PRF, NO_INTEG, X25519), None),
        ((CBC, PRF, X25519), None),
        ((CHACHA, PRF, X25519), "chacha20poly1305-prfsha256-x25519"),
        ((Transform(1, 28, 256), PRF, X25519), "chacha20poly1305-prfsha256-x25519"),
        ((Transform(1, 28, 128), PRF, X25519), None),
        ((Transform(1, 20), PRF, X25519), None),  # key length absent
        ((Transform(1, 20, 0), PRF, X25519), None),
        ((Transform(1, 20, 7), PRF, X25519), None),
        ((Transform(1, 20, 65535), PRF, X25519), None),
        ((Transform(1, 20, 256, b"\x80\x0e\x01\0"), PRF, X25519), None),  # twice
        ((GCM, X25519), None),  # no PRF
        ((GCM, Transform(2, 99), X25519), None),
        ((GCM, Transform(2, 5, 256), X25519), None),  # a PRF has no key length
        ((GCM, PRF), None),
        ((GCM, PRF, NO_GROUP), None),
        ((GCM, PRF, Transform(4, 1025)), None),
        ((PRF, SHA, X25519), None),  # no encryption
        ((Transform(1, 11), PRF, SHA, X25519), None),  # NULL
        ((Transform(1, 21, 256), PRF, X25519), None),  # GMAC
        ((GCM, PRF, X25519, Transform(6, 0)), "aes256gcm16-prfsha256-x25519"),  # RFC 9370: none
        ((GCM, PRF, X25519, Transform(6, 36)), "aes256gcm16-prfsha256-x25519-ke1_mlkem768"),
        ((GCM, PRF, X25519, Transform(7, 36)), None),
        ((GCM, PRF, X25519, Transform(6, 37)), None),
        ((GCM, PRF, X25519, Transform(6, 37), Transform(6, 0)), "aes256gcm16-prfsha256-x25519"),
        ((GCM, PRF, X25519, Transform(6, 36), Transform(7, 36)), None),
        ((GCM, PRF, X25519, Transform(99, 0)), None),  # a type nobody knows
        ((), None),
    ],
)
def test_what_a_responder_makes_of_an_ike_offer(
    transforms: tuple[Transform, ...], suite: str | None
) -> None:
    offered = offer(*transforms, protocol=IKE)
    if suite is None:
        with pytest.raises(NoProposalChosen):
            select_ike(offered, DEFAULT_IKE)
        return
    chosen, answer = select_ike(offered, DEFAULT_IKE)
    assert str(chosen) == suite
    assert {one.type for one in answer.transforms} == {one.type for one in transforms}
    assert set(answer.transforms) <= set(transforms)


def test_an_offer_that_repeats_its_transforms_is_chosen_from_once() -> None:
    repeated = (GCM,) * 120 + (PRF,) * 120 + (X25519,) * 15
    suite, answer = select_ike(offer(*repeated, protocol=IKE), DEFAULT_IKE)
    assert str(suite) == "aes256gcm16-prfsha256-x25519"
    assert answer.transforms == (GCM, PRF, X25519)


def test_an_ike_proposal_for_another_protocol_is_not_chosen() -> None:
    with pytest.raises(NoProposalChosen):
        select_ike(offer(GCM, PRF, X25519, protocol=ESP), DEFAULT_IKE)
    with pytest.raises(NoProposalChosen):
        select_ike((), DEFAULT_IKE)


# ---- the choice, ESP ----


@pytest.mark.parametrize(
    ("transforms", "allowed", "want_group", "suite"),
    [
        ((GCM, NO_ESN), "aes256gcm16", False, "aes256gcm16"),
        ((GCM, ESN, NO_ESN), "aes256gcm16", False, "aes256gcm16-esn"),
        ((GCM, ESN, NO_ESN), "aes256gcm16-noesn-esn", False, "aes256gcm16"),
        ((GCM, ESN), "aes256gcm16-noesn", False, None),
        ((GCM, NO_ESN), "aes256gcm16-esn", False, None),
        ((GCM,), "aes256gcm16", False, "aes256gcm16"),  # missing ESN means none
        ((GCM,), "aes256gcm16-esn", False, None),
        ((GCM, X25519, NO_ESN), "aes256gcm16-ecp256", False, "aes256gcm16"),
        ((GCM, X25519, NO_ESN), "aes256gcm16-ecp256", True, None),
        ((GCM, X25519, NO_ESN), "aes256gcm16-x25519", True, "aes256gcm16-x25519"),
        ((GCM, NO_ESN), "aes256gcm16-x25519", True, None),
        ((GCM, X25519, NO_ESN), "aes256gcm16", True, None),
        ((GCM, NO_GROUP, NO_ESN), "aes256gcm16", True, "aes256gcm16"),
        ((GCM, X25519, NO_GROUP, NO_ESN), "aes256gcm16", True, "aes256gcm16"),
        ((GCM, X25519, NO_GROUP, NO_ESN), "aes256gcm16-x25519", True, "aes256gcm16-x25519"),
        ((CBC, SHA, NO_ESN), "aes256-sha256", False, "aes256-sha256"),
        ((CBC, NO_ESN), "aes256-sha256", False, None),
        ((CBC, NO_INTEG, NO_ESN), "aes256-sha256", False, None),
        ((GCM, SHA, NO_ESN), "aes256gcm16", False, None),
        ((GCM, NO_INTEG, NO_ESN), "aes256gcm16", False, "aes256gcm16"),
        ((GCM, PRF, NO_ESN), "aes256gcm16", False, None),
        ((Transform(1, 28, 256), NO_ESN), "chacha20poly1305", False, "chacha20poly1305"),
        ((Transform(1, 11), NO_INTEG, NO_ESN), "aes256gcm16", False, None),
    ],
)
def test_what_a_responder_makes_of_an_esp_offer(
    transforms: tuple[Transform, ...], allowed: str, want_group: bool, suite: str | None
) -> None:
    offered = offer(*transforms)
    if suite is None:
        with pytest.raises(NoProposalChosen):
            select_esp(offered, esp(allowed), want_group=want_group)
        return
    chosen, answer = select_esp(offered, esp(allowed), want_group=want_group)
    assert str(chosen) == suite
    assert set(answer.transforms) <= set(transforms)
    types = {one.type for one in transforms} - (set() if want_group else {TransformType.DH})
    assert sorted(one.type for one in answer.transforms) == sorted(types)


def test_the_chacha_key_length_attribute_is_echoed() -> None:
    offered = offer(Transform(1, 28, 256), NO_ESN)
    suite, answer = select_esp(offered, esp("chacha20poly1305"), want_group=False)
    assert suite == EspSuite(Encr.CHACHA20_POLY1305, 256, Integ.NONE, None, False)
    assert answer.transforms[0].key_bits == 256


# ---- the answer, as the initiator sees it ----


def test_the_answer_must_be_one_of_our_proposals() -> None:
    ours = ike("aes256gcm16-prfsha384-x25519", "aes256-sha256-modp2048")
    good = Proposal(IKE, (CBC, PRF, SHA, Transform(4, 14)), b"", 2)
    assert str(check_answer_ike((good,), ours)) == "aes256-sha256-modp2048"
    for number in (0, 1, 3):
        with pytest.raises(NoProposalChosen):
            check_answer_ike((Proposal(IKE, good.transforms, b"", number),), ours)
    for answer in ((), (good, good), (Proposal(ESP, good.transforms, b"", 2),)):
        with pytest.raises(NoProposalChosen):
            check_answer_ike(answer, ours)


@pytest.mark.parametrize(
    "transforms",
    [
        (GCM, PRF),
        (GCM, PRF, X25519, Transform(4, 19)),  # two of a type
        (GCM, GCM, PRF, X25519),
        (GCM, PRF, Transform(4, 20)),  # not offered
        (Transform(1, 20, 128), PRF, X25519),
        (GCM, PRF, SHA, X25519),
        (GCM, PRF, X25519, Transform(6, 36)),
        (),
    ],
)
def test_an_answer_that_is_not_one_of_each_we_offered_is_refused(
    transforms: tuple[Transform, ...],
) -> None:
    ours = ike("aes256gcm16-chacha20poly1305-prfsha256-x25519-ecp256")
    with pytest.raises(NoProposalChosen, match=r"answer .*; offered aes256gcm16"):
        check_answer_ike(offer(*transforms, protocol=IKE), ours)


@pytest.mark.parametrize(
    ("transforms", "want_group", "suite"),
    [
        ((GCM, ESN), False, "aes256gcm16-esn"),
        ((GCM,), False, "aes256gcm16"),
        ((GCM, NO_INTEG, NO_GROUP, NO_ESN), False, "aes256gcm16"),
        ((GCM, X25519, NO_ESN), False, None),
        ((GCM, X25519, NO_ESN), True, "aes256gcm16-x25519"),
        ((GCM, NO_ESN), True, None),
        ((GCM, ESN, NO_ESN), False, None),
    ],
)
def test_what_an_initiator_makes_of_an_esp_answer(
    transforms: tuple[Transform, ...], want_group: bool, suite: str | None
) -> None:
    ours = esp("aes256gcm16-x25519")
    if suite is None:
        with pytest.raises(NoProposalChosen):
            check_answer_esp(offer(*transforms), ours, want_group=want_group)
    else:
        found = check_answer_esp(offer(*transforms), ours, want_group=want_group)
        assert str(found) == suite


# ---- both ends ----

ikes = st.builds(
    lambda encr, prf, group: parse_proposal(f"{encr}-{prf}-{group}", IKE),
    st.sampled_from(
        ["aes256gcm16", "aes128gcm16-chacha20poly1305", "aes256-sha256", "aes128-sha512"]
    ),
    st.sampled_from(["prfsha256", "prfsha384-prfsha512", "prfsha512-prfsha256"]),
    st.sampled_from(["x25519", "ecp256-x25519", "modp2048-ecp384", "ecp521"]),
)
lists = st.lists(ikes, min_size=1, max_size=4).map(tuple)


@given(lists, lists)
@settings(max_examples=200)
def test_what_the_responder_chooses_the_initiator_accepts(
    offered: tuple[Proposal, ...], allowed: tuple[Proposal, ...]
) -> None:
    numbered = tuple(Proposal(IKE, one.transforms, b"", at) for at, one in enumerate(offered, 1))
    try:
        suite, answer = select_ike(numbered, allowed)
    except NoProposalChosen:
        return
    assert check_answer_ike((answer,), offered) == suite
    assert check_answer_ike((answer,), numbered) == suite


transforms = st.builds(
    Transform,
    st.integers(0, 13),
    st.sampled_from([0, 1, 5, 6, 12, 14, 19, 20, 28, 31, 99]),
    st.sampled_from([None, 0, 128, 256]),
)


@given(
    st.lists(transforms, max_size=12).map(tuple),
    st.sampled_from([IKE, ESP]),
    st.booleans(),
)
@settings(max_examples=300)
def test_any_offer_gives_a_choice_of_what_was_offered_or_a_refusal(
    offered: tuple[Transform, ...], protocol: ProtocolId, want_group: bool
) -> None:
    proposal = Proposal(protocol, offered, b"", 1)
    try:
        if protocol is IKE:
            _, answer = select_ike((proposal,), DEFAULT_IKE)
        else:
            _, answer = select_esp((proposal,), DEFAULT_ESP, want_group=want_group)
    except NoProposalChosen:
        return
    kinds = [one.type for one in answer.transforms]
    assert set(answer.transforms) <= set(offered)
    assert len(kinds) == len(set(kinds))


def test_every_token_is_chosen_when_both_ends_have_it() -> None:
    for token, (kind, number, _) in TOKENS.items():
        parts = {1: "aes256", 3: "sha256", 2: "prfsha256", 4: "x25519", 5: "noesn"}
        del parts[5 if kind != TransformType.ESN else 4]
        parts[kind] = token
        if kind in ADDITIONAL and "x25519" in token:
            parts[4] = "ecp256"  # no method is used twice
        if kind == TransformType.ENCR and Encr(number).is_aead:
            del parts[3]
        if kind == TransformType.ESN:
            del parts[2]
            ours = esp("-".join(parts.values()))
            assert select_esp(ours, ours, want_group=True)[1].of_type(kind)[0].id == number
        else:
            ours = ike("-".join(parts.values()))
            assert select_ike(ours, ours)[1].of_type(kind)[0].id == number


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("aes256gcm16-ke1_mlkem768", "ke1_mlkem768 needs a group beside it"),
        ("aes256gcm16-mlkem768", "unknown algorithm 'mlkem768'"),  # IKE_SA_INIT is not fragmented
        ("aes256gcm16-x25519-ke8_mlkem768", "unknown algorithm"),
        ("aes256gcm16-x25519-ke1_mlkem512", "unknown algorithm"),
        ("aes256gcm16-x25519-ke1_x25519", "takes each method only once"),
        ("aes256gcm16-x25519-ke1_mlkem768-ke2_mlkem768", "takes each method only once"),
    ],
)
def test_additional_key_exchanges_that_can_not_be(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        esp(text)


def test_a_method_taken_before_is_not_taken_again() -> None:
    """RFC 9370 section 2.2.1: of several methods in one place, another is taken."""
    ours = esp("aes256gcm16-x25519-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768-ke2_none")
    suite, _ = select_esp(ours, ours, want_group=True)
    assert str(suite) == "aes256gcm16-x25519-ke1_mlkem768-esn"
    other = esp("aes256gcm16-x25519-ke1_mlkem1024-ke2_mlkem768")
    suite, _ = select_esp(other, ours, want_group=True)
    assert str(suite) == "aes256gcm16-x25519-ke1_mlkem1024-ke2_mlkem768-esn"


def test_what_a_peer_means_that_knows_no_additional_key_exchanges() -> None:
    must, may = esp("aes256gcm16-x25519-ke1_mlkem768", "aes256gcm16-x25519-ke1_mlkem768-ke1_none")
    (left,) = without_further((must, may))
    assert left.number == 2
    assert str(left) == "aes256gcm16-x25519-esn-noesn-ke1_none"
    assert not has_further((left,))
