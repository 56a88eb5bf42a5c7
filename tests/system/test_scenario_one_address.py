"""
A customer with one address (F1 of the product's scenarios): both our addresses have a tunnel to the
same device, which is one of ours here. Our side is made through the API.

    host a --- gw a ==== wan1, wan2 ==== internet ==== gw b --- host b
               AS 65000, a node                        AS 65001, by a file
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import pytest

from lab import impair, iperf, sites, stream, topology
from lab.commands import wait_for
from lab.control import Table
from lab.fleet import Fleet
from lab.netns import Lab, Namespace
from lab.topology import Pair
from lab.twinspan import Twinspan
from tests.system.support import FIRST, SECOND, reach_each_other

pytestmark = pytest.mark.system

SWITCH_MS = 1800  # BFD 300 ms x 3, twice for a machine that does other work


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites."""
    return topology.one_address(lab)


@dataclass(frozen=True, slots=True)
class Cloud:
    """Our side as the API sees it, with the customer's gateway at the other end."""

    pair: Pair
    fleet: Fleet

    def connection(self) -> Table:
        (found,) = self.fleet.control.api().all("vpn-connections")
        return found


@pytest.fixture(scope="module")
def cloud(lab: Lab, pair: Pair) -> Cloud:
    """Return the two gateways, both tunnels up; the customer's begins, ours waits."""
    a, b, keys = pair.a, pair.b, sites.Secrets()
    (theirs,) = b.public4
    pairs = [(ours, theirs) for ours in a.public4]
    back = [(theirs, ours) for ours in a.public4]
    documents = (
        sites.bgp_document(a, b, keys, (65000, 65001), settings={"start": "respond"}, pairs=pairs),
        sites.bgp_document(b, a, keys, (65001, 65000), settings={"start": "initiate"}, pairs=back),
    )
    fleet = Fleet.build(lab)
    fleet.adopt(a.gateway, documents[0]).start()
    began = time.monotonic()
    Twinspan(b.gateway, documents[1]).start().wait_up()
    fleet.wait_tunnels("up")
    for site, other in ((a, b), (b, a)):
        wait_for("the route", partial(goes_by, site.gateway, other.host4, FIRST), 20.0)
    assert time.monotonic() - began < 30
    return Cloud(pair, fleet)


def goes_by(machine: Namespace, address: str, tunnel: str) -> bool:
    return f" dev ts-{tunnel} " in machine.run("ip", "route", "get", address, check=False)


def test_both_tunnels_end_at_one_device_so_there_is_no_redundancy(cloud: Cloud) -> None:
    tunnels = cloud.fleet.tunnels()
    assert {(name, one["status"]["operational"]) for name, one in tunnels.items()} == {
        (FIRST, "up"),
        (SECOND, "up"),
    }
    assert {one["remote_address"] for one in tunnels.values()} == {"203.0.113.50"}
    wait_for(
        "what the node says of the connection",
        lambda: cloud.connection()["status"]["ha_status"] == "no_redundancy",
        10.0,
        every_s=0.2,
    )
    pair = cloud.pair
    reach_each_other(pair)
    for way in ((), ("-R",)):
        assert iperf.measure(pair.a.host, pair.b.host, pair.b.host4, *way, seconds=1.0).gbps > 0.3


def test_the_customers_prefix_is_in_the_effective_and_in_the_vpcs_table(cloud: Cloud) -> None:
    api = cloud.fleet.control.api()
    routes = api.get(f"vpn-connections/{cloud.connection()['id']}/routes")["routes"]
    lan4 = cloud.pair.b.lan4
    found = [(r["owner_name"], r["standing"]) for r in routes if r["prefix"] == lan4]
    assert found == [(FIRST, "best"), (SECOND, "standby")]
    assert f" dev ts-{FIRST} " in cloud.pair.a.gateway.run("ip", "route", "show", lan4)


def test_the_loss_of_one_of_our_lines_moves_both_directions(cloud: Cloud) -> None:
    a, b = cloud.pair.a, cloud.pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    with impair.cut_off(a.gateway, "wan1"):
        for site, other in ((a, b), (b, a)):
            wait_for("the switch", partial(goes_by, site.gateway, other.host4, SECOND), 10.0)
    for seen in streams.stop():
        print(f"silence {seen.silence_ms:.0f} ms")
        assert seen.goes_on
        assert seen.silence_ms < SWITCH_MS
    for site, other in ((a, b), (b, a)):
        wait_for("the return", partial(goes_by, site.gateway, other.host4, FIRST), 40.0)
