"""
A direct line to the office, with a VPN to the same prefixes behind it.

    host --- gateway ------------ line --------------- router (BIRD) --- host
                     === wan1, wan2 === devices (charon, BIRD) ---'
"""

from __future__ import annotations

import json
import time
from functools import partial

import pytest

from lab import backup, impair
from lab.backup import LINE, Backup
from lab.commands import wait_for
from lab.netns import Lab
from lab.stream import Result
from lab.twinspan import table
from tests.system.support import FIRST, SECOND, reach_each_other

pytestmark = pytest.mark.system

BFD_MS = 1800  # 300 ms x 3, twice for a machine that does other work


@pytest.fixture(scope="module")
def made(lab: Lab) -> Backup:
    """Return both sites with everything up and traffic on the line."""
    return backup.build(lab)


def standings(made: Backup) -> dict[str, str]:
    """Return who offers the office's prefix, and what became of that."""
    routes = json.loads(made.gateway.cli("routes", "--json"))["routes"]
    lan = made.office.site.lan4
    return {route["owner"]: route["standing"] for route in routes if route["prefix"] == lan}


def assert_quiet_for_less(ways: tuple[Result, Result], most_ms: float) -> None:
    print("silence", " and ".join(f"{seen.silence_ms:.0f} ms" for seen in ways))
    for seen in ways:
        assert seen.goes_on
        assert seen.silence_ms < most_ms


def test_the_line_carries_all_and_the_tunnels_stand_by(made: Backup) -> None:
    assert standings(made) == {LINE: "best", FIRST: "standby", SECOND: "standby"}
    reach_each_other(made.pair)


def test_a_silent_line_is_left_for_the_vpn_and_taken_again(made: Backup) -> None:
    streams = made.streams()
    with impair.cut_off(made.cloud.gateway, LINE):
        made.wait_by(1)
        reach_each_other(made.pair)
    made.wait_settled()
    assert_quiet_for_less(streams.stop(), BFD_MS)


def test_a_shut_port_moves_traffic_at_once(made: Backup) -> None:
    """Our end of a veth pair goes down, so the other end's carrier goes too."""
    streams = made.streams()
    made.cloud.gateway.ip("link", "set", LINE, "down")
    made.wait_by(1)
    reach_each_other(made.pair)
    assert_quiet_for_less(streams.stop(), 300)
    made.cloud.gateway.ip("link", "set", LINE, "up")
    made.wait_settled()


def test_an_ended_session_moves_traffic_at_once(made: Backup) -> None:
    """The office's router closes it and says so."""
    router = made.office.router
    streams = made.streams()
    router.birdc("disable", LINE)
    made.wait_by(1)
    time.sleep(0.5)
    assert_quiet_for_less(streams.stop(), 300)
    router.birdc("enable", LINE)
    made.wait_settled()


def test_both_the_line_and_a_path_may_fail(made: Backup) -> None:
    device = made.office.devices[0].machine
    with impair.cut_off(made.cloud.gateway, LINE), impair.cut_off(device, "wan1"):
        made.wait_by(2)
        reach_each_other(made.pair)
    made.wait_settled()


def test_a_static_route_into_the_vpn_does_not_take_the_lines_traffic(made: Backup) -> None:
    """Static goes before learned only among next hops of one kind."""
    before = made.gateway.config.read_text()
    route = {
        "border_gateway": "main",
        "prefix": made.office.site.lan4,
        "vpn_connection": "office",
    }
    made.gateway.write(before + table("\n[[route]]", route))
    made.gateway.cli("reload")
    wait_for("the static route", partial(has_static, made), 10.0)
    assert standings(made)[LINE] == "best"
    assert made.goes_by_line()
    made.gateway.write(before)
    made.gateway.cli("reload")


def has_static(made: Backup) -> bool:
    routes = json.loads(made.gateway.cli("routes", "--json"))["routes"]
    return any(route["origin"] == "static" for route in routes)
