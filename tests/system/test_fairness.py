"""
What bulk traffic and floods may not do: exceed their cap, starve routing and IKE, stop others.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b

BGP with BFD 300 ms x 3 in both tunnels all the while.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lab import iperf, pacer, stream, twins
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from lab.twins import Twins
from lab.twinspan import Twinspan
from tests.system.support import FIRST, SECOND, counters

pytestmark = pytest.mark.system

FLOOD_PPS = 100_000
PACKET = 1400
OURS = "192.0.2.1"


@pytest.fixture(scope="module")
def network(lab: Lab) -> Twins:
    return twins.build(lab, "300x3")


@pytest.fixture(autouse=True)
def _nothing_flaps(network: Twins) -> Iterator[None]:
    """Say of each test that no session and no tunnel went down in it."""
    before = len(network.a.events())
    yield
    codes = {str(event["code"]) for event in network.a.events()[before:]}
    assert not codes & {"bfd_down", "bgp_down", "tunnel_down", "redundancy_lost"}
    assert twins.has_all_sessions(network.a)
    assert network.goes_by(1)


def cap(end: Twinspan, mbps: int) -> None:
    """Let the tunnels of a gateway carry so much toward the peer."""
    (connection,) = end.document.connections
    settings = {**connection.settings, "rate_mbps": mbps}
    end.write(replace(end.document, connections=[replace(connection, settings=settings)]))
    end.cli("reload")


def paced_mbps(network: Twins, mbps: int) -> float:
    """Return what arrives of half as much again."""
    a, b = network.pair.a, network.pair.b
    rate = int(mbps * 1e6 * 1.5 / (PACKET * 8))
    sent = pacer.send(a.host, b.host, b.host4, rate, (PACKET,), 3.0)
    return sent.arrived * PACKET * 8 / sent.seconds / 1e6


def stream_mbps(network: Twins, mbps: int) -> float:
    """Return what a TCP stream carries."""
    a, b = network.pair.a, network.pair.b
    return iperf.measure(a.host, b.host, b.host4, seconds=3.0).gbps * 1000


@pytest.mark.parametrize("mbps", [100, 1000])
@pytest.mark.parametrize(("carried", "least"), [(paced_mbps, 0.95), (stream_mbps, 0.9)])
def test_a_cap_holds_to_five_percent(
    network: Twins, mbps: int, carried: Callable[[Twins, int], float], least: float
) -> None:
    cap(network.a, mbps)
    assert least * mbps <= carried(network, mbps) <= 1.05 * mbps
    cap(network.a, 0)


# Packets of the lane for control, as they come out of the tunnels and as they go into them.
COUNTED = (
    """
table inet lanes {
 chain came {
  type filter hook prerouting priority 0
  iifname "ts-*" ip dscp { cs6, cs7 } counter
 }
}
""",
    """
table inet lanes {
 chain sent {
  type filter hook postrouting priority 0
  oifname "ts-*" ip dscp { cs6, cs7 } counter
 }
}
""",
)


def counted(gateway: Namespace, chain: str) -> int:
    """Return how many packets a chain has seen."""
    text = gateway.run("nft", "list", "chain", "inet", "lanes", chain)
    (count,) = re.findall(r"counter packets (\d+)", text)
    return int(count)


@contextmanager
def no_control_packet_is_lost(*ends: Namespace) -> Iterator[None]:
    """Say that what went into the tunnels of two ends in the block came out at the other one."""
    for rules in COUNTED:  # no packet is counted at its beginning only
        for gateway in ends:
            gateway.run("nft", "-f", "-", text=rules)
    yield

    def has_all_arrived() -> bool:
        sent = [counted(gateway, "sent") for gateway in ends]
        came = [counted(gateway, "came") for gateway in reversed(ends)]
        return all(0 < here <= there for here, there in zip(sent, came, strict=True))

    wait_for("the last control packets to arrive", has_all_arrived, 20.0, every_s=0.1)
    for gateway in ends:
        gateway.run("nft", "delete", "table", "inet", "lanes")


def rekey(end: Twinspan) -> None:
    """Have the first tunnel's Child SA replaced, and wait until it is."""
    before = end.tunnels()[FIRST].spis
    end.cli("rekey", FIRST)
    wait_for("the rekey", lambda: before[0] not in end.tunnels()[FIRST].spis, 10.0, every_s=0.2)


def test_bulk_starves_neither_routing_nor_ike(network: Twins) -> None:
    """Each way as many packets as can be sent, for longer than BFD and BGP would wait."""
    a, b = network.pair.a, network.pair.b
    with no_control_packet_is_lost(a.gateway, b.gateway):
        floods = [
            pacer.source(here.host, there.host4, 9, 1_000_000, (PACKET,))
            for here, there in ((a, b), (b, a))
        ]
        try:
            for end in (network.a, network.b):
                rekey(end)
            sent = pacer.send(a.host, b.host, b.host4, 1_000_000, (PACKET,), 1.0)
            assert sent.arrived > 10_000
        finally:
            for flood in floods:
                flood.stop()


def esp_head(network: Twins, kind: str) -> bytes:
    """Return the SPI and a sequence number far ahead of ESP that is not right."""
    spi = int(str(network.a.tunnels()[FIRST].raw["children"][0]["spi_in"]), 16)  # type: ignore[index]
    return (spi if kind == "icv" else spi ^ 0xFF00).to_bytes(4, "big") + bytes.fromhex("00100000")


@pytest.mark.parametrize("kind", ["icv", "unknown_spi"])
def test_a_flood_of_wrong_esp_stops_no_tunnel(network: Twins, kind: str) -> None:
    a, b = network.pair.a, network.pair.b
    before = counters(network.a).get(f"drops.{kind}", 0)
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    flood = pacer.source(b.gateway, OURS, 4500, FLOOD_PPS, (128,), esp_head(network, kind))
    try:
        wait_for(
            "the flood to be counted",
            lambda: counters(network.a).get(f"drops.{kind}", 0) > before + 2 * FLOOD_PPS,
            60.0,
            every_s=0.5,
        )
        rekey(network.a)
    finally:
        flood.stop()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost <= seen.sent // 200
    assert network.a.tunnels()[SECOND].is_up
