"""
Two connections to two devices of one customer, with the same prefixes behind both.

    host --- gateway === connection office-a === device 1 (charon, BIRD) --- router (BIRD) --- host
                     === connection office-b === device 2 (charon, BIRD) ---'
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import impair, office
from lab.commands import wait_for
from lab.netns import Lab
from lab.office import Hybrid
from lab.twinspan import Document
from tests.system.support import FIRST, SECOND, reach_each_other

pytestmark = pytest.mark.system

SWITCH_MS = 1800  # BFD 300 ms x 3, twice for a machine that does other work


def in_two(document: Document) -> Document:
    """Return the document with a connection and a Customer Gateway for each tunnel."""
    (connection,) = document.connections
    first, second = connection.tunnels
    later = replace(second, settings={**second.settings, "preference": 200})
    return replace(
        document,
        connections=[
            replace(connection, name="office-a", tunnels=[first]),
            replace(connection, name="office-b", tunnels=[later]),
        ],
    )


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    """Return the two sites with both connections up and traffic on the first."""
    return office.hybrid(lab, alter=in_two)


def owners(hybrid: Hybrid) -> dict[str, str]:
    """Return who says what of the office's prefix."""
    routes = hybrid.gateway.routes()
    lan = hybrid.office.site.lan4
    return {route["owner"]: route["standing"] for route in routes if route["prefix"] == lan}


def back(hybrid: Hybrid) -> str:
    """Return the route of the office's router to the VPC."""
    return hybrid.office.site.gateway.ip("route", "show", hybrid.cloud.lan4)


def test_both_connections_offer_the_prefix_and_the_preferred_one_has_it(hybrid: Hybrid) -> None:
    wait_for("both offers", lambda: owners(hybrid) == {FIRST: "best", SECOND: "standby"}, 10.0)
    found = {each["name"]: each["ha_status"] for each in hybrid.gateway.connections()}
    assert found == {"office-a": "no_redundancy", "office-b": "no_redundancy"}
    reach_each_other(hybrid.pair)


def test_a_lost_device_moves_the_prefix_to_the_other_connection_and_back(hybrid: Hybrid) -> None:
    machine = hybrid.office.devices[0].machine
    streams = hybrid.streams()
    with impair.cut_off(machine, "wan1"), impair.cut_off(machine, "office"):
        hybrid.wait_by(2)
        wait_for("the routes", lambda: owners(hybrid)[SECOND] == "best", 5.0)
    hybrid.wait_settled()
    for seen in streams.stop():
        print(f"silence {seen.silence_ms:.0f} ms")
        assert seen.goes_on
        assert seen.silence_ms < SWITCH_MS


def test_a_tunnel_taken_down_moves_its_traffic_to_the_other_connection_first(
    hybrid: Hybrid,
) -> None:
    streams = hybrid.streams()
    assert "traffic has moved" in hybrid.gateway.cli("down", FIRST)
    hybrid.wait_by(2)
    hybrid.gateway.cli("up", FIRST)
    hybrid.wait_settled()
    for seen in streams.stop():
        assert (seen.goes_on, seen.lost) == (True, 0)


def test_connections_of_equal_preference_share_and_each_takes_all_alone(hybrid: Hybrid) -> None:
    document = hybrid.gateway.document
    first, second = document.connections
    (tunnel,) = second.tunnels
    alike = replace(tunnel, settings={**tunnel.settings, "preference": 100})
    equal = replace(document, connections=[first, replace(second, tunnels=[alike])])
    hybrid.gateway.write(equal)
    hybrid.gateway.cli("reload")
    wait_for("both", lambda: sorted(owners(hybrid).values()) == ["best", "shares"], 20.0)
    reach_each_other(hybrid.pair)
    hybrid.gateway.cli("down", FIRST)
    wait_for("one", lambda: owners(hybrid) == {SECOND: "best"}, 10.0)
    wait_for("one way back", lambda: "dev1" not in back(hybrid), 10.0)
    reach_each_other(hybrid.pair)
    hybrid.gateway.cli("up", FIRST)
    wait_for("both again", lambda: len(owners(hybrid)) == 2, 20.0)
