"""
Take secrets out of texts: by where secrets stand, and by their values wherever they stand. Pure.

A value is looked for as it is, in hexadecimal, in base64 at each of its three alignments, and as
JSON and percent encoding write it. So a key that some program has logged does not get through, as
long as the key is known; what is not known goes by its place (`password "..."`).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote_from_bytes

MASK = b"[secret]"
_SHORTEST = 4  # bytes: less would be found in every text; such a key goes by its place alone
_BASE64_SHORTEST = 6  # bytes: less leaves too few characters that are the key's alone

_NAMES = rb"\b(?:\w*password|passwd|p[sp]k|secret|\w*token|private[_-]?key)"
_PLACES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # BIRD, TOML, JSON, command lines: the name, then a value in quotes or to the next space.
        rb"(" + _NAMES + rb"(?:[\"']?[ \t]*[:=][ \t]*|[ \t]+)\")((?:[^\"\\\n]|\\.)*)",
        rb"(" + _NAMES + rb"(?:[\"']?[ \t]*[:=][ \t]*|[ \t]+)')([^'\n]*)",
        rb"(" + _NAMES + rb"[ \t]*=[ \t]*)([^\s\"',;]+)",
        rb"(\bauthorization:[ \t]*\w+[ \t]+)(\S+)",
        # ip xfrm state, kernel traces.
        rb"(\b(?:aead|auth|auth-trunc|enc|comp)[ \t]+\S+[ \t]+)(0x[0-9a-f]+)",
        rb"(-----BEGIN [A-Z ]*PRIVATE KEY-----)([\s\S]*?)(?=-----END|\Z)",
    )
)


class Redactor:
    """Knows some secrets. `found` counts what it has taken out so far."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        forms = {form for secret in secrets for form in forms_of(secret)}
        self._by_start: dict[bytes, list[bytes]] = {}
        for form in sorted(forms, key=len, reverse=True):
            self._by_start.setdefault(form[:_SHORTEST], []).append(form)
        self.found = 0

    def clean(self, data: bytes) -> bytes:
        """Return a text without secrets."""
        for place in _PLACES:
            data, count = place.subn(rb"\1" + MASK, data)
            self.found += count
        return b"".join(self._without_values(data))

    def _without_values(self, data: bytes) -> Iterator[bytes]:
        """Yield the parts of a text, a mask for each value; one look at each place for all."""
        if not self._by_start:
            yield data
            return
        kept = at = 0
        while at < len(data):
            form = self._at(data, at)
            if form is None:
                at += 1
                continue
            yield data[kept:at]
            yield MASK
            self.found += 1
            kept = at = at + len(form)
        yield data[kept:]

    def _at(self, data: bytes, at: int) -> bytes | None:
        forms = self._by_start.get(data[at : at + _SHORTEST])
        return next((form for form in forms if data.startswith(form, at)), None) if forms else None


def forms_of(secret: bytes) -> Iterator[bytes]:
    """Yield how a secret may be written; nothing for one that is too short to be looked for."""
    if len(secret) < _SHORTEST:
        return
    text = secret.decode("utf-8", "replace")
    yield secret
    yield json.dumps(text).encode()[1:-1]
    yield json.dumps(text, ensure_ascii=False).encode()[1:-1]
    yield json.dumps(secret.decode("latin-1")).encode()[1:-1]
    yield repr(secret).encode()[2:-1]
    yield quote_from_bytes(secret, safe="").encode()
    for gap in ("", ":", " "):
        shown = secret.hex(gap) if gap else secret.hex()
        yield from (shown.encode(), shown.upper().encode())
    if len(secret) >= _BASE64_SHORTEST:
        yield from _base64_forms(secret)


def _base64_forms(secret: bytes) -> Iterator[bytes]:
    """Yield the characters that are the secret's alone, wherever in a larger text it begins."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret + bytes(3))
        first = -(-before * 8 // 6)
        last = (before + len(secret)) * 8 // 6
        form = encoded[first:last]
        yield form
        yield form.translate(bytes.maketrans(b"+/", b"-_"))
