"""
What goes wrong between our daemon and strongSwan: silence, death, loss, a path cut.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (strongSwan) --- host b

Ours gives a silent peer up after three seconds, strongSwan after eight.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from lab import impair, peers, probe, sites
from lab.commands import wait_for
from tests.system.support import (
    FIRST,
    SECOND,
    Ends,
    assert_nothing_lost,
    ping,
    reach_each_other,
    wait_status,
)

pytestmark = pytest.mark.system

QUICK = {"liveness_s": 1, "liveness_timeout_s": 2}
RATE = 200
SILENCE_MOST_MS = 9000.0  # strongSwan: 1 s until it asks, 6.6 s without an answer


def _twins(ends: Ends) -> None:
    """Bring two tunnels up; strongSwan sends by the newest Child SA, so tunnel 1 comes last."""
    connections = [ends.connection(number, dpd_delay="1s", dpd_action="start") for number in (1, 2)]
    ends.agree(connections, {"start": "respond", **QUICK}, tunnels=2)
    for name in (SECOND, FIRST):
        ends.swan.initiate(name)
    ends.ours.wait_up()


@pytest.mark.calm
def test_a_path_cut_moves_traffic_to_the_second_tunnel_and_mending_brings_the_first_back(
    ends: Ends,
) -> None:
    _twins(ends)
    running = probe.start(ends.pair.a.host, ends.pair.b.host, ends.pair.b.host4, RATE)
    with impair.cut_off(ends.pair.b.gateway, "wan1"):
        wait_for("the first tunnel to be given up", lambda: not _up(ends, FIRST), 10.0)
        peers.reaches(ends.pair.a.host, ends.pair.b.host4)
        reach_each_other(ends.pair)
    seen = running.stop()
    assert seen.goes_on
    assert seen.silence_ms < SILENCE_MOST_MS
    moved = wait_for("the event", lambda: _failovers(ends) or None, 5.0)  # told once a second
    assert [each["reason"] for each in moved] == ["peer_unreachable"]
    assert f"left {FIRST}, by {SECOND}, silent_s" in str(moved[0]["text"])
    assert _up(ends, SECOND)
    wait_status(ends.ours, FIRST, "up", 30.0)
    reach_each_other(ends.pair)


def _failovers(ends: Ends) -> list[Mapping[str, object]]:
    return [each for each in ends.ours.events() if each["code"] == "failover"]


def _up(ends: Ends, name: str) -> bool:
    return ends.ours.tunnels()[name].is_up


def test_clear_text_never_leaves_while_all_tunnels_are_down(ends: Ends) -> None:
    """Even where a route in clear exists: no answer rather than an answer in clear text."""
    _twins(ends)
    pair = ends.pair
    # Both sites could reach each other without the tunnels, by a default route each.
    pair.a.gateway.route("default", "via", pair.b.public4[0])
    pair.b.gateway.route(pair.a.lan4, "via", pair.a.public4[0], "metric", "5000")
    try:
        reach_each_other(pair)
        for name in (FIRST, SECOND):
            ends.ours.cli("down", name)
        assert not ping(pair.a.host, pair.b.host4)
    finally:
        pair.a.gateway.ip("route", "del", "default")
        for name in (FIRST, SECOND):
            ends.ours.cli("up", name)


def test_strongswan_killed_and_started_again_is_found_again(ends: Ends) -> None:
    ends.agree([ends.connection()], {"start": "initiate", **QUICK})
    ends.ours.wait_up()
    ends.swan.kill()
    wait_for("silence to be noticed", lambda: not _up(ends, FIRST), 10.0)
    assert ends.ours.tunnels()[FIRST].reason
    ends.swan.start()
    ends.ours.wait_up(timeout_s=20.0)
    reach_each_other(ends.pair)


def test_strongswan_that_restarts_and_calls_replaces_the_dead_ike_sa(ends: Ends) -> None:
    """INITIAL_CONTACT: the new IKE SA replaces the old before our liveness check has noticed."""
    connection = replace(ends.connection(), unique="replace")  # else charon does not send it
    ends.agree([connection], {"start": "respond", "liveness_s": 60})
    ends.swan.initiate(FIRST)
    ends.ours.wait_up()
    before = ends.ours.tunnels()[FIRST].spis
    ends.swan.kill()
    ends.swan.start()
    ends.swan.initiate(FIRST)
    wait_for(
        "the new Child SA alone",
        lambda: (
            len(ends.ours.tunnels()[FIRST].spis) == 1 and ends.ours.tunnels()[FIRST].spis != before
        ),
        10.0,
    )
    reach_each_other(ends.pair)


def test_a_peer_that_never_answers_is_asked_until_it_does(ends: Ends) -> None:
    ends.agree([ends.connection()], {"start": "initiate"})
    ends.ours.wait_up()
    ends.swan.stop()
    wait_status(ends.ours, FIRST, "connecting")
    view = ends.ours.tunnels()[FIRST]
    assert not view.is_up
    ends.swan.start()
    ends.ours.wait_up(timeout_s=30.0)
    reach_each_other(ends.pair)


@pytest.mark.calm
def test_a_path_that_doubles_packets_changes_nothing_inside(ends: Ends) -> None:
    """Messages of IKE come twice, and so does every packet of ESP: each counts once."""
    device = (ends.pair.b.gateway, "wan1")
    impair.double(*device)
    try:
        ends.agree([ends.connection()], {"start": "initiate"})
        ends.ours.wait_up()
        running = probe.start(ends.pair.a.host, ends.pair.b.host, ends.pair.b.host4)
        before = ends.ours.tunnels()[FIRST].spis
        ends.swan.rekey_child(FIRST)
        wait_for("the rekey", lambda: ends.ours.tunnels()[FIRST].spis != before, 10.0)
        time.sleep(0.5)
        seen = running.stop()
    finally:
        impair.double_none(*device)
    assert_nothing_lost(seen)
    assert seen.duplicates == 0
    assert ends.ours.tunnels()[FIRST].drops["replay"] > 100


def test_a_tunnel_comes_up_although_a_third_of_all_packets_is_lost(ends: Ends) -> None:
    device = (ends.pair.b.gateway, "wan1")
    ends.agree([ends.connection()], {"start": "respond"})
    impair.lose(*device, 18)  # each way: a third of the round trips
    try:
        settings = {"start": "initiate"}
        pair, keys = ends.pair, ends.keys
        ends.ours.write(sites.document(pair.a, pair.b, keys, settings=settings, tunnels=1))
        ends.ours.cli("reload")
        ends.ours.wait_up(timeout_s=60.0)
    finally:
        impair.lose_none(*device)
    reach_each_other(ends.pair)
