"""Which route won and why, told by the first rule in which two routes differ."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.routing.choice import Fate, judge
from gateway.routing.names import ANNOUNCE, Origin, Owner
from gateway.routing.order import (
    ATTACHED,
    learned_preference,
    local_pref,
    static_preference,
)
from gateway.routing.plan import Hop
from gateway.routing.state import LearnedRoute

PREFIX = ip_network("10.20.0.0/16")


LEARNED = {Hop.ATTACHMENT: "vpc", Hop.LINE: "line", Hop.VPN: "bgp"}
STATIC = {Hop.LINE: "linestatic", Hop.VPN: "static"}


def bgp(
    name: str,
    *,
    hop: Hop = Hop.VPN,
    best: bool = False,
    preference: int = 100,
    path: str = "65010",
    med: int = 0,
    is_demoted: bool = False,
) -> LearnedRoute:
    return LearnedRoute(
        prefix=PREFIX,
        protocol=f"{LEARNED[hop]}_{name}",
        since="",
        is_best=best,
        preference=learned_preference(hop, is_demoted=is_demoted),
        vias=(("169.254.11.2", "ts-1"),),
        attributes={
            "BGP.local_pref": str(local_pref(preference)),
            "BGP.as_path": path,
            "BGP.origin": "IGP",
            "BGP.med": str(med),
        },
    )


def static(
    name: str,
    *,
    hop: Hop = Hop.VPN,
    best: bool = False,
    preference: int = 100,
    is_demoted: bool = False,
) -> LearnedRoute:
    value = static_preference(hop, preference, is_demoted=is_demoted)
    via = (("169.254.11.2", "ts-1"),)
    return LearnedRoute(PREFIX, f"{STATIC[hop]}_{name}", "", best, value, via)


def announced(name: str, *, best: bool = False) -> LearnedRoute:
    return LearnedRoute(PREFIX, f"{ANNOUNCE}1_4_{name}", "", best, ATTACHED, (("", "lan"),))


def standings(*routes: LearnedRoute) -> list[tuple[str, Fate, str]]:
    return [(one.owner.name, one.fate, one.why) for one in judge(routes)]


def test_one_route_is_the_only_one() -> None:
    assert standings(bgp("a", best=True)) == [("a", Fate.BEST, "the only one")]


def test_a_static_route_wins_over_a_learned_one() -> None:
    why = "origin static before EBGP"
    assert standings(bgp("a"), static("b", best=True)) == [
        ("b", Fate.BEST, why),
        ("a", Fate.STANDBY, why),
    ]


def test_an_attachment_wins_over_all() -> None:
    best, other = judge([static("a"), announced("vpc", best=True)])
    assert best.owner == Owner("vpc", Hop.ATTACHMENT, Origin.PROPAGATED)
    assert other.owner == Owner("a", Hop.VPN, Origin.STATIC)
    assert best.why == "next-hop type VPC attachment before VPN"


def test_a_learned_route_of_a_line_wins_over_a_static_one_into_a_vpn() -> None:
    best, other = judge([static("a", preference=1), bgp("line", hop=Hop.LINE, best=True)])
    assert (best.owner.name, other.why) == ("line", "next-hop type direct line before VPN")


def test_what_is_to_be_left_loses_to_all_else() -> None:
    drained = bgp("line", hop=Hop.LINE, is_demoted=True)
    best, other = judge([drained, bgp("a", best=True)])
    assert (best.owner.name, other.why) == ("a", "standing normal before demoted")


def test_the_tunnels_preference_comes_before_the_as_path() -> None:
    best, other = judge([bgp("a", best=True, path="1 2 3"), bgp("b", preference=101)])
    assert (best.owner.name, other.why) == ("a", "preference 100 before 101")


def test_the_shorter_as_path_wins_among_equals() -> None:
    _, other = judge([bgp("a", path="65010 65010"), bgp("b", best=True)])
    assert (other.owner.name, other.why) == ("a", "AS path length 1 before 2")


def test_metrics_of_one_neighbour_are_compared() -> None:
    _, other = judge([bgp("a", best=True, med=10), bgp("b", med=20)])
    assert (other.fate, other.why) == (Fate.STANDBY, "MED 10 before 20")


def test_metrics_of_two_neighbours_are_not() -> None:
    _, other = judge([bgp("a", best=True, med=10), bgp("b", med=20, path="65020")])
    assert other.fate is Fate.SHARES


def test_a_refused_route_stands_last_and_is_never_best() -> None:
    refused = LearnedRoute(PREFIX, "bgp_a", "", True, 100, (), is_filtered=True)
    assert [one.fate for one in judge([refused, bgp("b", best=True)])] == [
        Fate.BEST,
        Fate.REFUSED,
    ]
    assert [one.fate for one in judge([refused])] == [Fate.REFUSED]


routes = st.builds(
    bgp,
    st.sampled_from("abcdefgh"),
    preference=st.integers(1, 4),
    path=st.sampled_from(["1", "1 2", "2", "2 1"]),
    med=st.integers(0, 2),
) | st.builds(static, st.sampled_from("abcd"), preference=st.integers(1, 4))


def test_without_a_best_route_none_is_usable() -> None:
    (only,) = judge([bgp("a")])
    assert (only.fate, only.why) == (Fate.STANDBY, "its next hop is not reachable")


@given(st.lists(routes, min_size=1, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_every_route_is_judged_once_and_only_one_is_best(
    found: list[LearnedRoute], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(found) - 1))
    found[at] = replace(found[at], is_best=True)
    judged = judge(found)
    assert sorted(map(repr, found)) == sorted(repr(one.route) for one in judged)
    assert [one.fate for one in judged].count(Fate.BEST) == 1
    assert judged[0].route is found[at]
