"""
Two of our gateways with BGP and BFD over both tunnels.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
               AS 65000                              AS 65001
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from lab import impair, probe, sites, stream, topology
from lab.commands import LabError, wait_for
from lab.netns import Lab
from lab.topology import Pair, Site
from lab.twinspan import Document, Twinspan, Value
from tests.system.support import (
    FIRST,
    SECOND,
    Since,
    assert_nothing_lost,
    reach_each_other,
    silences_ms,
    wait_status,
)

pytestmark = pytest.mark.system

ASNS = {"a": 65000, "b": 65001}
Json = Mapping[str, object]


def document(
    here: Site, there: Site, keys: sites.Secrets, settings: Mapping[str, Value]
) -> Document:
    """Return the document of `here` with BGP toward `there`."""
    mine, theirs = ASNS[here.name], ASNS[there.name]
    # The same tunnel fails more often here than damping forgives.
    bgp: dict[str, Value] = {"routing": "bgp", "local_asn": mine, "flap_damping": False}
    made = sites.document(here, there, keys, settings={**bgp, **settings})
    (connection,) = made.connections
    return replace(made, connections=[replace(connection, customer={"asn": theirs})])


@dataclass(frozen=True, slots=True)
class Network:
    """The two sites with their gateways."""

    pair: Pair
    a: Twinspan
    b: Twinspan

    @property
    def both(self) -> tuple[tuple[Site, Twinspan, Site], ...]:
        return (self.pair.a, self.a, self.pair.b), (self.pair.b, self.b, self.pair.a)

    def wait_by(self, number: int, timeout_s: float = 20.0) -> None:
        """Wait until both sites send through that tunnel."""
        for here, gateway, there in self.both:
            wait_for(
                f"{here.name} to send by tunnel {number}",
                partial(goes_by, here, there, number),
                timeout_s,
            )
            assert gateway.is_alive

    def wait_sessions(self, timeout_s: float = 30.0) -> None:
        """Wait until all BGP and BFD sessions are up."""
        for _, gateway, _ in self.both:
            try:
                wait_for("sessions", partial(all_up, gateway), timeout_s)
            except LabError as error:
                raise LabError(f"{error}\n{gateway.cli('bgp')}\n{bird_log(gateway)}") from error


def peers(gateway: Twinspan) -> dict[str, Json]:
    return {peer["tunnel"]: peer for peer in gateway.bgp()}


def all_up(gateway: Twinspan) -> bool:
    found = peers(gateway)
    return bool(found) and all(
        peer["state"] == "established" and peer["bfd"] == "up" for peer in found.values()
    )


def tells_of_the_loss(gateway: Twinspan) -> bool:
    log = gateway.cli("log")
    return "bgp down" in log or "bgp restarted" in log


def bird_log(gateway: Twinspan) -> str:
    file = gateway.directory / "bird.log"
    return file.read_text()[-3000:] if file.exists() else "no log of BIRD"


def bird_pid(gateway: Twinspan) -> int:
    """Return the pid of the gateway's BIRD, 0 while it writes its file."""
    file = gateway.directory / "bird.pid"
    return int(file.read_text() or 0) if file.exists() else 0


def lost_ms(seen: probe.Result) -> float:
    """Return the time of the probes that were lost; a busy machine delays some but loses none."""
    return len(seen.lost) * seen.period_ms


def runs(pid: int) -> bool:
    """Return whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kernel_route(here: Site, there: Site) -> str:
    return here.gateway.ip("route", "show", there.lan4, "proto", "bird")


def goes_by(here: Site, there: Site, number: int) -> bool:
    """Return whether the kernel's route to the other site goes by that tunnel now."""
    found = here.gateway.run("ip", "route", "get", there.host4, check=False)
    return f"dev ts-{sites.tunnel_name(number)} " in found


