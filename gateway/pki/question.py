"""What is asked about revocation, and what is done about the answer. No cryptography in here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """What to do about certificates that may have been revoked."""

    STRICT = "strict"  # refused unless there is fresh news that it has not been
    RELAXED = "relaxed"  # refused if it is known to have been
    OFF = "off"  # not asked


@dataclass(frozen=True, slots=True)
class Question:
    """What to fetch: a CRL by GET, or with `body` an answer of OCSP by POST."""

    url: str
    body: bytes = b""
    is_private_allowed: bool = False  # whether the address may be a private one

    def __str__(self) -> str:
        return f"{'OCSP' if self.body else 'CRL'} {self.url}"
