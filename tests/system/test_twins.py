"""
Two of our gateways with two tunnels: sizes, changes that touch one tunnel, a path cut.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import pytest

from lab import impair, iperf, peers, probe, sites, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.topology import Pair
from lab.twinspan import Twinspan, Value
from tests.system.support import (
    FIRST,
    SECOND,
    assert_nothing_lost,
    ping,
    reach_each_other,
    wait_status,
)

pytestmark = pytest.mark.system

QUICK: Mapping[str, Value] = {"liveness_s": 1, "liveness_timeout_s": 1}


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites."""
    return topology.four_machines(lab)


@pytest.fixture(scope="module")
def gateways(pair: Pair) -> tuple[Twinspan, Twinspan]:
    """Return our two gateways with both tunnels up; site a begins."""
    keys = sites.Secrets()
    a, b = (
        Twinspan(
            here.gateway,
            sites.document(here, there, keys, families=(4, 6), settings={**QUICK, "start": start}),
        )
        for here, there, start in (
            (pair.a, pair.b, "initiate"),
            (pair.b, pair.a, "respond"),
        )
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    return a, b


def test_both_families_go_through_and_the_first_tunnel_carries_them(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    before = gateways[0].tunnels()
    reach_each_other(pair, 4)
    reach_each_other(pair, 6)
    after = gateways[0].tunnels()
    # The kernel adds a multicast report or two of its own.
    assert 12 <= after[FIRST].out_packets - before[FIRST].out_packets <= 14
    assert after[SECOND].out_packets - before[SECOND].out_packets <= 2


def test_the_inner_addresses_answer(pair: Pair, gateways: tuple[Twinspan, Twinspan]) -> None:
    assert ping(pair.a.gateway, "169.254.11.2")
    assert ping(pair.b.gateway, "169.254.12.1")


def test_the_largest_packet_fits_and_one_byte_more_is_answered(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    """The inner MTU is what fits 1500 bytes outside: not one byte is given away, none too many."""
    mtu = gateways[0].tunnels()[FIRST].raw["mtu"]
    assert isinstance(mtu, int)
    assert 1400 <= mtu <= 1450
    whole = ("-M", "do", "-s", str(mtu - 28))
    assert ping(pair.a.host, pair.b.host4, *whole)
    more = ("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(mtu - 27), pair.b.host4)
    assert re.search(rf"mtu ?= ?{mtu}", pair.a.host.run(*more, check=False))
    # Without the don't-fragment bit it goes through in fragments.
    assert ping(pair.a.host, pair.b.host4, "-M", "dont", "-s", "4000")
    assert ping(pair.a.host, pair.b.host6, "-s", str(mtu - 48))


def test_a_smaller_wire_is_followed_to_the_byte(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    """1460 bytes outside, and 1500 again: ping knows the boundary, TCP needs no MSS of its own."""
    whole = gateways[0].tunnels()[FIRST].raw["mtu"]
    assert isinstance(whole, int)

    def mtus() -> set[object]:
        return {one.tunnels()[FIRST].raw["mtu"] for one in gateways}

    def wire(mtu: int, inner: int) -> None:
        for one in (pair.a, pair.b):
            one.gateway.run("ip", "link", "set", "wan1", "mtu", str(mtu))
        wait_for("the MTU", lambda: mtus() == {inner}, 15.0)

    try:
        wire(1460, whole - 40)
        assert ping(pair.a.host, pair.b.host4, "-M", "do", "-s", str(whole - 68))
        more = ("ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(whole - 67), pair.b.host4)
        assert re.search(rf"mtu ?= ?{whole - 40}", pair.a.host.run(*more, check=False))
        assert iperf.measure(pair.a.host, pair.b.host, pair.b.host4, seconds=1).gbps > 0.1
    finally:
        wire(1500, whole)
    for host, address in ((pair.a.host, pair.b.host4), (pair.b.host, pair.a.host4)):
        host.run("ip", "route", "flush", "cache")
        assert ping(host, address, "-M", "do", "-s", str(whole - 28))


@pytest.mark.parametrize("family", [4, 6])
def test_errors_of_icmp_come_back_through_the_tunnel(
    pair: Pair, gateways: tuple[Twinspan, Twinspan], family: int
) -> None:
    """Also those of the far gateway itself, whose inner address is of neither site's prefix."""
    there = pair.b.host_address(family)
    late = ("ping", "-n", "-c", "1", "-W", "2", "-t", "2", there)
    assert "Time to live exceeded" in _told(pair, *late) or "Hop limit" in _told(pair, *late)
    nobody = there.rpartition(":" if family == 6 else ".")[0] + (":77" if family == 6 else ".77")
    asked = ("ping", "-n", "-c", "1", "-W", "5", nobody)
    assert re.search(r"Destination Host Unreachable|Address unreachable", _told(pair, *asked))


def _told(pair: Pair, *words: str) -> str:
    """Return what a command of host a says, whether it succeeds or not."""
    return pair.a.host.run(*words, check=False)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("direction", [(), ("-R",)], ids=["to b", "from b"])
def test_tcp_is_fast_both_ways(
    pair: Pair, gateways: tuple[Twinspan, Twinspan], family: int, direction: tuple[str, ...]
) -> None:
    """Far under what the bench shows, far over what a wrong segment size or checksum allows."""
    address = pair.b.host_address(family)
    flow = iperf.measure(pair.a.host, pair.b.host, address, *direction, seconds=1.5)
    assert flow.gbps > 0.3


@pytest.mark.parametrize("size", [8, 100, 1000, 1386, 1473, 4000, 20000])
def test_udp_of_any_size_arrives_whole(
    pair: Pair, gateways: tuple[Twinspan, Twinspan], size: int
) -> None:
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4, rate=400, size=size)
    time.sleep(0.5)
    assert_nothing_lost(running.stop())


def test_a_reload_touches_only_what_has_changed(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, _ = gateways
    before = a.tunnels()
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4)
    document = a.document
    (connection,) = document.connections
    first, second = connection.tunnels
    altered = replace(second, settings={**second.settings, "child_lifetime_s": 1800})
    a.write(replace(document, connections=[replace(connection, tunnels=[first, altered])]))
    answer = a.cli("reload")
    assert SECOND in answer
    assert FIRST not in answer
    wait_for("the second tunnel", lambda: a.tunnels()[SECOND].is_up, 15.0)
    assert a.tunnels()[FIRST].spis == before[FIRST].spis
    assert_nothing_lost(running.stop())


def test_local_ts_keeps_a_customer_from_what_is_no_part_of_the_vpc(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    """Without it the VM forwards what comes out of a tunnel to wherever it has a route."""
    a, b = gateways
    document = a.document
    (connection,) = document.connections
    settings = {**connection.settings, "local_ts": [pair.a.lan4, pair.a.lan6]}
    narrow = replace(document, connections=[replace(connection, settings=settings)])
    elsewhere = "10.99.0.1"
    pair.a.host.run("ip", "addr", "add", f"{elsewhere}/32", "dev", "eth0")
    pair.a.gateway.route(elsewhere, "via", pair.a.host4)
    pair.b.gateway.route(elsewhere, "dev", b.tunnels()[FIRST].interface)
    try:
        assert ping(pair.b.host, elsewhere)
        a.write(narrow)
        a.cli("reload")
        a.wait_up()
        b.wait_up()
        reach_each_other(pair)
        assert not ping(pair.b.host, elsewhere)
    finally:
        a.write(document)
        a.cli("reload")
        a.wait_up()
        pair.b.gateway.run("ip", "route", "del", elsewhere)
        pair.a.gateway.run("ip", "route", "del", elsewhere)
        pair.a.host.run("ip", "addr", "del", f"{elsewhere}/32", "dev", "eth0")


def test_a_bad_file_changes_nothing_and_names_every_mistake(
    gateways: tuple[Twinspan, Twinspan],
) -> None:
    a, _ = gateways
    before = {name: view.spis for name, view in a.tunnels().items()}
    text = a.config.read_text()
    try:
        a.config.write_text(text.replace("169.254.11.0/30", "169.254.11.0/33") + "\ncolour = 1\n")
        with pytest.raises(LabError, match=r"169\.254\.11\.0/33") as refused:
            a.cli("reload")
        assert "colour" in str(refused.value)
        assert {name: view.spis for name, view in a.tunnels().items()} == before
    finally:
        a.config.write_text(text)


def test_taking_the_first_tunnel_down_moves_traffic_at_once(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4)
    try:
        a.cli("down", FIRST)
        wait_status(b, FIRST, "down")
        peers.reaches(pair.b.host, pair.a.host4)
        reach_each_other(pair)
    finally:
        a.cli("up", FIRST)
    wait_status(b, FIRST, "up")
    seen = running.stop()
    assert seen.goes_on
    assert seen.silence_ms < 1500


def test_a_path_cut_is_left_within_seconds_and_taken_again_when_mended(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    running = probe.start(pair.a.host, pair.b.host, pair.b.host4)
    with impair.cut_off(pair.b.gateway, "wan1"):
        for gateway in (a, b):
            wait_for("the first tunnel to be left", partial(_is_down, gateway), 10.0)
        reach_each_other(pair)
    for gateway in (a, b):
        wait_status(gateway, FIRST, "up", 30.0)
    reach_each_other(pair)
    seen = running.stop()
    assert seen.goes_on
    assert seen.silence_ms < 5000


def _is_down(gateway: Twinspan) -> bool:
    return not gateway.tunnels()[FIRST].is_up
