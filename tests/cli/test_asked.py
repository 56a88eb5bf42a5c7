"""`twinspan routes` and `trace --last` of a fleet; a real control process without its nodes."""

from __future__ import annotations

import pytest

from gateway.cli.remote.asked import negotiation, routes_of_fleet
from gateway.cli.remote.contexts import Context
from gateway.cli.remote.http import Api, Query
from gateway.cli.remote.nouns import Json
from gateway.cli.routing import routes_lines
from gateway.cli.trace import chart_lines
from gateway.routing.tables import Table
from tests.cli.control_process import Control


def test_nodes_that_do_not_report_are_named(plane: Control) -> None:
    assert plane.done("routes", "--fleet") == "no routes\n"
    plane.done("bgw", "create", "main")
    assert plane.done("routes", "--border-gateway", "main", "--fleet") == "no routes\n"
    plane.done("cgw", "create", "office", "--public-addresses", "203.0.113.50", "--asn", "65001")
    words = ("--border-gateway", "main", "--customer-gateway", "office", "--routing", "bgp")
    plane.done("connection", "create", "office", *words, "--remote-cidrs", "10.0.0.0/16")
    refused = plane.run("routes", "--fleet")
    assert refused.exit_code == 3
    assert "node gw-a does not report, so it can not be asked" in refused.stderr
    refused = plane.run("trace", "office-1", "--last", "--fleet")
    assert refused.exit_code == 3
    assert "does not report" in refused.stderr
    assert plane.run("routes", "--border-gateway", "none", "--fleet").exit_code == 4


class Answers(Api):
    """An API that has these answers, by path and query."""

    def __init__(self, answers: dict[str, Json]) -> None:
        super().__init__(Context("unix:/nowhere"))
        self._answers = answers
        self.asked: list[tuple[str, object]] = []

    def get(self, path: str, query: Query | None = None) -> Json:
        self.asked.append((path, query))
        return self._answers[path]


@pytest.fixture
def api() -> Answers:
    route: Json = {
        **{key: "x" for key in ("next_hop_type", "origin", "as_path", "why", "standing")},
        **{"prefix": "10.0.0.0/8", "owner": "tun-aaaaaaaaaa", "owner_name": "office-1"},
        **{"border_gateway": "bgw-aaaaaaaaaa", "next_hops": ["tun1"]},
    }
    line: Json = {"kind": "state", "at": "2026-11-25T19:00:00.250Z", "text": "up", "times": 1}
    return Answers(
        {
            "/v1/border-gateways/bgw-aaaaaaaaaa": {"id": "bgw-aaaaaaaaaa", "name": "main"},
            "/v1/border-gateways/bgw-aaaaaaaaaa/routes": {
                "routes": [route],
                "notes": ["node gw-b does not report"],
                "left_off": 3,
            },
            "/v1/vpn-tunnels/tun-aaaaaaaaaa": {"id": "tun-aaaaaaaaaa"},
            "/v1/vpn-tunnels/tun-aaaaaaaaaa/negotiation": {"lines": [line]},
        }
    )


def test_routes_have_the_names_of_people_and_what_is_missing_is_said(api: Answers) -> None:
    answer = routes_of_fleet(api, Table.STATIC, "bgw-aaaaaaaaaa")
    assert api.asked[-1] == ("/v1/border-gateways/bgw-aaaaaaaaaa/routes", {"table": "static"})
    _, row, *rest = routes_lines(answer, colours=False)
    assert row.split()[:5] == ["10.0.0.0/8", "x", "x", "x", "office-1"]
    assert rest == ["node gw-b does not report", "and 3 routes more: ask for one table"]


def test_a_negotiation_of_a_fleet_is_the_same_chart(api: Answers) -> None:
    lines = negotiation(api, "tun-aaaaaaaaaa")["lines"]
    assert isinstance(lines, list)
    (line,) = chart_lines(lines[0], brief=False)
    assert line.endswith(".250 |     | up")
