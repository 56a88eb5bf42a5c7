"""
Static connections watched by probes (F4): the path counts, not the keys.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b

IKE liveness is set so late that nothing here is its doing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import pytest

from lab import impair, sites, stream, topology
from lab.commands import wait_for
from lab.netns import Lab, Namespace
from lab.topology import Pair
from lab.twinspan import Twinspan, Value
from tests.system.support import FIRST, SECOND, ping, reach_each_other, silences_ms

pytestmark = pytest.mark.system

SETTINGS: Mapping[str, Value] = {
    "liveness_s": 600,
    "probe": "200x3",
    "measure_s": 1.0,
    "flap_damping": False,  # the tests of this file cut the same path again and again
}
SILENCE_MS = 1000.0  # what is promised


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites."""
    return topology.four_machines(lab)


@pytest.fixture(scope="module")
def gateways(pair: Pair) -> tuple[Twinspan, Twinspan]:
    """Return our two gateways with both tunnels up and answered."""
    keys = sites.Secrets()
    a, b = (
        Twinspan(
            here.gateway,
            sites.document(here, there, keys, settings={**SETTINGS, "start": start}),
        )
        for here, there, start in (
            (pair.a, pair.b, "initiate"),
            (pair.b, pair.a, "respond"),
        )
    )
    b.start()
    a.start()
    a.wait_up()
    b.wait_up()
    wait_healthy(a, b)
    return a, b


def probe_of(gateway: Twinspan, tunnel: str) -> Mapping[str, object]:
    found = gateway.tunnels()[tunnel].raw["probe"]
    assert isinstance(found, dict)
    return found


def trip_of(gateway: Twinspan, side: str, tunnel: str = FIRST) -> Mapping[str, object]:
    """Return what is measured at that side of the tunnel; nothing at first, and where none is."""
    both = gateway.tunnels()[tunnel].raw["round_trip"] or {side: {}}
    assert isinstance(both, dict)
    found = both[side]
    assert isinstance(found, dict)
    return found


def is_answered(gateway: Twinspan, side: str) -> bool:
    return trip_of(gateway, side).get("state") == "answered"


def is_lossy(gateway: Twinspan, side: str) -> bool:
    return lost_percent(gateway, FIRST, side) > 5.0


def lost_percent(gateway: Twinspan, tunnel: str, side: str) -> float:
    return float(str(trip_of(gateway, side, tunnel).get("loss_percent") or 0.0))


def wait_probe(gateway: Twinspan, tunnel: str, state: str) -> None:
    """Wait until a tunnel's probes say that."""
    what = f"{tunnel} {state} in {gateway.machine.name}"
    wait_for(what, lambda: probe_of(gateway, tunnel)["state"] == state, 10.0)


def wait_healthy(*gateways: Twinspan) -> None:
    for gateway in gateways:
        for tunnel in (FIRST, SECOND):
            wait_probe(gateway, tunnel, "healthy")


def routes(gateway: Twinspan, net: str) -> list[str]:
    """Return the devices of a gateway's routes to a network; the type of one without."""
    found = json.loads(gateway.machine.run("ip", "-j", "route", "show", net))
    return [each.get("dev") or each["type"] for each in found]


@contextmanager
def without_echo(machine: Namespace, *devices: str) -> Iterator[None]:
    """Drop the ICMP echo requests that come out of tunnels."""
    names = ", ".join(f'"{device}"' for device in devices)
    rules = "table inet noecho {\n chain in {\n  type filter hook input priority 0\n"
    rules += f"  iifname {{ {names} }} meta l4proto icmp drop\n }}\n}}\n"
    machine.run("nft", "-f", "-", text=rules)
    try:
        yield
    finally:
        machine.run("nft", "delete", "table", "inet", "noecho")


def _without_loss(gateway: Twinspan) -> Mapping[str, object] | None:
    found = probe_of(gateway, FIRST)
    return found if found["loss_percent"] == 0.0 and found["rtt_mean_ms"] else None


