"""
Rate limits as token buckets, for many keys in bounded memory. Pure.

A bucket holds `burst` and gets `per_s` a second. A key that has not been seen for long has a full
bucket, which is the same as none: so the one unused for longest is forgotten when there are too
many.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

KEYS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a key may do: `burst` at once, `per_s` a second for ever."""

    burst: float
    per_s: float


class Buckets:
    """One bucket for each key that was used lately. `now` is in seconds and never goes back."""

    def __init__(self, rate: Rate, keys_max: int = KEYS_MAX) -> None:
        self._rate = rate
        self._keys_max = keys_max
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, now: float) -> int:
        """Take one and return 0; if there is none, the whole seconds until there is."""
        level = self._level(key, now)
        taken = level >= 1
        self._levels[key] = (level - 1 if taken else level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._keys_max:
            self._levels.popitem(last=False)
        return 0 if taken else max(1, math.ceil((1 - level) / self._rate.per_s))

    def give_back(self, key: str) -> None:
        """Undo a `take`."""
        if key in self._levels:
            level, at = self._levels[key]
            self._levels[key] = (min(self._rate.burst, level + 1), at)

    def _level(self, key: str, now: float) -> float:
        level, at = self._levels.get(key, (self._rate.burst, now))
        return min(self._rate.burst, level + max(0.0, now - at) * self._rate.per_s)


def source_of(address: str) -> str:
    """
    Return the key of a source address: itself, of IPv6 its /64, which one customer has whole.

    What is no address is a key of its own.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((int(parsed), 64), strict=False))
    return str(parsed)
