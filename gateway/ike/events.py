"""
What the core says. Every entry point of `IkeEndpoint` returns an ordered list of these.

The order is part of the contract: `ChildSaUp` stands before the `Send` that tells the peer, so an
inbound SA is installed before any packet for it can arrive.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.pki.question import Question
from gateway.sa import EspSa, Limits, Path, TrafficSelector


@dataclass(frozen=True, slots=True)
class Send:
    """An IKE datagram to send, without non-ESP marker; the shell adds it where a port is 4500."""

    datagram: bytes
    path: Path


@dataclass(frozen=True, slots=True)
class IkeSaUp:
    """
    The peer has proved its identity, or a rekey has replaced an IKE SA (`replaces` is its spi_i).
    """

    tunnel: str
    spi_i: bytes  # 8 bytes
    spi_r: bytes  # 8 bytes
    suite: str  # as in "aes256gcm16-prfsha384-x25519"
    path: Path
    peer_id: str
    original_initiator: bool
    replaces: bytes | None = None


@dataclass(frozen=True, slots=True)
class IkeSaDown:
    """
    An IKE SA serves its tunnel no more: nothing is sent on its Child SAs.

    Each of them has had its `ChildSaDown` before, or an `OutboundDone` if its inbound SA lingers.
    """

    tunnel: str
    spi_i: bytes
    reason: Reason


@dataclass(frozen=True, slots=True)
class ChildSaUp:
    """
    A Child SA exists: install `inbound` now.

    `use_outbound` says whether to send on `outbound` at once. A responder to a rekey keeps sending
    on the old SA until `OutboundReady` says otherwise, because the peer may not have its keys yet.
    `replaces` is the inbound SPI of the Child SA that this one rekeys. `slot` is its place: one
    Child SA of each slot is sent on at a time. `resource` is the worker that it is for, counted
    from 1, while the others send on the one of slot 0; 0 for all of them (RFC 9611).
    """

    tunnel: str
    inbound: EspSa
    outbound: EspSa
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    udp_encap: bool
    suite: str  # as in "aes256gcm16-x25519"; the group only if there was a key exchange
    use_outbound: bool
    limits: Limits  # drawn with jitter; for both directions
    replaces: int | None = None
    slot: int = 0
    resource: int = 0


@dataclass(frozen=True, slots=True)
class ChildSaAgain:
    """
    A restored Child SA, told just before the process before ended: install what is missing.

    `up` is what was told. Its inbound SA is missing if the data plane does not have it, its
    outbound SA if it is in use and the data plane does not send on it. What the data plane has, or
    has had, must not be installed again.
    """

    tunnel: str
    up: ChildSaUp


@dataclass(frozen=True, slots=True)
class OutboundReady:
    """Send on the outbound SA of the Child SA with this inbound SPI from now on."""

    tunnel: str
    spi_in: int


@dataclass(frozen=True, slots=True)
class OutboundDone:
    """
    Send no more on the Child SA with this inbound SPI: the tunnel is being closed.

    Its inbound SA stays until `ChildSaDown`: packets of the peer are still under way.
    """

    tunnel: str
    spi_in: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class ChildSaDown:
    """Remove the inbound SA; if it is the one in use, the outbound SA as well."""

    tunnel: str
    spi_in: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The peer's address or port has changed (NAT rebinding, or the move to port 4500)."""

    tunnel: str
    path: Path


@dataclass(frozen=True, slots=True)
class Keepalive:
    """We are behind a NAT and have been silent: send one byte 0xFF (RFC 3948 section 2.3)."""

    tunnel: str
    path: Path


@dataclass(frozen=True, slots=True)
class Dropped:
    """A datagram went no further. `reason` is one of `DropReason`; counted, never answered."""

    reason: str
    path: Path
    tunnel: str | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """
    Why something failed or ended. `code` is stable and machine-readable, as in
    "no_proposal_chosen".

    `ours` and `theirs` hold both sides' values where both are known; `hint` says what to look at.
    """

    code: str
    text: str
    ours: str = ""
    theirs: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """
    An attempt to set up a tunnel, or an exchange within it, has failed. The endpoint may try again
    by itself.
    """

    tunnel: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Note:
    """
    Something worth a log line: an exchange was sent or received, a message was resent, a notify was
    ignored.
    """

    tunnel: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """
    A message of a tunnel that is traced, sent or received, as `notation` tells it.

    `exchange` is as in "IKE_AUTH 1 request". No key, and no value that one is made of, is in it.
    """

    tunnel: str
    path: Path
    is_sent: bool
    exchange: str
    line: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """
    A CRL or an answer of OCSP is needed: fetch it and call `fetched`, be there an answer or not.

    A peer of `tunnel` that is to be trusted but for this waits for it.
    """

    question: Question
    tunnel: str


Event = (
    Send
    | Fetch
    | Spoken
    | IkeSaUp
    | IkeSaDown
    | ChildSaUp
    | ChildSaAgain
    | OutboundReady
    | OutboundDone
    | ChildSaDown
    | PathChanged
    | Keepalive
    | Dropped
    | Failed
    | Note
)
