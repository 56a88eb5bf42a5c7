"""What a VPC's table takes over: prefixes of its Border Gateway within what it asks for."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gateway.routing.plan import Network
from gateway.routing.propagation import Propagation, propagations
from tests.support.documents import document

ONE = Propagation(
    border_gateway="main",
    namespace="vpc",
    interface="eth0",
    vias=(ip_address("10.10.0.1"), ip_address("fd00:10::1")),
    cidrs=(ip_network("10.20.0.0/16"), ip_network("fd00:20::/32")),
    metric=150,
)


def taken(*prefixes: str, gateway: str = "main") -> list[tuple[str, str]]:
    effective: list[tuple[str, Network]] = [(gateway, ip_network(each)) for each in prefixes]
    return [(str(prefix), str(via)) for prefix, via in ONE.routes(effective)]


def test_what_is_equal_or_within_is_taken_over() -> None:
    assert taken("10.20.0.0/16", "10.20.5.0/24", "fd00:20:1::/48") == [
        ("10.20.0.0/16", "10.10.0.1"),
        ("10.20.5.0/24", "10.10.0.1"),
        ("fd00:20:1::/48", "fd00:10::1"),
    ]


def test_what_is_around_or_beside_is_not() -> None:
    assert taken("10.0.0.0/8", "0.0.0.0/0", "10.21.0.0/16", "::/0") == []
    assert taken("10.20.0.0/16", gateway="other") == []


def test_a_veth_attachment_says_what_its_far_end_takes_over() -> None:
    veth = {"namespace": "vpc", "interface": "eth0", "addresses": ["10.10.0.2/24"]}
    made = document(
        (("vpc_attachment", 0, "veth"), veth),
        (("vpc_attachment", 0, "addresses"), ["10.9.0.1/24", "10.10.0.1/24"]),
        (("vpc_attachment", 0, "propagate_cidrs"), ["10.20.0.0/16"]),
    )
    (found,) = propagations(made)
    assert found.vias == (ip_address("10.10.0.1"),)
    assert (found.namespace, found.interface, found.metric) == ("vpc", "eth0", 150)
    assert propagations(document()) == ()
