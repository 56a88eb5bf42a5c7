"""
Planned work under traffic: down and up, edits that interrupt a tunnel, failback (F8 and F10 of the
product's scenarios). Two of our gateways with BGP and BFD, a thousand datagrams a second each way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from lab import impair, sites, stream, twins
from lab.commands import wait_for
from lab.netns import Lab
from lab.twins import Twins
from lab.twinspan import Tunnel, Twinspan, Value

pytestmark = pytest.mark.system

FIRST, SECOND = sites.tunnel_name(1), sites.tunnel_name(2)


@pytest.fixture(scope="module")
def network(lab: Lab) -> Twins:
    return twins.build(lab, "300x3", {"flap_damping": False})


def edit(end: Twinspan, **settings: Value) -> None:
    """Edit the one connection of a gateway and reload."""
    (connection,) = end.document.connections
    changed = replace(connection, settings={**connection.settings, **settings})
    end.write(replace(end.document, connections=[changed]))
    end.cli("reload")


def write_tunnels(end: Twinspan, change: Callable[[Tunnel], Tunnel]) -> None:
    """Edit the tunnels of a gateway in its file."""
    (connection,) = end.document.connections
    tunnels = [change(each) for each in connection.tunnels]
    end.write(replace(end.document, connections=[replace(connection, tunnels=tunnels)]))


def with_device(tunnel: Tunnel) -> Tunnel:
    return replace(tunnel, settings={**tunnel.settings, "interface": f"tw-{tunnel.name}"})


def with_other_inner(tunnel: Tunnel) -> Tunnel:
    """Return the tunnel with inner addresses 100 further on in the third byte."""
    first, second, third, rest = tunnel.inner.split(".")
    third = str(int(third) + 100)
    settings = dict(tunnel.settings)
    if isinstance(local := settings.get("inner_local"), str):
        settings["inner_local"] = ".".join([first, second, third, local.split(".")[3]])
    return replace(tunnel, inner=".".join([first, second, third, rest]), settings=settings)


@contextmanager
def nothing_lost(network: Twins) -> Iterator[None]:
    """Send a thousand datagrams a second each way; fail if one is lost."""
    a, b = network.pair.a, network.pair.b
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    try:
        yield
    except BaseException:
        streams.kill()
        raise
    for seen in streams.stop():
        assert seen.goes_on
        assert seen.lost == 0


def standing(end: Twinspan, name: str) -> tuple[object, object]:
    raw = end.tunnels()[name].raw
    return raw["standing"], raw["causes"]


def is_left_aside(end: Twinspan) -> bool:
    """Say whether tunnel 1 may not take its traffic back; that is looked at once a second."""
    return standing(end, FIRST) == ("demoted", ["failback"])


def are_held_back(network: Twins) -> bool:
    """Say whether both ends have noticed that tunnel 1 must not take its traffic back."""
    return all(standing(end, FIRST)[0] == "demoted" for end in (network.a, network.b))


def has_no_edit(end: Twinspan) -> bool:
    return "as before the last edit" not in end.cli("status")


def sessions_up(end: Twinspan) -> bool:
    return twins.has_all_sessions(end)


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_planned_down_and_up_loses_nothing(network: Twins, side: str) -> None:
    """F10: the route is shifted before the SA is deleted; the return is automatic."""
    end = network.a if side == "a" else network.b
    with nothing_lost(network):
        said = end.cli("down", FIRST)
        assert "traffic has moved to the other tunnels, both ways" in said
        assert network.goes_by(2)
        wait_for("the close", lambda: not network.a.tunnels()[FIRST].is_up, 10.0)
        end.cli("up", FIRST)
        network.wait_settled()


def test_down_of_the_last_tunnel_says_that_traffic_stops(network: Twins) -> None:
    network.a.cli("down", SECOND)
    assert "no other tunnel is up: its traffic has stopped" in network.a.cli("down", FIRST)
    for name in (FIRST, SECOND):
        network.a.cli("up", name)
    network.wait_settled()


def test_edits_that_interrupt_follow_one_after_the_other_and_lose_nothing(network: Twins) -> None:
    """Both tunnels' devices are made anew: another name."""
    with nothing_lost(network):
        write_tunnels(network.a, with_device)
        assert f"{FIRST}, {SECOND}" in network.a.cli("reload")
        wait_for("both", lambda: "edit done" in network.a.cli("log"), 60.0, every_s=0.2)
        wait_for("sessions", partial(sessions_up, network.a), 40.0)
    assert {each.interface for each in network.a.tunnels().values()} == {
        f"tw-{FIRST}",
        f"tw-{SECOND}",
    }


def test_a_tunnel_that_does_not_come_back_leaves_its_twin_as_it_was(network: Twins) -> None:
    """The inner addresses of both are edited here, and not at the peer yet."""
    before = network.a.tunnels()
    with nothing_lost(network):
        write_tunnels(network.a, with_other_inner)
        network.a.cli("reload")
        wait_for(
            "the standby",
            lambda: "169.254.112.1/" in network.a.machine.ip("addr", "show"),
            20.0,
        )
        assert f"note: {FIRST} is still as before the last edit" in network.a.cli("status")
        assert "169.254.111.1/" not in network.a.machine.ip("addr", "show")
        write_tunnels(network.b, with_other_inner)
        network.b.cli("reload")
        for end in (network.a, network.b):
            wait_for("the rest", partial(has_no_edit, end), 60.0, every_s=0.2)
            wait_for("sessions", partial(sessions_up, end), 60.0)
    assert network.a.tunnels()[FIRST].spis == before[FIRST].spis


def test_active_active_stays_and_active_standby_returns(network: Twins) -> None:
    """F8: a path fails and is restored; traffic stays with tunnel 2, or returns to tunnel 1."""
    for end in (network.a, network.b):
        edit(end, ha_mode="active-active")
    with impair.cut_off(network.pair.b.gateway, "wan1"):
        wait_for("the switch", partial(by, network, 2), 10.0)
        wait_for("the word", partial(are_held_back, network), 10.0)
    for end in (network.a, network.b):
        wait_for("sessions", partial(sessions_up, end), 40.0)
        wait_for("the standing", partial(is_left_aside, end), 5.0)
        assert f"{FIRST}: last choice: it was down, traffic stays where it is" in end.cli("status")
    with nothing_lost(network):
        network.a.stop()  # the next process leaves the traffic where it is
        network.a.start()
        wait_for("sessions", partial(sessions_up, network.a), 40.0)
        assert by(network, 2)
        wait_for("the standing", partial(is_left_aside, network.a), 5.0)
        for end in (network.a, network.b):
            edit(end, ha_mode="active-standby", failback_s=3)
        wait_for("the return", partial(by, network, 1), 20.0)


def by(network: Twins, number: int) -> bool:
    """Say whether both ends send by that tunnel, whatever its device is named."""
    ends = ((network.a, network.pair.b), (network.b, network.pair.a))
    return all(
        f"dev {end.tunnels()[sites.tunnel_name(number)].interface} "
        in end.machine.run("ip", "route", "get", there.host4, check=False)
        for end, there in ends
    )
