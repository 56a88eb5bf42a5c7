"""
A customer with one address: both our addresses have a tunnel to the same device, ours here.

    host a --- gw a ==== wan1, wan2 ==== internet ==== gw b --- host b
               AS 65000                                AS 65001
"""

from __future__ import annotations

import json
import time
from functools import partial

import pytest

from lab import impair, iperf, sites, stream, topology
from lab.commands import wait_for
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


@pytest.fixture(scope="module")
def gateways(pair: Pair) -> tuple[Twinspan, Twinspan]:
    """Return our two gateways; the customer's begins, ours waits."""
    a, b, keys = pair.a, pair.b, sites.Secrets()
    (theirs,) = b.public4
    pairs = [(ours, theirs) for ours in a.public4]
    back = [(theirs, ours) for ours in a.public4]
    documents = (
        sites.bgp_document(a, b, keys, (65000, 65001), settings={"start": "respond"}, pairs=pairs),
        sites.bgp_document(b, a, keys, (65001, 65000), settings={"start": "initiate"}, pairs=back),
    )
    first = Twinspan(a.gateway, documents[0]).start()
    began = time.monotonic()
    second = Twinspan(b.gateway, documents[1]).start()
    for gateway in (first, second):
        gateway.wait_up()
    for site, other in ((a, b), (b, a)):
        wait_for("the route", partial(goes_by, site.gateway, other.host4, FIRST), 20.0)
    assert time.monotonic() - began < 30
    return first, second


def goes_by(machine: Namespace, address: str, tunnel: str) -> bool:
    return f" dev ts-{tunnel} " in machine.run("ip", "route", "get", address, check=False)


def test_both_tunnels_end_at_one_device_so_there_is_no_redundancy(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, _ = gateways
    status = json.loads(a.cli("status", "--json"))
    assert {(t["name"], t["status"], t["remote"]) for t in status["tunnels"]} == {
        (FIRST, "up", "203.0.113.50"),
        (SECOND, "up", "203.0.113.50"),
    }
    (connection,) = status["connections"]
    assert connection["ha_status"] == "no_redundancy"
    reach_each_other(pair)
    for way in ((), ("-R",)):
        assert iperf.measure(pair.a.host, pair.b.host, pair.b.host4, *way, seconds=1.0).gbps > 0.3


def test_the_customers_prefix_is_in_the_effective_table_twice(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    routes = json.loads(gateways[0].cli("routes", "--json"))["routes"]
    found = [(r["owner"], r["standing"]) for r in routes if r["prefix"] == pair.b.lan4]
    assert found == [(FIRST, "best"), (SECOND, "standby")]


def test_the_loss_of_one_of_our_lines_moves_both_directions(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = pair.a, pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    with impair.cut_off(a.gateway, "wan1"):
        for site, other in ((a, b), (b, a)):
            wait_for("the switch", partial(goes_by, site.gateway, other.host4, SECOND), 10.0)
        time.sleep(0.5)
    for seen in streams.stop():
        print(f"silence {seen.silence_ms:.0f} ms")
        assert seen.goes_on
        assert seen.silence_ms < SWITCH_MS
    for site, other in ((a, b), (b, a)):
        wait_for("the return", partial(goes_by, site.gateway, other.host4, FIRST), 40.0)
