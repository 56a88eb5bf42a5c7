"""Key exchange against the RFCs' vectors, Wycheproof, and textbook arithmetic."""

from __future__ import annotations

import json
import re
from itertools import islice

import pytest

from gateway.errors import UsageError, WireError
from gateway.ike.dh import KeyPair, answer, check, public_len, supported_groups
from gateway.ike.iana import Group
from tests.support.published import WycheproofCase, package_file, wycheproof
from tests.support.recorded import VECTORS

ECP_FILES = {
    Group.ECP256: "Protocol/wycheproof/ecdh_secp256r1_ecpoint_test.json",
    Group.ECP384: "Protocol/wycheproof/ecdh_secp384r1_ecpoint_test.json",
    Group.ECP521: "Protocol/wycheproof/ecdh_secp521r1_ecpoint_test.json",
}
MODP = {
    Group.MODP2048: (2048, 124476),
    Group.MODP3072: (3072, 1690314),
    Group.MODP4096: (4096, 240904),
    Group.MODP6144: (6144, 929484),
    Group.MODP8192: (8192, 4743158),
}


def scaled_pi(bits: int) -> int:
    """Return floor(pi * 2**bits), by Machin's formula with 64 bits to spare."""
    one = 1 << (bits + 64)

    def arctan_of_inverse(number: int) -> int:
        term = total = one // number
        divisor, sign = 1, 1
        while term:
            term //= number * number
            divisor, sign = divisor + 2, -sign
            total += sign * (term // divisor)
        return total

    return 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239)) >> 64


def prime_of(group: Group) -> int:
    """Return the prime by RFC 3526's formula, so no table is copied from what is tested."""
    bits, constant = MODP[group]
    pi = scaled_pi(bits - 130)
    return (1 << bits) - (1 << bits - 64) - 1 + (1 << 64) * (pi + constant)


@pytest.mark.parametrize("group", sorted(supported_groups()))
def test_two_fresh_keys_agree(group: int) -> None:
    ours = KeyPair.generate(group)
    assert len(ours.public) == public_len(group)
    theirs, shared = answer(group, ours.public)
    assert ours.public != theirs
    assert ours.shared(theirs) == shared


@pytest.mark.parametrize("group", sorted(supported_groups()))
def test_a_key_pair_made_of_its_private_value_is_the_same(group: int) -> None:
    ours = KeyPair.generate(group)
    again = KeyPair.generate(group, ours.private().reveal())
    theirs, shared = answer(group, ours.public)
    assert again.public == ours.public
    assert again.shared(theirs) == shared


@pytest.mark.parametrize("group", sorted(supported_groups()))
def test_a_public_value_of_another_length_is_refused(group: int) -> None:
    key = KeyPair.generate(group)
    for wrong in (b"", key.public[:-1], key.public + b"\0", b"\0" + key.public):
        with pytest.raises(WireError, match="bytes for group"):
            key.shared(wrong)
        with pytest.raises(WireError, match="bytes for group"):
            check(group, wrong)


@pytest.mark.parametrize("group", [0, 1, 2, 5, 22, 23, 24, 32, 35, 1025, 65535])
def test_groups_we_do_not_support_are_the_callers_mistake(group: int) -> None:
    with pytest.raises(UsageError, match=f"unsupported group {group}"):
        KeyPair.generate(group)
    with pytest.raises(UsageError, match=f"unsupported group {group}"):
        public_len(group)


@pytest.mark.parametrize(
    "vector",
    json.loads((VECTORS / "rfc5903.json").read_text())["vectors"],
    ids=lambda one: str(one["group"]),
)
def test_ecp_groups_give_the_numbers_of_rfc_5903(vector: dict[str, str]) -> None:
    ours = KeyPair.generate(int(vector["group"]), bytes.fromhex(vector["i"]))
    theirs = KeyPair.generate(int(vector["group"]), bytes.fromhex(vector["r"]))
    assert ours.public.hex() == vector["gi"].lower()
    assert theirs.public.hex() == vector["gr"].lower()
    assert ours.shared(theirs.public).reveal().hex() == vector["shared"].lower()


def test_x25519_gives_the_numbers_of_rfc_7748_section_5_2() -> None:
    text = package_file("cryptography_vectors", "asymmetric/X25519/rfc7748.txt").read_text()
    cases = re.findall(r"SCALAR = (\w+)\nINPUT_U = (\w+)\nOUTPUT_U = (\w+)", text)
    assert len(cases) >= 3
    for private, peer, shared in cases:
        key = KeyPair.generate(Group.X25519, bytes.fromhex(private))
        assert key.shared(bytes.fromhex(peer)).reveal().hex() == shared


@pytest.mark.parametrize(
    "case", wycheproof("Protocol/wycheproof/x25519_test.json"), ids=lambda one: one.name
)
def test_x25519_wycheproof(case: WycheproofCase) -> None:
    key = KeyPair.generate(Group.X25519, case.fields["private"])
    if "ZeroSharedSecret" in case.flags:
        with pytest.raises(WireError, match="low order"):
            key.shared(case.fields["public"])
        with pytest.raises(WireError, match="low order"):
            check(Group.X25519, case.fields["public"])
    else:
        check(Group.X25519, case.fields["public"])
        assert key.shared(case.fields["public"]).reveal() == case.fields["shared"]


