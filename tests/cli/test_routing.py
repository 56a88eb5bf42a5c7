"""The tables of `twinspan bgp` and `twinspan routes`."""

from __future__ import annotations

import pytest
import typer

from gateway.cli.client import Json
from gateway.cli.routing import bgp_lines, chosen, routes_lines
from gateway.routing.tables import Table

PEER: Json = {
    "name": "office-1",
    "border_gateway": "main",
    "remote": "169.254.11.2",
    "asn": 65010,
    "state": "established",
    "active": True,
    "bfd": "up",
    "since": "2026-11-22 08:23:30.117",
    "imported": 5,
    "refused": 2,
    "exported": 1,
    "error": "",
    "limit_hit": True,
    "prefix_limit": 300,
}
BIRD = {"namespace": "", "pid": 1234, "error": ""}
SILENT = {**BIRD, "error": "no BIRD answers"}


def test_sessions_are_a_table_and_a_reached_limit_is_said() -> None:
    head, row, limit = bgp_lines(
        {"birds": [BIRD], "peers": [PEER], "static_lines": []}, colours=False
    )
    assert head.split() == [
        *("NAME", "PEER", "AS", "BGP", "BFD", "SINCE"),
        *("LEARNED", "REFUSED", "ANNOUNCED", "LAST", "ERROR"),
    ]
    assert row.split() == [
        *("office-1", "169.254.11.2", "65010", "established*", "up"),
        *("2026-11-22", "08:23:30", "5", "2", "1"),
    ]
    assert limit == (
        "office-1: the peer announces more than bgp_prefix_limit 300: the rest is left out"
    )


def test_no_sessions_and_no_bird_are_said_in_words() -> None:
    assert bgp_lines({"birds": [], "peers": [], "static_lines": []}, colours=False) == [
        'no connection has routing = "bgp", and there is no direct line'
    ]
    (line,) = bgp_lines({"birds": [SILENT], "peers": [], "static_lines": []}, colours=False)
    assert line == "the state of BGP is not known: no BIRD answers"


def test_a_static_line_has_a_row_without_a_session() -> None:
    line = {
        "name": "line",
        "border_gateway": "main",
        "remote": "172.16.0.2",
        "bfd": "up",
        "active": True,
    }
    answer: Json = {"birds": [BIRD], "peers": [], "static_lines": [line]}
    _, row = bgp_lines(answer, colours=False)
    assert row.split() == ["line", "172.16.0.2", "static*", "up"]


def route(**values: object) -> Json:
    return {
        "prefix": "10.20.0.0/16",
        "border_gateway": "main",
        "standing": "standby",
        "next_hop_type": "vpn",
        "origin": "ebgp",
        "owner": "office-2",
        "next_hops": ["169.254.12.2 ts-office-2"],
        "as_path": "65010",
        "why": "preference 100 before 101",
        **values,
    }


def test_routes_show_what_became_of_them_and_why() -> None:
    head, row = routes_lines({"routes": [route()]}, colours=True)
    assert head.split()[0] == "PREFIX"
    assert "10.20.0.0/16  standby  vpn   ebgp    office-2" in row
    assert row.endswith("65010    preference 100 before 101")
    assert routes_lines({"routes": []}, colours=False) == ["no routes"]


def test_people_see_the_names_that_they_gave() -> None:
    """Of a fleet, names in the document are ids."""
    named = {"title": "paris-1", "border_gateway_title": "Europe"}
    answer: Json = {
        "birds": [BIRD],
        "peers": [{**PEER, **named}, {**PEER, "border_gateway": "blue"}],
        "static_lines": [],
    }
    _, first, second, limit, _ = bgp_lines(answer, colours=False)
    assert first.startswith("Europe          paris-1   169.254.11.2")
    assert second.startswith("blue            office-1  169.254.11.2")
    assert limit.startswith("paris-1: the peer announces more")
    mine = route(owner_title="paris-2", border_gateway_title="Europe")
    found: Json = {"routes": [mine, route(border_gateway="b")]}
    _, own, other = routes_lines(found, colours=False)
    assert other.split()[:2] == ["b", "10.20.0.0/16"]
    assert own.split()[:2] == ["Europe", "10.20.0.0/16"]
    assert "office-2" in other.split()
    assert "paris-2" in own.split()
    assert [chosen(found, None, name)["routes"] for name in ("Europe", "main")] == [[mine]] * 2


def test_a_border_gateway_that_is_none_is_told_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """ "no routes" was all that was said of a slip of the pen."""
    there = [{"name": "blue", "title": ""}, {"name": "main", "title": "Europe"}]
    answer: Json = {"routes": [route()], "border_gateways": there}
    assert chosen(answer, None, "blue")["routes"] == []
    with pytest.raises(typer.Exit):
        chosen(answer, None, "mian")
    said = "no Border Gateway is named 'mian'; there are: blue, main (Europe)"
    assert said in capsys.readouterr().err


def test_several_border_gateways_have_their_routes_together() -> None:
    found = [route(), route(border_gateway="b"), route(owner="office-1")]
    head, *rows = routes_lines({"routes": found}, colours=False)
    assert head.startswith("BORDER GATEWAY")
    assert [row.split()[0] for row in rows] == ["b", "main", "main"]


@pytest.mark.parametrize(
    ("table", "owners"),
    [
        (None, ["vpc", "line", "office-1", "office-2"]),
        (Table.STATIC, ["office-1"]),
        (Table.PROPAGATED, ["vpc", "line", "office-2"]),
        (Table.EFFECTIVE, ["vpc", "line"]),
    ],
)
def test_a_table_is_a_part_of_all_routes(table: Table | None, owners: list[str]) -> None:
    found = [
        route(owner="vpc", origin="propagated", standing="best"),
        route(owner="line", standing="shares"),
        route(owner="office-1", origin="static"),
        route(),
    ]
    routes = chosen({"routes": found}, table, "main")["routes"]
    assert isinstance(routes, list)
    assert [one["owner"] for one in routes] == owners
    assert chosen({"routes": found}, table, "other")["routes"] == []


def test_several_border_gateways_are_named_in_front() -> None:
    answer: Json = {
        "static_lines": [],
        "birds": [BIRD],
        "peers": [PEER, {**PEER, "border_gateway": "blue"}],
    }
    head, *rows, _, _ = bgp_lines(answer, colours=False)
    assert head.split()[:3] == ["BORDER", "GATEWAY", "NAME"]
    assert [row.split()[0] for row in rows] == ["main", "blue"]
