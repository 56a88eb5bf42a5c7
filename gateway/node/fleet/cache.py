"""
The last wanted document of a node on disk: encrypted, replaced as a whole, refused when damaged.

The key is the credential `twinspan-node-key` of systemd, or a file beside it of mode 0600 that is
made when it is first needed.
"""

from __future__ import annotations

import gzip
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import GatewayError
from gateway.files import write_whole
from gateway.fleet.messages import DOCUMENT_BYTES_MAX, MessageError, Wanted, read
from gateway.node.fleet.http import LinkError, unzip
from gateway.secret import Secret

FILE = "document.sealed"
KEY_FILE = "document.key"
CREDENTIAL = "twinspan-node-key"
KEY_BYTES, NONCE_BYTES = 32, 12
_LABEL = b"twinspan node document 1"  # another layout gets another number and is not opened


class CacheError(GatewayError):
    """The document on disk can not be read or written."""


class Cache:
    """The document in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, wanted: Wanted) -> None:
        """Keep a document in place of the one before. Raises CacheError."""
        try:
            key = self._key(make=True)
            plain = gzip.compress(wanted.model_dump_json().encode(), 1)
            nonce = secrets.token_bytes(NONCE_BYTES)
            sealed = AESGCM(key.reveal()).encrypt(nonce, plain, _LABEL)
            write_whole(self._folder / FILE, nonce + sealed)
        except OSError as error:
            why = error.strerror or str(error)
            raise CacheError(f"{self._folder / FILE} can not be written: {why}") from None

    def load(self) -> Wanted | None:
        """Return the document that is kept, None if there is none. Raises CacheError."""
        path = self._folder / FILE
        try:
            blob = path.read_bytes()
            key = self._key(make=False)
            plain = AESGCM(key.reveal()).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], _LABEL)
            return read(Wanted, unzip(plain, DOCUMENT_BYTES_MAX))
        except FileNotFoundError as error:
            if Path(error.filename) == path:
                return None
            raise CacheError(f"{path} needs its key, {error.filename}, which is gone") from None
        except (InvalidTag, ValueError):
            raise CacheError(f"{path} is damaged, or sealed with another key") from None
        except (OSError, LinkError, MessageError) as error:
            raise CacheError(f"{path} can not be read: {error}") from None

    def _key(self, *, make: bool) -> Secret:
        """Return the key. Raises OSError; CacheError for what is none."""
        given = os.environ.get("CREDENTIALS_DIRECTORY")
        if given and (Path(given) / CREDENTIAL).exists():
            return _read_key(Path(given) / CREDENTIAL)
        path = self._folder / KEY_FILE
        if make and not path.exists():
            write_whole(path, secrets.token_bytes(KEY_BYTES))
        return _read_key(path)


def _read_key(path: Path) -> Secret:
    value = path.read_bytes()
    if len(value) != KEY_BYTES:
        raise CacheError(f"{path} has {len(value)} bytes, a key has {KEY_BYTES}")
    return Secret(value)
