"""
A customer that announces more than it may: 301 and 5,000 prefixes where 300 are taken.

    host --- gateway (twinspan) === wan1, wan2 === devices (charon, BIRD) --- router (BIRD) --- host
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from ipaddress import ip_network
from itertools import islice

import pytest

from lab import office, probe
from lab.commands import wait_for
from lab.netns import Lab
from lab.office import Device, Hybrid
from tests.system.support import FIRST, SECOND, Since, assert_nothing_lost

pytestmark = pytest.mark.system

LIMIT = 300  # what bgp_prefix_limit is by itself


@pytest.fixture(scope="module")
def hybrid(lab: Lab) -> Hybrid:
    """Return the two sites; the office may announce many prefixes."""
    return office.hybrid(lab, settings={"remote_cidrs": ["10.20.0.0/16", "10.64.0.0/10"]})


def announce(hybrid: Hybrid, count: int) -> None:
    """Make the office's router announce so many prefixes, that of its hosts among them."""
    lan = hybrid.office.site.lan4
    more = ip_network("10.64.0.0/10").subnets(new_prefix=24)
    router = hybrid.office.router
    router.configure(replace(router.speaker, announced=[lan, *map(str, islice(more, count - 1))]))
    for device in hybrid.office.devices:
        told = partial(tells, device, count)
        wait_for(f"{count} prefixes at {device.machine.name}", told, 20.0, every_s=0.1)


def tells(device: Device, count: int) -> bool:
    sessions = device.bird.sessions()
    return next(one for name, one in sessions.items() if name != "office").exported == count


def peers(hybrid: Hybrid) -> Mapping[str, Mapping[str, object]]:
    listed = hybrid.gateway.bgp()
    return {peer["tunnel"]: peer for peer in listed}


def learned(hybrid: Hybrid) -> list[object]:
    return [peer["imported"] for peer in peers(hybrid).values()]


def over_limit(hybrid: Hybrid) -> list[str]:
    return [name for name, peer in peers(hybrid).items() if peer["limit_hit"]]


def kernel_routes(hybrid: Hybrid) -> int:
    return len(hybrid.cloud.gateway.ip("route", "show", "proto", "bird").splitlines())


def _limits(hybrid: Hybrid) -> set[str]:
    """Return the tunnels whose last event of a limit is that it was reached."""
    last: dict[str, str] = {}
    for event in hybrid.gateway.events():
        resource = event["resource"]
        if isinstance(resource, dict) and str(event["code"]).startswith("bgp_prefix_limit"):
            last[str(resource["name"])] = str(event["code"])
    return {name for name, code in last.items() if code == "bgp_prefix_limit"}


@pytest.mark.parametrize("count", [LIMIT + 1, 5000])
def test_what_is_over_the_limit_is_left_out_and_told_and_nothing_else_happens(
    hybrid: Hybrid, count: int
) -> None:
    before = {name: Since(peer) for name, peer in peers(hybrid).items()}
    site = hybrid.office.site
    running = probe.start(hybrid.cloud.host, site.host, site.host4)
    announce(hybrid, count)
    wait_for("the limit", lambda: learned(hybrid) == [LIMIT, LIMIT], 10.0, every_s=0.1)
    for name in (FIRST, SECOND):
        peer = peers(hybrid)[name]
        assert (peer["state"], peer["limit_hit"], peer["bfd"]) == ("established", True, "up")
        assert Since(peer) == before[name]
        told = f"{name}: the peer announces more than bgp_prefix_limit {LIMIT}"
        assert told in hybrid.gateway.cli("bgp")
    wait_for("the events", lambda: _limits(hybrid) == {FIRST, SECOND}, 10.0)
    assert kernel_routes(hybrid) == LIMIT
    assert_nothing_lost(running.stop())

    announce(hybrid, 1)
    wait_for("what is announced", lambda: learned(hybrid) == [1, 1], 20.0, every_s=0.1)
    wait_for("the limit's end", lambda: not over_limit(hybrid), 10.0, every_s=0.1)
    announce(hybrid, LIMIT)
    wait_for("all that is allowed", lambda: learned(hybrid) == [LIMIT, LIMIT], 20.0, every_s=0.1)
    announce(hybrid, 1)
    wait_for("the kernel", lambda: kernel_routes(hybrid) == 1, 10.0)
