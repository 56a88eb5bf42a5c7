"""
What the node itself does of routing, and reports of it: static connections, and what fails closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.dataplane.plane import LocalPlane
from gateway.node.netlink import Route
from gateway.node.plan import plan
from gateway.node.routes import FAIL_CLOSED_METRIC
from gateway.node.routing import RoutingReport
from gateway.routing.process import HERE
from gateway.routing.routers import Routers
from tests.model.test_mistakes_lines import LINE, ONE, line
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

RESPOND = ((*CONNECTION, "start"), "respond")
BGP = ((*CONNECTION, "routing"), "bgp")
CLOSED = Route(ip_network("10.20.0.0/16"), FAIL_CLOSED_METRIC, None)


@pytest.fixture
async def gw(network: None) -> AsyncIterator[Parts]:
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")
    with LocalPlane(1) as plane, parts(plane) as made:
        yield made


@pytest.fixture
def report(gw: Parts, tmp_path: Path) -> RoutingReport:
    """Return the report of a router that has no BGP to do."""
    return RoutingReport(Routers(tmp_path, gw.journal, lambda _: HERE), gw.reconciler, gw.tunnels)


async def test_static_routes_are_reported_with_their_tunnels(
    gw: Parts, report: RoutingReport
) -> None:
    gw.reconciler.apply(plan(document(RESPOND)))
    answer = await report.routes()
    routes = answer["routes"]
    assert isinstance(routes, list)
    assert [(one["prefix"], one["owner"], one["standing"], one["why"]) for one in routes] == [
        ("10.20.0.0/16", "office-1", "down", "the tunnel is down"),
        ("10.20.0.0/16", "office-2", "down", "the tunnel is down"),
    ]
    assert await report.bgp() == {"birds": [], "peers": [], "static_lines": []}
    assert report.of_tunnel("office-1") is None
    assert report.chosen == frozenset()


async def test_routes_are_reported_with_the_names_that_people_know(
    gw: Parts, report: RoutingReport
) -> None:
    titles = (
        (("border_gateway", 0, "title"), "Europe"),
        (("vpn_connection", 0, "tunnel", 1, "title"), "Paris-2"),
    )
    gw.reconciler.apply(plan(document(RESPOND, *titles)))
    routes = (await report.routes())["routes"]
    assert isinstance(routes, list)
    assert [(one["owner"], one["owner_title"], one["border_gateway_title"]) for one in routes] == [
        ("office-1", "", "Europe"),
        ("office-2", "Paris-2", "Europe"),
    ]
    shown = (await report.routes(most=1))["routes"]
    assert isinstance(shown, list)
    assert not shown[0].keys() & {"owner_title", "border_gateway_title"}


async def test_with_bgp_only_the_route_that_fails_closed_is_the_nodes(gw: Parts) -> None:
    gw.reconciler.apply(plan(document(RESPOND)))
    assert len(gw.kernel.routes()) == 3
    change = gw.reconciler.apply(plan(document(RESPOND, BGP)))
    assert [one.new.name for one in change.changed] == ["office-1", "office-2"]
    assert gw.kernel.routes() == {CLOSED}
    gw.reconciler.apply(plan(document(RESPOND)))
    assert len(gw.kernel.routes()) == 3


async def test_lines_are_told_from_the_plan_on_before_bird_knows_them(
    gw: Parts, report: RoutingReport
) -> None:
    assert report.neighbours() == []
    told = []
    for edits in ((), (((*LINE, "bfd"), "off"),), (((*LINE, "routing"), "static"),)):
        gw.reconciler.plan = plan(document(RESPOND, ONE, *line(bfd="300x3"), *edits))
        (found,) = report.neighbours()
        assert (found["name"], found["kind"]) == ("line", "direct_line")
        told.append((found["established"], found["bfd_up"]))
    assert told == [(False, False), (False, None), (None, False)]