@pytest.fixture(scope="module")
def network(lab: Lab) -> Network:
    """Return both gateways with all sessions up and traffic on the first tunnel."""
    pair, keys = topology.four_machines(lab), sites.Secrets()
    a, b = (
        Twinspan(here.gateway, document(here, there, keys, {"start": start}))
        for here, there, start in ((pair.a, pair.b, "initiate"), (pair.b, pair.a, "respond"))
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    made = Network(pair, a, b)
    made.wait_sessions()
    made.wait_by(1)
    return made


def test_lan_reaches_lan_by_learned_routes(network: Network) -> None:
    for here, _, there in network.both:
        assert "metric 200000" in kernel_route(here, there)
        # The node has no route of its own, but the one that fails closed.
        own = here.gateway.ip("route", "show", there.lan4, "proto", "85")
        assert own.split()[0] == "unreachable"
        assert len(own.splitlines()) == 1
    reach_each_other(network.pair)


def test_commands_show_sessions_and_why_a_route_won(network: Network) -> None:
    found = peers(network.a)
    assert (found[FIRST]["asn"], found[FIRST]["imported"], found[FIRST]["exported"]) == (
        65001,
        1,
        1,
    )
    assert (found[FIRST]["active"], found[SECOND]["active"]) == (True, False)
    assert found[FIRST]["bfd_wanted"] == "300x3"
    routes = network.a.routes()
    by_owner = {route["owner"]: route for route in routes}
    assert by_owner[FIRST]["standing"] == "best"
    assert by_owner[SECOND]["why"] == "preference 100 before 101"
    assert by_owner["vpc"]["next_hop_type"] == "vpc_attachment"
    assert "established, bfd up, 1 in, 1 out" in network.a.cli("status")
    assert "preference 100 before 101" in network.a.cli("routes")
    wait_for("the mark", lambda: "established*" in network.a.cli("bgp"), 5.0)


def test_a_silent_path_is_left_by_bfd_and_taken_again(network: Network) -> None:
    """BFD 300 ms x 3 is 0.9 s; the bound leaves room for a machine that does other work."""
    running = probe.start(network.pair.a.host, network.pair.b.host, network.pair.b.host4)
    with impair.cut_off(network.pair.b.gateway, "wan1"):
        network.wait_by(2, 10.0)
        reach_each_other(network.pair)
        wait_for("a failover", lambda: silences_ms(network.a) != [], 10.0)
    network.wait_by(1, 40.0)
    network.wait_sessions()
    seen = running.stop()
    (own,) = silences_ms(network.a)
    assert 500 < own < 2000, "by BIRD's own stamp, not by when it was asked"
    told = f"{seen.silence_ms:.0f} ms of silence, {own:.0f} by its own account"
    print(f"BFD 300x3, path cut: {told}, {lost_ms(seen):.0f} ms lost")
    assert seen.goes_on
    assert 500 < lost_ms(seen) < 2000
    # Down, or down and up again between two looks.
    wait_for("the log", partial(tells_of_the_loss, network.a), 40.0, every_s=1.0)


def test_a_lost_carrier_moves_traffic_at_once(network: Network) -> None:
    running = probe.start(network.pair.a.host, network.pair.b.host, network.pair.b.host4)
    network.a.cli("down", FIRST, "--now")
    network.wait_by(2, 10.0)
    wait_status(network.b, FIRST, "down")
    reach_each_other(network.pair)
    network.a.cli("up", FIRST)
    wait_status(network.b, FIRST, "up")
    network.wait_by(1, 40.0)
    network.wait_sessions()
    seen = running.stop()
    print(f"carrier lost: {seen.silence_ms:.0f} ms of silence, {lost_ms(seen):.0f} ms lost")
    assert seen.goes_on
    assert lost_ms(seen) < 200


def test_a_killed_bird_stops_nothing_that_leaves_us(network: Network) -> None:
    """Our routes stay in the kernel, and the peer takes what comes while it has no route to us."""
    a, b = network.pair.a, network.pair.b
    pid, route = bird_pid(network.a), kernel_route(a, b)
    there = stream.start(a.host, b.host, b.host4, port=7017)
    back = stream.start(b.host, a.host, a.host4, port=7018)
    os.kill(pid, signal.SIGKILL)
    assert kernel_route(a, b) == route
    wait_for("another BIRD", lambda: bird_pid(network.a) not in (0, pid), 10.0)
    network.wait_sessions()
    assert kernel_route(a, b) == route
    outward, inward = there.stop(), back.stop()
    print(f"BIRD killed: inward {inward.silence_ms:.0f} ms of silence, {inward.lost} lost")
    assert outward.lost == 0
    assert inward.goes_on
    assert inward.silence_ms < 2500
    assert "bird ended" in network.a.cli("log")


def test_a_lost_data_plane_comes_back_with_its_sessions(network: Network) -> None:
    """Its TUN devices stay: the sessions do too, unless the machine stood still meanwhile."""
    pid, devices = bird_pid(network.a), links(network.a)
    (plane,) = set(network.a.pids()) - {network.a.pid}
    os.kill(plane, signal.SIGKILL)
    wait_for("another", lambda: set(network.a.pids()) - {network.a.pid, plane}, 10.0)
    # Nobody answers until the gateway has begun again.
    wait_for("the gateway", network.a.answers, 20.0)
    network.a.wait_up(timeout_s=40.0)
    network.wait_sessions(40.0)
    network.wait_by(1)
    assert bird_pid(network.a) == pid
    assert links(network.a) == devices
    reach_each_other(network.pair)


def links(gateway: Twinspan) -> list[str]:
    """Return each TUN device with its index: one made anew has another."""
    lines = gateway.machine.ip("-o", "link").splitlines()
    return sorted(" ".join(line.split()[:2]) for line in lines if " ts-" in line)


def test_bird_and_traffic_go_on_when_the_gateway_process_restarts(network: Network) -> None:
    pid, since = bird_pid(network.a), Since(peers(network.a)[FIRST])
    running = probe.start(network.pair.a.host, network.pair.b.host, network.pair.b.host4)
    network.a.stop()
    network.a.start()
    network.a.wait_up()
    network.wait_sessions()
    assert bird_pid(network.a) == pid
    assert Since(peers(network.a)[FIRST]) == since
    assert_nothing_lost(running.stop())


def test_a_reload_that_adds_a_static_route_leaves_sessions_alone(network: Network) -> None:
    before = peers(network.a)
    text = network.a.config.read_text()
    route = (
        '\n[[route]]\nborder_gateway = "main"\nprefix = "10.77.0.0/16"\nvpn_connection = "office"\n'
    )
    try:
        network.a.config.write_text(text + route)
        network.a.cli("reload")
        wait_for(
            "the static route",
            lambda: (
                "dev ts-office-1"
                in network.pair.a.gateway.ip("route", "show", "10.77.0.0/16", "proto", "bird")
            ),
            10.0,
        )
        after = peers(network.a)
        for name in (FIRST, SECOND):
            assert Since(after[name]) == Since(before[name])
        routes = network.a.routes()
        static = [route for route in routes if route["prefix"] == "10.77.0.0/16"]
        assert [(one["origin"], one["standing"], one["owner"]) for one in static] == [
            ("static", "best", FIRST),
            ("static", "standby", SECOND),
        ]
    finally:
        network.a.config.write_text(text)
        network.a.cli("reload")
    wait_for(
        "the static route to go",
        lambda: network.pair.a.gateway.ip("route", "show", "10.77.0.0/16") == "",
        5.0,
    )


def test_no_clear_text_leaves_when_every_tunnel_is_down(network: Network) -> None:
    for name in (FIRST, SECOND):
        network.a.cli("down", name, "--now")
    wait_for(
        "BIRD's route to go",
        lambda: kernel_route(network.pair.a, network.pair.b) == "",
        10.0,
    )
    with pytest.raises(LabError, match="No route to host"):
        network.pair.a.gateway.ip("route", "get", network.pair.b.host4)
    for name in (FIRST, SECOND):
        network.a.cli("up", name)
    network.wait_by(1, 40.0)


def test_without_bgp_bird_ends_and_stop_leaves_nothing(network: Network) -> None:
    pid = bird_pid(network.a)
    network.a.write(
        sites.document(network.pair.a, network.pair.b, sites.Secrets(), settings={"admin": "down"})
    )
    network.a.cli("reload")
    assert not runs(pid)
    assert network.pair.a.gateway.ip("route", "show", "proto", "bird") == ""
    other = bird_pid(network.b)
    network.b.end()
    assert not runs(other)
    assert network.pair.b.gateway.ip("route", "show", "proto", "bird") == ""
