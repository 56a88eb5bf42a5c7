"""
Raw ESP (IP protocol 50) between two of our gateways, judged by scapy on the wire.

    host a --- gw a (twinspan) ==== wan1, tcpdump ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP
from scapy.packet import Packet
from scapy.utils import rdpcap

from lab import pings, probe, sites, topology
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from lab.topology import Pair, Site
from lab.twinspan import Twinspan
from tests.system.support import FIRST, assert_nothing_lost, counters, reach_each_other

pytestmark = pytest.mark.system

CLEAR_TEXT = b"this is no cipher"[:16]


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites, one wire between them."""
    return topology.four_machines(lab, paths=1)


@dataclass(frozen=True, slots=True)
class Twins:
    """Our two gateways, and the family outside."""

    a: Twinspan
    b: Twinspan
    outer: int

    def sent_to(self, packets: list[Packet], site: Site) -> list[Packet]:
        """Return the ESP packets among `packets` that go to a site."""
        layer = IPv6 if self.outer == 6 else IP
        here = site.public(self.outer)[0]
        return [p[layer] for p in packets if ESP in p and layer in p and p[layer].dst == here]


@pytest.fixture(scope="module", params=[("aes256gcm16", 4), ("aes256-sha256", 6)])
def gateways(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Twins]:
    """Return our two gateways with one tunnel of raw ESP."""
    keys = sites.Secrets()
    esp, outer = request.param
    a, b = (
        Twinspan(
            here.gateway,
            sites.document(
                here,
                there,
                keys,
                outer=outer,
                settings={"encap": "never", "start": start, "esp_proposals": [esp]},
            ),
        )
        for here, there, start in ((pair.a, pair.b, "initiate"), (pair.b, pair.a, "respond"))
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    yield Twins(a, b, outer)
    a.end()
    b.end()


def _capture(machine: Namespace, file: Path, what: object) -> list[Packet]:
    """Return the packets of the wire while `what` is called."""
    words = ("-i", "wan1", "-U", "--immediate-mode", "-B", "16384", "-w", str(file))
    dump = machine.start("tcpdump", "tcpdump", *words)
    wait_for("tcpdump", lambda: "listening" in dump.log.read_text(), 5.0)
    assert callable(what)
    what()
    dump.child.send_signal(signal.SIGINT)
    dump.wait(5.0)
    return list(rdpcap(str(file)))


def _spi(text: object) -> int:
    return text if isinstance(text, int) else int(str(text), 16)


def test_pings_travel_as_esp_and_nothing_else(lab: Lab, pair: Pair, gateways: Twins) -> None:
    pattern = ("-p", CLEAR_TEXT.hex(), "-s", "56")

    def send() -> None:
        assert pings.are_answered(pair.a.host, pair.b.host4, *pattern, count=5)

    packets = _capture(pair.b.gateway, lab.directory / "ping.pcap", send)
    assert not [p for p in packets if ICMP in p]
    assert not [p for p in packets if CLEAR_TEXT in bytes(p)]
    for site, gateway in ((pair.a, gateways.a), (pair.b, gateways.b)):
        sent = [p[ESP] for p in gateways.sent_to(packets, site)]
        assert {p.spi for p in sent} == {_spi(gateway.tunnels()[FIRST].spis[0])}
        assert len(sent) >= 5
        assert [p.seq for p in sent] == list(range(sent[0].seq, sent[0].seq + len(sent)))
        assert all(len(p) % 4 == 0 for p in sent)  # RFC 4303 section 2.4: aligned to 4 bytes


def test_large_flows_fit_the_wire_and_count_without_a_gap(
    lab: Lab, pair: Pair, gateways: Twins
) -> None:
    def flow() -> None:
        running = probe.start(pair.a.host, pair.b.host, pair.b.host4, size=1300)
        time.sleep(1.0)
        assert_nothing_lost(running.stop())

    packets = _capture(pair.b.gateway, lab.directory / "flow.pcap", flow)
    for site in (pair.a, pair.b):
        sent = gateways.sent_to(packets, site)
        assert len(sent) > 300
        assert 1300 < max(len(p) for p in sent) <= 1500
        numbers = [p[ESP].seq for p in sent]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_no_packet_is_taken_twice(pair: Pair, gateways: Twins) -> None:
    """The kernel gives a raw packet to every raw socket: the workers must share them out."""
    reach_each_other(pair)
    both = (gateways.a, gateways.b)
    assert [counters(gateway).get("drops.replay", 0) for gateway in both] == [0, 0]


def test_traffic_flows_both_ways(pair: Pair, gateways: Twins) -> None:
    reach_each_other(pair)
