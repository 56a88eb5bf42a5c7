"""
Where strangers are: one address, and the prefix around it that one of them may well have whole.

What is counted by source is counted in a fixed number of places, so that a stranger who sends from
ever new addresses makes us hold nothing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from gateway.sa import Address

_SOURCE_BITS = {4: 32, 6: 64}  # what one host has
_PREFIX_BITS = {4: 24, 6: 48}  # what one site has
_SLOTS = 1024
_PLACES = 8192

Key = tuple[int, int]  # IP version, and the bits of the prefix
S = TypeVar("S")


def source_of(address: Address) -> Key:
    """Return the key of one host: an IPv4 address, a /64 of IPv6."""
    return _key(address, _SOURCE_BITS)


def prefix_of(address: Address) -> Key:
    """Return the key of one site: a /24 of IPv4, a /48 of IPv6."""
    return _key(address, _PREFIX_BITS)


def _key(address: Address, bits: dict[int, int]) -> Key:
    version = address.version
    return version, int(address) >> (address.max_prefixlen - bits[version])


class SourceRates(Generic[S]):
    """
    A token bucket for each source, by its `key`: `burst` at once, `per_s` a second for ever.

    Sources that meet in one of the 1,024 places share its bucket; which ones do, nobody can know.
    """

    def __init__(
        self,
        salt: bytes,
        per_s: float,
        burst: int,
        key: Callable[[S], Hashable],
    ) -> None:
        """`salt` is random: else sources could be chosen that share the bucket of another one."""
        self._salt = salt
        self._key = key
        self._cost_s = 1.0 / per_s
        self._room_s = (burst - 1) / per_s
        self._full_at = array("d", [0.0]) * _SLOTS  # when each bucket is full again

    def take(self, source: S, now: float, many: int = 1) -> bool:
        """Take one token of a source that stands for so `many`; return whether there was one."""
        slot = self._slot(source)
        if not self._has_one(slot, now):
            return False
        self._full_at[slot] = max(self._full_at[slot], now) + self._cost_s / many
        return True

    def has_one(self, source: S, now: float) -> bool:
        """Return whether `take` would succeed."""
        return self._has_one(self._slot(source), now)

    def _has_one(self, slot: int, now: float) -> bool:
        return self._full_at[slot] - now <= self._room_s

    def _slot(self, source: S) -> int:
        return hash((self._salt, self._key(source))) % _SLOTS


class Lately(Generic[S]):
    """
    What has happened to whom in the last `hold_s` seconds. Where two meet in one of the 8,192
    places the first is forgotten: nobody is taken for somebody else.
    """

    def __init__(self, salt: bytes, hold_s: float) -> None:
        self._salt = salt
        self._hold_s = hold_s
        self._who = array("q", [0]) * _PLACES
        self._until = array("d", [-math.inf]) * _PLACES

    def note(self, whom: S, now: float) -> None:
        """Take note that it has happened."""
        mark = hash((self._salt, whom))
        self._who[mark % _PLACES], self._until[mark % _PLACES] = mark, now + self._hold_s

    def is_so(self, whom: S, now: float) -> bool:
        """Return whether it has happened lately."""
        mark = hash((self._salt, whom))
        return self._who[mark % _PLACES] == mark and now < self._until[mark % _PLACES]
