"""Two documents are joined: both ends match, nothing is used twice, what can not be is refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.model.document import Table, build_document
from gateway.model.link import INNER_RANGE, End, Wish, free_networks, link
from gateway.model.resources import Document
from gateway.model.tunnels import ResolvedTunnel, inner_interface, inner_peer, resolve_tunnels
from gateway.model.types import AnyNetwork
from tests.support.documents import PSK, edited, errors

POOLS = {
    "west": ["192.0.2.1", "198.51.100.1"],
    "east": ["192.0.2.2", "198.51.100.2"],
}


def bare(
    name: str = "west", asn: int = 65000, cidr: str = "10.1.0.0/16", **changes: object
) -> Table:
    """Return a document that has a Border Gateway with its VPC, and no connection."""
    return {
        "gateway": {"name": name, "public_addresses": POOLS.get(name, ["203.0.113.1"])},
        "border_gateway": [{"name": "main", "asn": asn}],
        "vpc_attachment": [
            {"name": "vpc", "border_gateway": "main", "interface": "lan", "cidrs": [cidr]}
        ],
        **changes,
    }


WEST = bare()
USUAL = Wish()
EAST = bare("east", 65010, "10.2.0.0/16")


def made_of(table: Table) -> Document:
    document, problems = build_document(table, lambda *_: PSK)
    assert not errors(problems), errors(problems)
    return document


def end(table: Table, **more: object) -> End:
    name = str(table["gateway"]["name"])  # type: ignore[index]  # a table, by construction
    return End(f"{name}.toml", made_of(table), **more)  # type: ignore[arg-type]  # End's own


def joined(a: Table, b: Table, wish: Wish = USUAL) -> tuple[Document, Document]:
    """Return both documents with what `link()` makes; they have no mistake."""
    made = link(end(a), end(b), wish)
    first, second = (
        made_of({**table, **{kind: [*_list(table, kind), *new] for kind, new in tables.items()}})
        for table, tables in zip((a, b), made.tables, strict=True)
    )
    return first, second


def _list(table: Table, kind: str) -> list[Table]:
    found = table.get(kind, [])
    assert isinstance(found, list)
    return found


def refused(a: Table, b: Table, wish: Wish = USUAL, **more: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        link(end(a, **more), end(b), wish)
    return caught.value.problems


def assert_match(ours: ResolvedTunnel, theirs: ResolvedTunnel) -> None:
    assert (ours.name, ours.preference) == (theirs.name, theirs.preference)
    assert (ours.local, ours.remote) == (theirs.remote, theirs.local)
    assert (ours.local_id, ours.remote_id) == (theirs.remote_id, theirs.local_id)
    one = inner_interface(ours.tunnel.inner_cidr, ours.tunnel.inner_local)
    other = inner_interface(theirs.tunnel.inner_cidr, theirs.tunnel.inner_local)
    assert one is not None
    assert other is not None
    assert inner_peer(one) == other.ip
    assert {ours.start.value, theirs.start.value} == {"initiate", "respond"}


@pytest.mark.parametrize("routing", ["bgp", "static"])
def test_both_ends_match(routing: str) -> None:
    west, east = joined(WEST, EAST, Wish(routing=routing))  # type: ignore[arg-type]  # a literal
    pairs = list(zip(resolve_tunnels(west), resolve_tunnels(east), strict=True))
    assert len(pairs) == 2
    for ours, theirs in pairs:
        assert_match(ours, theirs)
    for document, prefix in ((west, "10.2.0.0/16"), (east, "10.1.0.0/16")):
        connection = document.vpn_connection[0]
        assert (connection.name, connection.routing) == ("west-east", routing)
        assert [str(cidr) for cidr in connection.remote_cidrs] == [prefix]
    asns = [document.customer_gateway[0].asn for document in (west, east)]
    assert asns == ([65010, 65000] if routing == "bgp" else [None, None])


def test_the_first_tunnel_is_preferred_at_both_ends() -> None:
    for document in joined(WEST, EAST):
        assert [tunnel.preference for tunnel in resolve_tunnels(document)] == [100, 101]


@pytest.mark.parametrize(
    ("a", "b", "wanted", "count"),
    [(2, 2, None, 2), (1, 1, None, 1), (1, 2, None, 2), (2, 2, 4, 4), (2, 2, 1, 1), (4, 4, 8, 8)],
)
def test_as_many_tunnels_as_the_addresses_allow(
    a: int, b: int, wanted: int | None, count: int
) -> None:
    ends = [
        {**table, "gateway": {"name": name, "public_addresses": pool[:most]}}
        for table, name, pool, most in (
            (WEST, "west", [f"192.0.2.{n}" for n in range(1, 5)], a),
            (EAST, "east", [f"198.51.100.{n}" for n in range(1, 5)], b),
        )
    ]
    west, east = joined(ends[0], ends[1], Wish(tunnels=wanted))
    assert len(resolve_tunnels(west)) == count
    for ours, theirs in zip(resolve_tunnels(west), resolve_tunnels(east), strict=True):
        assert_match(ours, theirs)


@pytest.mark.parametrize("wanted", [0, 5, 8, -1])
def test_more_tunnels_than_pairs_are_refused(wanted: int) -> None:
    (text,) = refused(WEST, EAST, Wish(tunnels=wanted))
    assert text.startswith(f"west.toml, east.toml: can not make {wanted} tunnels")
    assert text.endswith("leave 4 pairs")


def test_addresses_of_different_versions_are_never_paired() -> None:
    dual = {"name": "east", "public_addresses": ["2001:db8::2", "192.0.2.2"]}
    west, _ = joined(WEST, {**EAST, "gateway": dual}, Wish(tunnels=2))
    assert [str(tunnel.remote) for tunnel in resolve_tunnels(west)] == ["192.0.2.2", "192.0.2.2"]
    only = {"name": "east", "public_addresses": ["2001:db8::2"]}
    assert "leave 0 pairs" in refused(WEST, {**EAST, "gateway": only})[0]


def test_of_three_addresses_the_other_end_is_told_two() -> None:
    """A Customer Gateway has 1, 2 or 4."""
    three = {"name": "west", "public_addresses": [f"192.0.2.{n}" for n in (11, 12, 13)]}
    _, east = joined({**WEST, "gateway": three}, EAST)
    assert east.customer_gateway[0].public_addresses == (
        ip_address("192.0.2.11"),
        ip_address("192.0.2.12"),
    )


@pytest.mark.parametrize(
    ("vpc", "inner", "found"),
    [
        ("10.30.0.0/16", "169.254.10.0/24", ["169.254.10.8/30", "169.254.10.12/30"]),
        ("10.99.10.0/29", "10.99.10.0/24", ["10.99.10.8/30", "10.99.10.12/30"]),
    ],
)
def test_inner_networks_are_free_in_both(vpc: str, inner: str, found: list[str]) -> None:
    """BASE has 169.254.10.0/30 and .4/30; the other end's VPC may lie in the range, too."""
    hub = edited((("gateway", "name"), "hub"))
    first, _ = joined(hub, bare("east", 65010, vpc), Wish(inner=ip_network(inner)))
    assert [str(tunnel.inner_cidr) for tunnel in first.vpn_connection[1].tunnel] == found


