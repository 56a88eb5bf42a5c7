"""
Child SAs: what is known of one, what was offered for one, and when it is rekeyed.

The ESP keys leave with `ChildSaUp`, and are here only until the data plane has them. An outbound SA
that was used and then left is never used again (`Use.RETIRED`), because its sequence numbers, and
with them its nonces, would start over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from gateway.ike.config import Lifetime, Random
from gateway.ike.dh import KeyPair
from gateway.ike.events import Reason
from gateway.ike.keymat import ChildKeys
from gateway.ike.message import Message
from gateway.ike.proposals import EspSuite, Proposal
from gateway.sa import EspSa, Limits, TrafficSelector
from gateway.secret import Secret

PACKETS_SOFT = (
    3 << 30
)  # 0.75 x 2**32: without ESN the sequence number must not wrap (RFC 4303 3.3.3)
PACKETS_HARD = (1 << 32) - 1
PACKETS_SOFT_ESN = 1 << 63
PACKETS_HARD_ESN = (1 << 64) - 1
HARD_FACTOR = 1.2  # room after the soft limit for retries of the rekey
HARD_MORE_S = 30.0
VOLUME_FACTOR = 2  # the same for packets and bytes: at full rate a lost request costs a good part


class Stage(Enum):
    """Where a Child SA stands in its life."""

    INSTALLED = auto()
    REKEYING = auto()  # our rekey request is outstanding
    REPLACED = auto()  # another one took its place; the Delete is to come
    DELETING = auto()  # our Delete is outstanding or waits
    LINGERING = auto()  # deleted on the wire; the inbound SA still opens late packets


class Use(Enum):
    """What became of the outbound SA."""

    UNUSED = auto()
    IN_USE = auto()
    RETIRED = auto()


@dataclass(frozen=True, slots=True)
class Partial:
    """
    A CREATE_CHILD_SA of ours whose additional key exchanges are under way (RFC 9370 section 2.2.4).
    """

    response: Message  # to CREATE_CHILD_SA
    secrets: tuple[Secret, ...]  # of the key exchanges that are done, in order


@dataclass(frozen=True, slots=True)
class Offer:
    """What our outstanding request offered: the values that its response is computed with."""

    spi: bytes  # that we chose: 4 bytes for a Child SA, 8 for an IKE SA
    nonce: bytes
    proposals: tuple[Proposal, ...]
    key_pair: KeyPair | None = None
    local_ts: tuple[TrafficSelector, ...] = ()
    remote_ts: tuple[TrafficSelector, ...] = ()
    tries: int = 0  # INVALID_KE_PAYLOAD answers before this one
    slot: int = 0
    is_plain: bool = False  # a new Child SA in place of one that the peer will not rekey
    partial: Partial | None = None

    @property
    def spi_in(self) -> int:
        return int.from_bytes(self.spi, "big")


@dataclass(frozen=True, slots=True)
class Fresh:
    """The ESP SAs of a Child SA with their keys, until the data plane has both of them."""

    inbound: EspSa
    outbound: EspSa
    limits: Limits


@dataclass(slots=True, eq=False)
class ChildSa:
    """A pair of ESP SAs. Times are monotonic seconds."""

    spi_in: int
    spi_out: int
    suite: EspSuite
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    udp_encap: bool
    up_at: float
    rekey_at: float
    hard_at: float
    lowest_nonce: bytes = b""  # of the exchange that made it; decides a collision
    replaces: int | None = None  # inbound SPI of the Child SA that this one rekeys
    replaced_by: int | None = None
    stage: Stage = Stage.INSTALLED
    use: Use = Use.UNUSED
    down_at: float = math.inf  # end of lingering
    down_reason: Reason | None = None
    refusals: int = 0  # of its rekey, in a row
    slot: int = 0  # its place among the tunnel's Child SAs
    initiated: bool = False  # by a request of ours, in this process
    fresh: Fresh | None = None  # for who goes on with it if this process ends now
    is_lost: bool = False  # the data plane has it no more (see `lost.py`)
    lasting: str = ""  # what stays the same in its record; no keys (see `snapshot.py`)

    @property
    def is_live(self) -> bool:
        """Return whether it can carry traffic for a while: neither replaced nor being deleted."""
        return self.stage in (Stage.INSTALLED, Stage.REKEYING)

    @property
    def deadline(self) -> float:
        """Return when this Child SA next needs attention."""
        rekey = self.rekey_at if self.stage is Stage.INSTALLED else math.inf
        hard = math.inf if self.stage in (Stage.DELETING, Stage.LINGERING) else self.hard_at
        return min(rekey, hard, self.down_at)


@dataclass(frozen=True, slots=True)
class Lifespan:
    """Drawn times of an SA, seconds after its birth."""

    soft_s: float
    hard_s: float

    @classmethod
    def draw(cls, lifetime: Lifetime, random: Random, initiated: bool) -> Lifespan:
        """
        Return when to rekey and when to give up.

        The end that initiated the exchange draws from the earlier half of the jitter, the other end
        from the later half, so collisions are rare (RFC 7296 section 2.8.1).
        """
        part = random.uniform() / 2 + (0.5 if initiated else 0.0)
        soft = lifetime.seconds * (1 - lifetime.jitter * part)
        return cls(soft, lifetime.seconds * HARD_FACTOR + HARD_MORE_S)


def draw_limits(lifetime: Lifetime, esn: bool, random: Random) -> Limits:
    """
    Return packet and byte limits with jitter; packets are always bounded by the sequence number.
    """
    early = 1 - lifetime.jitter * random.uniform()
    most, hard = (PACKETS_SOFT_ESN, PACKETS_HARD_ESN) if esn else (PACKETS_SOFT, PACKETS_HARD)
    wanted = min(lifetime.packets or most, most)
    return Limits(
        soft_packets=int(wanted * early),
        hard_packets=min(lifetime.packets * VOLUME_FACTOR or hard, hard),
        soft_bytes=int(lifetime.bytes * early),
        hard_bytes=lifetime.bytes * VOLUME_FACTOR,
    )


def esp_pair(
    suite: EspSuite, keys: ChildKeys, spi_in: int, spi_out: int, initiated: bool
) -> tuple[EspSa, EspSa]:
    """
    Return inbound and outbound SA; the keys go by who initiated the exchange (RFC 7296 section
    2.17).
    """
    initiator = (keys.initiator_encr, keys.initiator_integ)
    responder = (keys.responder_encr, keys.responder_integ)
    ours, theirs = (initiator, responder) if initiated else (responder, initiator)
    inbound = EspSa(
        spi_in, suite.encr, suite.key_bits, theirs[0], suite.integ, theirs[1], suite.esn
    )
    outbound = EspSa(spi_out, suite.encr, suite.key_bits, ours[0], suite.integ, ours[1], suite.esn)
    return inbound, outbound
