"""
The hybrid cloud exactly as docs/scenarios/hybrid.md shows it: our document and the router's
configuration are read from the page, the devices have what `twinspan customer-config` makes.
"""

from __future__ import annotations

import time

import pytest

from lab import impair, office, pages, topology
from lab.commands import wait_for
from lab.netns import Lab
from lab.office import Hybrid
from lab.twinspan import Twinspan
from tests.system.support import reach_each_other

pytestmark = pytest.mark.system

KEY = "4f0c6c9f5d6b1c0c8e0f3b6b3f7f5a9d4f0c6c9f5d6b1c0c8e0f3b6b3f7f5a9d"


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    """Make the lab's machines and wires, with the page's configuration in place of the lab's."""
    cloud = topology.site(lab, "a", topology.public4("a"), 2, ("gateway", "vpc"))
    made = office.build(lab, cloud)
    (text,) = pages.blocks("hybrid", "toml")
    *beside, router = pages.blocks("hybrid", "bird")
    gateway = Twinspan(cloud.gateway, text)
    (gateway.directory / "office.psk").write_text(KEY + "\n")
    (gateway.directory / "office.psk").chmod(0o600)
    made.router.write(router)
    made.equip(gateway)
    for device, own in zip(made.devices, beside, strict=True):
        device.bird.write_beside(own)
    made.start()
    gateway.start()
    whole = Hybrid(cloud, gateway, made)
    whole.wait_settled()
    return whole


def test_both_tunnels_and_all_sessions_come_up(hybrid: Hybrid) -> None:
    reach_each_other(hybrid.pair)
    status = hybrid.gateway.cli("status")
    assert "2 of 2 tunnels up" in status
    assert "no_redundancy" not in status
    assert "redundancy" in status


def moves(hybrid: Hybrid) -> list[tuple[object, object]]:
    """Return the events that say that traffic has moved, and why, the oldest first."""
    wanted = ("failover", "switchover", "connection_down", "connection_up")
    found = [each for each in hybrid.gateway.events() if each["code"] in wanted]
    return [(each["code"], each["reason"]) for each in found]


def test_a_silent_path_is_left_within_a_second(hybrid: Hybrid) -> None:
    time.sleep(2.5)  # where traffic goes is looked at once a second, and must have been seen
    streams = hybrid.streams()
    with impair.cut_off(hybrid.office.devices[0].machine, "wan1"):
        hybrid.wait_by(2)
    hybrid.wait_settled()
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.silence_ms < 1800  # 900 of BFD; the rest is granted to a busy machine
    both = [("failover", "bgp_bfd_down"), ("switchover", "")]
    wait_for("the events", lambda: moves(hybrid)[-2:] == both, 5.0)


def test_planned_work_loses_nothing(hybrid: Hybrid) -> None:
    streams, before = hybrid.streams(), len(moves(hybrid))
    assert "traffic has moved" in hybrid.gateway.cli("down", "office-1")
    hybrid.gateway.cli("up", "office-1")
    hybrid.wait_settled()
    for seen in streams.stop():
        assert (seen.goes_on, seen.lost) == (True, 0)
    wait_for("the events", lambda: len(moves(hybrid)) >= before + 2, 5.0)
    assert {code for code, _ in moves(hybrid)[before:]} == {"switchover"}
