"""Facts of a gateway VM that is well, for tests that change one of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address, ip_network

from gateway.cli.doctor.facts import (
    OWN,
    ClockSeen,
    CpuSeen,
    DeviceSeen,
    DocumentSeen,
    Facts,
    GatewaySeen,
    Holder,
    KernelSeen,
    NamespaceSeen,
    OpenSocket,
    PathSeen,
    TunnelSeen,
)
from gateway.fib import FibRoute, NextHop
from gateway.model.document import parse_document
from gateway.node.plan import NodePlan, plan
from tests.node.process import DOCUMENT

GATEWAY = Holder(100, "twinspan", "twinspan-gateway.service", is_ours=True)
CHARON = Holder(200, "charon", "strongswan.service", is_ours=False)
US, THEM = ip_address("192.0.2.1"), ip_address("203.0.113.9")
NAMES = {1: "lo", 2: "eth0", 3: "ts-office-1", 4: "ts-office-2"}


@cache
def planned(text: str = DOCUMENT) -> NodePlan:
    """Return what a document comes to."""
    return plan(parse_document(text, "test").document)


def route(prefix: str, index: int, protocol: str = "static", metric: int = 0) -> FibRoute:
    """Return a route of the main table."""
    return FibRoute(ip_network(prefix), 254, protocol, "unicast", metric, (NextHop(index),))


OWN_NAMESPACE = NamespaceSeen(
    name=OWN,
    settings={
        "ipv4/ip_forward": "1",
        "ipv6/conf/all/forwarding": "1",
        "ipv6/conf/default/ignore_routes_with_linkdown": "1",
        "ipv4/fib_multipath_hash_policy": "1",
        "ipv6/fib_multipath_hash_policy": "1",
        "ipv4/conf/all/rp_filter": "0",
        "ipv4/conf/eth0/rp_filter": "2",
        "core/rmem_default": "4194304",
    },
    addresses=frozenset({US, ip_address("198.51.100.1")}),
    names=NAMES,
    routes=(route("0.0.0.0/0", 2), route("10.20.0.0/16", 3, "twinspan", 100)),
    rules=0,
    ruleset=(),
    legacy_tables=(),
    xfrm=0,
)
RUNNING = GatewaySeen(
    pid=100,
    source="/etc/twinspan/gateway.toml",
    state_dir="",
    tunnels=(
        TunnelSeen("office-1", "up", False, False, 1438),
        TunnelSeen("office-2", "up", False, False, 1438),
    ),
    notes=(),
    birds=(),
    counters={},
    capabilities=frozenset({"cap_net_admin", "cap_net_bind_service", "cap_net_raw"}),
    limits={"gateway process": (40, 65536)},
    read_at=1000.0,
    refused_at=None,
    refused="",
    clock_jump_s=0.0,
)
SOCKETS = tuple(
    OpenSocket(ip_address(address), port, GATEWAY)
    for address in ("192.0.2.1", "198.51.100.1")
    for port in (500, 4500)
)
UNITS = {
    "twinspan-gateway.service": "active",
    "twinspan-dataplane.socket": "active",
    "twinspan-netns.socket": "inactive",
    "strongswan.service": "inactive",
}
WELL = Facts(
    is_root=True,
    document=DocumentSeen("/etc/twinspan/gateway.toml", planned(), changed_at=900.0),
    gateway=RUNNING,
    sockets=SOCKETS,
    raw_sockets=(OpenSocket(US, 50, GATEWAY),),
    may_open_raw=True,
    namespaces={OWN: OWN_NAMESPACE},
    paths=(PathSeen(US, THEM, "eth0", 1500, 1500),),
    devices=(DeviceSeen("eth0", 1500, {"tx checksum": True, "GSO": True, "GRO": True}),),
    inner_devices=(
        DeviceSeen(
            "eth1",
            1500,
            {"rx-gro": True, "rx-udp-gro-forwarding": True, "rx-gro-list": False},
        ),
    ),
    kernel=KernelSeen("6.12.9-amd64", True, True, frozenset({"multi_queue", "vnet_hdr"})),
    clock=ClockSeen(is_synchronised=True, max_error_s=0.002),
    cpu=CpuSeen(2, frozenset({"aes", "vaes"}), True, {"aes256gcm16": "ipsecmb"}, frozenset(), 0.0),
    bird=(2, 0, 12),
    units=UNITS,
)


def own(**changes: object) -> Facts:
    """Return the facts of a machine whose own namespace differs in this."""
    changed = replace(OWN_NAMESPACE, **changes)  # type: ignore[arg-type]  # fields of its own
    return replace(WELL, namespaces={OWN: changed})


def setting(name: str, value: str) -> Facts:
    """Return the facts of a machine on which one setting differs."""
    return own(settings={**OWN_NAMESPACE.settings, name: value})


def running(**changes: object) -> Facts:
    """Return the facts of a machine whose gateway process differs in this."""
    return replace(WELL, gateway=replace(RUNNING, **changes))  # type: ignore[arg-type]  # as above
