"""What is known of the routing now, as one value, and what changed since the value before. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gateway.routing.names import session_name, static_name
from gateway.routing.plan import BgpPeer, Hop, RoutingPlan, StaticWay
from gateway.routing.state import BfdState, BgpState
from gateway.routing.why import LINK_DOWN, asns_text, bgp_reason


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer as planned and as it is. `bgp` is None while BIRD does not know it yet."""

    peer: BgpPeer
    bgp: BgpState | None
    bfd: BfdState | None
    is_active: bool  # some route goes this way

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
        return _bfd_text(self.peer, self.bfd)


@dataclass(frozen=True, slots=True)
class LineView:
    """A direct line with static routes: it has no session, BFD alone says whether it is well."""

    way: StaticWay
    bfd: BfdState | None
    is_active: bool

    @property
    def bfd_text(self) -> str:
        """Return the state of BFD in lower case; "off" where it is not wanted."""
        return _bfd_text(self.way, self.bfd)


def _bfd_text(way: BgpPeer | StaticWay, bfd: BfdState | None) -> str:
    if way.bfd is None:
        return "off"
    return bfd.state.lower() if bfd else "down"


@dataclass(frozen=True, slots=True)
class RoutingView:
    """
    All peers by what they are the peers of. `lines` are the direct lines with static routes,
    `active` the tunnels that carry traffic, with BGP or without. `error` says why nothing is known.
    """

    peers: Mapping[tuple[Hop, str], PeerView] = field(default_factory=dict)
    lines: Mapping[str, LineView] = field(default_factory=dict)
    active: frozenset[str] = frozenset()
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
            (peer.hop, peer.name): PeerView(
                peer=peer,
                bgp=by_name.get(session_name(peer)),
                bfd=by_place.get((str(peer.remote), peer.interface)),
                is_active=(peer.hop, peer.name) in active,
            )
            for peer in plan.peers
        },
        {
            way.name: LineView(
                way=way,
                bfd=by_place.get((str(way.gateway), way.interface)),
                is_active=(way.hop, way.name) in active,
            )
            for way in plan.statics
            if way.hop is Hop.LINE
        },
        frozenset(name for hop, name in active if hop is Hop.VPN),
    )


def _active(
    plan: RoutingPlan, sessions: Mapping[str, BgpState], preferred: Mapping[str, int]
) -> set[tuple[Hop, str]]:
    """
    Return what routes go through.

    BIRD counts only the best route of each prefix; those that share its traffic are the ways to the
    same customer with the same preference.
    """
    first = {_shared_by(peer) for peer in plan.peers if preferred.get(session_name(peer))}
    shares = {
        (peer.hop, peer.name)
        for peer in plan.peers
        if _shared_by(peer) in first
        and (session := sessions.get(session_name(peer)))
        and session.is_up
    }
    return shares | {(w.hop, w.name) for w in plan.statics if preferred.get(static_name(w))}


def _shared_by(peer: BgpPeer) -> tuple[Hop, str, int]:
    return peer.hop, peer.connection, peer.preference


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


_KINDS = {Hop.VPN: "tunnel", Hop.LINE: "direct_line", Hop.ATTACHMENT: "vpc_attachment"}


def changes(before: RoutingView, after: RoutingView) -> Iterator[RoutingChange]:
    """Yield what an operator would want to read of the way from one view to the next."""
    if after.error:
        return
    for key, now in after.peers.items():
        was = before.peers.get(key)
        fields: dict[str, str | int | float | bool] = {_KINDS[now.peer.hop]: now.peer.name}
        if now.is_up and not (was and was.is_up):
            yield RoutingChange("bgp up", True, {**fields, "asn": now.peer.asn})
        if was and _is_another(was, now):
            yield RoutingChange("bgp restarted", False, {**fields, "asn": now.peer.asn})
        if was and was.is_up and not now.is_up:
            why = _why(now) or {"error": "not known"}
            yield RoutingChange("bgp down", False, {**fields, **why})
        elif not now.is_up and _error(now) != _error(was) and _error(now):
            yield RoutingChange("bgp failed", False, {**fields, **_why(now)})
        yield from _bfd_changes(was, now)
        yield from _limit_changes(was, now)
    yield from _line_changes(before, after)


def _error(view: PeerView | None) -> str:
    return view.bgp.error if view is not None and view.bgp is not None else ""


def _why(now: PeerView) -> dict[str, str | int | float | bool]:
    """Return the fields that say why a session is down: BIRD's words, their code, our values."""
    error = _error(now)
    if not error:
        return {}
    found: dict[str, str | int | float | bool] = {"error": error, "reason": bgp_reason(error)}
    if found["reason"] == "bgp_asn_mismatch":
        found["ours"] = asns_text(now.peer.local_asn, now.peer.asn)
    return found


def _bfd_changes(was: PeerView | None, now: PeerView) -> Iterator[RoutingChange]:
    before = was.bfd_text if was is not None else ""
    if before == now.bfd_text or "up" not in (before, now.bfd_text):
        return
    if now.bfd_text == "off":
        return
    fields: dict[str, str | int | float | bool] = {_KINDS[now.peer.hop]: now.peer.name}
    is_up = now.bfd_text == "up"
    if is_up:
        yield RoutingChange("bfd up", True, fields)
    else:
        why = {"reason": LINK_DOWN} if bgp_reason(_error(now)) == LINK_DOWN else {}
        yield RoutingChange("bfd down", False, {**fields, "state": now.bfd_text, **why})


def _line_changes(before: RoutingView, after: RoutingView) -> Iterator[RoutingChange]:
    for name, line in after.lines.items():
        other = before.lines.get(name)
        was, now = (other.bfd_text if other else "", line.bfd_text)
        if now == "up" != was:
            yield RoutingChange("line up", True, {"direct_line": name})
        if was == "up" != now:
            yield RoutingChange("line down", False, {"direct_line": name, "bfd": now})


def _limit_changes(was: PeerView | None, now: PeerView) -> Iterator[RoutingChange]:
    hit_before = was is not None and was.bgp is not None and was.bgp.limit_hit
    hit = now.bgp is not None and now.bgp.limit_hit
    fields: dict[str, str | int | float | bool] = {
        _KINDS[now.peer.hop]: now.peer.name,
        "limit": now.peer.prefix_limit,
    }
    if hit and not hit_before:
        yield RoutingChange("bgp prefix limit", False, fields)
    if hit_before and not hit and now.is_up:
        yield RoutingChange("bgp prefix limit kept again", True, fields)
