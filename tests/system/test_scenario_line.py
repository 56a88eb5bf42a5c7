"""
A direct line with a VPN behind it: the line carries all, whatever the VPN's routes are.

    host a --- gw a ==== wan1, wan2 (two tunnels) ==== gw b --- host b
                   `---- line, 172.16.0.0/30, BGP ----'
               AS 65000                            AS 65001
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from lab import impair, sites, stream, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.topology import Pair, Site
from lab.twinspan import Document, Twinspan, Value, table
from tests.system.support import FIRST, reach_each_other

pytestmark = pytest.mark.system

ASNS = {"a": 65000, "b": 65001}
BFD_BOUND_MS = 1800  # 300 ms x 3 is 0.9 s; the machine does other work, too
AT_ONCE_MS = 300


def document(
    here: Site, there: Site, keys: sites.Secrets, routing: str, line: Mapping[str, Value]
) -> Document:
    """Return the document of one end: two tunnels, and the line."""
    settings: dict[str, Value] = {
        "start": "initiate" if here.name == "a" else "respond",
        "flap_damping": False,
    }
    if routing == "bgp":
        settings |= {"routing": "bgp", "local_asn": ASNS[here.name]}
    made = sites.document(here, there, keys, settings=settings)
    (connection,) = made.connections
    number = 1 if here.name == "a" else 2
    values: dict[str, Value] = {
        "name": "line",
        "border_gateway": "main",
        "customer_gateway": connection.name,
        "interface": "line",
        "address": f"172.16.0.{number}/30",
        "peer_address": f"172.16.0.{3 - number}",
        "remote_cidrs": [there.lan4],
        **line,
    }
    if values.get("routing") != "static":
        values["local_asn"] = ASNS[here.name]
    return replace(
        made,
        connections=[replace(connection, customer={"asn": ASNS[there.name]})],
        more=table("[[direct_line]]", values),
    )


@dataclass(frozen=True, slots=True)
class Network:
    """The two sites with their gateways."""

    pair: Pair
    keys: sites.Secrets
    a: Twinspan
    b: Twinspan

    @property
    def both(self) -> tuple[tuple[Site, Twinspan, Site], ...]:
        return (self.pair.a, self.a, self.pair.b), (self.pair.b, self.b, self.pair.a)

    def agree(self, vpn: str = "bgp", line: str = "bgp", more: str = "") -> None:
        """Give both ends their documents; `more` is for a alone."""
        for here, gateway, there in self.both:
            made = document(here, there, self.keys, vpn, {"routing": line})
            extra = more if here.name == "a" else ""
            gateway.write(replace(made, more=made.more + extra))
            gateway.cli("reload", "--now")

    def wait_by(self, device: str, timeout_s: float = 20.0) -> None:
        """Wait until both sites send to each other by a device."""
        for here, gateway, there in self.both:
            try:
                wait_for(f"{device} at {here.name}", partial(by, here, there, device), timeout_s)
            except LabError as error:
                raise LabError(f"{error}\n{gateway.cli('routes')}{gateway.cli('bgp')}") from error

    def wait_by_vpn(self, timeout_s: float = 20.0) -> None:
        self.wait_by(f"ts-{FIRST}", timeout_s)

    @contextmanager
    def lost_at_most(self, most_ms: float) -> Iterator[None]:
        """Check that streams in both directions go on and lose no more than that in all."""
        ends = [(one.host, one.host4) for one in (self.pair.a, self.pair.b)]
        flows = stream.both_ways(ends[0], ends[1])
        try:
            yield
        except BaseException:
            flows.kill()
            raise
        for name, seen in zip(("to b", "to a"), flows.stop(), strict=True):
            print(f"{name}: {seen.silence_ms:.0f} ms of silence, {seen.lost} ms lost")
            assert seen.goes_on
            assert seen.lost <= most_ms  # a datagram a millisecond


def by(here: Site, there: Site, device: str) -> bool:
    found = here.gateway.run("ip", "route", "get", there.host4, check=False)
    return f"dev {device} " in found


def routes(gateway: Twinspan, *options: str) -> list[dict[str, object]]:
    found = json.loads(gateway.cli("routes", "--json", *options))["routes"]
    assert isinstance(found, list)
    return found


def to_office(network: Network) -> list[dict[str, object]]:
    """Return the routes of a to the other site's hosts."""
    return [r for r in routes(network.a) if r["prefix"] == network.pair.b.lan4]