def test_status_shows_round_trip_and_loss(gateways: tuple[Twinspan, Twinspan]) -> None:
    # What a machine that stood still has lost is forgotten.
    without_loss = partial(_without_loss, gateways[0])
    found = wait_for("round trips without loss", without_loss, 20.0)
    assert found["address"] == "169.254.11.2"
    assert isinstance(found["rtt_mean_ms"], float)
    assert 0.0 < found["rtt_mean_ms"] < 100.0
    assert "healthy" in gateways[0].cli("status")
    for side, target in (("inside", "169.254.11.2"), ("outside", "192.0.2.2")):
        wait_for(f"an echo {side}", partial(is_answered, gateways[0], side), 10.0)
        trip = trip_of(gateways[0], side)
        assert (trip["state"], trip["target"]) == ("answered", target)
        assert 0.0 <= float(str(trip["min_ms"])) <= float(str(trip["max_ms"])) < 1000.0
    assert "inside    rtt_ms = " in gateways[0].cli("explain", FIRST)


def test_a_path_that_loses_packets_says_so_inside_and_outside(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    impair.lose(pair.b.gateway, "wan1", 40)
    try:
        for side in ("inside", "outside"):
            wait_for(f"loss {side}", partial(is_lossy, a, side), 40.0)
    finally:
        impair.lose_none(pair.b.gateway, "wan1")
    assert lost_percent(a, SECOND, "outside") < 5.0
    wait_healthy(a, b)


def test_a_path_that_falls_silent_is_left_within_a_second(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    streams = [
        stream.start(pair.a.host, pair.b.host, pair.b.host4, port=7017),
        stream.start(pair.b.host, pair.a.host, pair.a.host4, port=7018),
    ]
    since_ns = time.time_ns()
    with impair.cut_off(pair.b.gateway, "wan1"):
        wait_for("the reason", lambda: a.tunnels()[FIRST].reason == "probe_failed", 5.0)
        time.sleep(0.5)
        assert a.tunnels()[FIRST].is_up, "the keys stay"
        assert a.tunnels()[FIRST].reason == "probe_failed"
        assert "169.254.11.2 has not answered" in a.cli("explain", FIRST)
        assert routes(a, pair.b.lan4) == [f"ts-{SECOND}", "unreachable"]
        seen = [one.stop(since_ns) for one in streams]
    for one in seen:
        assert one.goes_on
        assert one.silence_ms <= SILENCE_MS
    assert 300.0 <= silences_ms(a)[-1] <= SILENCE_MS + 100.0, "as the gateway itself has seen it"
    wait_healthy(a, b)
    assert routes(a, pair.b.lan4) == [f"ts-{FIRST}", f"ts-{SECOND}", "unreachable"]
    assert "probe lost tunnel=office-1" in a.log_text()
    assert "probe back tunnel=office-1" in a.log_text()


def test_a_restart_gives_no_route_back_to_a_dead_path(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    with impair.cut_off(pair.b.gateway, "wan1"):
        for end in gateways:
            wait_probe(end, FIRST, "unhealthy")
        a.stop()
        a.start()
        assert probe_of(a, FIRST)["state"] == "unhealthy"
        assert routes(a, pair.b.lan4) == [f"ts-{SECOND}", "unreachable"]
        reach_each_other(pair)
    wait_healthy(a, b)
    assert routes(a, pair.b.lan4) == [f"ts-{FIRST}", f"ts-{SECOND}", "unreachable"]


def test_a_peer_that_drops_echo_alone_loses_the_route_too(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    with without_echo(pair.b.gateway, f"ts-{FIRST}"):
        wait_probe(a, FIRST, "unhealthy")
        reach_each_other(pair)
        assert probe_of(a, SECOND)["state"] == "healthy"
    wait_healthy(a, b)


def test_nothing_leaves_in_clear_when_nobody_answers_at_all(
    pair: Pair, gateways: tuple[Twinspan, Twinspan]
) -> None:
    a, b = gateways
    with without_echo(pair.b.gateway, f"ts-{FIRST}", f"ts-{SECOND}"):
        wait_probe(a, FIRST, "unhealthy")
        wait_probe(a, SECOND, "unhealthy")
        assert routes(a, pair.b.lan4) == ["unreachable"]
        assert not ping(pair.a.host, pair.b.host4)
    wait_healthy(a, b)
    reach_each_other(pair)
