"""
A real BIRD with our configuration chooses among every set of offers to a prefix.

    a ==== line, ts-1, ts-2, vpc ==== b

Prefix number n of 127 is offered by those ways whose bit is set in n; the order of the ways is the
product's. Machine b announces what is offered by BGP, a's plan has the static routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

import pytest

from gateway.routing.bird import Bird as Control
from gateway.routing.bird_conf import bird_conf
from gateway.routing.choice import Fate, Judged, judge
from gateway.routing.names import session_name, static_name
from gateway.routing.plan import (
    BgpGateway,
    BgpPeer,
    Hop,
    Network,
    RoutingPlan,
    Standing,
    StaticWay,
)
from lab.bird import Bird
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from tests.routing.plans import LINE, OFFICE, ROUTER_ID, TWIN

pytestmark = pytest.mark.system

SPACE = [*ip_network("10.128.0.0/9").subnets(new_prefix=16)]
VPC = replace(
    LINE,
    name="vpc",
    hop=Hop.ATTACHMENT,
    interface="vpc",
    asn=64900,
    accepted=(ip_network("10.128.0.0/9"),),
)


def peer(base: BgpPeer, number: int, **changes: object) -> BgpPeer:
    """Return a peer on wire `number`."""
    local, remote = (ip_address(f"172.16.{number}.{end}") for end in (1, 2))
    return replace(base, local=local, remote=remote, **changes)  # type: ignore[arg-type]


PEERS = {
    "vpc": peer(VPC, 1),
    "line": peer(LINE, 2, interface="line"),
    # The same preference, but what b tells by the second has a longer AS path.
    "first": peer(OFFICE, 3, name="a", connection="a", interface="ts-1"),
    "second": peer(TWIN, 4, name="b", connection="b", interface="ts-2", preference=100, asn=65020),
}


def way(base: BgpPeer, prefixes: Sequence[IPv4Network], total: int) -> StaticWay:
    return StaticWay(
        name=base.name,
        hop=base.hop,
        connection=base.connection,
        border_gateway=base.border_gateway,
        interface=base.interface,
        family=4,
        gateway=base.remote,
        bfd=base.bfd,
        routes=tuple((prefix, total) for prefix in prefixes),
    )


# Each way with where its packets leave, in the order of the product.
STATIC = {"line-static": ("line", 100), "first-static": ("first", 100), "late": ("second", 101)}
ORDER = ["vpc", "line-static", "line", "first-static", "late", "first", "second"]


def offered(name: str) -> list[IPv4Network]:
    """Return the prefixes that a way offers."""
    bit = 1 << ORDER.index(name)
    return [prefix for number, prefix in enumerate(SPACE) if number & bit]


def protocol_of(name: str) -> str:
    """Return the name of the protocol that a way's routes come from."""
    if name in PEERS:
        return session_name(PEERS[name])
    return static_name(way(PEERS[STATIC[name][0]], (), 0))


def plan() -> RoutingPlan:
    statics = tuple(way(PEERS[of], offered(name), total) for name, (of, total) in STATIC.items())
    return RoutingPlan((BgpGateway("main", ROUTER_ID, (), tuple(PEERS.values()), statics),))


def far_end() -> str:
    """Return the configuration of machine b."""
    routes = "".join(f"route {prefix} unreachable;\n" for prefix in SPACE)
    parts = [
        "router id 9.9.9.9;\nprotocol device {}",
        f"protocol static {{ ipv4; {routes} }}",
        'protocol bfd { accept direct; interface "*" { interval 300 ms; multiplier 3; }; }',
    ]
    for name, one in PEERS.items():
        told = ", ".join(map(str, offered(name)))
        longer = f"bgp_path.prepend({one.asn});" if name == "second" else ""
        parts.append(
            f"""protocol bgp to_{name} {{ interface "{one.interface}"; direct; bfd on;
local {one.remote} as {one.asn}; neighbor {one.local} as {one.local_asn};
connect delay time 1; connect retry time 1; error wait time 0, 1;
ipv4 {{ import all; export filter {{
if net ~ [ {told} ] then {{ {longer} accept; }} reject; }}; }}; }}"""
        )
    return "\n".join(parts)


