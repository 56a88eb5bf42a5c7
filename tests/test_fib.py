"""The kernel's routes, read and asked for, in a network namespace of the test's own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.fib import FibRoute, Flow, all_routes, chosen, matching
from gateway.rtnl import RawNetlink, rtnetlink_socket
from tests.node.network import ip, own_network

pytestmark = pytest.mark.system

VPC, ONE, TWO = "vpc0", "tun1", "tun2"


@pytest.fixture(scope="module")
def kernel() -> Iterator[RawNetlink]:
    """Two devices that share one route, and one that packets come from."""
    with own_network():
        for name, address in (
            (VPC, "10.10.0.1/24"),
            (ONE, "169.254.1.1/30"),
            (TWO, "169.254.2.1/30"),
        ):
            ip(f"link add {name} type veth peer name {name}-far")
            ip(f"link set {name}-far up")
            ip(f"addr add {address} dev {name}")
            ip(f"link set {name} up")
        hops = f"nexthop dev {ONE} weight 1 nexthop via 169.254.2.2 dev {TWO} weight 2"
        ip(f"route add 10.20.0.0/16 {hops}")
        ip(f"route add 10.20.7.0/24 dev {TWO} metric 5 proto 85")
        ip("route add unreachable 10.30.0.0/16 metric 7")
        ip("-6 addr add fd00:1::1/64 dev vpc0 nodad")
        ip(f"-6 route add fd00:20::/64 dev {ONE}")
        for setting in ("ip_forward", "fib_multipath_hash_policy"):
            Path("/proc/sys/net/ipv4", setting).write_text("1")
        link = RawNetlink(rtnetlink_socket())
        yield link
        link.close()


def names(route: FibRoute) -> list[str]:
    return [socket.if_indextoname(hop.index) for hop in route.hops]


def test_all_routes_are_read_with_their_next_hops(kernel: RawNetlink) -> None:
    found = {str(route.prefix): route for route in all_routes(kernel) if route.table == 254}
    shared = found["10.20.0.0/16"]
    assert names(shared) == [ONE, TWO]
    assert [hop.weight for hop in shared.hops] == [1, 2]
    assert shared.hops[1].via == ip_address("169.254.2.2")
    own = found["10.20.7.0/24"]
    assert (own.protocol, own.metric, names(own)) == ("twinspan", 5, [TWO])
    assert (found["10.30.0.0/16"].kind, found["10.30.0.0/16"].hops) == ("unreachable", ())
    assert names(found["fd00:20::/64"]) == [ONE]
    assert found["10.10.0.0/24"].protocol == "kernel"


def test_a_flow_is_asked_for_with_its_ports(kernel: RawNetlink) -> None:
    came_by = socket.if_nametoindex(VPC)
    seen = set()
    for port in range(40):
        flow = Flow(ip_address("10.10.0.9"), ip_address("10.20.1.1"), 6, 1024 + port, 443, came_by)
        assert matching(kernel, flow).prefix == ip_network("10.20.0.0/16")
        assert names(matching(kernel, flow)) == [ONE, TWO]
        (name,) = names(chosen(kernel, flow))
        assert names(chosen(kernel, flow)) == [name]  # a flow stays where it is
        seen.add(name)
    assert seen == {ONE, TWO}


def test_the_longest_prefix_is_what_a_flow_matches(kernel: RawNetlink) -> None:
    flow = Flow(None, ip_address("10.20.7.1"))
    assert matching(kernel, flow).prefix == ip_network("10.20.7.0/24")
    assert names(chosen(kernel, Flow(None, ip_address("fd00:20::5")))) == [ONE]


@pytest.mark.parametrize("destination", ["10.30.1.1", "172.16.0.1"])
def test_what_nothing_carries_is_an_error(kernel: RawNetlink, destination: str) -> None:
    with pytest.raises(OSError, match=r"unreachable|No route"):
        chosen(kernel, Flow(None, ip_address(destination)))
