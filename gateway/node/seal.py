"""
Seal what the gateway process keeps with the data plane process: its IKE SAs, keys included.

The records are in the data plane's memory, the key in a file of the runtime directory (memory as
well, mode 0600): neither place alone gives the keys away, and neither survives a reboot.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import GatewayError
from gateway.secret import Secret

_KEY_BYTES, _SALT_BYTES, _COUNT_BYTES, _NONCE_BYTES = 32, 16, 8, 12
_LABEL = b"twinspan gateway record 1"  # another layout gets another number and is not opened


class SealError(GatewayError):
    """A record is not ours, was changed or moved, or has another version's layout."""


def make_key(path: Path) -> Secret:
    """
    Return a new key, kept at `path` in place of any other. Raises OSError.

    Made anew with each data plane, so a file that was damaged, or that stems from another start, is
    in nobody's way.
    """
    value = secrets.token_bytes(_KEY_BYTES)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(value)
    except OSError as error:  # a full disk names no file
        raise OSError(error.errno, error.strerror, str(draft)) from None
    draft.replace(path)
    return Secret(value)


def load_key(path: Path) -> Secret:
    """Return the key kept at `path`. Raises OSError, SealError."""
    value = path.read_bytes()
    if len(value) != _KEY_BYTES:
        raise SealError(f"{path} has {len(value)} bytes, need {_KEY_BYTES}")
    return Secret(value)


def kept_key(path: Path) -> Secret:
    """Return the key kept at `path`, a new one if there is none that is whole. Raises OSError."""
    try:
        return load_key(path)
    except (FileNotFoundError, SealError):
        return make_key(path)


class Sealer:
    """
    Encrypts and authenticates records (AES-256-GCM), each bound to the key that it is kept under.

    A sealer has its own key, made of the kept one and a salt, and counts: no nonce comes twice.
    """

    def __init__(self, kept: Secret) -> None:
        self._kept = kept
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._cipher = self._made_with(self._salt)
        self._count = 0

    def _made_with(self, salt: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self._kept.reveal(), _LABEL + salt, "sha256"))

    def seal(self, place: bytes, content: bytes) -> bytes:
        """Return `content` sealed for its place."""
        self._count += 1
        nonce = self._count.to_bytes(_NONCE_BYTES, "big")
        sealed = self._cipher.encrypt(nonce, content, _LABEL + place)
        return self._salt + nonce[-_COUNT_BYTES:] + sealed

    def open(self, place: bytes, record: bytes) -> bytes:
        """Return what any sealer with the same kept key has sealed. Raises SealError."""
        salt, rest = record[:_SALT_BYTES], record[_SALT_BYTES:]
        nonce = bytes(_NONCE_BYTES - _COUNT_BYTES) + rest[:_COUNT_BYTES]
        try:
            return self._made_with(salt).decrypt(nonce, rest[_COUNT_BYTES:], _LABEL + place)
        except (InvalidTag, ValueError):
            raise SealError("sealed by another gateway, or damaged") from None
