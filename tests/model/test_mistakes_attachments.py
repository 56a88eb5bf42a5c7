"""Mistakes in VPC Attachments, each with key, text and value; and what two namespaces allow."""

from __future__ import annotations

import pytest

from gateway.model.document import build_document
from gateway.model.locate import Path
from gateway.node.plan import plan
from gateway.node.port import FarEnd
from tests.support.documents import CONNECTION, document, edited

Edits = list[tuple[Path, object]]
VPC: Path = ("vpc_attachment", 0)
SECOND: Path = ("vpc_attachment", 1)
OTHER = {"name": "b", "border_gateway": "main", "interface": "eth2"}
VETH = {"namespace": "vpc", "interface": "eth0"}
RED: Edits = [(("border_gateway", 0, "namespace"), "red")]
BLUE: Edits = [
    *RED,
    (("border_gateway", 1), {"name": "blue", "namespace": "blue"}),
    (SECOND, {**OTHER, "border_gateway": "blue"}),
]

MISTAKES: list[tuple[Edits, Path, str, str]] = [
    ([((*VPC, "vlan"), 7)], (*VPC, "vlan"), "needs parent", "7"),
    ([((*VPC, "vlan"), 4095)], (*VPC, "vlan"), "must be at most 4094", "4095"),
    ([((*VPC, "parent"), "eth9")], (*VPC, "parent"), "with vlan only", '"eth9"'),
    (
        [((*VPC, "vlan"), 7), ((*VPC, "parent"), "eth1")],
        (*VPC, "interface"),
        "is parent too",
        '"eth1"',
    ),
    (
        [((*VPC, "vlan"), 7), ((*VPC, "parent"), "eth9"), ((*VPC, "veth"), VETH)],
        (*VPC, "veth"),
        "give one of them",
        "",
    ),
    (
        [((*VPC, "veth"), {"interface": "a/b"})],
        (*VPC, "veth", "interface"),
        "is not an interface",
        "a/b",
    ),
    ([((*VPC, "veth"), {})], (*VPC, "veth", "interface"), "is required", ""),
    (
        [((*VPC, "veth"), {**VETH, "name_space": "x"})],
        (*VPC, "veth", "name_space"),
        "did you mean namespace?",
        "",
    ),
    (
        [((*VPC, "veth"), {"interface": "far"})],
        (*VPC, "veth", "namespace"),
        "is the border gateway's own",
        "the VM's own",
    ),
    (
        [*RED, ((*VPC, "veth"), {**VETH, "namespace": "red"})],
        (*VPC, "veth", "namespace"),
        "is the border gateway's own",
        "red",
    ),
    ([((*VPC, "addresses"), ["10.10.0.1"])], (*VPC, "addresses", 0), "prefix length", "10.10.0.1"),
    ([((*VPC, "addresses"), ["10.10.0.x/8"])], (*VPC, "addresses", 0), "is not an IP", "10.10.0.x"),
    (
        [(SECOND, {**OTHER, "interface": "eth1", "addresses": ["10.0.0.1/24"]})],
        (*SECOND, "interface"),
        "vpc_attachment vpc has this interface",
        '"eth1"',
    ),
    (
        [*BLUE, ((*SECOND, "interface"), "eth1")],
        (*SECOND, "interface"),
        "vpc_attachment vpc has this interface",
        '"eth1"',
    ),
    (
        [
            ((*VPC, "vlan"), 7),
            ((*VPC, "parent"), "eth9"),
            (SECOND, {**OTHER, "vlan": 7, "parent": "eth9"}),
        ],
        (*SECOND, "vlan"),
        "vpc_attachment vpc has this VLAN of eth9",
        "7",
    ),
    (
        [((*VPC, "veth"), VETH), (SECOND, {**OTHER, "veth": VETH})],
        (*SECOND, "veth", "interface"),
        "vpc_attachment vpc has this far end",
        '"eth0"',
    ),
    (
        [
            ((*VPC, "addresses"), ["10.10.0.1/24"]),
            (SECOND, {**OTHER, "addresses": ["10.10.0.1/30"]}),
        ],
        (*SECOND, "addresses", 0),
        "vpc_attachment vpc has this address",
        "10.10.0.1/30",
    ),
    (
        [(("border_gateway", 0, "namespace"), "../x")],
        ("border_gateway", 0, "namespace"),
        "1 to",
        "",
    ),
]


@pytest.mark.parametrize(("edits", "place", "words", "value"), MISTAKES)
def test_a_mistake_has_its_key_text_and_value(
    edits: Edits, place: Path, words: str, value: str
) -> None:
    _, problems = build_document(edited(*edits))
    (found,) = [problem for problem in problems if not problem.is_warning]
    assert found.path == place
    assert words in found.text
    assert value in found.shown


def test_two_attachments_may_stand_on_one_plain_interface() -> None:
    _, problems = build_document(edited((SECOND, {**OTHER, "interface": "eth1"})))
    assert problems == ()


def test_tenants_may_be_equal_in_everything_but_names_and_outer_addresses() -> None:
    _, problems = build_document(edited(*twins("blue")))
    assert problems == ()


def twins(namespace: str | None) -> Edits:
    """Return the edits that put a second Border Gateway beside the first, with equal ranges."""
    base = edited(*RED)
    connections = base["vpn_connection"]
    assert isinstance(connections, list)
    connection = {**connections[0], "name": "b", "border_gateway": "b", "customer_gateway": "b"}
    gateway = {"name": "b", "namespace": namespace} if namespace else {"name": "b"}
    veth = {"interface": "eth0", "namespace": "vpc-b"}
    return [
        *RED,
        ((*VPC, "veth"), VETH),
        ((*VPC, "addresses"), ["10.10.0.1/16"]),
        (("border_gateway", 1), gateway),
        (
            SECOND,
            {
                "name": "vpc-b",
                "border_gateway": "b",
                "interface": "eth1",
                "cidrs": ["10.10.0.0/16"],
                "addresses": ["10.10.0.1/16"],
                "veth": veth,
            },
        ),
        (
            ("customer_gateway", 1),
            {"name": "b", "public_addresses": ["203.0.113.19", "203.0.113.20"], "asn": 65010},
        ),
        (("vpn_connection", 1), connection),
    ]


def test_without_namespaces_equal_ranges_are_mistakes_and_overlaps_warnings() -> None:
    _, problems = build_document(edited(*twins("red")))
    texts = {problem.text for problem in problems}
    assert "tunnel office-1 has the same" in texts
    assert "overlaps 10.20.0.0/16 of vpn_connection office" in texts
    assert "vpc_attachment vpc has this interface" in texts
    assert "shares the routing table of border_gateway main: they are not isolated" in texts


def test_the_plan_has_a_port_for_each_attachment_in_its_namespace() -> None:
    made = plan(document(*twins("blue"), ((*CONNECTION, "routing"), "bgp")))
    first, second = made.ports
    assert made.namespaces == ("red", "blue")
    assert (first.namespace, second.namespace) == ("red", "blue")
    assert second.far == FarEnd("vpc-b", "eth0")
    assert [tunnel.namespace for tunnel in made.tunnels] == ["red", "red", "blue", "blue"]
    assert [routing.namespace for routing in made.routing] == ["red"]
    # ESP of these leaves from elsewhere, so no route of a customer can catch it.
    assert made.routing[0].outer == ()
