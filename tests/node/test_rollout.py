"""Which tunnels of an edit wait until their traffic has moved, and what is wanted meanwhile."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.node.difference import difference, leaves_first
from gateway.node.plan import NodePlan, plan
from gateway.node.rollout import staged
from tests.support.documents import CONNECTION, FIRST, REMOVED, SECOND, document

BGP = (((*CONNECTION, "routing"), "bgp"), (("customer_gateway", 0, "asn"), 65010))
OLD = plan(document(*BGP))
NAMES = ("office-1", "office-2")
EDITS = {
    "inner": ((*FIRST, "inner_cidr"), "169.254.20.0/30"),
    "interface": ((*SECOND, "interface"), "other"),
    "replay": ((*CONNECTION, "replay_window"), 64),
    "prepend": ((*SECOND, "bgp_prepend"), 3),
    "gone": (SECOND, REMOVED),
}


def edited(*names: str) -> NodePlan:
    """Return the plan after some edits; nothing of a tunnel that is gone is edited."""
    if "gone" in names:
        names = tuple(name for name in names if EDITS[name][0][: len(SECOND)] != SECOND)
        return plan(document(*BGP, *(EDITS[name] for name in names), EDITS["gone"]))
    return plan(document(*BGP, *(EDITS[name] for name in names)))


@pytest.mark.parametrize(
    ("edit", "leaving"),
    [
        ("inner", {"office-1"}),
        ("interface", {"office-2"}),
        ("replay", set()),
        ("prepend", set()),
        ("gone", {"office-2"}),
    ],
)
def test_what_ends_the_traffic_of_a_tunnel_waits(edit: str, leaving: set[str]) -> None:
    after = {tunnel.name: tunnel for tunnel in edited(edit).tunnels}
    assert {t.name for t in OLD.tunnels if leaves_first(t, after.get(t.name))} == leaving


def test_a_tunnel_that_was_not_allowed_has_no_traffic_to_move() -> None:
    first = OLD.tunnels[0]
    down = replace(first, admin_up=False)
    assert leaves_first(first, down)
    assert not leaves_first(down, first)
    assert not leaves_first(down, replace(down, inner_local=ip_interface("10.0.0.1/30")))


@given(st.sets(st.sampled_from(sorted(EDITS))), st.sets(st.sampled_from(NAMES)))
def test_waiting_tunnels_and_their_peers_are_as_before_and_all_else_is_new(
    names: set[str], waiting: set[str]
) -> None:
    new = edited(*sorted(names))
    plan_now = staged(OLD, new, frozenset(waiting))
    for source, part in ((OLD, waiting), (new, set(NAMES) - waiting)):
        for name in part:
            assert _tunnel(plan_now, name) == _tunnel(source, name)
            assert _peer(plan_now, name) == _peer(source, name)
    assert staged(plan_now, new, frozenset()) == new
    assert difference(new, staged(OLD, new, frozenset())).is_empty


def test_a_waiting_tunnel_keeps_its_public_address() -> None:
    gone = ip_address("198.51.100.1")
    new = replace(OLD, sockets=OLD.sockets[:1], tunnels=OLD.tunnels[:1])
    assert gone in staged(OLD, new, frozenset({"office-2"})).sockets
    assert gone not in staged(OLD, new, frozenset()).sockets


def _tunnel(node: NodePlan, name: str) -> object:
    return next((tunnel for tunnel in node.tunnels if tunnel.name == name), None)


def _peer(node: NodePlan, name: str) -> object:
    return next((peer for peer in node.peers if peer.name == name), None)
