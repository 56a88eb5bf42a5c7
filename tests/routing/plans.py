"""Routing plans for tests: a Border Gateway, its peers, and what is particular to each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network

from gateway.routing.plan import Attachment, Bfd, BgpGateway, BgpPeer, Hop, RoutingPlan, StaticWay
from gateway.secret import Secret

ROUTER_ID = IPv4Address("192.0.2.1")
VPC = Attachment("vpc", "lan", (ip_network("10.10.0.0/24"),))
OFFICE = BgpPeer(
    name="office-1",
    hop=Hop.VPN,
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
    name="office-2",
    interface="ts-2",
    local=ip_address("169.254.12.1"),
    remote=ip_address("169.254.12.2"),
    preference=101,
)


LINE = replace(
    OFFICE,
    name="line",
    hop=Hop.LINE,
    interface="eth3",
    local=ip_address("172.16.0.1"),
    remote=ip_address("172.16.0.2"),
)
VPC_ROUTER = replace(
    OFFICE,
    name="vpc",
    hop=Hop.ATTACHMENT,
    connection="",
    interface="lan",
    asn=64900,
    local=ip_address("10.10.0.1"),
    remote=ip_address("10.10.0.9"),
    preference=150,
    accepted=(ip_network("10.10.0.0/16"),),
    told=(ip_network("10.20.0.0/16"), ip_network("0.0.0.0/0")),
)
STATIC_LINE = StaticWay(
    name="old-line",
    hop=Hop.LINE,
    connection="office",
    border_gateway="main",
    interface="eth4",
    family=4,
    gateway=ip_address("172.16.1.2"),
    bfd=Bfd(300, 3),
    routes=((ip_network("10.20.0.0/16"), 100),),
)


def routes_into(peer: BgpPeer, *routes: tuple[str, int], is_isolated: bool = True) -> StaticWay:
    """Return static routes into a tunnel that has BGP, too."""
    return StaticWay(
        name=peer.name,
        hop=peer.hop,
        connection=peer.connection,
        border_gateway=peer.border_gateway,
        interface=peer.interface,
        family=peer.local.version,
        gateway=peer.remote,
        bfd=peer.bfd,
        routes=tuple((ip_network(prefix), total) for prefix, total in routes),
        is_isolated=is_isolated,
    )


def plan_of(*peers: BgpPeer, statics: tuple[StaticWay, ...] = ()) -> RoutingPlan:
    """Return the plan of one Border Gateway with these peers and one attachment."""
    return RoutingPlan((BgpGateway("main", ROUTER_ID, (VPC,), peers, statics, VPC.prefixes),))


def rich_plan() -> RoutingPlan:
    """Return a plan that uses everything: two gateways, two families, all options."""
    six = Attachment("vpc", "lan", (ip_network("10.10.0.0/24"), ip_network("fd00:10::/64")))
    first = replace(
        OFFICE, password=Secret(b"correct horse"), prepend=2, bfd=Bfd(50, 3), is_isolated=False
    )
    second = replace(
        TWIN,
        bfd=None,
        accepted=(ip_network("10.20.0.0/16"), ip_network("::/0")),
        is_isolated=False,
    )
    branch = replace(
        OFFICE,
        name="branch.a-1",
        connection="branch.a",
        interface="ts-3",
        asn=65020,
        local=ip_address("fd00:1::1"),
        remote=ip_address("fd00:1::2"),
        accepted=(ip_network("0.0.0.0/0"),),
        is_isolated=False,
    )
    depot = StaticWay(
        name="depot-1",
        hop=Hop.VPN,
        connection="depot",
        border_gateway="main",
        interface="ts-5",
        family=6,
        gateway=None,
        bfd=None,
        routes=((ip_network("fd00:50::/64"), 100),),
        is_isolated=False,
    )
    other = replace(
        OFFICE,
        name="other-1",
        connection="other",
        border_gateway="second",
        interface="ts-4",
        local_asn=4200000000,
        local=ip_address("169.254.14.2"),
        remote=ip_address("169.254.14.1"),
    )
    static = routes_into(first, ("172.30.0.0/24", 100), ("172.31.0.0/24", 150), is_isolated=False)
    return RoutingPlan(
        (
            BgpGateway(
                "main",
                ROUTER_ID,
                (six,),
                (LINE, first, second, branch),
                (STATIC_LINE, static, depot),
                six.prefixes,
            ),
            BgpGateway("second", IPv4Address("198.51.100.1"), (), (other,)),
        ),
        (ip_address("203.0.113.9"), ip_address("2001:db8::9")),
        (ip_network("10.255.0.0/30"), ip_network("fd00:1::/126")),
    )
