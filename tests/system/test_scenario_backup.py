"""
A direct line to the office, with a VPN to strongSwan behind it: docs/scenarios/backup.md as it is.

    host --- gateway ------------ line --------------- router (BIRD) --- host
                     === wan1, wan2 === devices (charon, BIRD) ---'
"""

from __future__ import annotations

import pytest

from lab import backup, impair
from lab.backup import LINE, Backup
from lab.commands import wait_for
from lab.netns import Lab
from tests.system.support import FIRST, SECOND, reach_each_other

pytestmark = pytest.mark.system

BFD_MS = 1800  # 300 ms x 3, twice for a machine that does other work


@pytest.fixture(scope="module")
def made(lab: Lab) -> Backup:
    """Return both sites with everything up and traffic on the line."""
    return backup.build(lab)


def standings(made: Backup) -> dict[str, str]:
    """Return who offers the office's prefix, and what became of that."""
    routes = made.gateway.routes()
    lan = made.office.site.lan4
    return {route["owner"]: route["standing"] for route in routes if route["prefix"] == lan}


def test_the_line_carries_all_and_the_tunnels_stand_by(made: Backup) -> None:
    wanted = {LINE: "best", FIRST: "standby", SECOND: "standby"}
    wait_for("three offers of the prefix", lambda: standings(made) == wanted, 10.0, every_s=0.2)
    reach_each_other(made.pair)


def test_a_silent_line_is_left_for_the_vpn_and_taken_again(made: Backup) -> None:
    streams = made.streams()
    with impair.cut_off(made.cloud.gateway, LINE):
        made.wait_by(1)
        reach_each_other(made.pair)
    made.wait_settled()
    for seen in streams.stop():
        print(f"silence {seen.silence_ms:.0f} ms")
        assert seen.goes_on
        assert seen.silence_ms < BFD_MS


def test_both_the_line_and_a_path_may_fail(made: Backup) -> None:
    device = made.office.devices[0].machine
    with impair.cut_off(made.cloud.gateway, LINE), impair.cut_off(device, "wan1"):
        made.wait_by(2)
        reach_each_other(made.pair)
    made.wait_settled()
