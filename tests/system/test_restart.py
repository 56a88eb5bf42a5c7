"""
Our daemon is restarted, crashes, is told to stop; its data plane goes on, or is lost.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path as FilePath

import pytest

from gateway.dataplane.reach import SOCKET_NAME
from lab import probe, stream
from lab.commands import wait_for
from lab.twinspan import ROOT, Value
from tests.support.other_abi import PLANE
from tests.system.support import FIRST, Ends, assert_nothing_lost, reach_each_other

pytestmark = pytest.mark.system

# The bench judges one second; here the machine may stand still for a while.
SILENCE_MOST_MS = 4000.0


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


def test_a_crash_of_the_gateway_process_is_not_noticed(up: Ends) -> None:
    """Nor is one in the middle of a rekey: what was under way goes on."""
    a, b = up.pair.a, up.pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4), stream.PATIENT)
    before, ike = up.ours.tunnels()[FIRST].spis, ike_sas(up)
    log = len(up.swan.log_text())
    for _ in range(2):
        up.ours.kill()
        up.ours.start()
        up.ours.wait_up()
        assert up.ours.tunnels()[FIRST].spis == before
    # The IKE SA lives on: strongSwan's rekey is answered in it, and then ours.
    up.swan.rekey_child(FIRST)
    wait_for("other SPIs", lambda: up.ours.tunnels()[FIRST].spis != before, 10.0)
    up.ours.cli("rekey", FIRST)
    up.ours.kill()
    up.ours.start()
    wait_for("one Child SA", lambda: len(up.ours.tunnels()[FIRST].spis) == 1, 10.0)
    assert ike_sas(up) == ike
    assert "IKE_SA_INIT" not in up.swan.log_text()[log:]
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0


def ike_sas(ends: Ends) -> list[str]:
    return [sa.initiator_spi for sa in ends.swan.sas()]


def test_another_data_plane_process_takes_the_place_of_one_that_is_killed(up: Ends) -> None:
    """strongSwan sees a rekey: its IKE SA, our device and our routes stay."""
    a, b = up.pair.a, up.pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4), stream.PATIENT)
    before, ike, log = _device(up), ike_sas(up), len(up.swan.log_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        spis, said = up.ours.tunnels()[FIRST].spis, _replaced(up)
        (plane,) = set(up.ours.pids()) - {up.ours.pid}
        os.kill(plane, number)
        wait_for("another one", lambda: _replaced(up) > said, 10.0)  # noqa: B023
        assert up.ours.tunnels()[FIRST].spis != spis
        reach_each_other(up.pair)
    assert (_device(up), ike_sas(up)) == (before, ike)
    assert "IKE_SA_INIT" not in up.swan.log_text()[log:]
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms < SILENCE_MOST_MS


def test_both_processes_that_die_at_once_begin_everything_anew(up: Ends) -> None:
    """Nothing of before is in the way: the kernel has taken device and routes with the last one."""
    gateway = up.pair.a.gateway
    before, ike = _device(up), ike_sas(up)
    (plane,) = set(up.ours.pids()) - {up.ours.pid}
    up.ours.kill()
    os.kill(plane, signal.SIGKILL)
    wait_for("the end of both", lambda: not up.ours.pids(), 5.0)
    wait_for("the device to go", lambda: "ts-" not in gateway.ip("-br", "link"), 5.0)
    up.ours.start()
    up.ours.wait_up()
    reach_each_other(up.pair)
    assert _device(up) != before
    assert not set(ike_sas(up)) <= set(ike)


def test_a_newer_version_with_another_abi_takes_over_from_the_data_plane_before(
    up: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And back: the upgrade begins with the gateway process, the downgrade with the data plane."""
    a, b = up.pair.a, up.pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4), stream.PATIENT)
    before, ike, log = _device(up), ike_sas(up), len(up.swan.log_text())
    (plane,) = set(up.ours.pids()) - {up.ours.pid}
    up.ours.stop()
    with monkeypatch.context() as patch:
        newer = [sys.executable, "-m", "tests.support.other_abi"]
        patch.setattr(up.ours, "_argv", lambda *words: [*newer, *words])
        up.ours.start()
    wait_for("the other one", lambda: _replaced(up) == 1, 10.0)
    assert plane not in up.ours.pids()
    reach_each_other(up.pair)
    _begin_other_data_plane(up)
    wait_for("the next version", lambda: _replaced(up) == 2, 15.0)
    reach_each_other(up.pair)
    assert (_device(up), ike_sas(up)) == (before, ike)
    assert "IKE_SA_INIT" not in up.swan.log_text()[log:]
    assert all(seen.goes_on for seen in streams.stop())


def _begin_other_data_plane(ends: Ends) -> None:
    """Restart the data plane alone, as another version than its gateway process is of."""
    gateway = ends.pair.a.gateway
    (old,) = [pid for pid in gateway.pids() if PLANE.encode() in cmdline(pid)]
    place = str(ends.ours.directory / SOCKET_NAME)
    os.kill(ends.ours.pid, signal.SIGSTOP)
    try:
        os.kill(old, signal.SIGKILL)
        other = [sys.executable, "-m", "gateway.dataplane.process", "--socket", place]
        new = gateway.start("newer", *other, "--workers", "2", env={"PYTHONPATH": str(ROOT)})
        wait_for("the other data plane", lambda: listens(new.pid, place), 10.0)
    finally:
        os.kill(ends.ours.pid, signal.SIGCONT)


def cmdline(pid: int) -> list[bytes]:
    return FilePath(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def listens(pid: int, place: str) -> bool:
    """Say whether a process listens there, without connecting to it: it serves one at a time."""
    lines = FilePath(f"/proc/{pid}/net/unix").read_text().splitlines()
    return any(line.endswith(place) and line.split()[3] == "00010000" for line in lines)


def _replaced(ends: Ends) -> int:
    """Count in the log: the process may be about to become another program."""
    return ends.ours.log_text().count("data_plane replaced")


def _device(ends: Ends) -> str:
    """Return the device's index and its routes: one made anew has another index."""
    gateway = ends.pair.a.gateway
    return gateway.ip("-o", "link", "show", ends.ours.tunnels()[FIRST].interface).split(":")[
        0
    ] + gateway.ip("route")


def test_stop_deletes_the_sas_with_the_peer_and_leaves_nothing(up: Ends) -> None:
    up.ours.end()
    wait_for("strongSwan to hear of it", lambda: not up.swan.sas(), 5.0)
    wait_for("the processes to end", lambda: not up.ours.pids(), 5.0)
    links = up.pair.a.gateway.ip("-br", "link")
    assert "ts-" not in links
    assert "ts-" not in up.pair.a.gateway.ip("route")
