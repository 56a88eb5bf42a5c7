"""
What is made for the customer's strongSwan without BGP, applied unchanged: static routes that come
and go with the tunnel, and policy routing with a Child SA for each pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import sites, topology
from lab.commands import wait_for
from lab.netns import Lab
from lab.strongswan import StrongSwan
from lab.topology import Pair
from lab.twinspan import Document, Twinspan, Value
from tests.system.support import FIRST, UP_S, ping, reach_each_other, wait_status

pytestmark = pytest.mark.system

# The device must have an address in each prefix of its own: kernel-libipsec wants that.
HALVES = (("10.10.0.0/25", "10.10.0.128/25"), ("10.20.0.0/25",))


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    return topology.four_machines(lab, paths=1)


@pytest.fixture(scope="module")
def gateway(pair: Pair) -> Iterator[Twinspan]:
    """Return our gateway, which runs and has no tunnel that may."""
    made = Twinspan(pair.a.gateway, wanted(pair, {"admin": "down"}))
    made.start()
    yield made
    made.end()


def wanted(pair: Pair, settings: dict[str, Value], *, rules: bool = False) -> Document:
    keys = sites.Secrets(("0x" + "5a" * 32, "0x" + "a5" * 32))
    document = sites.document(pair.a, pair.b, keys, settings=settings)
    (connection,) = document.connections
    if rules:
        connection = replace(connection, remote_cidrs=[], rules=[HALVES])
    return replace(document, connections=[connection])


def applied(pair: Pair, gateway: Twinspan) -> StrongSwan:
    """Start the device with what the gateway's document gives, unchanged."""
    machine = pair.b.gateway
    out = machine.lab.directory / "files"
    words = ("--device", "strongswan-libipsec", "--secrets", "--out", str(out))
    gateway.cli("customer-config", "office", "--config", str(gateway.config), *words)
    machine.run("sh", str(out / "setup.sh"))
    swan = StrongSwan(machine, charon_conf=(out / "charon.conf").read_text())
    swan.start()
    swan.load_text((out / "swanctl.conf").read_text())
    return swan


def reload(gateway: Twinspan, document: Document) -> None:
    gateway.write(document)
    gateway.cli("reload")


def by_tunnel(pair: Pair) -> bool:
    """Say whether the device's kernel sends to the VPC by its tunnel."""
    return "dev ipsec0 " in pair.b.gateway.ip("route", "show", pair.a.lan4)


def test_static_routes_come_and_go_with_the_tunnel(pair: Pair, gateway: Twinspan) -> None:
    gateway.write(wanted(pair, {"encap": "prefer"}))
    swan = applied(pair, gateway)
    gateway.cli("reload")
    wait_status(gateway, FIRST, "up")
    wait_for("the route", lambda: by_tunnel(pair), UP_S)
    reach_each_other(pair)
    gateway.cli("down", FIRST)
    wait_for("the route to go", lambda: not by_tunnel(pair), UP_S)
    refused = pair.b.host.run("ping", "-c", "1", "-W", "1", pair.a.host4, check=False)
    assert "Unreachable" in refused  # and not in clear
    gateway.cli("up", FIRST)
    wait_for("the route", lambda: by_tunnel(pair), UP_S)
    reach_each_other(pair)
    reload(gateway, wanted(pair, {"admin": "down"}))
    swan.stop()


def test_policy_routing_has_a_child_sa_for_each_pair(pair: Pair, gateway: Twinspan) -> None:
    gateway.write(wanted(pair, {"routing": "policy"}, rules=True))
    swan = applied(pair, gateway)
    gateway.cli("reload")
    wait_status(gateway, FIRST, "up")
    wait_for("both Child SAs", lambda: len(swan.children()) == 2, UP_S)
    wait_for("both of ours", lambda: len(gateway.tunnels()[FIRST].spis) == 2, UP_S)
    assert ping(pair.a.host, pair.b.host4)
    assert ping(pair.b.host, pair.a.host4)
    swan.stop()
