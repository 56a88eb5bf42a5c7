"""What becomes of a flow, from what is known of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from gateway.fib import FibRoute, Flow, NextHop
from gateway.ike.config import ChildSelectors
from gateway.ike.selectors import parse_selector
from gateway.node.flow import (
    Fate,
    FlowFacts,
    Held,
    Way,
    WayKind,
    holding,
    is_isolated,
    judge,
    ways_of,
)
from gateway.node.plan import plan
from tests.support.documents import document

FLOW = Flow(ip_address("10.10.0.5"), ip_address("10.20.0.9"), 6, 40000, 443)
ROUTE = FibRoute(ip_network("10.20.0.0/16"), 254, "bird", "unicast", 100, (NextHop(3),))
VPC = Way("eth1", WayKind.ATTACHMENT, "vpc")
ONE, TWO = (Way(f"ts-office-{n}", WayKind.TUNNEL, f"office-{n}") for n in (1, 2))


def pair(local: str, remote: str) -> ChildSelectors:
    return ChildSelectors((parse_selector(local),), (parse_selector(remote),))


ANY = pair("0.0.0.0/0", "0.0.0.0/0")
CARRIED = FlowFacts(
    flow=FLOW,
    came_by=VPC,
    route=ROUTE,
    taken=ROUTE,
    leaves_by=ONE,
    error="",
    is_forwarding=True,
    is_isolated=False,
    tunnel=Held("office-1", True, "normal"),
    selectors=(ANY,),
)
NOTHING = replace(CARRIED, route=None, taken=None, leaves_by=None, tunnel=None, selectors=())
DOWN = Held("office-1", False, "normal", "peer_unreachable: no answer")


def kind(name: str) -> FlowFacts:
    taken = replace(ROUTE, kind=name)
    return replace(CARRIED, route=taken, taken=taken)


@pytest.mark.parametrize(
    ("facts", "fate", "words"),
    [
        (CARRIED, Fate.CARRIED, "by ts-office-1 (vpn_tunnel office-1)"),
        (replace(CARRIED, leaves_by=VPC, tunnel=None, selectors=()), Fate.CARRIED, "attachment"),
        (kind("local"), Fate.LOCAL, "this machine"),
        (replace(CARRIED, leaves_by=Way("eth0"), tunnel=None), Fate.IN_CLEAR, "eth0 (none of"),
        (replace(CARRIED, is_isolated=True), Fate.ISOLATED, "spoke_isolation"),
        (replace(CARRIED, tunnel=DOWN), Fate.TUNNEL_DOWN, "is down: peer_unreachable"),
        (
            replace(CARRIED, selectors=(pair("10.10.0.0/24", "10.99.0.0/16"),)),
            Fate.NO_SELECTOR,
            "no Child SA of office-1",
        ),
        (
            replace(CARRIED, came_by=TWO, came_selectors=(pair("10.20.0.0/16", "10.77.0.0/16"),)),
            Fate.NO_SELECTOR,
            "no Child SA of ts-office-2",
        ),
        (
            replace(CARRIED, came_by=TWO, came_selectors=(pair("10.20.0.0/16", "10.10.0.0/16"),)),
            Fate.CARRIED,
            "ts-office-1",
        ),
        (
            replace(NOTHING, others=(DOWN, Held("office-2", True, "withdrawn", "probe"))),
            Fate.FAIL_CLOSED,
            "office-1 is down: peer_unreachable: no answer; office-2 is up, withdrawn: probe",
        ),
        (replace(kind("unreachable"), others=(DOWN,)), Fate.FAIL_CLOSED, "office-1 is down"),
        (replace(NOTHING, is_forwarding=False), Fate.NOT_FORWARDED, "twinspan doctor"),
        (replace(NOTHING, error="Invalid cross-device link"), Fate.SOURCE_REFUSED, "rp_filter"),
        (NOTHING, Fate.NO_ROUTE, "nothing here"),
    ],
)
def test_each_fate_is_told_with_its_cause(facts: FlowFacts, fate: Fate, words: str) -> None:
    found, why = judge(facts)
    assert found is fate
    assert words in why


@pytest.mark.parametrize(
    ("local", "remote", "fits"),
    [
        ("10.10.0.0/16", "10.20.0.0/16", True),
        ("10.10.0.5", "10.20.0.9", True),
        ("10.10.0.6", "10.20.0.0/16", False),
        ("10.10.0.0/16", "10.20.0.0/16[tcp/443]", True),
        ("10.10.0.0/16", "10.20.0.0/16[tcp/80]", False),
        ("10.10.0.0/16", "10.20.0.0/16[udp/443]", False),
        ("::/0", "::/0", False),
    ],
)
def test_a_flow_fits_selectors_by_addresses_protocol_and_ports(
    local: str, remote: str, fits: bool
) -> None:
    assert (holding((pair(local, remote),), FLOW) is not None) is fits


def test_what_was_not_said_of_a_flow_fits_every_selector() -> None:
    ports = pair("10.10.0.0/16[tcp/22]", "10.20.0.0/16[tcp/443]")
    assert holding((ports,), Flow(FLOW.source, FLOW.destination)) is ports


def test_interfaces_are_known_by_what_they_lead_to() -> None:
    found = ways_of(plan(document()), "")
    assert found["ts-office-1"] == ONE
    assert {way.kind for way in found.values()} == {WayKind.TUNNEL, WayKind.ATTACHMENT}
    assert ways_of(plan(document()), "red") == {}


def test_one_customer_alone_is_never_kept_apart() -> None:
    assert not is_isolated(plan(document()), "", "ts-office-1", "ts-office-2")
