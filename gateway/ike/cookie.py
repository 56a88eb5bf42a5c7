"""
Cookies: a responder under load remembers nothing about an initiator until it has shown that it
receives what is sent to its address (RFC 7296 section 2.6).

A cookie is the low byte of an epoch's number and an HMAC over nonce, address and SPIi under that
epoch's key. Epochs follow from the time and their keys from one secret, so a jar holds no state but
the keys it has made last, and needs no fresh randomness. A cookie is accepted in its own epoch and
the next.
"""

from __future__ import annotations

import hmac

from gateway.errors import UsageError
from gateway.sa import Path

EPOCH_S = 30.0  # an initiator answers within seconds; its retransmissions end before two epochs do
_SECRET_LEN = 32
COOKIE_LEN = 33


class CookieJar:
    """Makes and checks cookies. `secret` has at least 32 random bytes and is never shared."""

    __slots__ = ("_keys", "_secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SECRET_LEN:
            raise UsageError(f"cookie secret of {len(secret)} bytes, need {_SECRET_LEN}")
        self._secret = secret
        self._keys: dict[int, bytes] = {}  # of two epochs at most

    def make(self, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bytes:
        """Return the cookie for an IKE_SA_INIT request, 33 bytes. `now` is monotonic seconds."""
        return self._cookie(int(now // EPOCH_S), spi_i, nonce, path)

    def accepts(self, cookie: bytes, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bool:
        """Return whether `cookie` was made for this request, in this epoch or the one before."""
        if len(cookie) != COOKIE_LEN:
            return False
        current = int(now // EPOCH_S)
        made = [self._cookie(epoch, spi_i, nonce, path) for epoch in (current, current - 1)]
        return any([hmac.compare_digest(one, cookie) for one in made])

    def _cookie(self, epoch: int, spi_i: bytes, nonce: bytes, path: Path) -> bytes:
        key = self._keys.get(epoch) or self._key(epoch)
        # The address is last but for the SPI, and each has a fixed length by its family: no two
        # requests give the same input.
        bound = nonce + path.remote.packed + spi_i + bytes([path.remote.version])
        return bytes([epoch & 255]) + hmac.digest(key, bound, "sha256")

    def _key(self, epoch: int) -> bytes:
        key = hmac.digest(self._secret, epoch.to_bytes(8, "big", signed=True), "sha256")
        self._keys = {one: self._keys[one] for one in (epoch - 1, epoch + 1) if one in self._keys}
        self._keys[epoch] = key
        return key
