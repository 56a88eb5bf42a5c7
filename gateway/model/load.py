"""Reads the wanted document of a gateway from its TOML file, and its keys from theirs."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from gateway.errors import ConfigError
from gateway.model.document import Loaded, parse_document
from gateway.model.resources import Document

DOCUMENT_BYTES_MAX = 16 * 2**20  # thousands of tunnels are one or two MiB
PSK_FILE_BYTES_MAX = 4096
PEM_FILE_BYTES_MAX = 65536
_SECRET_FILES = {"psk_file": "a pre-shared key", "private_key_file": "a private key"}
_NO_KEYS: Mapping[Path, str] = MappingProxyType({})


def load_document(path: Path) -> Document:
    """Return the wanted document in the file `path`. Raises ConfigError with every mistake."""
    return load(path).document


def load(path: Path) -> Loaded:
    """Return the document in the file `path` with its warnings. Raises ConfigError."""
    text, is_open = _read_text(path)
    loaded = loaded_from(text, path)
    if is_open and _has_own_psk(loaded.document):
        warning = f"{path}: holds secret keys and is readable by others"
        return Loaded(loaded.document, (*loaded.warnings, warning))
    return loaded


def read_document_text(path: Path) -> str:
    """Return the text of a document file, as it is. Raises ConfigError."""
    return _read_text(path)[0]


def loaded_from(text: str, path: Path, new_keys: Mapping[Path, str] = _NO_KEYS) -> Loaded:
    """
    Return the document in `text`, which is or is to be that of the file `path`.

    `new_keys` are key files that are yet to be written. Raises ConfigError.
    """
    warnings: list[str] = []

    def read_file(key: str, name: str) -> str:
        file = path.parent / name
        if file in new_keys:
            return new_keys[file]
        content, is_open = (_read_psk if key == "psk_file" else _read_pem)(file)
        if is_open and key in _SECRET_FILES:
            warnings.append(f"{file}: holds {_SECRET_FILES[key]} and is readable by others")
        return content

    loaded = parse_document(text, str(path), read_file)
    return Loaded(loaded.document, loaded.warnings + tuple(dict.fromkeys(warnings)))


def _read(path: Path, limit: int) -> tuple[bytes, bool]:
    """
    Return what a file holds, at most `limit` + 1 bytes, and whether others may read it.

    Raises OSError, and ValueError for a path that no file can have.
    """
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        return file.read(limit + 1), bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _read_text(path: Path) -> tuple[str, bool]:
    """Return the text of a document file, and whether others may read it. Raises ConfigError."""
    try:
        content, is_open = _read(path, DOCUMENT_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: can not be read: {_reason(error)}"]) from None
    if len(content) > DOCUMENT_BYTES_MAX:
        raise ConfigError([f"{path}: is larger than {DOCUMENT_BYTES_MAX} bytes"])
    try:
        return content.decode(), is_open
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8"]) from None


def _read_psk(path: Path) -> tuple[str, bool]:
    """Return the only line of a key file, and whether others may read it. Raises ValueError."""
    try:
        content, is_open = _read(path, PSK_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise ValueError(f"can not be read: {_reason(error)}") from None
    if len(content) > PSK_FILE_BYTES_MAX:
        raise ValueError(f"is larger than {PSK_FILE_BYTES_MAX} bytes")
    line, _, rest = content.partition(b"\n")
    if rest.strip():
        raise ValueError("holds more than one line")
    try:
        return line.rstrip(b"\r").decode(), is_open
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None


def _read_pem(path: Path) -> tuple[str, bool]:
    """Return what is in a file of PEM, and whether others may read it. Raises ValueError."""
    try:
        content, is_open = _read(path, PEM_FILE_BYTES_MAX)
    except (OSError, ValueError) as error:
        raise ValueError(f"can not be read: {_reason(error)}") from None
    if len(content) > PEM_FILE_BYTES_MAX:
        raise ValueError(f"is larger than {PEM_FILE_BYTES_MAX} bytes")
    try:
        return content.decode("ascii"), is_open
    except UnicodeDecodeError:
        raise ValueError("is not PEM: it has other characters than ASCII") from None


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return (strerror or str(error)).lower()


def _has_own_psk(document: Document) -> bool:
    return any(
        settings.ppk is not None
        or (settings.psk is not None and settings.psk_file is None)
        or (settings.private_key is not None and settings.private_key_file is None)
        for connection in document.vpn_connection
        for settings in (connection, *connection.tunnel)
    )
