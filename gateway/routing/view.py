"""What is known of the routing now, as one value, and what changed since the value before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.routing.bird_conf import BGP, STATIC
from gateway.routing.plan import BgpPeer, RoutingPlan
from gateway.routing.state import BfdState, BgpState


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer as planned and as it is. `bgp` is None while BIRD does not know it yet."""

    peer: BgpPeer
    bgp: BgpState | None
    bfd: BfdState | None
    is_active: bool  # some route goes through this tunnel

    @property
    def is_up(self) -> bool:
        return self.bgp is not None and self.bgp.is_up

    @property
    def has_room_again(self) -> bool:
        """Return whether BIRD leaves routes out although there are fewer than the limit now."""
        if self.bgp is None or not self.bgp.limit_hit:
            return False
        return self.bgp.imported + self.bgp.filtered < self.peer.prefix_limit

    @property
    def bfd_text(self) -> str:
        """Return the state of BFD in lower case; "off" where it is not wanted."""
        if self.peer.bfd is None:
            return "off"
        return self.bfd.state.lower() if self.bfd else "down"


@dataclass(frozen=True, slots=True)
class RoutingView:
    """All peers by tunnel. `error` says why nothing is known."""

    peers: Mapping[str, PeerView] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """Something for the log."""

    event: str
    is_good: bool
    fields: dict[str, str | int | float | bool]


def view_of(
    plan: RoutingPlan,
    sessions: tuple[BgpState, ...],
    preferred: Mapping[str, int],
    bfd: tuple[BfdState, ...],
) -> RoutingView:
    """Return the state of every peer of `plan` out of what BIRD reports."""
    by_name = {session.protocol: session for session in sessions}
    by_place = {(session.address, session.interface): session for session in bfd}
    active = _active(plan, by_name, preferred)
    return RoutingView(
        {
            peer.tunnel: PeerView(
                peer=peer,
                bgp=by_name.get(BGP + peer.tunnel),
                bfd=by_place.get((str(peer.remote), peer.interface)),
                is_active=peer.tunnel in active,
            )
            for peer in plan.peers
        }
    )


def _active(
    plan: RoutingPlan, sessions: Mapping[str, BgpState], preferred: Mapping[str, int]
) -> set[str]:
    """
    Return the tunnels that routes go through.

    BIRD counts only the best route of each prefix; those that share its traffic are the tunnels of
    the same connection with the same preference.
    """
    first = {
        (peer.connection, peer.preference)
        for peer in plan.peers
        if preferred.get(BGP + peer.tunnel) or preferred.get(STATIC + peer.tunnel)
    }
    shares = {
        peer.tunnel
        for peer in plan.peers
        if (peer.connection, peer.preference) in first
        and (session := sessions.get(BGP + peer.tunnel))
        and session.is_up
    }
    return shares | {p.tunnel for p in plan.peers if preferred.get(STATIC + p.tunnel)}


WOBBLE_S = 0.5  # BIRD computes the stamp anew each time, a millisecond more or less


def _is_another(was: PeerView, now: PeerView) -> bool:
    """Return whether a session that is up both times went down in between."""
    if not (was.bgp and now.bgp and was.is_up and now.is_up):
        return False
    try:
        before, after = (datetime.fromisoformat(each.bgp.since) for each in (was, now) if each.bgp)
    except ValueError:
        return False
    return abs((after - before).total_seconds()) > WOBBLE_S


def changes(before: RoutingView, after: RoutingView) -> Iterator[RoutingChange]:
    """Yield what an operator would want to read of the way from one view to the next."""
    if after.error:
        return
    for tunnel, now in after.peers.items():
        was = before.peers.get(tunnel)
        fields: dict[str, str | int | float | bool] = {"tunnel": tunnel}
        if now.is_up and not (was and was.is_up):
            yield RoutingChange("bgp up", True, {**fields, "asn": now.peer.asn})
        if was and _is_another(was, now):
            yield RoutingChange("bgp restarted", False, {**fields, "asn": now.peer.asn})
        if was and was.is_up and not now.is_up:
            error = now.bgp.error if now.bgp else ""
            yield RoutingChange("bgp down", False, {**fields, "error": error or "not known"})
        yield from _limit_changes(was, now)


def _limit_changes(was: PeerView | None, now: PeerView) -> Iterator[RoutingChange]:
    hit_before = was is not None and was.bgp is not None and was.bgp.limit_hit
    hit = now.bgp is not None and now.bgp.limit_hit
    fields: dict[str, str | int | float | bool] = {
        "tunnel": now.peer.tunnel,
        "limit": now.peer.prefix_limit,
    }
    if hit and not hit_before:
        yield RoutingChange("bgp prefix limit", False, fields)
    if hit_before and not hit and now.is_up:
        yield RoutingChange("bgp prefix limit kept again", True, fields)
