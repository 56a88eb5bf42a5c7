"""Routing plans for tests: a Border Gateway, its peers, and what is particular to each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

from gateway.routing.plan import Attachment, Bfd, BgpGateway, BgpPeer, RoutingPlan
from gateway.secret import Secret

ROUTER_ID = IPv4Address("192.0.2.1")
VPC = Attachment("vpc", "lan", (ip_network("10.10.0.0/24"),))
OFFICE = BgpPeer(
    tunnel="office-1",
    connection="office",
    border_gateway="main",
    interface="ts-1",
    local_asn=65000,
    asn=65010,
    local=ip_address("169.254.11.1"),
    remote=ip_address("169.254.11.2"),
    preference=100,
    hold_s=30,
    keepalive_s=10,
    bfd=Bfd(300, 3),
    prefix_limit=300,
    prepend=0,
    password=None,
)
TWIN = replace(
    OFFICE,
    tunnel="office-2",
    interface="ts-2",
    local=ip_address("169.254.12.1"),
    remote=ip_address("169.254.12.2"),
    preference=101,
)


def plan_of(*peers: BgpPeer, spoke_isolation: bool = True) -> RoutingPlan:
    """Return the plan of one Border Gateway with these peers and one attachment."""
    return RoutingPlan((BgpGateway("main", ROUTER_ID, spoke_isolation, (VPC,), peers),))


def rich_plan() -> RoutingPlan:
    """Return a plan that uses everything: two gateways, two families, all options."""
    six = Attachment("vpc", "lan", (ip_network("10.10.0.0/24"), ip_network("fd00:10::/64")))
    first = replace(
        OFFICE,
        password=Secret(b"correct horse"),
        prepend=2,
        bfd=Bfd(50, 3),
        static_routes=((ip_network("172.30.0.0/24"), 100), (ip_network("172.31.0.0/24"), 150)),
    )
    second = replace(TWIN, bfd=None, accepted=(ip_network("10.20.0.0/16"), ip_network("::/0")))
    branch = replace(
        OFFICE,
        tunnel="branch.a-1",
        connection="branch.a",
        interface="ts-3",
        asn=65020,
        local=ip_address("fd00:1::1"),
        remote=ip_address("fd00:1::2"),
        accepted=(ip_network("0.0.0.0/0"),),
    )
    other = replace(
        OFFICE,
        tunnel="other-1",
        connection="other",
        border_gateway="second",
        interface="ts-4",
        local_asn=4200000000,
        local=ip_address("169.254.14.2"),
        remote=ip_address("169.254.14.1"),
    )
    return RoutingPlan(
        (
            BgpGateway("main", ROUTER_ID, False, (six,), (first, second, branch)),
            BgpGateway("second", IPv4Address("198.51.100.1"), True, (), (other,)),
        ),
        (ip_address("203.0.113.9"), ip_address("2001:db8::9")),
        (ip_network("10.255.0.0/30"), ip_network("fd00:1::/126")),
    )