@pytest.fixture(scope="module")
def network(lab: Lab) -> Network:
    """Return both gateways with the line and the tunnels up and traffic on the line."""
    pair, keys = topology.four_machines(lab), sites.Secrets()
    lab.wire((pair.a.gateway, "line", ()), (pair.b.gateway, "line", ()))
    a, b = (
        Twinspan(here.gateway, document(here, there, keys, "bgp", {}))
        for here, there in ((pair.a, pair.b), (pair.b, pair.a))
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    made = Network(pair, keys, a, b)
    wait_for("sessions", lambda: all(all_up(one) for one in (a, b)), 30.0)
    made.wait_by("line")
    return made


def all_up(gateway: Twinspan) -> bool:
    peers = gateway.bgp()
    return len(peers) == 3 and all(peer["state"] == "established" for peer in peers)


def test_the_line_carries_all_and_the_vpn_stands_by(network: Network) -> None:
    wanted = [
        ("line", "best", "direct_line"),
        (FIRST, "standby", "vpn"),
        (sites.tunnel_name(2), "standby", "vpn"),
    ]

    def offers() -> list[tuple[object, ...]]:
        return [(r["owner"], r["standing"], r["next_hop_type"]) for r in to_office(network)]

    wait_for("all offers", lambda: offers() == wanted, 10.0)
    found = to_office(network)
    assert {r["why"] for r in found} == {"next-hop type direct line before VPN"}
    effective = routes(network.a, "--table", "effective")
    assert [r["owner"] for r in effective] == ["vpc", "line"]
    assert routes(network.a, "--table", "static") == []
    peers = {peer["name"]: peer for peer in network.a.bgp()}
    assert (peers["line"]["kind"], peers["line"]["active"]) == ("direct_line", True)
    assert not peers[FIRST]["active"]
    assert "172.16.0.1/30" in network.pair.a.gateway.ip("-o", "address", "show", "dev", "line")
    before = network.a.tunnels()[FIRST].out_packets
    reach_each_other(network.pair)
    assert network.a.tunnels()[FIRST].out_packets - before < 30  # BGP and BFD alone


def test_a_static_route_into_the_vpn_steals_no_traffic(network: Network) -> None:
    route = {"border_gateway": "main", "prefix": network.pair.b.lan4, "vpn_connection": "office"}
    with network.lost_at_most(0):
        network.agree(more=table("[[route]]", route))
        wait_for("the static route", lambda: bool(routes(network.a, "--table", "static")), 10.0)
        network.wait_by("line")
    (first, second) = routes(network.a, "--table", "static")
    assert first["why"] == second["why"] == "next-hop type direct line before VPN"
    with impair.cut_off(network.pair.b.gateway, "line"):
        network.wait_by_vpn()
        found = {r["owner"]: r for r in routes(network.a, "--table", "static")}
        assert found[FIRST]["standing"] == "best"
    network.wait_by("line", 40.0)
    network.agree()


@contextmanager
def silent(network: Network) -> Iterator[None]:
    with impair.cut_off(network.pair.b.gateway, "line"):
        yield


@contextmanager
def session_closed(network: Network) -> Iterator[None]:
    birdc(network.b, "disable line_line")
    yield
    birdc(network.b, "enable line_line")


@contextmanager
def withdrawn(network: Network) -> Iterator[None]:
    """Let b tell nothing over the line, and take nothing, with the session up."""
    conf = network.b.directory / "bird.conf"
    head, own, rest = _blocks(conf.read_text(), "protocol bgp 'line_line'")
    other = conf.with_suffix(".silent")
    quiet = own.replace("import filter {", "import filter {\n\t\t\treject;")
    quiet = quiet.replace("export filter {", "export filter {\n\t\t\treject;")
    other.write_text(head + quiet + rest)
    birdc(network.b, f'configure "{other}"')
    yield
    birdc(network.b, f'configure "{conf}"')


def _blocks(text: str, start: str) -> tuple[str, str, str]:
    at = text.index(start)
    end = text.index("\n}\n", at)
    return text[:at], text[at:end], text[end:]


@contextmanager
def shut(network: Network) -> Iterator[None]:
    network.pair.b.gateway.ip("link", "set", "line", "down")
    yield
    network.pair.b.gateway.ip("link", "set", "line", "up")


def birdc(gateway: Twinspan, words: str) -> None:
    socket = gateway.directory / "bird.sock"
    said = gateway.machine.run("/usr/sbin/birdc", "-s", str(socket), *words.split())
    assert "rror" not in said, said


Failure = Callable[[Network], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("failure", "most_ms"),
    [
        (silent, BFD_BOUND_MS),
        (session_closed, AT_ONCE_MS),
        (withdrawn, AT_ONCE_MS),
        (shut, AT_ONCE_MS),
    ],
    ids=["silent", "session-closed", "withdrawn", "port-shut"],
)
def test_traffic_moves_to_the_vpn_and_back(
    network: Network, failure: Failure, most_ms: float
) -> None:
    with network.lost_at_most(most_ms):
        with failure(network):
            network.wait_by_vpn(10.0)
            reach_each_other(network.pair)
        network.wait_by("line", 40.0)


def test_a_static_connection_stands_behind_a_line_with_bgp(network: Network) -> None:
    network.agree("static")
    network.a.wait_up()
    network.b.wait_up()
    network.wait_by("line", 40.0)

    def offers() -> set[tuple[object, ...]]:
        return {(r["owner"], r["standing"], r["origin"]) for r in to_office(network)}

    wanted = {("line", "best", "ebgp"), (FIRST, "standby", "static")}
    wait_for("both offers", lambda: wanted <= offers(), 10.0)
    found = {r["owner"]: r for r in to_office(network)}
    assert found[FIRST]["why"] == "next-hop type direct line before VPN"
    with network.lost_at_most(BFD_BOUND_MS):
        with silent(network):
            network.wait_by_vpn(10.0)
        network.wait_by("line", 40.0)


def test_a_static_line_is_left_by_bfd_and_needs_no_bgp_at_all(network: Network) -> None:
    network.agree("static", line="static")
    network.wait_by("line", 40.0)
    assert network.a.bgp() == []
    with network.lost_at_most(BFD_BOUND_MS):
        with silent(network):
            network.wait_by_vpn(10.0)
            reach_each_other(network.pair)
        network.wait_by("line", 40.0)


def test_without_a_line_its_address_and_bird_are_gone(network: Network) -> None:
    network.agree("static", line="static")
    pid = int((network.a.directory / "bird.pid").read_text())
    for here, gateway, there in network.both:
        made = document(here, there, network.keys, "static", {})
        gateway.write(replace(made, more=""))
        gateway.cli("reload", "--now")
    network.wait_by_vpn()
    reach_each_other(network.pair)
    assert "172.16.0.1" not in network.pair.a.gateway.ip("address", "show", "dev", "line")
    assert not (network.a.directory / "bird.conf").exists()
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