def test_inner_networks_are_not_those_of_a_direct_line_or_an_attachment() -> None:
    line: Table = {
        "name": "line",
        "border_gateway": "main",
        "customer_gateway": "office",
        "interface": "eth2",
        "address": "10.99.9.1/30",
        "peer_address": "10.99.9.2",
        "remote_cidrs": ["10.99.9.4/31"],
    }
    addresses = ["10.99.9.9/29"]
    hub = edited(
        (("gateway", "name"), "hub"),
        (("direct_line",), [line]),
        (("vpc_attachment", 0, "addresses"), addresses),
    )
    first, _ = joined(hub, EAST, Wish(inner=ip_network("10.99.9.0/24")))
    assert str(first.vpn_connection[1].tunnel[0].inner_cidr) == "10.99.9.16/30"


def test_a_range_without_room_is_refused() -> None:
    (text,) = refused(WEST, EAST, Wish(inner=ip_network("169.254.9.0/30")))
    assert (
        "169.254.9.0/30 has room for 1 networks inside that are free at both ends, need 2" in text
    )


def test_ipv6_inside_gets_networks_of_126() -> None:
    west, _ = joined(WEST, EAST, Wish("x", "static", inner=ip_network("fd00:1::/64")))
    assert str(west.vpn_connection[0].tunnel[1].inner_cidr) == "fd00:1::4/126"


networks = st.builds(
    lambda at, length: ip_network((at >> (32 - length) << (32 - length), length)),
    st.integers(int(ip_address("169.254.0.0")), int(ip_address("169.254.1.255"))),
    st.integers(22, 32),
)


@given(st.lists(networks, max_size=6), st.integers(23, 32))
def test_free_networks_are_all_that_overlap_nothing(taken: list[AnyNetwork], length: int) -> None:
    within = ip_network(f"169.254.0.0/{length}")
    every = within.subnets(new_prefix=30) if length <= 30 else ()
    expected = [one for one in every if not any(one.overlaps(other) for other in taken)]
    assert list(free_networks(within, taken)) == expected


