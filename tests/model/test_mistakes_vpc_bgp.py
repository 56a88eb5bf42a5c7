"""What is refused, and what is warned of, where a VPC's router speaks BGP."""

from __future__ import annotations

import pytest

from gateway.model.document import build_document
from gateway.model.locate import Path
from tests.support.documents import document, edited, errors, warnings

VPC: Path = ("vpc_attachment", 0)
Edit = tuple[Path, object]


def vpc(**values: object) -> list[Edit]:
    return [((*VPC, key), value) for key, value in values.items()]


ROUTER = vpc(addresses=["10.10.255.1/29"], peer_address="10.10.255.6", peer_asn=64900)


def test_a_vpc_router_is_free_of_mistakes() -> None:
    _, found = build_document(edited(*ROUTER))
    assert found == ()
    made = document(*ROUTER, *vpc(propagate_cidrs=["10.20.0.0/16"], propagate_priority=101))
    assert made.vpc_attachment[0].propagate_priority == 101


CASES: list[tuple[list[Edit], Path, str]] = [
    (
        vpc(bgp_key_id=3, bgp_password="secret"),
        (*VPC, "bgp_key_id"),
        "has a meaning with TCP-AO only: see bgp_auth (3)",
    ),
    (
        vpc(peer_asn=65000),
        (*VPC, "peer_asn"),
        "is the border gateway's AS number too: give two different ones (65000)",
    ),
    (
        vpc(peer_address="10.10.254.6"),
        (*VPC, "peer_address"),
        "is in the network of none of addresses: the session needs one of ours beside it"
        ' ("10.10.254.6")',
    ),
    (
        vpc(peer_address="10.10.255.1"),
        (*VPC, "peer_address"),
        'is our own address ("10.10.255.1")',
    ),
    (
        vpc(peer_address="10.10.255.7"),
        (*VPC, "peer_address"),
        'is the broadcast address of its network ("10.10.255.7")',
    ),
    (
        vpc(bgp_keepalive_s=40),
        (*VPC, "bgp_keepalive_s"),
        "must be less than bgp_hold_s 30 (40)",
    ),
    (
        vpc(propagate_cidrs=["fd00::/64"]),
        (*VPC, "propagate_cidrs", 0),
        'is not of the IP version of peer_address: nothing of it is told ("fd00::/64")',
    ),
    (vpc(propagate_priority=256), (*VPC, "propagate_priority"), "must be at most 255 (256)"),
    (vpc(bfd="10x3"), (*VPC, "bfd"), 'the interval must be 50 to 10000 ("10x3")'),
]


@pytest.mark.parametrize(("edits", "place", "text"), CASES)
def test_a_mistake_is_told_alone_at_its_place(edits: list[Edit], place: Path, text: str) -> None:
    _, found = build_document(edited(*ROUTER, *edits))
    assert errors(found) == [(place, text)]


def test_a_router_needs_its_as_number() -> None:
    edits = vpc(addresses=["10.10.255.1/29"], peer_address="10.10.255.6")
    _, found = build_document(edited(*edits))
    assert errors(found) == [((*VPC, "peer_asn"), "is required with peer_address")]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peer_asn", 64900),
        ("bfd", "50x3"),
        ("bgp_hold_s", 9),
    ],
)
def test_what_is_for_a_router_is_refused_without_one(key: str, value: object) -> None:
    _, found = build_document(edited(((*VPC, key), value)))
    text = "has a meaning with peer_address only: BGP with the VPC's router"
    assert errors(found) == [((*VPC, key), text)]


def test_a_router_from_which_nothing_is_learned_is_warned_of() -> None:
    _, found = build_document(edited(*ROUTER, *vpc(cidrs=["fd00:10::/64"])))
    assert warnings(found) == [
        (
            (*VPC, "cidrs"),
            "names nothing of peer_address's IP version: nothing is learned from it",
        )
    ]


@pytest.mark.parametrize(
    ("key", "value"), [("propagate_cidrs", ["10.20.0.0/16"]), ("propagate_priority", 101)]
)
def test_routes_go_nowhere_without_a_router_or_a_veth(key: str, value: object) -> None:
    _, found = build_document(edited(((*VPC, key), value)))
    text = "has a meaning with peer_address or veth only: where the customers' routes go"
    assert errors(found) == [((*VPC, key), text)]


VETH = vpc(
    addresses=["10.10.0.1/24"],
    veth={"namespace": "vpc", "interface": "eth0", "addresses": ["10.10.0.2/24"]},
    propagate_cidrs=["10.20.0.0/16"],
)


def test_a_veths_table_may_take_routes_over_from_a_next_hop_it_can_reach() -> None:
    assert document(*VETH).vpc_attachment[0].propagate_priority == 150
    _, found = build_document(edited(*VETH, *vpc(addresses=["10.9.0.1/24"])))
    assert errors(found) == [
        (
            (*VPC, "propagate_cidrs"),
            "needs an address of ours and one of veth in one network: it is the next hop",
        )
    ]
    _, found = build_document(edited(*VETH, (("border_gateway", 0, "namespace"), "vpc")))
    text = "veth leads to a namespace of the gateway: its routes are not a VPC's"
    assert ((*VPC, "propagate_cidrs"), text) in errors(found)
