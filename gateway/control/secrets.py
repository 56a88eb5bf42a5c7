"""
Secrets at rest: what stands in the store instead of a pre-shared key or private key.

Each secret is encrypted with AES-256-GCM under a data key of its own, and that key under a master
key. Kind and id of the object and the field are associated data of both, so a sealed secret opens
only where it was put. To rotate the master key only the data keys are sealed anew.

    sealed:v1:MASTER KEY ID:DATA KEY:SECRET

The data key and the secret are base64 of nonce (12 bytes), ciphertext and tag (16 bytes). A field
is the way to a value in its object, as in a JSON pointer: `auth/psk`, `tunnel/0/psk`.

Master keys are in a file of their owner's alone, base64 of 32 bytes a line: the first seals, all
open. systemd gives such a file to a service as a credential (LoadCredentialEncrypted=).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.control.store.interface import Key
from gateway.errors import ConfigError, GatewayError
from gateway.secret import Secret

CREDENTIAL = "twinspan-master-key"
KEY_BYTES = 32
NONCE_BYTES = 12
_B64 = r"[A-Za-z0-9+/]+={0,2}"
_SEALED = re.compile(rf"sealed:v1:([0-9a-f]{{16}}):({_B64}):({_B64})")

Json = object


class CannotOpen(GatewayError):
    """A sealed secret does not open: another place's, another key's, or damaged."""

    def __init__(self, key: Key, where: str, why: str) -> None:
        super().__init__(f"{key}: {where}: {why}")


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A master key. Its id says nothing about it: 8 bytes of a hash, as hexadecimal digits."""

    secret: Secret
    id: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(b"twinspan master key" + self.secret.reveal()).hexdigest()
        object.__setattr__(self, "id", digest[:16])


class KeyRing:
    """
    The master keys: the first seals, all open.

    `reload` gives the keys anew; it is asked when a secret names a key that is not there, so a
    process that runs while the key is rotated goes on.
    """

    def __init__(
        self,
        keys: Sequence[MasterKey],
        reload: Callable[[], Sequence[MasterKey]] | None = None,
    ) -> None:
        self._keys = tuple(keys)
        self._reload = reload

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return self._keys[0].id

    def seal(self, secret: Secret, key: Key, where: str) -> str:
        """Return a secret sealed for the field `where` of one object."""
        place, data_key = _place(key, where), os.urandom(KEY_BYTES)
        wrapped = _encrypt(self._keys[0].secret.reveal(), data_key, place)
        return f"sealed:v1:{self.current}:{wrapped}:{_encrypt(data_key, secret.reveal(), place)}"

    def open(self, sealed: str, key: Key, where: str) -> Secret:
        """Return the secret. Raises CannotOpen."""
        data_key, ciphertext = self._unwrap(sealed, key, where)
        return Secret(_decrypt(data_key, ciphertext, key, where))

    def reseal(self, sealed: str, key: Key, where: str) -> str:
        """Return the same secret with its data key under the current master key. CannotOpen."""
        data_key, ciphertext = self._unwrap(sealed, key, where)
        wrapped = _encrypt(self._keys[0].secret.reveal(), data_key, _place(key, where))
        return f"sealed:v1:{self.current}:{wrapped}:{ciphertext}"

    def _unwrap(self, sealed: str, key: Key, where: str) -> tuple[bytes, str]:
        """Return the data key, and the secret under it. Raises CannotOpen."""
        parts = _SEALED.fullmatch(sealed)
        if parts is None:
            raise CannotOpen(key, where, "is not a sealed secret")
        master_id, wrapped, ciphertext = parts.groups()
        master = self._find(master_id)
        if master is None and self._reload is not None:
            self._keys = tuple(self._reload())
            master = self._find(master_id)
        if master is None:
            raise CannotOpen(key, where, f"is sealed with the master key {master_id}, not given")
        return _decrypt(master.secret.reveal(), wrapped, key, where), ciphertext

    def _find(self, master_id: str) -> MasterKey | None:
        return next((each for each in self._keys if each.id == master_id), None)


def is_sealed(value: object) -> bool:
    """Say whether a value has the form of a sealed secret."""
    return isinstance(value, str) and _SEALED.fullmatch(value) is not None


