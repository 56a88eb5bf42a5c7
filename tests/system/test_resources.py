"""
A Child SA for each worker (RFC 9611) between two of our gateways, with two workers each.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from lab import probe, sites, topology
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from lab.topology import Pair
from lab.twinspan import Twinspan
from tests.system.support import FIRST, assert_nothing_lost, counters

pytestmark = pytest.mark.system

FLOWS = 64  # the kernel spreads them over the queues
SETTINGS = {"workers": 2, "per_resource_sas": True}
BURST = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"here", (sys.argv[1], 9))
"""
Children = list[dict[str, object]]


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites, one wire between them."""
    return topology.four_machines(lab, paths=1)


@pytest.fixture(scope="module")
def gateways(pair: Pair) -> Iterator[tuple[Twinspan, Twinspan]]:
    """Return our two gateways; a begins."""
    keys = sites.Secrets()
    a, b = (
        Twinspan(
            here.gateway,
            sites.document(here, there, keys, settings={**SETTINGS, "start": start}, workers=2),
        )
        for here, there, start in ((pair.a, pair.b, "initiate"), (pair.b, pair.a, "respond"))
    )
    b.start()
    a.start()
    yield a, b
    a.end()
    b.end()


def children(gateway: Twinspan) -> Children:
    """Return the Child SAs that a gateway sends on."""
    shown = json.loads(gateway.cli("explain", FIRST, "--json"))["children"]
    return [one for one in shown if one["sends"]]


def has_all(gateway: Twinspan) -> bool:
    """Say whether a gateway sends on the first Child SA and on one for each worker."""
    return sorted(str(one["resource"]) for one in children(gateway)) == ["0", "1", "2"]


def wait_for_all(gateway: Twinspan) -> None:
    wait_for("a Child SA for each worker", partial(has_all, gateway), 20.0, every_s=0.3)


def spis(gateway: Twinspan) -> set[object]:
    """Return the inbound SPIs of the Child SAs that a gateway sends on."""
    return {one["spi_in"] for one in children(gateway)}


def are_used(gateway: Twinspan) -> bool:
    """Say whether each worker's Child SA has carried a packet out."""
    used = {one["resource"]: one["out_packets"] != 0 for one in children(gateway)}
    return bool(used[1] and used[2])


def burst(host: Namespace, address: str) -> None:
    """Send a datagram of each of many flows."""
    host.run(sys.executable, "-c", BURST, address, str(FLOWS))


def assert_each_worker_sends(pair: Pair, gateways: tuple[Twinspan, Twinspan]) -> None:
    burst(pair.a.host, pair.b.host4)
    burst(pair.b.host, pair.a.host4)
    for gateway in gateways:
        wait_for("packets of both workers", partial(are_used, gateway), 10.0, every_s=0.3)


def rekey_all(gateway: Twinspan) -> None:
    """Rekey the Child SAs of a gateway, and wait until it sends on new ones alone."""
    before = spis(gateway)
    gateway.cli("rekey", FIRST)

    def are_new() -> bool:
        return has_all(gateway) and before.isdisjoint(spis(gateway))

    wait_for("three new Child SAs", are_new, 20.0, every_s=0.3)


def test_each_worker_sends_on_its_own_and_rekeys_lose_nothing(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    wait_for_all(a)
    wait_for_all(b)
    assert_each_worker_sends(pair, gateways)
    listed = a.swanctl("--list-sas", "--raw")
    assert listed.count("state=INSTALLED") == 3, listed
    assert "cpu=0" in listed
    assert "cpu=1" in listed
    running = [
        probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=100, port=7007 + flow)
        for flow in range(3)
    ]
    rekey_all(a)
    rekey_all(b)
    a.cli("rekey", FIRST, "--ike")
    rekey_all(b)
    a.kill()  # what is kept of them makes the next process go on with all three
    a.start()
    wait_for_all(a)
    wait_for_all(b)
    for flow in running:
        assert_nothing_lost(flow.stop())
    assert_each_worker_sends(pair, gateways)
    assert [counters(one).get("drops.replay", 0) for one in gateways] == [0, 0]
