"""
How much of the event loop strangers may have: those that send IKE to us from addresses that no
tunnel names and at which no peer of ours is.

What a known peer sends is handled as it is read, as long as it is no more than a peer may have to
say: anybody can send with its address. All else waits until that is done. What more comes from
known addresses gets half of the time at most, what comes from strange ones a quarter, and each of
their sites no more than some hundred datagrams a second; the rest is shed, for the cost of reading
it from the socket. So a flood takes neither the loop nor
the room in a socket's buffer from configured peers. Of strangers with good intentions it lets in as
many as it can: they send again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from gateway.ike.sources import SourceRates, prefix_of
from gateway.sa import Address

SHARE, KNOWN_SHARE = 0.25, 0.5  # of the time, for strangers and for what is too much of the known
BURST_S = 0.05  # of handling at once, after quiet
PER_SITE_S, PER_SITE_BURST = 500.0, 500  # datagrams of a /24 or a /48
PER_PEER_S, PER_PEER_BURST = 50.0, 200  # of one known address, for each tunnel with a peer there
PEERS_MOST = 20  # that count at one address: a flood with it as its source must not take the loop


class _Share:
    """A part of the time, for work whose cost is known when it is done."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._free_at = 0.0  # when what was done is paid for

    def is_open(self, now: float) -> bool:
        """Say whether there is some left."""
        return self._free_at - now < BURST_S / self._share

    def charge(self, begun: float, now: float) -> None:
        """Pay for work that has just been done."""
        self._free_at = max(self._free_at, begun) + (now - begun) / self._share


class Strangers:
    """Says who is none, and when there is time for those who are. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._known: Mapping[Address, int] = {}
        self._hosts: Mapping[str, int] = {}
        self._strange, self._excess = _Share(SHARE), _Share(KNOWN_SHARE)
        salt = os.urandom(16)
        self._sites = SourceRates(salt, PER_SITE_S, PER_SITE_BURST, prefix_of)
        self._peers: SourceRates[str] = SourceRates(salt, PER_PEER_S, PER_PEER_BURST, hash)
        self.shed = 0  # datagrams that were not handled

    def know(self, addresses: Mapping[Address, int]) -> None:
        """Take the addresses of all that are no strangers, and how many of them are at each."""
        if addresses != self._known:
            self._known = addresses
            self._hosts = {str(one): min(many, PEERS_MOST) for one, many in addresses.items()}

    def is_first(self, host: str) -> bool:
        """Say whether what comes from there, an address as text, is handled before all else."""
        many = self._hosts.get(host, 0)
        return many > 0 and self._peers.take(host, self._clock(), many)

    def have_time(self, host: str) -> bool:
        """Say whether what comes from there, an address as text, may be handled now."""
        share = self._excess if host in self._hosts else self._strange
        return share.is_open(self._clock())

    def let_in(self, address: Address, handle: Callable[[], None]) -> None:
        """Handle what is not first, unless all that is not, or its site, have had enough."""
        begun, is_known = self._clock(), address in self._known
        share = self._excess if is_known else self._strange
        if not share.is_open(begun) or not (is_known or self._sites.take(address, begun)):
            self.shed += 1
            return
        handle()
        share.charge(begun, self._clock())
