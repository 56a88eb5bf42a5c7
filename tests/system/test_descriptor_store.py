"""
Both processes of a gateway end at once, under a service manager that keeps descriptors for them.

Two of our gateways, two tunnels, BGP without BFD: its sessions live as long as they have hold time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from gateway.dataplane.reach import SOCKET_NAME
from lab import sites, stream, twins
from lab.commands import Process, wait_for
from lab.netns import Lab
from lab.twins import Twins
from lab.twinspan import ROOT, Twinspan
from tests.system.support import Since

pytestmark = pytest.mark.system

FIRST, SECOND = sites.tunnel_name(1), sites.tunnel_name(2)


@dataclass(frozen=True, slots=True)
class Kept:
    """The network; `manager` looks after the data plane process at site a."""

    network: Twins
    manager: Process


@pytest.fixture(scope="module")
def kept(lab: Lab) -> Kept:
    network = twins.build(lab, "off", {"flap_damping": False, "start": "initiate"})
    ours = network.a
    ours.end()
    wait_for("the end of both", lambda: not ours.pids(), 10.0)
    place = ours.directory / SOCKET_NAME
    manager = [sys.executable, "-m", "lab.service_manager", str(place), "--workers", "2"]
    started = ours.machine.start("manager", *manager, env={"PYTHONPATH": str(ROOT)})
    made = Kept(network, started)
    wait_for("the manager", lambda: "ready" in started.log.read_text(), 10.0)
    ours.start()
    network.wait_settled()
    return made


def device(end: Twinspan, name: str) -> str:
    """Return the index of a tunnel's device: one made anew has another."""
    return end.machine.ip("-o", "link", "show", f"ts-{name}").split(":")[0]


def ike_sas(end: Twinspan) -> set[object]:
    """Return the initiators' SPIs of the IKE SAs."""
    found = [tunnel.raw["ike"] for tunnel in end.tunnels().values()]
    return {each["spi_i"] for each in found if isinstance(each, dict)}


def kill_both(end: Twinspan) -> None:
    """End both at once, as the kernel does where memory is short: neither sees the other go."""
    both = end.pids()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in both:
            os.kill(pid, number)


def sessions(network: Twins, but: set[str]) -> list[tuple[object, Since]]:
    """Return since when each BGP session is established, at both ends, but for some tunnels."""
    peers = [*network.a.bgp(), *network.b.bgp()]
    return [(peer["name"], Since(peer)) for peer in peers if peer["name"] not in but]


def downs(network: Twins) -> Counter[str]:
    """Count how often each tunnel has lost its carrier, at either end."""
    found: Counter[str] = Counter()
    for each in [*network.a.events(), *network.b.events()]:
        resource = each["resource"]
        if each["code"] == "tunnel_down" and isinstance(resource, dict):
            found[resource["name"]] += 1
    return found


def test_devices_routes_and_bgp_live_on_where_both_processes_are_killed(
    kept: Kept, record_property: Callable[[str, object], None]
) -> None:
    network, ours = kept.network, kept.network.a
    a, b = network.pair.a, network.pair.b
    devices = [device(ours, name) for name in (FIRST, SECOND)]
    routes, bird = ours.machine.ip("route"), twins.bird_pid(ours)
    before, spis, went_down = sessions(network, set()), ours.spis(), downs(network)
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4), stream.PATIENT)
    kill_both(ours)
    assert ours.machine.ip("route") == routes
    ours.start()
    ours.wait_renewed(spis)
    network.wait_settled()
    assert [device(ours, name) for name in (FIRST, SECOND)] == devices
    wait_for("the same routes", lambda: ours.machine.ip("route") == routes, 10.0)
    assert twins.bird_pid(ours) == bird
    # On a machine that stands still for seconds the other end may see our crash before we are back
    # (RFC 6290), or we give its tunnel up: then its session ends with the carrier.
    late = set(downs(network) - went_down)
    assert sessions(network, late) == [each for each in before if each[0] not in late]
    seen = streams.stop()
    assert all(each.goes_on for each in seen)
    record_property("late", sorted(late))
    record_property("silence_ms", [round(each.silence_ms) for each in seen])


def test_ike_goes_on_where_both_processes_are_restarted(
    kept: Kept, record_property: Callable[[str, object], None]
) -> None:
    """Nothing is under way when they end: the next ones have the IKE SAs, the peer sees rekeys."""
    network, ours = kept.network, kept.network.a
    a, b = network.pair.a, network.pair.b
    before, spis, went_down = sessions(network, set()), ours.spis(), downs(network)
    devices = [device(ours, name) for name in (FIRST, SECOND)]
    ike, log = ike_sas(ours), len(network.b.log_text())
    streams = stream.both_ways((a.host, a.host4), (b.host, b.host4), stream.PATIENT)
    ours.stop()
    os.kill(kept.manager.pid, signal.SIGHUP)
    ours.start()
    ours.wait_renewed(spis)
    assert [device(ours, name) for name in (FIRST, SECOND)] == devices
    assert ike_sas(ours) == ike
    assert "ike_sa up" not in network.b.log_text()[log:]
    network.wait_settled()
    late = set(downs(network) - went_down)
    assert sessions(network, late) == [each for each in before if each[0] not in late]
    seen = streams.stop()
    assert all(each.goes_on for each in seen)
    record_property("silence_ms", [round(each.silence_ms) for each in seen])


def test_a_device_that_is_not_wanted_any_more_goes_and_its_name_is_free(kept: Kept) -> None:
    """
    Both end, and the document changes before they begin again. Then while they run: a device made
    anew has the name of the one before, which the manager must have let go of.
    """
    network, ours = kept.network, kept.network.a
    document = ours.document
    (connection,) = document.connections
    one = replace(connection, tunnels=connection.tunnels[:1])
    first = device(ours, FIRST)
    kill_both(ours)
    ours.write(replace(document, connections=[one]))
    ours.start()
    ours.wait_up(FIRST)
    links = ours.machine.ip("-br", "link")
    assert device(ours, FIRST) == first
    assert f"ts-{SECOND} " not in links
    ours.write(document)
    ours.cli("reload")
    second = device(ours, SECOND)
    for each in (one, connection):
        ours.write(replace(document, connections=[each]))
        ours.cli("reload", "--now")
    assert device(ours, SECOND) != second
    network.wait_settled()