class Judge:
    """Machine a: our configuration, and what its BIRD makes of the offers."""

    def __init__(self, machine: Namespace) -> None:
        self.machine = machine
        self.bird = Bird(machine, self._text({}))
        self.control = Control(self.bird.directory / "bird.sock", 5.0)

    def _text(self, standings: Mapping[str, Standing]) -> str:
        log = self.machine.lab.directory / f"{self.machine.name}-ours.log"
        return bird_conf(plan(), str(log), standings)

    def go_over(self, standings: Mapping[str, Standing]) -> None:
        self.bird.write(self._text(standings))
        asyncio.run(self.control.configure())

    def judged(self) -> tuple[Judged, ...]:
        return judge(asyncio.run(self.control.routes()))

    def carrying(self) -> dict[Network, str]:
        """Return by prefix the protocol whose route is the best."""
        best = [one for one in self.judged() if one.fate is Fate.BEST]
        return {one.route.prefix: one.route.protocol for one in best}


@pytest.fixture(scope="module")
def bird(lab: Lab) -> Judge:
    a, b = lab.namespace("a"), lab.namespace("b")
    for one in PEERS.values():
        ends = [(m, one.interface, [f"{at}/30"]) for m, at in ((a, one.local), (b, one.remote))]
        lab.wire(ends[0], ends[1])
    made = Judge(a)
    Bird(b, far_end()).start()
    made.bird.start()
    return made


def expected(order: Sequence[str]) -> dict[Network, str]:
    return {
        prefix: protocol_of(next(name for name in order if number & 1 << ORDER.index(name)))
        for number, prefix in enumerate(SPACE)
        if number
    }


def test_of_every_set_of_offers_the_first_in_the_products_order_wins(bird: Judge) -> None:
    wait_for("all offers", lambda: bird.carrying() == expected(ORDER), 30.0, every_s=0.5)
    for one in bird.judged():
        assert one.fate is not Fate.SHARES


def test_the_kernel_sends_where_the_best_route_leads(bird: Judge) -> None:
    wait_for("all offers", lambda: bird.carrying() == expected(ORDER), 30.0, every_s=0.5)
    lines = bird.machine.ip("route", "show", "proto", "bird").splitlines()
    by_device = {IPv4Network(line.split()[0]): line.split(" dev ")[1].split()[0] for line in lines}
    devices = {protocol_of(name): PEERS[name].interface for name in PEERS}
    devices |= {protocol_of(name): PEERS[of].interface for name, (of, _) in STATIC.items()}
    assert by_device == {prefix: devices[one] for prefix, one in expected(ORDER).items()}


def test_why_a_route_lost_is_told_in_the_products_words(bird: Judge) -> None:
    wait_for("all offers", lambda: bird.carrying() == expected(ORDER), 30.0, every_s=0.5)
    everything = SPACE[-1]
    why = {one.route.protocol: one.why for one in bird.judged() if one.route.prefix == everything}
    assert why == {
        protocol_of("vpc"): "next-hop type VPC attachment before direct line",
        protocol_of("line-static"): "next-hop type VPC attachment before direct line",
        protocol_of("line"): "next-hop type VPC attachment before direct line",
        protocol_of("first-static"): "next-hop type VPC attachment before VPN",
        protocol_of("late"): "next-hop type VPC attachment before VPN",
        protocol_of("first"): "next-hop type VPC attachment before VPN",
        protocol_of("second"): "next-hop type VPC attachment before VPN",
    }
    without_vpc_and_line = SPACE[0b1111000]
    (best, *others) = [o for o in bird.judged() if o.route.prefix == without_vpc_and_line]
    assert best.route.protocol == protocol_of("first-static")
    assert [one.why for one in others] == [
        "preference 100 before 101",
        "origin static before EBGP",
        "origin static before EBGP",
    ]
    learned_alone = SPACE[0b1100000]
    assert {o.why for o in bird.judged() if o.route.prefix == learned_alone} == {
        "AS path length 1 before 2"
    }


def test_a_demoted_line_stands_behind_every_tunnel(bird: Judge) -> None:
    order = ["vpc", "first-static", "late", "first", "second", "line-static", "line"]
    bird.go_over({"line": Standing.DEMOTED})
    wait_for("the move", lambda: bird.carrying() == expected(order), 15.0, every_s=0.5)
    bird.go_over({})
    wait_for("the return", lambda: bird.carrying() == expected(ORDER), 15.0, every_s=0.5)


def test_a_demoted_tunnel_stands_behind_the_other(bird: Judge) -> None:
    order = ["vpc", "line-static", "line", "late", "second", "first-static", "first"]
    bird.go_over({"a": Standing.DEMOTED})
    wait_for("the move", lambda: bird.carrying() == expected(order), 15.0, every_s=0.5)
    bird.go_over({})
    wait_for("the return", lambda: bird.carrying() == expected(ORDER), 15.0, every_s=0.5)
