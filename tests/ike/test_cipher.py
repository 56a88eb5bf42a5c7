"""
SkCipher against published AEAD vectors: NIST CAVP (AES-GCM) and Wycheproof (AES-GCM, ChaCha20).

A vector's nonce is our salt and IV, its associated data our prefix, its text our content, padding
and pad length. So a text that ends in a zero byte is content without padding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.errors import IntegrityError, WireError
from gateway.ike.cipher import SkCipher
from gateway.ike.iana import Group, Prf
from gateway.ike.proposals import IkeSuite
from gateway.sa import Encr, Integ
from gateway.secret import Secret
from tests.support.published import package_file, wycheproof


@dataclass(frozen=True, slots=True)
class AeadCase:
    """One vector with a 96-bit nonce and a 128-bit tag. Not valid: its tag is wrong."""

    encr: Encr
    key: bytes
    nonce: bytes
    aad: bytes
    text: bytes
    sealed: bytes  # ciphertext and tag
    is_valid: bool = True

    def cipher(self) -> SkCipher:
        bits = 8 * len(self.key)
        suite = IkeSuite(self.encr, bits, Prf.HMAC_SHA2_256, Integ.NONE, Group.X25519)
        return SkCipher(suite, Secret(self.key + self.nonce[:4]), Secret(b""))

    def body(self) -> bytes:
        return self.nonce[4:] + self.sealed


def wycheproof_cases(encr: Encr, path: str) -> Iterator[AeadCase]:
    for case in wycheproof(path):
        one = case.fields
        if len(one["iv"]) == 12 and len(one["key"]) in (16, 24, 32):
            sealed = one["ct"] + one["tag"]
            is_valid = case.result == "valid"
            yield AeadCase(encr, one["key"], one["iv"], one["aad"], one["msg"], sealed, is_valid)


def nist_cases(bits: int) -> Iterator[AeadCase]:
    """Return every vector with our nonce and tag length; there are texts of up to 51 bytes."""
    path = f"ciphers/AES/GCM/gcmEncryptExtIV{bits}.rsp"
    nonce_len = tag_len = 0
    fields: dict[str, bytes] = {}
    for line in package_file("cryptography_vectors", path).read_text().splitlines():
        if header := re.fullmatch(r"\[(IVlen|Taglen) = (\d+)\]", line):
            nonce_len = int(header[2]) if header[1] == "IVlen" else nonce_len
            tag_len = int(header[2]) if header[1] == "Taglen" else tag_len
        elif field := re.fullmatch(r"(Key|IV|PT|AAD|CT|Tag) = ?([0-9a-f]*)", line):
            fields[field[1]] = bytes.fromhex(field[2])
            if field[1] == "Tag" and (nonce_len, tag_len) == (96, 128):
                sealed = fields["CT"] + fields["Tag"]
                yield AeadCase(
                    Encr.AES_GCM_16,
                    fields["Key"],
                    fields["IV"],
                    fields["AAD"],
                    fields["PT"],
                    sealed,
                )


SOURCES = {
    "nist-128": lambda: nist_cases(128),
    "nist-192": lambda: nist_cases(192),
    "nist-256": lambda: nist_cases(256),
    "wycheproof-gcm": lambda: wycheproof_cases(
        Encr.AES_GCM_16, "Cipher/wycheproof/aes_gcm_test.json"
    ),
    "wycheproof-chacha": lambda: wycheproof_cases(
        Encr.CHACHA20_POLY1305, "Cipher/wycheproof/chacha20_poly1305_test.json"
    ),
}


def opens(case: AeadCase) -> bool:
    """Return whether the vector opens; check the content against its text."""
    try:
        content = case.cipher().open(case.aad, case.body())
    except IntegrityError:
        return False
    except WireError:
        assert case.text[-1] >= len(case.text)
        return True
    assert content == case.text[: -1 - case.text[-1]]
    return True


@pytest.mark.parametrize("source", SOURCES)
def test_published_vectors_open_or_are_refused(source: str) -> None:
    cases = list(SOURCES[source]())
    assert len(cases) > 150
    for case in cases:
        # SK has a pad length at least: an empty text is too short to be one.
        assert opens(case) is (case.is_valid and case.text != b""), case


@pytest.mark.parametrize("source", SOURCES)
def test_published_vectors_are_what_we_seal(source: str) -> None:
    cases = [case for case in SOURCES[source]() if case.is_valid and case.text]
    assert len(cases) > 100
    for case in cases:
        sealed = case.cipher().seal_plain(case.aad, case.nonce[4:], case.text)
        assert sealed == case.body(), case


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_room_and_length_agree(bits: int) -> None:
    aead = IkeSuite(Encr.AES_GCM_16, bits, Prf.HMAC_SHA2_256, Integ.NONE, Group.X25519)
    cbc = IkeSuite(Encr.AES_CBC, bits, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Group.X25519)
    for suite, salt, integ in ((aead, 4, 0), (cbc, 0, 32)):
        cipher = SkCipher(suite, Secret(bytes(bits // 8 + salt)), Secret(bytes(integ)))
        for room in range(60, 200):
            most = cipher.content_max(room)
            assert cipher.sealed_len(most) <= room < cipher.sealed_len(most + 1)
            assert len(cipher.seal(b"", bytes(cipher.iv_len), bytes(most))) <= room