def test_equal_as_numbers_need_another_one() -> None:
    east = bare("east", 65000, "10.2.0.0/16")
    assert refused(WEST, east) == [
        "east.toml: border_gateway[main].asn: is that of west.toml too: give one of them another"
        " (65000)"
    ]
    made = link(end(WEST, asn=65020), end(east), Wish())
    assert made.tables[0]["vpn_connection"][0]["local_asn"] == 65020
    assert made.tables[1]["customer_gateway"][0]["asn"] == 65020
    assert "local_asn" not in made.tables[1]["vpn_connection"][0]


def test_a_second_link_of_the_same_gateways_is_refused() -> None:
    made = link(end(WEST), end(EAST), Wish())
    west, east = ({**t, **tables} for t, tables in zip((WEST, EAST), made.tables, strict=True))
    for wish in (Wish(), Wish("another"), Wish(routing="static")):
        assert refused(west, east, wish) == [
            "west.toml: border_gateway[main] is linked to main of east.toml already,"
            " by vpn_connection west-east"
        ]
    assert "already, by vpn_connection west-east" in refused(east, west)[0]


def test_other_border_gateways_of_the_same_two_take_other_pairs() -> None:
    second: Table = {"name": "tenant", "asn": 65020}
    tables = [{**t, "border_gateway": [*_list(t, "border_gateway"), second]} for t in (WEST, EAST)]
    ends = [end(table, border_gateway="main") for table in tables]
    made = link(ends[0], ends[1], Wish())
    again = [{**t, **new} for t, new in zip(tables, made.tables, strict=True)]
    made = link(
        end(again[0], border_gateway="tenant", asn=65021),
        end(again[1], border_gateway="tenant"),
        Wish("tenant"),
    )
    (connection,) = made.tables[0]["vpn_connection"]
    assert connection["border_gateway"] == "tenant"
    assert [(t["local_address"], t["remote_address"]) for t in connection["tunnel"]] == [  # type: ignore[attr-defined]  # a list of tables
        ("192.0.2.1", "198.51.100.2"),
        ("198.51.100.1", "192.0.2.2"),
    ]


def test_the_border_gateway_is_asked_for_when_there_are_several_or_none() -> None:
    two = {**WEST, "border_gateway": [{"name": "main"}, {"name": "tenant"}]}
    assert refused(two, EAST) == [
        "west.toml: border_gateway: which one is to be linked? There is: main, tenant"
    ]
    assert refused(two, EAST, border_gateway="mian") == [
        "west.toml: no border_gateway has this name; there is: main, tenant (mian)"
    ]
    none = {**WEST, "border_gateway": [], "vpc_attachment": []}
    assert refused(none, EAST)[0].endswith("There is: none")


def test_static_routing_needs_prefixes_at_both_ends_and_no_as_number() -> None:
    empty = {**WEST, "vpc_attachment": []}
    assert refused(empty, EAST, Wish(routing="static"), asn=65020) == [
        "west.toml: an AS number has a meaning with bgp only (65020)",
        "west.toml: border_gateway[main]: no vpc_attachment of it has cidrs: nothing can be routed"
        " toward it",
    ]
    joined(empty, EAST)


def test_equal_prefixes_at_both_ends_are_refused() -> None:
    assert refused(WEST, bare("east", 65010)) == [
        "east.toml: cidrs: west.toml has the same (10.1.0.0/16)"
    ]


def test_equal_gateway_names_need_a_name_for_the_connection() -> None:
    other = {**EAST, "gateway": {"name": "west", "public_addresses": ["192.0.2.2"]}}
    assert refused(WEST, other) == [
        "west.toml: gateway.name: is that of west.toml too: rename one, or name the connection"
        " (west)"
    ]
    west, _ = joined(WEST, other, Wish("both"))
    assert west.vpn_connection[0].tunnel[0].name == "both-1"


def test_proposals_stand_in_both_only_when_asked_for() -> None:
    proposals = ["aes256gcm16-prfsha384-x25519"]
    for document in joined(WEST, EAST, Wish(settings={"ike_proposals": proposals})):
        assert document.vpn_connection[0].ike_proposals == tuple(proposals)
    for document in joined(WEST, EAST):
        assert not document.vpn_connection[0].model_fields_set & {"ike_proposals", "esp_proposals"}


def test_the_usual_range_is_one_that_tunnels_may_use() -> None:
    assert INNER_RANGE.subnet_of(ip_network("169.254.0.0/16"))  # type: ignore[arg-type]  # both of IPv4