@pytest.mark.parametrize("group", ECP_FILES)
def test_ecp_wycheproof(group: Group) -> None:
    cases = wycheproof(ECP_FILES[group])
    agreed = [case for case in cases if not _is_refused(group, case)]
    assert {case.result for case in agreed} == {"valid"}
    assert len(agreed) == sum(case.result == "valid" for case in cases) > 300


def _is_refused(group: Group, case: WycheproofCase) -> bool:
    """
    Return whether `case` has no secret; check the secret it has.

    IKE has no format byte: points that are not uncompressed have another length.
    """
    size = public_len(group) // 2
    key = KeyPair.generate(group, case.fields["private"].lstrip(b"\0").rjust(size, b"\0"))
    point = case.fields["public"]
    try:
        secret = key.shared(point[1:] if point[:1] == b"\x04" else point)
    except WireError:
        return True
    assert secret.reveal() == case.fields["shared"], case.name
    return False


@pytest.mark.parametrize("group", ECP_FILES)
def test_ecp_points_off_the_curve_are_refused(group: Group) -> None:
    key = KeyPair.generate(group)
    size = public_len(group)
    bad_y = key.public[:-1] + bytes([key.public[-1] ^ 1])
    for point in (bytes(size), b"\xff" * size, bad_y, key.public[size // 2 :] * 2):
        with pytest.raises(WireError, match="not on"):
            key.shared(point)


@pytest.mark.parametrize("group", MODP)
def test_modp_groups_agree_with_textbook_arithmetic(group: Group) -> None:
    prime, size = prime_of(group), public_len(group)
    x, y = 0x1234567890ABCDEF << 300, prime // 3
    ours = KeyPair.generate(group, x.to_bytes(size, "big"))
    fresh = KeyPair.generate(group)
    assert ours.public == pow(2, x, prime).to_bytes(size, "big")
    theirs = pow(2, y, prime).to_bytes(size, "big")
    assert ours.shared(theirs).reveal() == pow(2, x * y, prime).to_bytes(size, "big")
    secret = pow(int.from_bytes(fresh.public, "big"), x, prime)
    assert fresh.shared(ours.public).reveal() == secret.to_bytes(size, "big")


@pytest.mark.parametrize("group", MODP)
def test_modp_secrets_keep_their_leading_zeros(group: Group) -> None:
    prime, size = prime_of(group), public_len(group)
    # 2**1 is a legal public value: its secret with x = 8 is 256, nearly all zeros.
    ours = KeyPair.generate(group, (8).to_bytes(1, "big"))
    assert ours.public == (256).to_bytes(size, "big")
    assert ours.shared((2).to_bytes(size, "big")).reveal() == (256).to_bytes(size, "big")
    assert prime.bit_length() == size * 8


@pytest.mark.parametrize("group", MODP)
def test_modp_refuses_zero_one_minus_one_and_more(group: Group) -> None:
    prime, size = prime_of(group), public_len(group)
    key = KeyPair.generate(group)
    for value in (0, 1, prime - 1, prime, prime + 1, 2 ** (8 * size) - 1):
        with pytest.raises(WireError, match="0, 1, p-1 or more"):
            key.shared(value.to_bytes(size, "big"))
        with pytest.raises(WireError, match="0, 1, p-1 or more"):
            check(group, value.to_bytes(size, "big"))
    key.shared((prime - 2).to_bytes(size, "big"))
    check(group, (prime - 2).to_bytes(size, "big"))


@pytest.mark.parametrize("private", [b"", b"\0", b"\x01", b"\0" * 300, b"\xff" * 256])
def test_modp_refuses_private_values_that_are_none(private: bytes) -> None:
    with pytest.raises(UsageError, match="group 14"):
        KeyPair.generate(Group.MODP2048, private)


@pytest.mark.parametrize("group", [Group.MLKEM768, Group.MLKEM1024])
def test_ml_kem_gives_the_secrets_of_nist(group: Group) -> None:
    """Known answers for FIPS 203: a seed, a ciphertext that is right, and one that is not."""
    name = f"kat_MLKEM_{1024 if group is Group.MLKEM1024 else 768}.rsp"
    file = package_file("cryptography_vectors", f"asymmetric/MLKEM/{name}")
    with file.open() as lines:
        text = "".join(islice(lines, 20 * 11))
    blocks = text.split("count = ")[1:]
    assert len(blocks) == 20
    for block in blocks:
        pairs = (line.split(" = ") for line in block.splitlines()[1:])
        values = {key: bytes.fromhex(value) for key, value in pairs}
        ours = KeyPair.generate(group, values["d"] + values["z"])
        assert ours.public == values["pk"]
        assert ours.shared(values["ct"]).reveal() == values["ss"]
        assert ours.shared(values["ct_n"]).reveal() == values["ss_n"]


@pytest.mark.parametrize("group", [Group.MLKEM768, Group.MLKEM1024])
def test_an_ml_kem_key_that_is_none_is_refused(group: Group) -> None:
    """FIPS 203 section 7.2: the length, and each coefficient below q."""
    key = KeyPair.generate(group).public
    for wrong in (b"", key[:-1], key + b"\0", b"\xff" * len(key)):
        with pytest.raises(WireError, match="no ML-KEM key"):
            answer(group, wrong)
