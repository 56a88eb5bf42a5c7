"""What is refused, and what is warned of, with direct lines."""

from __future__ import annotations

import pytest

from gateway.model.document import Table, build_document
from gateway.model.locate import Path
from tests.support.documents import CONNECTION, REMOVED, document, edited, errors, warnings

LINE: Path = ("direct_line", 0)
Edit = tuple[Path, object]
TABLE: Table = {
    "name": "line",
    "border_gateway": "main",
    "customer_gateway": "office",
    "interface": "eth2",
    "address": "172.16.0.1/30",
    "peer_address": "172.16.0.2",
    "remote_cidrs": ["10.20.0.0/16"],
}
ONE: Edit = (("direct_line",), [TABLE])


def line(**values: object) -> list[Edit]:
    return [((*LINE, key), value) for key, value in values.items()]


def test_a_line_beside_a_vpn_connection_to_the_same_prefixes_is_free_of_mistakes() -> None:
    made, found = build_document(edited(ONE))
    assert found == ()
    assert (made.direct_line[0].routing, made.direct_line[0].bfd) == ("bgp", "300x3")


def test_a_static_line_needs_no_as_number() -> None:
    asn: Edit = (("customer_gateway", 0, "asn"), REMOVED)
    assert document(ONE, asn, *line(routing="static", bfd="50x3")).direct_line[0].bfd == "50x3"


CASES: list[tuple[list[Edit], Path, str]] = [
    (
        line(border_gateway="mian"),
        (*LINE, "border_gateway"),
        'no border_gateway has this name; there is: main ("mian")',
    ),
    (
        line(customer_gateway="x"),
        (*LINE, "customer_gateway"),
        'no customer_gateway has this name; there is: office ("x")',
    ),
    (line(name="office-1"), (*LINE, "name"), 'a tunnel has this name ("office-1")'),
    (
        [(("direct_line", 1), {**TABLE, "interface": "eth3", "address": "172.16.1.1/30",
                               "peer_address": "172.16.1.2"})],
        ("direct_line", 1, "name"),
        'another direct_line has this name ("line")',
    ),
    (line(interface="eth1"), (*LINE, "interface"), 'vpc_attachment vpc has this device ("eth1")'),
    (
        line(interface="ts-office-1"),
        (*LINE, "interface"),
        'tunnel office-1 has this device ("ts-office-1")',
    ),
    (
        line(address="172.16.0.1"),
        (*LINE, "address"),
        'must be an address with prefix length in quotes, as in "10.0.0.1/24" ("172.16.0.1")',
    ),
    (line(address="172.16.0.1/33"), (*LINE, "address"),
     'is not an IP address with prefix length ("172.16.0.1/33")'),
    (
        line(address="172.16.0.0/30"),
        (*LINE, "address"),
        'is the address of the network itself ("172.16.0.0/30")',
    ),
    (
        line(address="172.16.0.3/30"),
        (*LINE, "address"),
        'is the broadcast address of its network ("172.16.0.3/30")',
    ),
    (line(address="224.0.0.1/8"), (*LINE, "address"), 'is not a host\'s address ("224.0.0.1/8")'),
    (
        line(address="fe80::1/64", peer_address="fe80::2", remote_cidrs=["fd00:20::/64"]),
        (*LINE, "address"),
        'is a link-local address: one that routes can name alone is needed ("fe80::1/64")',
    ),
    (line(peer_address="172.16.0.1"), (*LINE, "peer_address"), 'is our own address ("172.16.0.1")'),
    (
        line(peer_address="172.16.0.5"),
        (*LINE, "peer_address"),
        'is not in the network of our address, 172.16.0.0/30 ("172.16.0.5")',
    ),
    (
        line(peer_address="172.16.0.3"),
        (*LINE, "peer_address"),
        'is the broadcast address of its network ("172.16.0.3")',
    ),
    (
        line(address="169.254.10.1/24", peer_address="169.254.10.200"),
        (*LINE, "address"),
        'overlaps the network inside tunnel office-1 ("169.254.10.1/24")',
    ),
    (
        line(asn=65000),
        (*LINE, "asn"),
        "is the AS number of both ends: give two different ones (65000)",
    ),
    (
        line(local_asn=65010),
        (*LINE, "local_asn"),
        "is the AS number of both ends: give two different ones (65010)",
    ),
    (
        [(("customer_gateway", 0, "asn"), REMOVED)],
        (*LINE, "asn"),
        "is required here or at customer_gateway office",
    ),
    (
        line(routing="static", remote_cidrs=[]),
        (*LINE, "remote_cidrs"),
        'is required with routing = "static": the customer\'s prefixes',
    ),
    (
        line(routing="static", bgp_hold_s=9),
        (*LINE, "bgp_hold_s"),
        'has a meaning with routing = "bgp" only',
    ),
    (
        line(bgp_auth="ao-cmac-aes128"),
        (*LINE, "bgp_auth"),
        'has a meaning with bgp_password only ("ao-cmac-aes128")',
    ),
    (
        line(bgp_keepalive_s=30),
        (*LINE, "bgp_keepalive_s"),
        "must be less than bgp_hold_s 30 (30)",
    ),
    (
        line(remote_cidrs=["10.20.0.0/16", "172.16.0.0/30"]),
        (*LINE, "remote_cidrs", 1),
        'lies within the line\'s own network 172.16.0.0/30 ("172.16.0.0/30")',
    ),
    (
        line(remote_cidrs=["fd00::/64"]),
        (*LINE, "remote_cidrs", 0),
        'is not of the IP version of the line\'s address ("fd00::/64")',
    ),
    (
        line(remote_cidrs=["10.10.0.0/16"]),
        (*LINE, "remote_cidrs", 0),
        'is a prefix of vpc_attachment vpc too ("10.10.0.0/16")',
    ),
    (line(preference=1000), (*LINE, "preference"), "must be at most 999 (1000)"),
]  # fmt: skip


