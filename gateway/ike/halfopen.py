"""
IKE SAs that wait for their peer to authenticate: how many, from where, and what that means for the
next.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum, auto

from gateway.ike.context import EndpointLimits
from gateway.sa import Address


class Admission(Enum):
    """What to do with an IKE_SA_INIT request."""

    ADMIT = auto()
    ASK_COOKIE = auto()
    DROP = auto()


class HalfOpen:
    """
    Counts half-open IKE SAs.

    Configured peers are exempt from cookies: after a restart of ours they all come back at once,
    and some never answer a cookie. But anybody can send with a known address, so one that has
    reached the bound per address has to show by a cookie that it receives our answers; then the
    bound on the total alone holds for it.
    """

    def __init__(self, limits: EndpointLimits) -> None:
        self._limits = limits
        self._owners: dict[bytes, Address] = {}  # by our SPI
        self._by_address: Counter[Address] = Counter()

    def add(self, spi: bytes, address: Address) -> None:
        """Count one more."""
        self._owners[spi] = address
        self._by_address[address] += 1

    def remove(self, spi: bytes) -> None:
        """Count one less, if it was counted."""
        address = self._owners.pop(spi, None)
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def admit(self, address: Address, *, is_configured: bool, has_cookie: bool) -> Admission:
        """Return what to do; `has_cookie` says that the request carries a good one."""
        if len(self._owners) >= self._limits.half_open:
            return Admission.DROP
        is_many = self._by_address[address] >= self._limits.half_open_per_address
        if is_configured:
            return Admission.ASK_COOKIE if is_many and not has_cookie else Admission.ADMIT
        if is_many:
            return Admission.DROP
        if len(self._owners) >= self._limits.cookie_from and not has_cookie:
            return Admission.ASK_COOKIE
        return Admission.ADMIT
