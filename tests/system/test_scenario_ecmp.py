"""
Tunnels of equal preference share the traffic by flow.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
               AS 65000          2 or 4 tunnels     AS 65001

Both gateways have the system parameters that the product ships: among them the loose reverse path
filter, because answers may come by another tunnel.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from lab import iperf, probe, sites, topology
from lab.commands import wait_for
from lab.netns import Lab
from lab.topology import Pair, Site
from lab.twinspan import ROOT, Document, Twinspan
from tests.system.support import assert_nothing_lost, reach_each_other

pytestmark = pytest.mark.system

FLOWS = 64  # that one of four tunnels gets none of them by chance: 4 * 0.75 ** 64
MAINTENANCE = 50  # packets of BGP, BFD and neighbours that a tunnel carries beside a short run
Gateways = tuple[Twinspan, Twinspan]


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites, both gateways with the parameters that are shipped."""
    made = topology.four_machines(lab)
    for site in (made.a, made.b):
        site.gateway.run("sysctl", "-qp", str(ROOT / "deploy/sysctl.d/60-twinspan.conf"))
    return made


def equal(document: Document) -> Document:
    """Return the document with every tunnel of its connection preferred alike."""
    (connection,) = document.connections
    tunnels = [
        replace(tunnel, settings={**tunnel.settings, "preference": 100})
        for tunnel in connection.tunnels
    ]
    return replace(document, connections=[replace(connection, tunnels=tunnels)])


@pytest.fixture(scope="module", params=[2, 4])
def gateways(request: pytest.FixtureRequest, pair: Pair) -> Iterator[Gateways]:
    """Return the two gateways with so many tunnels, all of which carry traffic."""
    keys = sites.Secrets(tuple(secrets.token_hex(32) for _ in range(4)))
    (a1, a2), (b1, b2) = pair.a.public4, pair.b.public4
    pairs = [(a1, b1), (a2, b2), (a1, b2), (a2, b1)][: request.param]
    back = [(there, here) for here, there in pairs]
    begin, wait = {"start": "initiate"}, {"start": "respond"}
    a = sites.bgp_document(pair.a, pair.b, keys, (65000, 65001), settings=begin, pairs=pairs)
    b = sites.bgp_document(pair.b, pair.a, keys, (65001, 65000), settings=wait, pairs=back)
    made = Twinspan(pair.b.gateway, equal(b)), Twinspan(pair.a.gateway, equal(a))
    for gateway in made:
        gateway.start()
    for site, other in ((pair.a, pair.b), (pair.b, pair.a)):
        shares = partial(has_next_hops, site, other.lan4, request.param)
        wait_for(f"{request.param} next hops at {site.name}", shares, 30.0)
    yield made[1], made[0]
    for gateway in made:
        gateway.end()


def has_next_hops(site: Site, prefix: str, count: int) -> bool:
    return site.gateway.ip("route", "show", prefix, "proto", "bird").count("nexthop") == count


def carried(gateway: Twinspan, run: Callable[[], object]) -> dict[str, int]:
    """Return how many packets left by each tunnel while `run` was called."""
    before = {name: tunnel.out_packets for name, tunnel in gateway.tunnels().items()}
    run()
    return {n: tunnel.out_packets - before[n] for n, tunnel in gateway.tunnels().items()}


def test_many_flows_are_spread_over_all_tunnels(pair: Pair, gateways: Gateways) -> None:
    a, b = gateways
    count = ("-P", str(FLOWS))
    run = partial(iperf.measure, pair.a.host, pair.b.host, pair.b.host4, *count, seconds=1.0)
    sent = carried(a, run)
    answered = carried(b, run)
    print(sent, answered)
    for packets in (*sent.values(), *answered.values()):
        assert packets > 4 * MAINTENANCE


def test_one_flow_takes_one_tunnel(pair: Pair, gateways: Gateways) -> None:
    """iperf3 has a second flow for itself: a few packets of control."""
    run = partial(iperf.measure, pair.a.host, pair.b.host, pair.b.host4, seconds=1.0)
    sent = sorted(carried(gateways[0], run).values())
    print(sent)
    assert sent[-1] > 5_000
    assert sum(sent[:-1]) < MAINTENANCE * len(sent)


def test_path_names_the_tunnel_that_a_flow_takes(pair: Pair, gateways: Gateways) -> None:
    """Of sixteen flows two take different tunnels but once in ten thousand times."""
    a, named = gateways[0], set()
    for port in range(40000, 40016):
        words = ("--proto", "udp", "--sport", str(port), "--dport", "9", "-o", "name")
        name = a.cli("path", pair.a.host4, pair.b.host4, *words).strip()
        send = partial(pair.a.host.run, "python3", "-c", _SEND, pair.b.host4, str(port))
        sent = carried(a, send)
        assert max(sent, key=sent.__getitem__) == name, sent
        named.add(name)
        if len(named) > 1 and port >= 40003:
            break
    assert len(named) > 1


# Two hundred packets of one flow, slowly enough for any queue.
_SEND = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", int(sys.argv[2])))
for number in range(200):
    sock.sendto(b"x", (sys.argv[1], 9))
    time.sleep(0.001)
"""


def test_a_flow_that_returns_by_another_tunnel_loses_nothing(
    pair: Pair, gateways: Gateways
) -> None:
    """Each flow is asymmetric with a chance of one half at least: of sixteen, some are."""
    a, b = gateways

    def flow() -> None:
        running = probe.start(pair.a.host, pair.b.host, pair.b.host4)
        time.sleep(0.5)
        assert_nothing_lost(running.stop())

    def ways() -> tuple[str, str]:
        backward: dict[str, int] = {}
        forward = carried(a, lambda: backward.update(carried(b, flow)))
        return max(forward, key=forward.__getitem__), max(backward, key=backward.__getitem__)

    wait_for("an asymmetric flow", lambda: len(set(ways())) == 2, 60.0)


def test_status_marks_every_tunnel_and_routes_say_that_they_share(
    pair: Pair, gateways: Gateways
) -> None:
    tunnels = gateways[0].tunnels()
    wait_for("the marks", lambda: all(t.raw["active"] for t in gateways[0].tunnels().values()), 5.0)
    routes = gateways[0].routes()
    standing = [route["standing"] for route in routes if route["prefix"] == pair.b.lan4]
    assert sorted(standing) == ["best", *["shares"] * (len(tunnels) - 1)]
    reach_each_other(pair)