def master_key_id(sealed: str) -> str:
    """Return the id of the master key that a sealed secret needs."""
    return sealed.split(":")[2]


def sealed_fields(value: bytes) -> Iterator[tuple[str, str]]:
    """Yield the field and the sealed secret for each one in an object."""
    yield from _walk(json.loads(value), "")


def reseal_object(ring: KeyRing, key: Key, value: bytes) -> bytes | None:
    """
    Return an object with all its secrets under the current master key; None if they are.

    Raises CannotOpen for the first that does not open.
    """
    old = [(w, s) for w, s in sealed_fields(value) if master_key_id(s) != ring.current]
    if not old:
        return None
    table = json.loads(value)
    for where, sealed in old:
        _set(table, where, ring.reseal(sealed, key, where))
    return json.dumps(table).encode()


def _walk(value: Json, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and is_sealed(value):
        yield where, value
    items: Iterator[tuple[object, Json]] | None = None
    if isinstance(value, dict):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    for name, each in items or ():
        step = str(name).replace("~", "~0").replace("/", "~1")
        yield from _walk(each, f"{where}/{step}" if where else step)


def _set(table: Json, where: str, sealed: str) -> None:
    """Put a value where `_walk` has found one."""
    *way, last = (step.replace("~1", "/").replace("~0", "~") for step in where.split("/"))
    for step in way:
        table = table[int(step)] if isinstance(table, list) else table[step]  # type: ignore[index] # as walked
    if isinstance(table, list):
        table[int(last)] = sealed
    else:
        assert isinstance(table, dict)
        table[last] = sealed


def _place(key: Key, where: str) -> bytes:
    """Return the associated data: each part after its length, so that no two places are alike."""
    parts = (b"twinspan secret v1", key.kind.encode(), key.id.encode(), where.encode())
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _encrypt(key: bytes, text: bytes, place: bytes) -> str:
    nonce = os.urandom(NONCE_BYTES)
    return base64.b64encode(nonce + AESGCM(key).encrypt(nonce, text, place)).decode()


def _decrypt(with_key: bytes, sealed: str, key: Key, where: str) -> bytes:
    try:
        blob = base64.b64decode(sealed, validate=True)
        nonce, text = blob[:NONCE_BYTES], blob[NONCE_BYTES:]
        return AESGCM(with_key).decrypt(nonce, text, _place(key, where))
    except (InvalidTag, ValueError):
        raise CannotOpen(key, where, "is damaged, or was sealed for another place") from None


def new_master_key() -> MasterKey:
    """Return a new master key."""
    return MasterKey(Secret(os.urandom(KEY_BYTES)))


def key_file() -> Path | None:
    """Return the file of master keys that systemd has given this service, if it has."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) / CREDENTIAL if folder else None


def load_key_ring(path: Path) -> KeyRing:
    """Return the master keys of a file. Raises ConfigError."""
    return KeyRing(read_master_keys(path), lambda: read_master_keys(path))


def read_master_keys(path: Path) -> list[MasterKey]:
    """Return the master keys of a file that is its owner's alone. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            # systemd lets a service's user read a credential by an ACL, which shows as group bits.
            forbidden = 0o007 if path == key_file() else 0o077
            if state.st_mode & forbidden or state.st_uid not in (0, os.geteuid()):
                raise ConfigError(
                    [f"{path}: others may read it: it must be mode 0600, of root or this user"]
                )
            lines = file.read().split()
    except OSError as error:
        raise ConfigError([f"{path}: can not be read: {(error.strerror or '').lower()}"]) from None
    if not lines:
        raise ConfigError([f"{path}: has no master key"])
    return [_master_key(path, number, line) for number, line in enumerate(lines, 1)]


def _master_key(path: Path, number: int, line: bytes) -> MasterKey:
    try:
        secret = base64.b64decode(line, validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError([f"{path}: line {number}: must be base64 of {KEY_BYTES} bytes"])
    return MasterKey(Secret(secret))


def key_file_text(keys: Sequence[MasterKey]) -> str:
    """Return what a file of master keys holds."""
    return "".join(base64.b64encode(key.secret.reveal()).decode() + "\n" for key in keys)
