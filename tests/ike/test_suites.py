"""PRFs and key derivation against RFC 4231 and an independent prf+."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ike.iana import Group, Prf
from gateway.ike.keymat import derive_child, derive_ike, rederive_ike
from gateway.ike.proposals import EspSuite, IkeSuite
from gateway.ike.suites import icv_len, integ_value, prf, prf_len, prf_plus
from gateway.sa import Encr, Integ
from gateway.secret import Secret
from tests.support.published import package_file

PRFS = {
    Prf.HMAC_SHA2_256: ("sha256", Integ.HMAC_SHA2_256_128),
    Prf.HMAC_SHA2_384: ("sha384", Integ.HMAC_SHA2_384_192),
    Prf.HMAC_SHA2_512: ("sha512", Integ.HMAC_SHA2_512_256),
}
GCM = IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_384, Integ.NONE, Group.X25519)
CBC = IkeSuite(Encr.AES_CBC, 192, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_512_256, Group.X25519)


def rfc_4231(name: str) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, data and HMAC of the vectors that cryptography-vectors carries."""
    text = package_file("cryptography_vectors", f"HMAC/rfc-4231-{name}.txt").read_text()
    plain = re.sub(r"(?m)^#.*\n", "", text)
    found = re.findall(r"Key = (\w+)\nMsg = (\w*)\nMD = (\w+)", plain)
    return [(bytes.fromhex(k), bytes.fromhex(m), bytes.fromhex(md)) for k, m, md in found]


@pytest.mark.parametrize("function", PRFS)
def test_prf_and_integrity_give_the_numbers_of_rfc_4231(function: Prf) -> None:
    name, integ = PRFS[function]
    cases = rfc_4231(name)
    assert len(cases) >= 6
    for key, data, expected in cases:
        assert prf(function, key, data)[: len(expected)] == expected
        assert integ_value(integ, key, data) == expected[: icv_len(integ)]
    assert prf_len(function) == 2 * icv_len(integ) == len(prf(function, b"", b""))


@given(st.sampled_from(sorted(PRFS)), st.binary(max_size=80), st.binary(max_size=80), st.data())
def test_prf_plus_is_the_chain_of_section_2_13(
    function: Prf, key: bytes, seed: bytes, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, 400))
    blocks = [b""]
    for count in range(1, 9 + length // 32):
        blocks.append(prf(function, key, blocks[-1] + seed + bytes([count])))
    assert prf_plus(function, key, seed, length) == b"".join(blocks)[:length]


def test_prf_plus_ends_after_255_blocks() -> None:
    assert len(prf_plus(Prf.HMAC_SHA2_256, b"k", b"s", 255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="8161 bytes"):
        prf_plus(Prf.HMAC_SHA2_256, b"k", b"s", 255 * 32 + 1)


@pytest.mark.parametrize(
    ("suite", "lens"),
    [(GCM, (48, 0, 0, 36, 36, 48, 48)), (CBC, (32, 64, 64, 24, 24, 32, 32))],
)
def test_ike_keys_have_the_lengths_of_the_suite(suite: IkeSuite, lens: tuple[int, ...]) -> None:
    keys = derive_ike(suite, Secret(bytes(32)), b"i" * 32, b"r" * 32, bytes(8), bytes(8))
    names = ("sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr")
    assert tuple(len(getattr(keys, name)) for name in names) == lens


def test_a_rekey_uses_the_old_prf_for_skeyseed_and_the_new_one_for_the_keys() -> None:
    shared, ni, nr, spi_i, spi_r = b"g" * 32, b"i" * 16, b"r" * 16, b"12345678", b"abcdefgh"
    old = Secret(b"d" * 48)
    keys = rederive_ike(CBC, Prf.HMAC_SHA2_384, old, (Secret(shared),), ni, nr, spi_i, spi_r)
    skeyseed = prf(Prf.HMAC_SHA2_384, old.reveal(), shared + ni + nr)
    stream = prf_plus(Prf.HMAC_SHA2_256, skeyseed, ni + nr + spi_i + spi_r, 32)
    assert keys.sk_d.reveal() == stream


def test_a_key_exchange_of_its_own_changes_the_child_keys() -> None:
    suite = EspSuite(Encr.AES_GCM_16, 128, Integ.NONE, None, False)
    args = (suite, Prf.HMAC_SHA2_256, Secret(b"d" * 32), b"i" * 16, b"r" * 16)
    plain, with_group = derive_child(*args), derive_child(*args, (Secret(b"g" * 32),))
    assert len(plain.initiator_encr) == 20
    assert len(plain.initiator_integ) == 0
    assert plain.initiator_encr != plain.responder_encr
    assert plain.initiator_encr != with_group.initiator_encr
