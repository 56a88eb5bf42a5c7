"""
Seal what the gateway process leaves with the data plane process when it ends: its IKE SAs, keys
included.

The blob is in the data plane's memory, the key in a file of the runtime directory (memory as well,
mode 0600): neither place alone gives the keys away, and neither survives a reboot.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import GatewayError
from gateway.secret import Secret

_KEY_BYTES, _NONCE_BYTES = 32, 12
_LABEL = b"twinspan gateway state 3"  # another layout gets another number and is not opened


class SealError(GatewayError):
    """A blob is not ours, was changed, or has another version's layout."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """
    What one gateway process leaves to the next: the endpoint's snapshot, the tunnels an operator
    took down, those whose traffic stays with another tunnel although they are well, and those whose
    probes were answered when it ended, and were no longer.
    """

    snapshot: bytes
    taken_down: frozenset[str]
    held_back: frozenset[str] = frozenset()
    healthy: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()


_NAMES = ("taken_down", "held_back", "healthy", "unhealthy")


def make_key(path: Path) -> Secret:
    """
    Return a new key, kept at `path` in place of any other. Raises OSError.

    Made anew each time something is sealed, so a file that was damaged, or that stems from another
    start, is in nobody's way.
    """
    value = secrets.token_bytes(_KEY_BYTES)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(value)
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


def seal(legacy: Legacy, key: Secret) -> bytes:
    """Return `legacy` encrypted and authenticated (AES-256-GCM, random nonce)."""
    head = json.dumps({name: sorted(getattr(legacy, name)) for name in _NAMES}).encode()
    plain = len(head).to_bytes(4, "big") + head + legacy.snapshot
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key.reveal()).encrypt(nonce, plain, _LABEL)


def unseal(blob: bytes, key: Secret) -> Legacy:
    """Return what `seal` was given. Raises SealError."""
    try:
        plain = AESGCM(key.reveal()).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], _LABEL)
    except (InvalidTag, ValueError):
        raise SealError("sealed by another gateway, or damaged") from None
    head_len = int.from_bytes(plain[:4], "big")
    head = json.loads(plain[4 : 4 + head_len])
    snapshot = plain[4 + head_len :]
    return Legacy(snapshot, **{name: frozenset(head[name]) for name in _NAMES})
