"""From the document to the routing plan, and what the node itself still does of it."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path as FilePath

from gateway.model.document import parse_document
from gateway.model.load import load
from gateway.model.locate import Path
from gateway.node.plan import NodePlan, plan
from gateway.routing.plan import Bfd, BgpPeer
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
    assert (first.tunnel, second.tunnel) == ("office-1", "office-2")
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


def test_the_gateway_announces_its_attachments_under_its_id() -> None:
    ((gateway,),) = (routing.gateways for routing in planned().routing)
    assert gateway.router_id == IPv4Address("192.0.2.1")
    assert gateway.spoke_isolation
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
    first, second = made.peers
    assert first.static_routes == ((ip_network("10.30.0.0/16"), 107),)
    assert second.static_routes == ((ip_network("10.30.0.0/16"), 108),)


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
