"""Bytes that do not print: pre-shared keys and key material."""

from __future__ import annotations

import hmac


class Secret:
    """
    Key bytes whose `repr` shows only their length, compared in constant time.

    `reveal()` is the one way to the bytes, so every use of a key is found by searching for it.
    Python cannot promise to erase `bytes`: copies may stay in freed memory until it is used again.
    So keys live shortly here, and keys that must be held are held in C, which wipes them.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the secret bytes. Never log or print the result."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(("Secret", len(self._value)))

    def __repr__(self) -> str:
        return f"<Secret {len(self._value)} bytes>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled")
