"""
Our daemon is restarted, crashes, is told to stop; its data plane goes on, or is lost.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b
"""

from __future__ import annotations

import os
import signal

import pytest

from lab import probe
from lab.commands import wait_for
from lab.twinspan import Value
from tests.system.support import FIRST, Ends, assert_nothing_lost, reach_each_other

pytestmark = pytest.mark.system


@pytest.fixture
def up(ends: Ends) -> Ends:
    """Return the ends with tunnel 1 up, begun by us."""
    if not ends.ours.is_alive:
        ends.ours.start()
    settings: dict[str, Value] = {"start": "initiate", "liveness_s": 1, "liveness_timeout_s": 2}
    ends.agree([ends.connection()], settings)
    ends.ours.wait_up()
    return ends


def test_a_restart_of_the_gateway_process_loses_no_packet(up: Ends) -> None:
    running = probe.start(up.pair.a.host, up.pair.b.host, up.pair.b.host4)
    before, pid = up.ours.tunnels()[FIRST].spis, up.ours.pid
    up.ours.stop()
    assert not up.ours.is_alive
    up.ours.start()
    up.ours.wait_up()
    assert up.ours.pid != pid
    assert up.ours.tunnels()[FIRST].spis == before
    # The IKE SA lives on: strongSwan's rekey is answered in it.
    ike = [sa.initiator_spi for sa in up.swan.sas()]
    up.swan.rekey_child(FIRST)
    wait_for("other SPIs", lambda: up.ours.tunnels()[FIRST].spis != before, 10.0)
    assert [sa.initiator_spi for sa in up.swan.sas()] == ike
    assert_nothing_lost(running.stop())


def test_a_crash_of_the_gateway_process_leaves_the_traffic_alone(up: Ends) -> None:
    running = probe.start(up.pair.a.host, up.pair.b.host, up.pair.b.host4)
    before = up.ours.tunnels()[FIRST].spis
    up.ours.kill()
    reach_each_other(up.pair)
    up.ours.start()
    wait_for(
        "a new Child SA",
        lambda: (
            not set(before) & set(up.ours.tunnels()[FIRST].spis) and up.ours.tunnels()[FIRST].is_up
        ),
        20.0,
    )
    reach_each_other(up.pair)
    seen = running.stop()
    assert seen.goes_on
    # The old SAs carry the traffic until the new ones are there.
    assert len(seen.lost) <= seen.sent // 50


def test_the_loss_of_the_data_plane_process_is_repaired(up: Ends) -> None:
    (plane,) = set(up.ours.pids()) - {up.ours.pid}
    os.kill(plane, signal.SIGKILL)
    wait_for("another data plane", lambda: set(up.ours.pids()) - {up.ours.pid, plane}, 10.0)
    wait_for("the control socket", lambda: _answers(up), 10.0)
    up.ours.wait_up(timeout_s=20.0)
    reach_each_other(up.pair)


def _answers(ends: Ends) -> bool:
    return '"tunnels"' in ends.ours.cli("status", "--json", check=False)


def test_stop_deletes_the_sas_with_the_peer_and_leaves_nothing(up: Ends) -> None:
    up.ours.end()
    assert not up.swan.sas()
    wait_for("the processes to end", lambda: not up.ours.pids(), 5.0)
    links = up.pair.a.gateway.ip("-br", "link")
    assert "ts-" not in links
    assert "ts-" not in up.pair.a.gateway.ip("route")
