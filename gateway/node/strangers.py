"""
How much of the event loop strangers may have: those that send IKE to us from addresses that no
tunnel names and at which no peer of ours is.

What a known peer sends is handled as it is read. What strangers send waits until that is done, and
gets a quarter of the time at most, each site no more than some hundred datagrams a second; the rest
is shed, unread, for the cost of reading it from the socket. So a flood takes neither the loop nor
the room in a socket's buffer from configured peers. Of strangers with good intentions it lets in as
many as it can: they send again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from gateway.ike.sources import SourceRates, prefix_of
from gateway.sa import Address

SHARE = 0.25  # of the time
BURST_S = 0.05  # of handling at once, after quiet
PER_SITE_S, PER_SITE_BURST = 500.0, 500  # datagrams of a /24 or a /48


class Strangers:
    """Says who is none, and when there is time for those who are. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._known: frozenset[Address] = frozenset()
        self._hosts: frozenset[str] = frozenset()
        self._free_at = 0.0  # when the time that they have had is paid for
        self._sites = SourceRates(os.urandom(16), PER_SITE_S, PER_SITE_BURST, prefix_of)
        self.shed = 0  # datagrams that were not handled

    def know(self, addresses: Iterable[Address]) -> None:
        """Take the addresses of all that are no strangers."""
        found = frozenset(addresses)
        if found != self._known:
            self._known, self._hosts = found, frozenset(str(address) for address in found)

    def is_known(self, address: Address) -> bool:
        """Say whether a peer of ours may be at an address."""
        return address in self._known

    def is_known_host(self, host: str) -> bool:
        """Say the same of an address as the socket gives it."""
        return host in self._hosts

    @property
    def have_time(self) -> bool:
        """Whether a stranger's datagram may be handled now."""
        return self._free_at - self._clock() < BURST_S / SHARE

    def let_in(self, address: Address, handle: Callable[[], None]) -> None:
        """Handle a stranger's datagram, unless strangers or its site have had enough."""
        begun = self._clock()
        if not self.have_time or not self._sites.take(address, begun):
            self.shed += 1
            return
        handle()
        now = self._clock()
        self._free_at = max(self._free_at, begun) + (now - begun) / SHARE