@pytest.mark.parametrize(("edits", "place", "text"), CASES)
def test_a_mistake_is_told_alone_at_its_place(edits: list[Edit], place: Path, text: str) -> None:
    _, found = build_document(edited(ONE, *edits))
    assert errors(found) == [(place, text)]


@pytest.mark.parametrize(
    ("prefix", "around"),
    [
        ("127.1.0.0/16", "127.0.0.0/8"),
        ("169.254.0.0/16", "169.254.0.0/16"),
        ("224.0.0.0/4", "224.0.0.0/3"),
        ("240.1.0.0/16", "224.0.0.0/3"),
        ("fe80::/64", "fe80::/10"),
        ("0.0.0.0/0", ""),
        ("128.0.0.0/1", ""),
        ("100.64.0.0/10", ""),
    ],
)
def test_a_customers_prefix_that_nobody_routes_is_refused(prefix: str, around: str) -> None:
    path = (*CONNECTION, "remote_cidrs")
    _, found = build_document(edited((path, [prefix])))
    said = f'lies in {around}, which is never routed ("{prefix}")'
    assert errors(found) == ([((*path, 0), said)] if around else [])


def test_inner_addresses_may_be_among_a_customers_prefixes() -> None:
    """Selectors of policy routing name them where probes go between them."""
    inner = document().vpn_connection[0].tunnel[0].inner_cidr
    assert inner is not None
    path = (*CONNECTION, "remote_cidrs")
    _, found = build_document(edited((path, [f"{inner[2]}/32"])))
    assert errors(found) == []
    _, found = build_document(edited((path, [str(inner)])))
    assert errors(found) == []
    for stranger in ("169.254.250.1/32", str(inner.supernet())):
        _, found = build_document(edited((path, [stranger])))
        assert len(errors(found)) == 1


def test_a_customers_prefix_that_a_vpc_has_is_refused_and_one_within_it_warned_of() -> None:
    path = (*CONNECTION, "remote_cidrs")
    _, found = build_document(edited((path, ["10.10.0.0/16"])))
    assert errors(found) == [
        ((*path, 0), 'is a prefix of vpc_attachment vpc too ("10.10.0.0/16")'),
    ]
    _, found = build_document(edited((path, ["10.10.1.0/24"])))
    assert errors(found) == []
    assert warnings(found) == [
        ((*path, 0), 'overlaps 10.10.0.0/16 of vpc_attachment vpc ("10.10.1.0/24")'),
    ]


def test_a_line_without_a_public_ipv4_address_needs_a_router_id() -> None:
    six = [
        (("gateway", "public_addresses"), ["2001:db8::1", "2001:db8::2"]),
        (("customer_gateway", 0, "public_addresses"), ["2001:db8::9", "2001:db8::10"]),
    ]
    _, found = build_document(edited(ONE, *six))
    assert errors(found) == [
        (
            ("border_gateway", 0, "router_id"),
            "is required: we have no public IPv4 address to take it from",
        )
    ]


def test_a_line_that_carries_the_tunnels_outer_packets_is_warned_of() -> None:
    edits = line(routing="static", remote_cidrs=["203.0.113.0/24"])
    _, found = build_document(edited(ONE, *edits))
    assert warnings(found)[0] == (
        (*LINE, "remote_cidrs", 0),
        "holds the remote address 203.0.113.9 of tunnel office-1: it runs inside the line"
        ' ("203.0.113.0/24")',
    )
