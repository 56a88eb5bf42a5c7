"""What a person wants to know about one tunnel's IKE side."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.ike.child import ChildSa
from gateway.ike.config import ChildSelectors
from gateway.ike.events import Reason
from gateway.ike.exchanges.proof import PeerProof
from gateway.ike.ike_sa import IkeSa, identity_text
from gateway.ike.states import State
from gateway.ike.tunnel import Tunnel
from gateway.sa import Path, TrafficSelector


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One Child SA. Times are monotonic seconds."""

    spi_in: int
    spi_out: int
    suite: str
    local_ts: tuple[TrafficSelector, ...]
    remote_ts: tuple[TrafficSelector, ...]
    up_at: float
    rekey_at: float
    esn: bool
    encap: bool
    state: str
    is_outbound: bool  # the one that is sent on
    slot: int = 0
    hard_at: float = math.inf
    resource: int = 0  # the worker that it is for, counted from 1; 0 for all


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One of several Child SAs that a tunnel is to have: whether it carries traffic, why not."""

    selectors: ChildSelectors
    is_up: bool
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class TunnelIkeStatus:
    """
    `state` is "idle", "connecting", "established" or "closing". Times are monotonic seconds; inf =
    never.
    """

    state: str
    spi_i: bytes = b""
    spi_r: bytes = b""
    suite: str = ""
    age_s: float = 0.0
    path: Path | None = None
    peer_id: str = ""
    original_initiator: bool = False
    rekey_at: float = math.inf
    nat_local: bool = False
    nat_remote: bool = False
    children: tuple[ChildStatus, ...] = ()
    task: str = ""  # what the outstanding request is about
    last_failure: Reason | None = None
    retry_at: float = math.inf
    attempts: int = 0
    refused: tuple[Reason, ...] = ()  # rekeys that the peer refuses; what is in use stays
    slots: tuple[SlotStatus, ...] = ()  # where there are several
    has_ppk: bool = False
    is_post_quantum: bool = False  # what is recorded today stays secret from a quantum computer
    peer_proof: PeerProof | None = None  # of the peer's certificate or raw key


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the SAs of a tunnel are, in seconds: its IKE SA, the oldest Child SA in use."""

    ike_s: float = 0.0
    child_s: float = 0.0


def ages(tunnel: Tunnel, now: float) -> Ages:
    """Return the ages of what a tunnel uses, 0 where there is nothing."""
    usable = tunnel.usable()
    children = (now - child.up_at for child in tunnel.in_use.values())
    ike_s = now - usable[-1].established_at if usable else 0.0
    return Ages(ike_s, max(children, default=0.0))


def tunnel_status(tunnel: Tunnel, now: float) -> TunnelIkeStatus:
    """Return the status of a tunnel: of its newest IKE SA, or of the attempt at one."""
    usable = tunnel.usable()
    closing = [sa for sa in tunnel.sas if sa.state is State.CLOSING]
    if usable:
        return _of(tunnel, usable[-1], "established", now)
    if tunnel.attempt is not None:
        return _of(tunnel, tunnel.attempt, "connecting", now)
    if closing:
        return _of(tunnel, closing[-1], "closing", now)
    return TunnelIkeStatus(
        "idle",
        last_failure=tunnel.last_failure,
        retry_at=tunnel.retry_at,
        attempts=tunnel.backoff.attempts,
    )


def _of(tunnel: Tunnel, sa: IkeSa, state: str, now: float) -> TunnelIkeStatus:
    began = sa.created_at if sa.established_at == math.inf else sa.established_at
    return TunnelIkeStatus(
        state,
        sa.spi_i,
        sa.spi_r,
        str(sa.suite or ""),
        now - began,
        sa.path,
        identity_text(sa.peer_id),
        sa.original_initiator,
        sa.rekey_at,
        sa.nat.local,
        sa.nat.remote,
        tuple(_child(tunnel, one) for other in tunnel.sas for one in other.children.values()),
        sa.work.name.lower() if sa.work is not None else "",
        tunnel.last_failure,
        tunnel.retry_at,
        tunnel.backoff.attempts,
        tuple(tunnel.refused.values()),
        _slots(tunnel),
        sa.has_ppk,
        sa.is_post_quantum,
        sa.peer_proof,
    )


def _slots(tunnel: Tunnel) -> tuple[SlotStatus, ...]:
    """Return the state of each slot, nothing where there is only one: the tunnel's says it."""
    selectors = tunnel.config.selectors
    if len(selectors) < 2:
        return ()
    used = tunnel.in_use
    # What has failed is of no interest once there is a Child SA, whoever made it.
    why = {slot: reason for slot, reason in tunnel.slot_failures.items() if slot not in used}
    return tuple(SlotStatus(one, slot in used, why.get(slot)) for slot, one in enumerate(selectors))


def _child(tunnel: Tunnel, child: ChildSa) -> ChildStatus:
    return ChildStatus(
        child.spi_in,
        child.spi_out,
        str(child.suite),
        child.local_ts,
        child.remote_ts,
        child.up_at,
        child.rekey_at,
        child.suite.esn,
        child.udp_encap,
        child.stage.name.lower(),
        tunnel.is_used(child),
        child.slot,
        child.hard_at,
        tunnel.config.resource_of(child.slot),
    )
