"""The secrets that this machine knows of: those of the document, and of the files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.cli.doctor.look.document import Place, Table
from gateway.model.load import DOCUMENT_BYTES_MAX
from gateway.model.problem import SECRET_KEYS
from gateway.model.types import key_of

_FILE_BYTES_MAX = 16_384
_LINE_BYTES_MIN = 8  # of a key file: shorter ones say nothing, as "-----"
_SUFFIXES = (".psk", ".key", ".pem")
_PASSWORDS = re.compile(rb"\b(?:password|secret) \"((?:[^\"\\]|\\.)*)\"")
_PAIR = re.compile(
    rf"\b(?:{'|'.join(SECRET_KEYS)})[\"']?[ \t]*=[ \t]*(\"[^\"\n]*\"|'[^'\n]*')".encode()
)
_MARK = re.compile(rb"-+(?:BEGIN|END) [A-Z ]+-+")


def secrets_of(
    table: Table | None, place: Place, source: str, runtime_dir: Path
) -> frozenset[bytes]:
    """
    Return every secret that is to be taken out, as far as this user may read it. `source` is what
    a gateway that runs says of its document.
    """
    file = place.file(source) or place.default
    values = [*_values(table), *_written(_read(file, DOCUMENT_BYTES_MAX))]
    found = {form for text in values for form in _both(text)}
    for name in _named_files(table):
        found.update(_lines(file.parent / name))
    for key in _key_files(file.parent, place.state_dir, runtime_dir):
        found.update(_lines(key))
    for conf in runtime_dir.glob("**/bird.conf*"):
        found.update(_PASSWORDS.findall(_read(conf)))
    return frozenset(found)


def _key_files(*directories: Path) -> Iterator[Path]:
    for directory in directories:
        yield from (file for file in directory.glob("*") if file.suffix in _SUFFIXES)


def _values(value: object) -> Iterator[str]:
    """Yield the secrets in a table."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            if key in SECRET_KEYS and isinstance(part, str):
                yield part
                yield from (line for line in part.splitlines() if len(line) > _LINE_BYTES_MIN)
            else:
                yield from _values(part)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part)


def _written(text: bytes) -> Iterator[str]:
    """Yield what looks like a secret in a document's text: also in comments, and with mistakes."""
    for pair in _PAIR.findall(text):
        yield pair.decode("utf-8", "replace").strip("\"'")


def _named_files(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if str(key).endswith("_file") and isinstance(part, str):
                yield part
            yield from _named_files(part)
    elif isinstance(value, list):
        for part in value:
            yield from _named_files(part)


def _both(text: str) -> Iterator[bytes]:
    """Yield a key as it is written, and the bytes that 0x and 0s stand for."""
    yield text.encode()
    yield text.removeprefix("0x").removeprefix("0s").encode()
    with suppress(ValueError):
        yield key_of(text)


def _lines(file: Path) -> Iterator[bytes]:
    """Yield what a key file holds: all of it, for a binary one, and each of its lines."""
    content = _read(file)
    yield content
    yield content.strip(b"\r\n")
    for line in content.splitlines():
        if len(line) >= _LINE_BYTES_MIN and not _MARK.fullmatch(line):
            with suppress(UnicodeDecodeError):
                yield from _both(line.decode())


def _read(file: Path, most: int = _FILE_BYTES_MAX) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except (OSError, ValueError):
        return b""
