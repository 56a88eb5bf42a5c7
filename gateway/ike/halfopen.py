"""
IKE SAs that wait for their peer to authenticate: how many, from where, and what that means for the
next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gateway.ike.context import EndpointLimits
from gateway.ike.sources import Key, prefix_of, source_of
from gateway.sa import Address


class Admission(Enum):
    """What to do with an IKE_SA_INIT request."""

    ADMIT = auto()
    ASK_COOKIE = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How many, all told, from one source, and from one prefix."""

    total: int
    per_source: int
    per_prefix: int


class _Ledger:
    """The half-open IKE SAs of one kind."""

    def __init__(self, bounds: _Bounds) -> None:
        self._bounds = bounds
        self._total = 0
        self._by_place: Counter[Key] = Counter()  # sources and prefixes have different lengths

    def has_room(self, address: Address, more: int) -> bool:
        """Say whether one more may come; its source may have so many `more` than others."""
        most, by_place = self._bounds, self._by_place
        return (
            self._total < most.total
            and by_place[source_of(address)] < most.per_source + more
            and by_place[_wide(address)] < most.per_prefix
        )

    def add(self, address: Address, count: int) -> None:
        """Count one more, or with -1 one less."""
        self._total += count
        for place in (source_of(address), _wide(address)):
            self._by_place[place] += count
            if not self._by_place[place]:
                del self._by_place[place]


def _wide(address: Address) -> Key:
    version, bits = prefix_of(address)
    return -version, bits


class HalfOpen:
    """
    Counts half-open IKE SAs, in four ledgers that take no room from each other: those of configured
    peers and of strangers, each with and without a cookie.

    A request that finds no room has to bring a cookie; one that brings it and finds none either is
    dropped. Configured peers have much room without: after a restart of ours they all come back at
    once, and some never answer a cookie. But anybody can send with a known address, and then the
    true peer gets in by its cookie. Where several tunnels name one address as many come back from
    it, so each after the first is one more that it may have. Whoever proves where it is can be
    bounded there: a stranger at its address and in its prefix, where behind one NAT many may be.
    """

    def __init__(self, limits: EndpointLimits) -> None:
        each, total = limits.half_open_per_address, limits.half_open
        prefix, known = limits.half_open_per_prefix, limits.half_open_configured
        self._ledgers = {
            (True, False): _Ledger(_Bounds(known, each, known)),
            (True, True): _Ledger(_Bounds(known, each, known)),
            (False, False): _Ledger(_Bounds(limits.cookie_from, each, prefix)),
            (False, True): _Ledger(_Bounds(total, each, prefix)),
        }
        self._owners: dict[bytes, tuple[_Ledger, Address]] = {}  # by our SPI
        self._tunnels: Counter[Key] = Counter()  # that name an address there

    def __len__(self) -> int:
        return len(self._owners)

    def expect(self, peers: Iterable[Address]) -> None:
        """Take the addresses of the configured peers, each as often as a tunnel names it."""
        self._tunnels = Counter(map(source_of, peers))

    def add(self, spi: bytes, address: Address, *, is_configured: bool, has_cookie: bool) -> None:
        """Count one more."""
        ledger = self._ledgers[is_configured, has_cookie]
        self._owners[spi] = ledger, address
        ledger.add(address, 1)

    def remove(self, spi: bytes) -> None:
        """Count one less, if it was counted."""
        found = self._owners.pop(spi, None)
        if found is not None:
            ledger, address = found
            ledger.add(address, -1)

    def admit(self, address: Address, *, is_configured: bool, has_cookie: bool) -> Admission:
        """Return what to do; `has_cookie` says that the request carries a good one."""
        more = max(0, self._tunnels[source_of(address)] - 1) if is_configured else 0
        if self._ledgers[is_configured, has_cookie].has_room(address, more):
            return Admission.ADMIT
        return Admission.DROP if has_cookie else Admission.ASK_COOKIE
