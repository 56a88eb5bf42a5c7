"""
The cipher of one direction of an IKE SA: what stands in an SK or SKF payload after its header.

IV, encrypted content, padding and pad length, integrity check value (RFC 7296 section 3.14). With
an AEAD the bytes before the IV are associated data and the tag is the check value (RFC 5282 section
5.1); otherwise the HMAC covers all before it.
"""

from __future__ import annotations

import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from gateway.errors import IntegrityError, UsageError, WireError
from gateway.ike.proposals import IkeSuite
from gateway.ike.suites import encr_key_len, icv_len, integ_key_len, integ_value
from gateway.sa import Encr, Integ
from gateway.secret import Secret

_BLOCK = 16
_SALT_LEN = 4


class SkCipher:
    """
    Seals, or opens, one direction of an IKE SA. Holds its keys; never prints them.

    `encr_key` ends in the salt of an AEAD, whose `integ_key` is empty.
    """

    __slots__ = ("_aead", "_encr_key", "_integ", "_integ_key", "_salt", "icv_len", "iv_len")

    def __init__(self, suite: IkeSuite, encr_key: Secret, integ_key: Secret) -> None:
        if len(encr_key) != encr_key_len(suite.encr, suite.key_bits):
            raise UsageError(f"{suite}: encryption key of {len(encr_key)} bytes")
        if len(integ_key) != integ_key_len(suite.integ):
            raise UsageError(f"{suite}: integrity key of {len(integ_key)} bytes")
        self._integ: Integ = suite.integ
        self._integ_key = integ_key
        self._aead: AESGCM | ChaCha20Poly1305 | None = None
        key = encr_key.reveal()
        self._salt, self._encr_key = Secret(b""), encr_key
        self.iv_len = 8 if suite.encr.is_aead else _BLOCK
        self.icv_len = icv_len(suite.integ)
        if suite.encr.is_aead:
            self._salt = Secret(key[-_SALT_LEN:])
            kind = AESGCM if suite.encr is Encr.AES_GCM_16 else ChaCha20Poly1305
            self._aead = kind(key[:-_SALT_LEN])

    def __repr__(self) -> str:
        return f"<SkCipher {'AEAD' if self._aead else self._integ.name}>"

    def sealed_len(self, content_len: int) -> int:
        """Return the length in bytes of what `seal` makes of `content_len` bytes."""
        return self.iv_len + content_len + self._padding(content_len) + 1 + self.icv_len

    def content_max(self, sealed_len: int) -> int:
        """Return how much content fits in `sealed_len` bytes; negative if nothing does."""
        room = sealed_len - self.iv_len - self.icv_len
        return (room if self._aead else room // _BLOCK * _BLOCK) - 1

    def seal(self, prefix: bytes, iv: bytes, content: bytes) -> bytes:
        """Return IV, encrypted content and check value; `prefix` is the message before the IV."""
        if len(iv) != self.iv_len:
            raise UsageError(f"IV of {len(iv)} bytes, need {self.iv_len}")
        padding = self._padding(len(content))
        return self.seal_plain(prefix, iv, content + bytes(padding) + bytes([padding]))

    def seal_plain(self, prefix: bytes, iv: bytes, plain: bytes) -> bytes:
        """Return what `seal` does, for content that has its padding: whole blocks for CBC."""
        if self._aead is not None:
            return iv + self._aead.encrypt(self._salt.reveal() + iv, plain, prefix)
        encryptor = self._cbc(iv).encryptor()
        covered = iv + encryptor.update(plain) + encryptor.finalize()
        return covered + self.check_value(prefix + covered)

    def check_value(self, covered: bytes) -> bytes:
        """Return the HMAC of a suite that is no AEAD, over the message up to it."""
        return integ_value(self._integ, self._integ_key.reveal(), covered)

    def open(self, prefix: bytes, body: bytes) -> bytes:
        """
        Return the content of `body`: IV to check value.

        Raises IntegrityError before anything is decrypted for use, and WireError if the padding
        that the peer sealed is longer than the content.
        """
        if len(body) < self.iv_len + 1 + self.icv_len:
            raise IntegrityError(f"SK: {len(body)} bytes are too short")
        plain = self._open_aead(prefix, body) if self._aead else self._open_cbc(prefix, body)
        padding = plain[-1] + 1
        if padding > len(plain):
            raise WireError(f"SK: pad length {padding - 1} in {len(plain)} bytes")
        return plain[:-padding]

    def _open_aead(self, prefix: bytes, body: bytes) -> bytes:
        assert self._aead is not None
        nonce = self._salt.reveal() + body[: self.iv_len]
        try:
            return self._aead.decrypt(nonce, body[self.iv_len :], prefix)
        except InvalidTag:
            raise IntegrityError("SK: wrong tag") from None

    def _open_cbc(self, prefix: bytes, body: bytes) -> bytes:
        covered, icv = body[: -self.icv_len], body[-self.icv_len :]
        if not hmac.compare_digest(self.check_value(prefix + covered), icv):
            raise IntegrityError("SK: wrong integrity check value")
        encrypted = covered[self.iv_len :]
        if not encrypted or len(encrypted) % _BLOCK:
            raise WireError(f"SK: {len(encrypted)} encrypted bytes are no whole blocks")
        decryptor = self._cbc(covered[: self.iv_len]).decryptor()
        return decryptor.update(encrypted) + decryptor.finalize()

    def _padding(self, content_len: int) -> int:
        return 0 if self._aead else -(content_len + 1) % _BLOCK

    def _cbc(self, iv: bytes) -> Cipher[modes.CBC]:
        return Cipher(algorithms.AES(self._encr_key.reveal()), modes.CBC(iv))
