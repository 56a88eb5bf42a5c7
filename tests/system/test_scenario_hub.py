"""
A hub with three branches of strongSwan and BIRD: kept from each other, or not.

    host --- hub (twinspan) === branch 1, 2, 3 (charon, BIRD) --- host each
             AS 65000           AS 65001, 65002, 65003
"""

from __future__ import annotations

import json
import re

import pytest

from lab import hub, impair, probe
from lab.hub import Hub
from lab.netns import Lab
from lab.office import TUN
from tests.system.support import Since, assert_nothing_lost

pytestmark = pytest.mark.system

VPC = "10.10.0.0/24"
ALL = {f"10.{number}.0.0/16" for number in hub.NUMBERS}


@pytest.fixture(scope="module")
def made(lab: Lab) -> Hub:
    """Return the hub with every tunnel and session up."""
    return hub.build(lab)


def others(made: Hub) -> dict[str, set[str]]:
    """Return what each branch knows when none is kept from the others."""
    return {branch.name: {VPC} | (ALL - {branch.prefix}) for branch in made.branches}


def apart(made: Hub) -> set[tuple[str, str]]:
    """Return the pairs that do not reach each other."""
    return {pair for pair, answers in made.reaches().items() if not answers}


def between(*names: str) -> set[tuple[str, str]]:
    """Return the pairs of these branches."""
    return {(one, other) for one in names for other in names if one != other}


def sessions(made: Hub) -> dict[str, Since]:
    peers = made.gateway.bgp()
    return {peer["tunnel"]: Since(peer) for peer in peers}


def test_branches_are_kept_from_each_other_by_themselves(made: Hub) -> None:
    for branch in made.branches:
        assert made.knows(branch) == {VPC}
    assert apart(made) == between("branch1", "branch2", "branch3")
    assert path(made) == ("isolated", "branch1")


def path(made: Hub) -> tuple[str, str]:
    """Return what `twinspan path` says of branch 1 to branch 2, and where it says it comes from."""
    one, two = made.branches[:2]
    words = ("path", one.address, two.address, "-o", "json")
    (place,) = json.loads(made.gateway.cli(*words, check=False))["places"]
    return str(place["verdict"]), str(place["came_by"]["name"])


def test_the_switch_lets_them_reach_each_other_and_back(made: Hub) -> None:
    """Sessions stay up; traffic with the VPC loses nothing; AS paths are as they came."""
    before = sessions(made)
    first = made.branches[0]
    running = probe.start(made.cloud.host, first.host, first.address)
    made.isolate(False)
    made.wait_known(others(made))
    assert apart(made) == set()
    assert path(made) == ("carried", "branch1")
    route = first.device.bird.birdc("show", "route", "10.2.0.0/16", "all")
    assert "BGP.as_path: 65000 65002" in route
    made.isolate(True)
    made.wait_known({branch.name: {VPC} for branch in made.branches})
    assert apart(made) == between("branch1", "branch2", "branch3")
    assert sessions(made) == before
    assert_nothing_lost(running.stop())


def test_isolation_holds_for_packets_whatever_routes_the_branches_have(made: Hub) -> None:
    """Two branches route to each other by themselves; the hub has routes to both."""
    made.isolate(True)
    made.wait_known({branch.name: {VPC} for branch in made.branches})
    one, other = made.branches[:2]
    for here, there in ((one, other), (other, one)):
        here.device.machine.route(there.prefix, "dev", TUN)
    try:
        assert apart(made) == between("branch1", "branch2", "branch3")
        table = made.cloud.gateway.run("nft", "list", "table", "inet", "twinspan")
        assert sum(int(n) for n in re.findall(r"counter packets (\d+)", table)) > 0
        made.isolate(False)
        made.wait_known(others(made))
        assert apart(made) == set()
        made.isolate(True)
        made.wait_known({"branch3": {VPC}})
        assert apart(made) == between("branch1", "branch2", "branch3")
    finally:
        for here, there in ((one, other), (other, one)):
            here.device.machine.ip("route", "del", there.prefix, "dev", TUN)


def test_one_branch_is_kept_from_the_others_alone(made: Hub) -> None:
    made.isolate(False, made.branches[2])
    pair = {"branch1": {VPC, "10.2.0.0/16"}, "branch2": {VPC, "10.1.0.0/16"}, "branch3": {VPC}}
    made.wait_known(pair)
    three = between("branch1", "branch2", "branch3")
    assert apart(made) == three - between("branch1", "branch2")


def test_a_branch_that_is_lost_is_told_to_the_others_and_touches_no_other(made: Hub) -> None:
    made.isolate(False)
    made.wait_known(others(made))
    first = made.branches[0]
    running = probe.start(made.cloud.host, first.host, first.address)
    with impair.cut_off(made.branches[1].device.machine, "wan1"):
        made.wait_known({"branch1": {VPC, "10.3.0.0/16"}, "branch3": {VPC, "10.1.0.0/16"}})
    made.wait_known(others(made), 40.0)
    assert_nothing_lost(running.stop())
