"""
A hybrid cloud with two customer addresses: twin tunnels to two devices of strongSwan and BIRD.

    host --- gateway (twinspan) === wan1 === device 1 (charon, BIRD) --- router (BIRD) --- host
             AS 65000           === wan2 === device 2 (charon, BIRD) ---'        AS 65001
"""

from __future__ import annotations

import pytest

from lab import impair, office, stream
from lab.commands import wait_for
from lab.netns import Lab
from lab.office import Hybrid
from tests.system.support import FIRST, SECOND, reach_each_other

pytestmark = pytest.mark.system

BFD_MS = 900  # 300 ms x 3
BUSY_MS = 900  # granted to a machine that does other work


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    """Return the two sites with everything up and traffic on the first path."""
    # What fails again and again is to be used again at once, unlike in real life; and IKE gives up
    # what BFD has left long ago sooner.
    return office.hybrid(lab, settings={"flap_damping": False, "liveness_timeout_s": 2})


def active(hybrid: Hybrid) -> list[str]:
    """Return the tunnels that the status marks as those that carry traffic."""
    tunnels = hybrid.gateway.tunnels().values()
    return [tunnel.name for tunnel in tunnels if tunnel.raw["active"]]


def ha_status(hybrid: Hybrid) -> str:
    """Return what the status says of the one connection."""
    (connection,) = hybrid.gateway.connections()
    return str(connection["ha_status"])


def assert_switched(ways: tuple[stream.Result, ...], most_ms: float) -> None:
    """Check that both directions went on after at most that much silence."""
    print("silence", " and ".join(f"{seen.silence_ms:.0f} ms" for seen in ways))
    for seen in ways:
        assert seen.goes_on
        assert seen.silence_ms < most_ms


def test_both_tunnels_are_up_and_the_sites_reach_each_other(hybrid: Hybrid) -> None:
    tunnels = hybrid.gateway.tunnels()
    assert [name for name, tunnel in tunnels.items() if tunnel.is_up] == [FIRST, SECOND]
    wait_for("the mark", lambda: active(hybrid) == [FIRST], 5.0)
    wait_for("BGP of both", lambda: ha_status(hybrid) == "redundancy", 10.0)
    reach_each_other(hybrid.pair)


def test_a_devices_daemon_stops_and_comes_back(hybrid: Hybrid) -> None:
    """charon says good-bye: the carrier of our TUN moves traffic before BFD has to."""
    device = hybrid.office.devices[0]
    streams = hybrid.streams()
    device.swan.stop()
    hybrid.wait_by(2)
    reach_each_other(hybrid.pair)
    assert_switched(streams.stop(), 300)
    assert ha_status(hybrid) == "no_redundancy"

    streams = hybrid.streams()
    device.start_charon()
    hybrid.wait_settled()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0
    wait_for("redundancy", lambda: ha_status(hybrid) == "redundancy", 5.0)


def test_a_devices_daemon_dies_without_a_word(hybrid: Hybrid) -> None:
    device = hybrid.office.devices[0]
    streams = hybrid.streams()
    device.swan.kill()
    hybrid.wait_by(2)
    assert_switched(streams.stop(), BFD_MS + BUSY_MS)
    device.start_charon()
    hybrid.wait_settled()


def test_a_path_is_cut_silently(hybrid: Hybrid) -> None:
    streams = hybrid.streams()
    with impair.cut_off(hybrid.office.devices[0].machine, "wan1"):
        hybrid.wait_by(2)
    hybrid.wait_settled()
    assert_switched(streams.stop(), BFD_MS + BUSY_MS)


def test_a_whole_device_is_lost(hybrid: Hybrid) -> None:
    """Its power is gone: nothing comes from it on either side."""
    machine = hybrid.office.devices[0].machine
    streams = hybrid.streams()
    with impair.cut_off(machine, "wan1"), impair.cut_off(machine, "office"):
        hybrid.wait_by(2)
    hybrid.wait_settled()
    assert_switched(streams.stop(), BFD_MS + BUSY_MS)
