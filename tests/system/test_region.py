"""
Two of our Border Gateways, joined from two bare documents by `twinspan link`.

    vpc host --- west ==== wan1, wan2 ==== east --- vpc host
                 AS 65000                  AS 65010
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import impair, region, stream
from lab.commands import LabError
from lab.netns import Lab
from lab.region import CONNECTION, Region
from tests.system.support import reach_each_other, wait_status

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def both(lab: Lab) -> Region:
    """Return the two gateways, which run and are not joined."""
    return region.build(lab)


@pytest.fixture
def static(both: Region) -> Iterator[Region]:
    """Return them joined by static routes, for one test."""
    both.link("--routing", "static")
    yield both
    both.part()


@pytest.fixture
def bgp(both: Region) -> Iterator[Region]:
    """Return them joined as the command does it by itself, for one test."""
    both.link()
    yield both
    both.part()


def test_static_routes_join_two_regions(static: Region) -> None:
    for gateway in static.gateways:
        gateway.wait_up()
    reach_each_other(static.pair)
    static.wait_by(1)
    static.west.cli("down", f"{CONNECTION}-1")
    wait_status(static.east, f"{CONNECTION}-1", "down")
    static.wait_by(2)
    reach_each_other(static.pair)


def test_bgp_joins_two_regions_and_leaves_a_silent_path_within_a_second(bgp: Region) -> None:
    for gateway in bgp.gateways:
        gateway.wait_up()
    bgp.wait_sessions()
    bgp.wait_by(1)
    reach_each_other(bgp.pair)
    a, b = bgp.pair.a, bgp.pair.b
    flows = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    with impair.cut_off(b.gateway, "wan1"):
        bgp.wait_by(2)
        reach_each_other(bgp.pair)
    bgp.wait_by(1)
    bgp.wait_sessions()
    for name, seen in zip(("to the east", "to the west"), flows.stop(), strict=True):
        print(f"path cut, {name}: {seen.silence_ms:.0f} ms of silence, {seen.lost} lost")
        assert seen.goes_on
        assert seen.silence_ms <= 1000


def test_a_second_link_is_refused_while_they_run(static: Region) -> None:
    before = static.west.config.read_text()
    with pytest.raises(LabError, match="already, by vpn_connection west-east"):
        static.link("--name", "again")
    assert static.west.config.read_text() == before
