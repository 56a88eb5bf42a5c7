"""
IKE SAs that wait for their peer to authenticate: how many, from where, and what that means for the
next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
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
        self._by_source: dict[Key, dict[bytes, None]] = {}  # our SPIs, the oldest first
        self._by_prefix: Counter[Key] = Counter()

    def has_room(self, address: Address, more: int) -> bool:
        """Say whether one more may come; its source may have so many `more` than others."""
        most = self._bounds
        return (
            self._total < most.total
            and len(self.of(address)) < most.per_source + more
            and self._by_prefix[prefix_of(address)] < most.per_prefix
        )

    def of(self, address: Address) -> Collection[bytes]:
        """Return those of one source, the oldest first."""
        return self._by_source.get(source_of(address), {})

    def add(self, spi: bytes, address: Address) -> None:
        """Count one more."""
        self._total += 1
        self._by_source.setdefault(source_of(address), {})[spi] = None
        self._by_prefix[prefix_of(address)] += 1

    def remove(self, spi: bytes, address: Address) -> None:
        """Count one less, which was counted."""
        source, prefix = source_of(address), prefix_of(address)
        self._total -= 1
        del self._by_source[source][spi]
        if not self._by_source[source]:
            del self._by_source[source]
        self._by_prefix[prefix] -= 1
        if not self._by_prefix[prefix]:
            del self._by_prefix[prefix]


class HalfOpen:
    """
    Counts half-open IKE SAs, in four ledgers that take no room from each other: those of configured
    peers and of strangers, each with and without a cookie.

    A request that finds no room has to bring a cookie; one that brings it and finds none either is
    dropped. Configured peers have much room without: after a restart of ours they all come back at
    once, and some never answer a cookie. But anybody can send with a known address, and then the
    true peer gets in by its cookie. Where several tunnels name one address as many come back from
    it, so each after the first is one more that it may have. Whoever proves where it is can be
    bounded there: a stranger at its address and in its prefix. But behind one NAT many may be, good
    ones and bad: so who finds the room of its own source full may take the place of the oldest.
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
        ledger.add(spi, address)

    def remove(self, spi: bytes) -> None:
        """Count one less, if it was counted."""
        found = self._owners.pop(spi, None)
        if found is not None:
            ledger, address = found
            ledger.remove(spi, address)

    def oldest(self, address: Address, *, is_configured: bool) -> tuple[bytes, ...]:
        """Return our SPIs of those of one source that came with a cookie, the oldest first."""
        return tuple(self._ledgers[is_configured, True].of(address))

    def admit(self, address: Address, *, is_configured: bool, has_cookie: bool) -> Admission:
        """Return what to do; `has_cookie` says that the request carries a good one."""
        more = max(0, self._tunnels[source_of(address)] - 1) if is_configured else 0
        if self._ledgers[is_configured, has_cookie].has_room(address, more):
            return Admission.ADMIT
        return Admission.DROP if has_cookie else Admission.ASK_COOKIE
