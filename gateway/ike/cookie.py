"""
Cookies: a responder under load remembers nothing about an initiator until it has shown that it
receives what is sent to its address (RFC 7296 section 2.6).

A cookie is the low byte of an epoch's number and an HMAC over nonce, address and SPIi under that
epoch's key. Epochs follow from the time and their keys from one secret, so a jar holds no state and
needs no fresh randomness. A cookie is accepted in its own epoch and the next.
"""

from __future__ import annotations

import hmac

from gateway.errors import UsageError
from gateway.sa import Path

EPOCH_S = 30.0  # an initiator answers within seconds; its retransmissions end before two epochs do
_SECRET_LEN = 32


class CookieJar:
    """Makes and checks cookies. `secret` has at least 32 random bytes and is never shared."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) < _SECRET_LEN:
            raise UsageError(f"cookie secret of {len(secret)} bytes, need {_SECRET_LEN}")
        self._secret = secret

    def make(self, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bytes:
        """Return the cookie for an IKE_SA_INIT request, 33 bytes. `now` is monotonic seconds."""
        return self._cookie(int(now // EPOCH_S), spi_i, nonce, path)

    def accepts(self, cookie: bytes, spi_i: bytes, nonce: bytes, path: Path, now: float) -> bool:
        """Return whether `cookie` was made for this request, in this epoch or the one before."""
        current = int(now // EPOCH_S)
        made = [self._cookie(epoch, spi_i, nonce, path) for epoch in (current, current - 1)]
        return any([hmac.compare_digest(one, cookie) for one in made])

    def _cookie(self, epoch: int, spi_i: bytes, nonce: bytes, path: Path) -> bytes:
        key = hmac.digest(self._secret, epoch.to_bytes(8, "big", signed=True), "sha256")
        # The address is last but for the SPI, and each has a fixed length by its family: no two
        # requests give the same input.
        bound = nonce + path.remote.packed + spi_i + bytes([path.remote.version])
        return bytes([epoch & 255]) + hmac.digest(key, bound, "sha256")
