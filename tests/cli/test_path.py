"""`twinspan path` against a gateway process whose peers never answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.flow import path_lines
from gateway.cli.output import Json
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import Running

pytestmark = pytest.mark.system

HOST, FAR = "10.10.0.5", "10.20.1.1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with a VPC Attachment; both tunnels stay down."""
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        ip("link add eth1 type veth peer name vpc")
        for command in ("addr add 10.10.0.1/16 dev eth1", "link set eth1 up", "link set vpc up"):
            ip(command)
        with process.gateway(tmp_path_factory.mktemp("gw"), "--in-process") as one:
            yield one


def path(running: Running, *words: str) -> Result:
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    return CliRunner().invoke(app, ["path", *words], env=environment)


def test_where_all_tunnels_are_down_each_says_why(running: Running) -> None:
    shown = path(running, HOST, FAR, "--proto", "tcp", "--dport", "443")
    assert shown.exit_code == 1
    first, *_, last = shown.output.splitlines()
    assert first == "10.10.0.5 to 10.20.1.1, tcp, port * to 443"
    assert last.startswith("fail_closed: no tunnel with a route for it carries traffic: ")
    assert "office-1 is down: waiting_for_peer: the peer is to begin; office-2 is down" in last
    assert "choice    10.20.0.0/16 by office-1: down: the tunnel is down" in shown.output


def test_a_flow_into_the_vpc_names_the_attachment(running: Running) -> None:
    answer = json.loads(path(running, "192.0.2.1", HOST, "-o", "json").output)
    (place,) = answer["places"]
    assert (place["verdict"], place["leaves_by"]["name"]) == ("carried", "vpc")
    assert place["route"] == {
        **{"prefix": "10.10.0.0/16", "metric": 0, "by": "kernel", "kind": "unicast"},
        "table": 254,
    }
    assert path(running, "192.0.2.1", HOST, "-o", "name").output == "vpc\n"


def test_what_nothing_carries_is_no_route_where_the_kernel_forwards(running: Running) -> None:
    assert "not_forwarded: the kernel does not forward" in path(running, HOST, "8.8.8.8").output
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    assert "no_route: nothing here" in path(running, HOST, "8.8.8.8").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["10.10.0.5", "::1"], "10.10.0.5 and ::1 are of two IP versions"),
        (["host", FAR], "source is 'host', must be an IP address"),
        ([HOST, FAR, "--dport", "5"], "ports are of TCP and UDP alone"),
        ([HOST, FAR, "--proto", "icmp", "--dport", "5"], "ports are of TCP and UDP alone"),
        ([HOST, FAR, "--proto", "wire"], "'wire' is none of icmp, tcp, udp"),
        ([HOST, FAR, "--border-gateway", "x"], "no border gateway with tunnels is named 'x'"),
    ],
)
def test_a_flow_that_makes_no_sense_is_refused_in_words(
    running: Running, words: list[str], said: str
) -> None:
    refused = path(running, *words)
    assert refused.exit_code in (1, 2)
    assert said in refused.output


def test_next_hops_that_share_a_route_are_shown_with_the_one_that_is_picked() -> None:
    way = {"kind": "vpn_tunnel", "via": "", "carrier": True}
    hops = [
        {**way, "interface": "ts-a", "name": "a", "weight": 1, "picked": False},
        {**way, "interface": "ts-b", "name": "b", "weight": 1, "picked": True},
    ]
    place: Json = {
        "namespace": "red",
        "border_gateways": ["main"],
        "came_by": None,
        "route": {"prefix": "10.20.0.0/16", "metric": 5, "by": "bird", "kind": "unicast"},
        "next_hops": hops,
        "picked_by": "addresses and ports",
        "candidates": [],
        "leaves_by": hops[1],
        "tunnel": None,
        "selectors": None,
        "verdict": "carried",
        "why": "by ts-b",
    }
    flow = {"source": HOST, "destination": FAR, "protocol": 132}
    answer: Json = {**flow, "source_port": 0, "destination_port": 0, "places": [place]}
    lines = path_lines(answer, colours=False)
    assert lines[0] == "10.10.0.5 to 10.20.1.1, protocol 132"
    assert "  in        main, namespace red" in lines
    assert "  shared    ts-a (vpn_tunnel a) weight 1" in lines
    assert "  shared    ts-b (vpn_tunnel b) weight 1, picked by addresses and ports" in lines
