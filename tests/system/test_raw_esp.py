"""
Raw ESP (IP protocol 50) between two of our gateways, judged by scapy on the wire.

    host a --- gw a (twinspan) ==== wan1, tcpdump ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import ICMP, IP
from scapy.layers.ipsec import ESP
from scapy.packet import Packet
from scapy.utils import rdpcap

from lab import iperf, sites, topology
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from lab.topology import Pair
from lab.twinspan import Twinspan
from tests.system.support import FIRST, reach_each_other

pytestmark = pytest.mark.system

PSK_FREE_BYTES = b"clear text that must not be seen"


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites, one wire between them."""
    return topology.four_machines(lab, paths=1)


@pytest.fixture(scope="module", params=["aes256gcm16", "aes256-sha256"])
def gateways(pair: Pair, request: pytest.FixtureRequest) -> Iterator[tuple[Twinspan, Twinspan]]:
    """Return our two gateways with one tunnel of raw ESP."""
    keys = sites.Secrets()
    a, b = (
        Twinspan(
            here.gateway,
            sites.document(
                here,
                there,
                keys,
                settings={"encap": "never", "start": start, "esp_proposals": [request.param]},
            ),
        )
        for here, there, start in ((pair.a, pair.b, "initiate"), (pair.b, pair.a, "respond"))
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    yield a, b
    a.end()
    b.end()


def _capture(machine: Namespace, file: Path, what: object) -> list[Packet]:
    """Return the packets of the wire while `what` is called."""
    words = ("-i", "wan1", "-U", "--immediate-mode", "-s", "0", "-w", str(file))
    dump = machine.start("tcpdump", "tcpdump", *words)
    wait_for("tcpdump", lambda: "listening" in dump.log.read_text(), 5.0)
    assert callable(what)
    what()
    dump.child.send_signal(signal.SIGINT)
    dump.wait(5.0)
    return list(rdpcap(str(file)))


def _spi(text: object) -> int:
    return text if isinstance(text, int) else int(str(text), 16)


def test_pings_travel_as_esp_and_nothing_else(
    lab: Lab, pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    pattern = ("-p", PSK_FREE_BYTES[:16].hex(), "-s", "56")

    def pings() -> None:
        words = ("ping", "-n", "-q", "-c", "5", "-i", "0.05", *pattern, pair.b.host4)
        assert " 0% packet loss" in pair.a.host.run(*words)

    packets = [p for p in _capture(pair.b.gateway, lab.directory / "ping.pcap", pings) if IP in p]
    assert not [p for p in packets if ICMP in p]
    assert not [p for p in packets if PSK_FREE_BYTES[:16] in bytes(p)]
    spis = {"192.0.2.2": _spi(b.tunnels()[FIRST].spis[0])}
    spis["192.0.2.1"] = _spi(a.tunnels()[FIRST].spis[0])
    for destination, spi in spis.items():
        sent = [p[ESP] for p in packets if ESP in p and p[IP].dst == destination]
        assert {p.spi for p in sent} == {spi}
        first = sent[0].seq
        assert [p.seq for p in sent] == list(range(first, first + 5))
        assert all(len(p) % 4 == 0 for p in sent)  # RFC 4303 section 2.4: aligned to 4 bytes


def test_large_flows_fit_the_wire_and_count_without_a_gap(
    lab: Lab, pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    def flow() -> None:
        paced = ("-u", "-b", "8M", "-l", "1200")
        seen = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, *paced, seconds=1.0)
        assert seen.lost == 0

    packets = _capture(pair.b.gateway, lab.directory / "flow.pcap", flow)
    sent = [p for p in packets if ESP in p and p[IP].dst == "192.0.2.2"]
    assert len(sent) > 500
    assert max(p[IP].len for p in sent) <= 1500
    numbers = [p[ESP].seq for p in sent]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_traffic_flows_both_ways(pair: Pair, gateways: tuple[Twinspan, Twinspan]) -> None:
    reach_each_other(pair)
