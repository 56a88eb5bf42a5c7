"""From the document to the routing plan, and what the node itself still does of it."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path as FilePath

from gateway.model.document import parse_document
from gateway.model.load import load
from gateway.model.locate import Path
from gateway.node.plan import BEHIND_BIRD, NodePlan, plan
from gateway.routing.bird_conf import KERNEL_METRIC
from gateway.routing.plan import Bfd, BgpPeer, Hop, TcpAo
from tests.support.documents import CONNECTION, FIRST, PSK, SECOND, document

ROOT = FilePath(__file__).parents[2]
BGP: tuple[Path, object] = ((*CONNECTION, "routing"), "bgp")
ROUTE: Path = ("route",)


def planned(*edits: tuple[Path, object]) -> NodePlan:
    return plan(document(BGP, *edits))


def peers(*edits: tuple[Path, object]) -> tuple[BgpPeer, ...]:
    return planned(*edits).peers


def test_without_bgp_there_is_nothing_to_do() -> None:
    assert plan(document()).routing == ()


def test_each_tunnel_is_a_session_between_its_inner_addresses() -> None:
    first, second = peers()
    assert (first.local, first.remote) == (ip_address("169.254.10.1"), ip_address("169.254.10.2"))
    assert (first.name, second.name) == ("office-1", "office-2")
    assert (first.preference, second.preference) == (100, 101)
    assert (first.local_asn, first.asn) == (65000, 65010)
    assert (first.hold_s, first.keepalive_s, first.bfd) == (30, 10, Bfd(300, 3))
    assert first.accepted == (ip_network("10.20.0.0/16"),)


def test_our_address_may_be_the_second() -> None:
    first, _ = peers(((*FIRST, "inner_local"), "169.254.10.2"))
    assert (first.local, first.remote) == (ip_address("169.254.10.2"), ip_address("169.254.10.1"))


def test_settings_are_the_tunnels_own_or_the_connections() -> None:
    first, second = peers(
        ((*CONNECTION, "local_asn"), 64999),
        ((*CONNECTION, "bfd"), "off"),
        ((*SECOND, "bfd"), "50x4"),
        ((*SECOND, "bgp_password"), "secret"),
        ((*CONNECTION, "bgp_hold_s"), 3),
    )
    assert (first.bfd, second.bfd) == (None, Bfd(50, 4))
    assert (first.password, second.password is not None) == (None, True)
    assert (first.local_asn, first.hold_s, first.keepalive_s) == (64999, 3, 1)


def test_a_password_is_used_by_tcp_md5_or_tcp_ao() -> None:
    first, second = peers(
        ((*CONNECTION, "bgp_password"), "secret"),
        ((*SECOND, "bgp_auth"), "ao-hmac-sha256"),
        ((*SECOND, "bgp_key_id"), 7),
    )
    assert (first.ao, second.ao) == (None, TcpAo("hmac-sha256", 7))
    assert first.password == second.password is not None


def test_the_gateway_announces_its_attachments_under_its_id() -> None:
    ((gateway,),) = (routing.gateways for routing in planned().routing)
    assert gateway.router_id == IPv4Address("192.0.2.1")
    assert all(peer.is_isolated for peer in gateway.peers)
    (attachment,) = gateway.attachments
    assert (attachment.interface, attachment.prefixes) == ("eth1", (ip_network("10.10.0.0/16"),))
    (gateway,) = planned((("border_gateway", 0, "router_id"), "10.9.8.7")).routing[0].gateways
    assert gateway.router_id == IPv4Address("10.9.8.7")


def test_no_learned_prefix_may_lead_a_tunnel_elsewhere() -> None:
    (found,) = planned().routing
    assert [str(address) for address in found.outer] == ["203.0.113.10", "203.0.113.9"]
    assert [str(network) for network in found.inner] == ["169.254.10.0/30", "169.254.10.4/30"]


def test_the_node_adds_no_routes_but_those_that_fail_closed() -> None:
    route = {
        "border_gateway": "main",
        "prefix": "10.30.0.0/16",
        "vpn_connection": "office",
        "preference": 7,
    }
    made = planned((ROUTE, [route]))
    expected = (ip_network("10.20.0.0/16"), ip_network("10.30.0.0/16"))
    assert [(t.routes, t.fail_closed) for t in made.tunnels] == [((), expected)] * 2
    first, second = made.routing[0].statics
    assert first.routes == ((ip_network("10.30.0.0/16"), 107),)
    assert (first.gateway, first.bfd) == (ip_address("169.254.10.2"), Bfd(300, 3))
    assert second.routes == ((ip_network("10.30.0.0/16"), 108),)


def test_static_connections_beside_it_keep_their_routes() -> None:
    assert all(t.routes and not t.fail_closed for t in plan(document()).tunnels)


def test_the_example_is_what_the_guide_says() -> None:
    loaded = load(ROOT / "docs/examples/bgp.toml")
    first, second = plan(loaded.document).peers
    assert (first.asn, first.bfd, second.preference) == (65010, Bfd(300, 3), 101)
    guide = (ROOT / "docs/configuration.md").read_text()
    block = guide.split("\n## BGP\n")[1].split("```toml\n")[1].split("```")[0]
    head = '[gateway]\npublic_addresses = ["192.0.2.1", "198.51.100.1"]\n'
    made = parse_document(
        head + block.replace('psk_file = "office.psk"', f'psk = "{PSK}"'), "guide", None
    ).document
    assert len(plan(made).peers) == 2


LINE = {
    "name": "line",
    "border_gateway": "main",
    "customer_gateway": "office",
    "interface": "eth2",
    "address": "172.16.0.1/30",
    "peer_address": "172.16.0.2",
    "remote_cidrs": ["10.20.0.0/16"],
}


def with_line(**values: object) -> NodePlan:
    """Return the plan of a static connection with a direct line beside it."""
    return plan(document((("direct_line",), [{**LINE, **values}])))


def test_a_line_is_a_session_over_its_interface() -> None:
    (peer,) = with_line(bgp_hold_s=9).peers
    assert (peer.name, peer.hop, peer.connection) == ("line", Hop.LINE, "office")
    assert (peer.interface, str(peer.local), str(peer.remote)) == (
        *("eth2", "172.16.0.1", "172.16.0.2"),
    )
    assert (peer.local_asn, peer.asn, peer.hold_s, peer.keepalive_s) == (65000, 65010, 9, 3)
    (peer,) = with_line(asn=65020, local_asn=64999).peers
    assert (peer.local_asn, peer.asn) == (64999, 65020)


def test_a_static_line_is_routes_with_bfd_and_no_session() -> None:
    made = with_line(routing="static", preference=7).routing[0]
    assert made.peers == ()
    way = made.statics[0]
    assert (way.name, way.hop, str(way.gateway), way.bfd) == (
        *("line", Hop.LINE, "172.16.0.2", Bfd(300, 3)),
    )
    assert way.routes == ((ip_network("10.20.0.0/16"), 7),)


def test_beside_a_line_static_connections_are_chosen_among_by_bird() -> None:
    made = with_line()
    assert [
        (way.name, way.interface, way.gateway, way.routes) for way in made.routing[0].statics
    ] == [
        (f"office-{n}", f"ts-office-{n}", None, ((ip_network("10.20.0.0/16"), 99 + n),))
        for n in (1, 2)
    ]
    metrics = [route.metric for tunnel in made.tunnels for route in tunnel.routes]
    assert metrics == [BEHIND_BIRD + 100, BEHIND_BIRD + 101]
    assert BEHIND_BIRD > KERNEL_METRIC
    assert made.routing[0].chosen == {"office-1", "office-2"}


def test_the_network_of_a_line_is_learned_from_nobody() -> None:
    assert ip_network("172.16.0.0/30") in with_line().routing[0].inner


def test_who_is_kept_from_others_is_said_by_the_connection_or_the_border_gateway() -> None:
    open_gateway = (("border_gateway", 0, "spoke_isolation"), False)
    kept = ((*CONNECTION, "spoke_isolation"), True)
    opened = ((*CONNECTION, "spoke_isolation"), False)
    for edits, expected in (
        ((), True),
        ((open_gateway,), False),
        ((open_gateway, kept), True),
        ((opened,), False),
    ):
        assert {peer.is_isolated for peer in peers(*edits)} == {expected}
    assert [way.is_isolated for way in with_line(spoke_isolation=False).routing[0].statics] == [
        True
    ] * 2
    assert not with_line(spoke_isolation=False).peers[0].is_isolated


def test_the_example_of_a_line_is_one() -> None:
    loaded = load(ROOT / "docs/examples/direct-line.toml")
    made = plan(loaded.document)
    assert [(peer.name, peer.hop) for peer in made.peers] == [
        ("office-line", Hop.LINE),
        ("office-1", Hop.VPN),
        ("office-2", Hop.VPN),
    ]


ROUTER = (
    (("vpc_attachment", 0, "addresses"), ["10.10.255.1/29"]),
    (("vpc_attachment", 0, "peer_address"), "10.10.255.6"),
    (("vpc_attachment", 0, "peer_asn"), 64900),
)


def test_a_vpc_router_is_a_session_that_learns_what_customers_have() -> None:
    cidrs = (("vpc_attachment", 0, "propagate_cidrs"), ["10.20.0.0/16"])
    made = plan(document(*ROUTER, cidrs))
    (peer,) = made.peers
    assert (peer.name, peer.hop, peer.asn) == ("vpc", Hop.ATTACHMENT, 64900)
    assert (str(peer.local), str(peer.remote)) == ("10.10.255.1", "10.10.255.6")
    assert peer.accepted == (ip_network("10.10.0.0/16"),)
    assert (peer.told, peer.preference) == ((ip_network("10.20.0.0/16"),), 150)
    (gateway,) = made.routing[0].gateways
    assert gateway.attachments == ()
    assert gateway.own == (ip_network("10.10.0.0/16"), ip_network("10.10.255.0/29"))
    assert len(gateway.statics) == 2


def test_prefixes_of_the_other_ip_version_are_announced_by_our_own_word() -> None:
    both = (("vpc_attachment", 0, "cidrs"), ["10.10.0.0/16", "fd00:10::/64"])
    (gateway,) = plan(document(*ROUTER, both)).routing[0].gateways
    (attachment,) = gateway.attachments
    assert attachment.prefixes == (ip_network("fd00:10::/64"),)
