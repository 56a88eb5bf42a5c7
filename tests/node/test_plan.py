"""From a document to a plan: every default, and every setting where it has its effect."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from gateway.ike.config import Encap, Identity, Lifetime, Ppk, Start, Timers
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.model.load import load
from gateway.model.locate import Path as KeyPath
from gateway.model.tunnels import interface_name
from gateway.node.plan import MeasurePlan, NodePlan, ProbePlan, RoutePlan, TunnelPlan, plan
from gateway.secret import Secret
from tests.support.documents import CONNECTION, FIRST, PSK, REMOVED, SECOND, document

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.toml"))
EVERYTHING = tuple(parse_selector(text) for text in ("0.0.0.0/0", "::/0"))


def planned(*edits: tuple[KeyPath, object]) -> NodePlan:
    return plan(document(*edits))


def first(*edits: tuple[KeyPath, object]) -> TunnelPlan:
    return planned(*edits).tunnels[0]


def pairs(node: NodePlan) -> list[str]:
    return [f"{tunnel.local} {tunnel.remote}" for tunnel in node.tunnels]


def test_node_has_its_addresses_and_tunnels_in_order() -> None:
    node = planned()
    assert (node.name, node.workers) == ("gw1", 2)
    assert [str(address) for address in node.sockets] == ["192.0.2.1", "198.51.100.1"]
    assert [tunnel.name for tunnel in node.tunnels] == ["office-1", "office-2"]


def test_defaults_of_a_tunnel() -> None:
    tunnel = first()
    assert (tunnel.connection, tunnel.border_gateway) == ("office", "main")
    assert tunnel.interface == "ts-office-1"
    assert tunnel.admin_up
    assert (tunnel.mtu, tunnel.rate_bps, tunnel.copy_dscp) == (None, 0, True)
    assert (tunnel.replay_window, tunnel.workers) == (1024, 1)
    assert tunnel.inner_local == ip_interface("169.254.10.1/30")
    assert tunnel.inner_remote == ip_address("169.254.10.2")
    assert tunnel.routes == (RoutePlan(ip_network("10.20.0.0/16"), 100),)


def test_defaults_of_ike() -> None:
    ike = first().ike
    assert (ike.local_id, ike.remote_id) == (
        Identity.parse("192.0.2.1"),
        Identity.parse("b.gw.test"),
    )
    assert ike.psk == Secret(PSK.encode())
    assert (ike.ike_proposals, ike.esp_proposals) == (DEFAULT_IKE, DEFAULT_ESP)
    assert (ike.local_ts, ike.remote_ts) == (EVERYTHING, EVERYTHING)
    assert (ike.start, ike.encap) == (Start.INITIATE, Encap.PREFER)
    assert (ike.ike_lifetime, ike.child_lifetime) == (Lifetime(14400.0), Lifetime(3600.0))
    assert (ike.fragment_size, ike.timers.liveness) == (1280, 10.0)
    assert ike.timers.liveness_retransmit_after == Timers().liveness_retransmit_after
    assert sum(ike.timers.liveness_retransmit_after) == pytest.approx(6.5)


def test_the_first_tunnel_has_the_lower_metric() -> None:
    metrics = [tunnel.routes[0].metric for tunnel in planned().tunnels]
    assert metrics == [100, 101]
    turned = planned(((*FIRST, "preference"), 300))
    assert [tunnel.routes[0].metric for tunnel in turned.tunnels] == [300, 101]


def test_static_routes_follow_the_connection_and_add_their_preference() -> None:
    route = {"border_gateway": "main", "prefix": "10.9.0.0/16", "vpn_connection": "office"}
    node = planned((("route",), [{**route, "preference": 50}]))
    wanted = [RoutePlan(ip_network("10.9.0.0/16"), metric) for metric in (150, 151)]
    assert [tunnel.routes[-1] for tunnel in node.tunnels] == wanted


@pytest.mark.parametrize(
    ("key", "value", "field", "expected"),
    [
        ("mtu", 1400, "mtu", 1400),
        ("rate_mbps", 100, "rate_bps", 100_000_000),
        ("copy_dscp", False, "copy_dscp", False),
        ("replay_window", 64, "replay_window", 64),
        ("workers", 2, "workers", 2),
        ("admin", "down", "admin_up", False),
    ],
)
def test_setting_of_the_connection_holds_until_the_tunnel_has_its_own(
    key: str, value: object, field: str, expected: object
) -> None:
    default = getattr(first(), field)
    shared = planned(((*CONNECTION, key), value))
    assert [getattr(tunnel, field) for tunnel in shared.tunnels] == [expected, expected]
    own = planned(((*SECOND, key), value))
    assert [getattr(tunnel, field) for tunnel in own.tunnels] == [default, expected]


def test_a_tunnel_may_go_back_to_the_default_explicitly() -> None:
    node = planned(((*CONNECTION, "copy_dscp"), False), ((*SECOND, "copy_dscp"), True))
    assert [tunnel.copy_dscp for tunnel in node.tunnels] == [False, True]


def test_each_worker_of_a_tunnel_may_have_a_child_sa() -> None:
    workers = ((*CONNECTION, "workers"), 2)
    node = planned(workers, ((*SECOND, "per_resource_sas"), True))
    assert [tunnel.ike.resources for tunnel in node.tunnels] == [0, 2]


def test_ike_settings_reach_the_core() -> None:
    values = {
        "local_id": "a@gw.test",
        "remote_id": "keyid:00ff",
        "psk": "0x" + "ab" * 20,
        "ppk": "0x" + "cd" * 32,
        "ppk_id": "quantum-1",
        "ppk_required": False,
        "ike_proposals": ["aes256gcm16-prfsha384-x25519"],
        "esp_proposals": ["aes128gcm16-ecp256", "chacha20poly1305"],
        "local_ts": ["10.10.0.0/16[tcp/443]"],
        "remote_ts": ["10.20.0.0/16"],
        "ike_lifetime_s": 7200,
        "child_lifetime_s": 600.5,
        "child_lifetime_bytes": 2**30,
        "child_lifetime_packets": 10**6,
        "liveness_s": 2,
        "liveness_timeout_s": 3.25,
        "encap": "never",
        "start": "respond",
        "fragment_size": 576,
        "childless": True,
        "allow_redirect": True,
    }
    ike = first(*(((*FIRST, key), value) for key, value in values.items())).ike
    assert ike.local_id == Identity.parse("a@gw.test")
    assert ike.remote_id == Identity.parse("keyid:00ff")
    assert ike.psk == Secret(b"\xab" * 20)
    assert ike.childless
    assert ike.allow_redirect
    assert ike.ppk == Ppk(b"quantum-1", Secret(b"\xcd" * 32), is_required=False)
    assert ike.ike_proposals == (parse_proposal("aes256gcm16-prfsha384-x25519", ProtocolId.IKE),)
    assert [str(proposal) for proposal in ike.esp_proposals] == [
        str(parse_proposal(text, ProtocolId.ESP))
        for text in ("aes128gcm16-ecp256", "chacha20poly1305")
    ]
    assert ike.local_ts == (parse_selector("10.10.0.0/16[tcp/443]"),)
    assert ike.remote_ts == (parse_selector("10.20.0.0/16"),)
    assert ike.ike_lifetime == Lifetime(7200.0)
    assert ike.child_lifetime == Lifetime(600.5, 2**30, 10**6)
    assert ike.timers.liveness == 2
    halves = [after / 2 for after in Timers().liveness_retransmit_after]  # 3.25 s of 6.5 s
    assert ike.timers.liveness_retransmit_after == pytest.approx(halves)
    assert (ike.encap, ike.start, ike.fragment_size) == (Encap.NEVER, Start.RESPOND, 576)


def test_policy_routing_takes_its_selectors_from_the_prefixes() -> None:
    ike = first(((*CONNECTION, "routing"), "policy")).ike
    assert ike.local_ts == (parse_selector("10.10.0.0/16"),)
    assert ike.remote_ts == (parse_selector("10.20.0.0/16"),)
    own = ((*CONNECTION, "local_cidrs"), ["10.11.0.0/16", "2001:db8::/32"])
    ike = first(((*CONNECTION, "routing"), "policy"), own).ike
    assert ike.local_ts == (parse_selector("10.11.0.0/16"), parse_selector("2001:db8::/32"))


def test_a_peer_with_any_address_is_known_by_identity_and_begins() -> None:
    tunnel = first((("customer_gateway", 0, "public_addresses"), "any"))
    assert tunnel.remote is None
    assert tunnel.ike.remote_id == Identity.parse("b.gw.test")
    assert tunnel.ike.start is Start.RESPOND


def test_remote_identity_defaults_to_the_remote_address_and_any_is_none() -> None:
    edits = [(("customer_gateway", 0, "identity"), REMOVED), ((*SECOND, "remote_id"), "any")]
    node = planned(*edits)
    assert [tunnel.ike.remote_id for tunnel in node.tunnels] == [
        Identity.parse("203.0.113.9"),
        None,
    ]


PAIRS = [
    (1, 2, ["L1 R1", "L2 R1"]),
    (2, 2, ["L1 R1", "L2 R2"]),
    (2, 4, ["L1 R1", "L2 R2", "L1 R2", "L2 R1"]),
    (4, 4, ["L1 R1", "L2 R2", "L1 R3", "L2 R4"]),
    (4, 8, ["L1 R1", "L2 R2", "L1 R3", "L2 R4", "L1 R2", "L2 R3", "L1 R4", "L2 R1"]),
]


@pytest.mark.parametrize(("remotes", "tunnels", "expected"), PAIRS)
def test_addresses_are_taken_in_turn_without_repeating_a_pair(
    remotes: int, tunnels: int, expected: list[str]
) -> None:
    addresses = [f"203.0.113.{at}" for at in range(1, remotes + 1)]
    node = planned(
        (("customer_gateway", 0, "public_addresses"), addresses),
        ((*CONNECTION, "tunnel"), [{} for _ in range(tunnels)]),
    )
    names = {"192.0.2.1": "L1", "198.51.100.1": "L2"}
    names |= {address: f"R{at}" for at, address in enumerate(addresses, 1)}
    found = [" ".join(names[one] for one in pair.split()) for pair in pairs(node)]
    assert found == expected


def test_addresses_of_one_ip_version_are_paired() -> None:
    node = planned(
        (("gateway", "public_addresses"), ["192.0.2.1", "2001:db8::1", "198.51.100.1"]),
        (("customer_gateway", 0, "public_addresses"), ["2001:db8:9::1", "203.0.113.9"]),
        ((*CONNECTION, "fragment_size"), 1280),
    )
    assert pairs(node) == ["192.0.2.1 203.0.113.9", "2001:db8::1 2001:db8:9::1"]


def test_named_addresses_are_kept() -> None:
    node = planned(
        ((*FIRST, "local_address"), "198.51.100.1"), ((*SECOND, "remote_address"), "203.0.113.10")
    )
    assert pairs(node)[0].startswith("198.51.100.1 ")
    assert pairs(node)[1].endswith(" 203.0.113.10")


def test_inner_addresses_can_be_turned_around_and_be_ipv6_or_none() -> None:
    turned = first(((*FIRST, "inner_local"), "169.254.10.2"))
    assert (str(turned.inner_local), str(turned.inner_remote)) == (
        "169.254.10.2/30",
        "169.254.10.1",
    )
    six = first(((*FIRST, "inner_cidr"), "fd00:1::/126"))
    assert (str(six.inner_local), str(six.inner_remote)) == ("fd00:1::1/126", "fd00:1::2")
    none = first(((*FIRST, "inner_cidr"), REMOVED))
    assert (none.inner_local, none.inner_remote) == (None, None)


@pytest.mark.parametrize(
    ("tunnel", "device"),
    [("office-1", "ts-office-1"), ("twelve-chars", "ts-twelve-chars"), ("a", "ts-a")],
)
def test_device_is_named_after_its_tunnel(tunnel: str, device: str) -> None:
    assert interface_name(tunnel) == device


def test_long_names_give_devices_that_differ_and_fit() -> None:
    names = [f"customer-in-hamburg-{at}" for at in range(1000)] + ["a.b", "a-b", "a_b"]
    devices = {interface_name(name) for name in names}
    assert len(devices) == len(names)
    assert all(len(device) <= 15 for device in devices)


def test_a_plan_does_not_print_its_keys() -> None:
    assert PSK not in repr(planned())
    assert PSK not in repr(document())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_can_be_planned_without_warning(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / path.name
    key = "a-key-of-more-than-twenty-characters"  # as somebody puts his own in
    copied.write_text(path.read_text().replace("replace-me-with-twinspan-genpsk", key))
    copied.chmod(0o600)
    (tmp_path / "office.psk").write_text("a key of more than twenty characters")
    (tmp_path / "office.psk").chmod(0o600)
    loaded = load(copied)
    assert loaded.warnings == ()
    assert plan(loaded.document).tunnels


def test_a_tunnel_is_probed_where_the_document_says_so() -> None:
    tunnels = planned(
        ((*CONNECTION, "probe"), "200x3"),
        ((*SECOND, "probe"), "1000x5"),
        ((*SECOND, "probe_address"), "10.20.3.4"),
    ).tunnels
    assert tunnels[0].probe == ProbePlan(ip_address("169.254.10.2"), 200, 3)
    assert tunnels[1].probe == ProbePlan(ip_address("10.20.3.4"), 1000, 5)


def test_a_tunnel_is_measured_where_an_echo_may_pass() -> None:
    peer = ip_address("169.254.10.2")
    assert first().measure == MeasurePlan(5.0, peer)
    assert first(((*CONNECTION, "measure_s"), 1.0)).measure == MeasurePlan(1.0, peer)
    assert first(((*FIRST, "measure_s"), 0.0)).measure is None
    for edit in (
        ((*FIRST, "inner_cidr"), REMOVED),
        ((*FIRST, "local_ts"), ["10.0.0.0/8"]),
        ((*FIRST, "remote_ts"), ["0.0.0.0/0[tcp/443]"]),
    ):
        assert first(edit).measure == MeasurePlan(5.0, None)
    around = (((*FIRST, "local_ts"), ["169.254.10.1/32[icmp]", "10.0.0.0/8"]),)
    assert first(*around).measure == MeasurePlan(5.0, peer)


def test_a_tunnel_without_inner_addresses_is_not_probed() -> None:
    assert first().probe is None
    edits = (((*CONNECTION, "probe"), "200x3"), ((*FIRST, "inner_cidr"), REMOVED))
    assert first(*edits).probe is None
