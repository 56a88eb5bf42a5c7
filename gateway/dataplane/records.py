"""
What the data plane process keeps for the gateway process: small opaque records by key.

A batch is kept as a whole or not at all. A record that cannot be kept takes the one before it under
its key along: what is found later is never out of date. In memory only, never on disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from gateway._native import lib
from gateway.errors import DataPlaneError

KEY_MAX = 64  # bytes
VALUE_MAX = 1 << 20  # bytes
TOTAL_MAX = 48 << 20  # bytes of all keys and values: 4,000 tunnels with 12 KiB each

_HEAD = struct.Struct("=HI")  # bytes of the key, bytes of the value


def pack(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a batch as bytes; an empty value removes what is kept under its key."""
    parts: list[bytes] = []
    for key, value in records:
        parts += [_HEAD.pack(len(key), len(value)), key, value]
    return b"".join(parts)


def unpack(content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the records of a batch. Raises DataPlaneError if the lengths do not fit."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(content):
        if len(content) - at < _HEAD.size:
            raise DataPlaneError("a batch ends in a header", lib.GW_E_INVALID)
        key_len, value_len = _HEAD.unpack_from(content, at)
        middle = at + _HEAD.size + key_len
        at = middle + value_len
        if not 0 < key_len <= KEY_MAX or at > len(content):
            text = f"a record of {key_len} and {value_len} bytes"
            raise DataPlaneError(text, lib.GW_E_INVALID)
        found.append((content[middle - key_len : middle], content[middle:at]))
    return found


class Records:
    """The records that are kept."""

    def __init__(self, most: int = TOTAL_MAX) -> None:
        self._most = most
        self._values: dict[bytes, bytes] = {}
        self._bytes = 0

    def keep(self, content: bytes) -> None:
        """
        Keep a batch. Raises DataPlaneError; then nothing is left under the keys that it names, or
        nothing at all if they cannot be read.
        """
        try:
            batch = unpack(content)
        except DataPlaneError:
            self.clear()
            raise
        for key, _ in batch:
            old = self._values.pop(key, None)
            self._bytes -= len(key) + len(old) if old is not None else 0
        latest = {key: value for key, value in batch if value}
        more = sum(len(key) + len(value) for key, value in latest.items())
        if self._bytes + more > self._most or any(len(v) > VALUE_MAX for v in latest.values()):
            text = f"no room for {more} bytes beside {self._bytes}, at most {self._most}"
            raise DataPlaneError(text, lib.GW_E_NOMEM)
        self._values |= latest
        self._bytes += more

    def all(self) -> Mapping[bytes, bytes]:
        """Return what is kept, the oldest first."""
        return self._values

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._bytes = 0
