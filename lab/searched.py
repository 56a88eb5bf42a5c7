"""
Whether secrets are told: keys that a test knows, or those of a laboratory's documents in its logs.

Each secret is looked for as it is, in hexadecimal and in base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_LEAST = 16  # shorter ones are found by chance
_SECRET = re.compile(r'^\s*\w*(?:psk|ppk|secret|password)\w*\s*=\s*"([^"]+)"', re.MULTILINE)
# Of gateway process, data plane process, BIRD and control process, and what the events' file has.
_LOGS = ("*twinspan*.log", "dataplane.log", "events.log", "*bird*.log", "*control*.log")
_HOLDERS = frozenset({".toml"})  # what secrets are given in


def secrets_of(directory: Path) -> set[str]:
    """Return the secrets that the documents in a directory hold."""
    found: set[str] = set()
    for document in directory.rglob("*.toml"):
        found.update(_SECRET.findall(document.read_text(errors="replace")))
    return {one for one in found if len(one) >= _LEAST}


def forms(secret: bytes) -> Iterator[bytes]:
    """Yield a secret in the ways in which it may be told."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield repr(secret)[2:-1].encode()


def told(where: Iterable[tuple[str, bytes]], secrets: Iterable[bytes]) -> list[str]:
    """Return the names of the texts that have one of the secrets in them, and which by number."""
    wanted = [(number, form) for number, one in enumerate(secrets) for form in forms(one)]
    return sorted(
        {
            f"{name}: secret {number}"
            for name, text in where
            for number, form in wanted
            if form in text
        }
    )


def files(directory: Path, pattern: str = "*") -> Iterator[tuple[str, bytes]]:
    """Yield the files of a directory that are to hold no secret."""
    for path in sorted(directory.rglob(pattern)):
        if path.is_file() and path.suffix not in _HOLDERS:
            yield str(path.relative_to(directory)), path.read_bytes()


def told_in(directory: Path) -> list[str]:
    """Return which logs of our gateways have a secret of the laboratory's documents in them."""
    secrets = sorted(secrets_of(directory))
    found = (one for pattern in _LOGS for one in files(directory, pattern))
    return told(found, [one.encode() for one in secrets]) if secrets else []
