"""What is known of the peers, and what of its changes goes to the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.model.codes import CODES
from gateway.routing.plan import Hop
from gateway.routing.state import BfdState, BgpState
from gateway.routing.view import RoutingView, changes, view_of
from gateway.routing.why import bgp_reason
from tests.routing.plans import LINE, OFFICE, STATIC_LINE, TWIN, plan_of, routes_into

OFFICE_1, OFFICE_2 = (Hop.VPN, "office-1"), (Hop.VPN, "office-2")
UP = BgpState(
    protocol="bgp_office-1",
    state="Established",
    since="",
    error="",
    imported=1,
    filtered=0,
    exported=1,
    limit_hit=False,
    hold_s=30.0,
    local_asn=65000,
    asn=65010,
    neighbor_id="",
)
UP_TWIN = replace(UP, protocol="bgp_office-2")
DOWN = replace(UP, state="Idle", error="Error: BFD session down")
BFD = BfdState("169.254.11.2", "ts-1", "Up", "", 0.3, 0.9)
PLAN = plan_of(OFFICE, TWIN)


def view(
    *sessions: BgpState, preferred: dict[str, int] | None = None, bfd: tuple[BfdState, ...] = ()
) -> RoutingView:
    return view_of(PLAN, sessions, preferred or {}, bfd)


def events(before: RoutingView, after: RoutingView) -> list[tuple[str, object]]:
    return [(one.event, one.fields["tunnel"]) for one in changes(before, after)]


def test_bfd_belongs_to_the_peer_with_its_address_and_interface() -> None:
    peers = view(UP, UP_TWIN, bfd=(BFD,)).peers
    assert peers[OFFICE_1].bfd_text == "up"
    assert peers[OFFICE_2].bfd_text == "down"
    off = view_of(plan_of(replace(OFFICE, bfd=None)), (UP,), {}, ())
    assert off.peers[OFFICE_1].bfd_text == "off"


def test_the_tunnel_with_the_best_routes_is_active() -> None:
    peers = view(UP, UP_TWIN, preferred={"bgp_office-1": 3}).peers
    assert [peer.is_active for peer in peers.values()] == [True, False]


def test_tunnels_of_equal_preference_are_active_together_while_they_are_up() -> None:
    plan = plan_of(OFFICE, replace(TWIN, preference=100))
    preferred = {"bgp_office-1": 3, "bgp_office-2": 0}
    peers = view_of(plan, (UP, UP_TWIN), preferred, ()).peers
    assert all(peer.is_active for peer in peers.values())
    peers = view_of(plan, (UP, replace(UP_TWIN, state="Idle")), preferred, ()).peers
    assert [peer.is_active for peer in peers.values()] == [True, False]


def test_a_static_route_makes_its_tunnel_active_without_a_session() -> None:
    plan = plan_of(OFFICE, TWIN, statics=(routes_into(OFFICE, ("10.30.0.0/16", 100)),))
    seen = view_of(plan, (DOWN,), {"static_office-1": 1}, ())
    assert [peer.is_active for peer in seen.peers.values()] == [True, False]
    assert seen.active == {"office-1"}


def test_a_line_that_has_the_best_routes_is_active_and_no_tunnel_is() -> None:
    line = replace(UP, protocol="line_line")
    seen = view_of(plan_of(LINE, OFFICE), (line, UP), {"line_line": 2, "bgp_office-1": 0}, ())
    assert [peer.is_active for peer in seen.peers.values()] == [True, False]
    assert seen.active == frozenset()
    (up, _) = changes(RoutingView(), seen)
    assert (up.event, up.fields["direct_line"]) == ("bgp up", "line")


def test_ups_and_downs_and_a_reached_limit_are_told_once() -> None:
    assert events(RoutingView(), view(UP)) == [("bgp up", "office-1")]
    assert events(view(UP), view(UP)) == []
    assert events(view(UP), view(DOWN)) == [("bgp down", "office-1")]
    (down,) = changes(view(UP), view(DOWN))
    assert (down.is_good, down.fields["error"]) == (False, "Error: BFD session down")
    hit = view(replace(UP, limit_hit=True))
    assert events(view(UP), hit) == [("bgp prefix limit", "office-1")]
    assert events(hit, hit) == []
    assert events(hit, view(UP)) == [("bgp prefix limit kept again", "office-1")]
    assert events(hit, view(replace(DOWN, limit_hit=False))) == [("bgp down", "office-1")]


@pytest.mark.parametrize(
    ("imported", "filtered", "hit", "has_room"),
    [(299, 1, True, False), (299, 0, True, True), (0, 299, True, True), (10, 0, False, False)],
)
def test_a_limit_that_was_hit_has_room_again_when_there_are_fewer_routes(
    imported: int, filtered: int, hit: bool, has_room: bool
) -> None:
    """What our rules refuse counts too: the limit is on what the peer tells."""
    session = replace(UP, limit_hit=hit, imported=imported, filtered=filtered)
    peer = replace(view(session).peers[OFFICE_1], peer=replace(OFFICE, prefix_limit=300))
    assert peer.has_room_again is has_room


def test_a_session_that_went_down_and_up_between_two_views_is_told() -> None:
    first = replace(UP, since="2026-11-22 08:23:30.117")
    same = replace(UP, since="2026-11-22 08:23:30.118")
    later = replace(UP, since="2026-11-22 08:24:01.000")
    assert events(view(first), view(same)) == []
    assert events(view(first), view(later)) == [("bgp restarted", "office-1")]
    assert events(view(first), view(replace(later, state="Idle"))) == [("bgp down", "office-1")]
    assert events(view(first), view(replace(UP, since="08:24:01"))) == []


def test_a_bird_that_does_not_answer_is_no_change_of_sessions() -> None:
    assert events(view(UP), RoutingView(error="no BIRD answers")) == []


def test_a_static_line_is_well_while_bfd_says_so() -> None:
    plan = plan_of(OFFICE, statics=(STATIC_LINE,))
    bfd = BfdState("172.16.1.2", "eth4", "Up", "", 0.3, 0.9)
    up = view_of(plan, (UP,), {"linestatic_old-line": 1}, (bfd,))
    line = up.lines["old-line"]
    assert (line.bfd_text, line.is_active) == ("up", True)
    assert up.active == frozenset()
    down = view_of(plan, (UP,), {"bgp_office-1": 1}, (replace(bfd, state="Down"),))
    assert [one.event for one in changes(up, down)] == ["line down"]
    assert [one.event for one in changes(down, up)] == ["line up"]
    off = view_of(plan_of(statics=(replace(STATIC_LINE, bfd=None),)), (), {}, ())
    assert off.lines["old-line"].bfd_text == "off"


def test_a_session_that_does_not_come_up_says_why_once() -> None:
    wrong = replace(DOWN, error="Received: Bad peer AS")
    (failed,) = changes(view(DOWN), view(wrong))
    assert (failed.event, failed.is_good) == ("bgp failed", False)
    assert failed.fields["reason"] == "bgp_asn_mismatch"
    assert failed.fields["ours"] == "AS 65000 to AS 65010"
    assert events(view(wrong), view(wrong)) == []


def test_bfd_is_told_when_it_comes_and_goes() -> None:
    with_bfd = view(UP, bfd=(BFD,))
    assert [one.event for one in changes(view(UP), with_bfd)] == ["bfd up"]
    gone = changes(with_bfd, view(UP, bfd=(replace(BFD, state="Down"),)))
    assert [(one.event, one.fields["state"]) for one in gone] == [("bfd down", "down")]


def test_what_ends_with_the_tunnel_below_it_says_so_and_not_that_the_peer_is_silent() -> None:
    down = replace(UP, state="Idle", error="Error: Link down")
    ended = changes(view(UP, bfd=(BFD,)), view(down, bfd=(replace(BFD, state="Down"),)))
    assert [(one.event, one.fields["reason"]) for one in ended] == [
        ("bgp down", "link_down"),
        ("bfd down", "link_down"),
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("", ""),
        ("Error: Bad peer AS", "bgp_asn_mismatch"),
        ("Received: Hold timer expired", "bgp_hold_expired"),
        ("Error: BFD session down", "bgp_bfd_down"),
        ("Socket: Connection refused", "bgp_refused"),
        ("Socket: No route to host", "bgp_unreachable"),
        ("Received: Administrative shutdown", "bgp_closed_by_peer"),
        ("Error: Link down", "link_down"),
        ("Error: Neighbor lost", "link_down"),
        ("Automatic shutdown: Route limit exceeded", "bgp_error"),
    ],
)
def test_birds_words_have_a_code(error: str, code: str) -> None:
    assert bgp_reason(error) == code
    assert not code or code in CODES
