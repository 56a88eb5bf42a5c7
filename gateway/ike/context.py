"""
What the IKE SAs of one endpoint share: randomness, the table of SPIs, limits, counters, the events
so far.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.ike import notation
from gateway.ike.config import Random
from gateway.ike.drops import DropReason
from gateway.ike.events import Dropped, Event, Spoken
from gateway.ike.message import Message
from gateway.pki.cache import RevocationCache
from gateway.pki.question import Question
from gateway.sa import Path

if TYPE_CHECKING:
    from gateway.ike.crash import TokenMaker
    from gateway.ike.ike_sa import IkeSa

SLOT_BITS = 20  # the low bits of an inbound ESP SPI are its slot in the data plane's table
FIRST_SPI = 1 << SLOT_BITS
OWN_SPI = 0xC0000000  # those from here on are of Child SAs for a worker each


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Bounds on what strangers and peers can make us hold or send."""

    cookie_from: int = 30  # half-open IKE SAs of strangers from which they are asked for a cookie
    half_open: int = 2000  # half-open IKE SAs of strangers that have shown one
    half_open_configured: int = 4000  # those of configured peers, with a cookie and without
    half_open_per_address: int = 10  # of each of these, for one address or /64 of IPv6
    half_open_per_prefix: int = 200  # of strangers, for a /24 of IPv4, a /48 of IPv6
    replaced_per_source_per_s: float = 2.0  # of these that make room for the next one, with cookie
    replaced_strangers_per_s: float = 20.0  # of all strangers
    children: int = 8  # Child SAs in one IKE SA, those that linger included
    ike_sas_per_tunnel: int = (
        4  # authenticated IKE SAs of one tunnel, while peers sort out duplicates
    )
    clear_answers_per_s: float = 20.0  # unprotected errors, to strangers and as many to known peers
    clear_answers_per_source: int = 5  # at once; then one a second
    slots: int = 1 << SLOT_BITS  # inbound ESP SAs


class SpiTable:
    """
    The inbound ESP SPIs in use. Their low 20 bits are unique: they are slots of the data plane.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._slots: dict[int, int] = {}

    def take(self, part: int = 0, parts: int = 1) -> int:
        """
        Return a fresh SPI: random, at least 2**20, its slot free; of one part of them, if asked.

        Workers share these SPIs, from OWN_SPI on: what leaves `part` divided by the number of
        `parts`. They share all of raw ESP so; of other SPIs in UDP, addresses and ports decide.
        """
        first, end = (FIRST_SPI, OWN_SPI) if parts == 1 else (OWN_SPI, 1 << 32)
        while True:
            spi = first + int.from_bytes(self._random.bytes(4), "big") % (end - first)
            if spi % parts == part and self.claim(spi):
                return spi

    def claim(self, spi: int) -> bool:
        """Take this SPI; return whether its slot was free."""
        slot = spi % FIRST_SPI
        if slot in self._slots:
            return False
        self._slots[slot] = spi
        return True

    def release(self, spi: int) -> None:
        """Give an SPI back. Giving it back twice does nothing."""
        slot = spi % FIRST_SPI
        if self._slots.get(slot) == spi:
            del self._slots[slot]

    def __len__(self) -> int:
        return len(self._slots)


class RateLimit:
    """A token bucket: `per_s` tokens a second, a second's worth saved at most (one at least)."""

    def __init__(self, per_s: float, now: float) -> None:
        self._per_s = per_s
        self._most = max(per_s, 1.0)
        self._tokens = self._most
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token; return whether there was one."""
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


@dataclass(slots=True, eq=False)
class Context:
    """
    Shared by every IKE SA of an endpoint. `events` is emptied by the endpoint when a call returns.
    """

    random: Random
    limits: EndpointLimits
    spis: SpiTable
    events: list[Event] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    tokens: TokenMaker | None = None  # None: peers learn of our crashes by silence
    sas: dict[bytes, IkeSa] = field(default_factory=dict)  # by the SPI that we chose
    traced: frozenset[str] = frozenset()  # tunnels whose messages are shown as they come and go
    is_recorded: bool = False  # those of all tunnels are, as `record` says
    touched: set[IkeSa] = field(default_factory=set)  # may have changed since they were kept
    ended: list[IkeSa] = field(default_factory=list)  # in this call, by whomever
    wall_offset: float = 0.0  # seconds since 1970 at the monotonic time 0.0
    revocation: RevocationCache = field(default_factory=RevocationCache)
    asked: dict[Question, list[IkeSa]] = field(default_factory=dict)  # who waits for what

    def emit(self, event: Event) -> None:
        """Add an event; the order is what the shell carries out."""
        self.events.append(event)

    def count(self, name: str) -> None:
        """Count one occurrence."""
        self.counters[name] += 1

    def drop(self, reason: DropReason, path: Path, tunnel: str | None = None) -> None:
        """Count and report a datagram that goes no further."""
        self.count("drop." + reason.value)
        self.emit(Dropped(reason.value, path, tunnel))

    def trace(
        self, tunnels: tuple[str, ...], message: Message, path: Path, *, is_sent: bool
    ) -> None:
        """Show a message of these tunnels, or for one of them, where somebody traces it."""
        self._show(self.traced.intersection(tunnels), message, path, is_sent=is_sent)

    def record(
        self, tunnels: tuple[str, ...], message: Message, path: Path, *, is_sent: bool
    ) -> None:
        """
        Show a message that nobody traces, if all are recorded and it is clear which tunnel's it is.

        Not what only says that an end is there. A stranger's message must have been let in before:
        the words for it cost more than its refusal.
        """
        if self.is_recorded and len(tunnels) == 1 and message.payloads:
            self._show(frozenset(tunnels) - self.traced, message, path, is_sent=is_sent)

    def _show(
        self, tunnels: frozenset[str], message: Message, path: Path, *, is_sent: bool
    ) -> None:
        for tunnel in tunnels:
            exchange, line, details = notation.told(message)
            self.emit(Spoken(tunnel, path, is_sent, exchange, line, details))

    def new_ike_spi(self) -> bytes:
        """Return 8 random bytes that no IKE SA of ours uses and that are not zero."""
        while True:
            spi = self.random.bytes(8)
            if any(spi) and spi not in self.sas:
                return spi

    def jitter(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return low + (high - low) * self.random.uniform()
