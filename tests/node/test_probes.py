"""Probes through real devices: who answers, who stops, and what follows for the routes."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.dataplane.plane import LocalPlane
from gateway.node.journal import Journal
from gateway.node.namespaces import Namespaces
from gateway.node.plan import TunnelPlan, plan
from gateway.node.probes import Prober
from gateway.node.steering import Cause, Steering
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.routing.health import Health
from gateway.routing.plan import Standing
from tests.node.far_end import FarEnd, reply_to
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]

LONG_S = 20.0
FIRST, SECOND = "office-1", "office-2"


@dataclass
class Watch:
    """Two tunnels that are up and probed every 100 ms, and what is at their far ends."""

    prober: Prober
    tunnels: Tunnels
    steering: Steering
    ends: dict[str, FarEnd]
    log: io.StringIO
    make: Callable[[int, TunnelPlan], Tunnel]
    moves: list[dict[str, Standing]]
    next_prober: Callable[[Steering], Prober]

    def __post_init__(self) -> None:
        self.answering = set(self.ends)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let time pass, with the far ends in `answering` at work, until something holds."""
        end = time.monotonic() + LONG_S
        while not holds():
            assert time.monotonic() < end, self.log.getvalue()
            await self.turn()

    async def turn(self) -> None:
        """Let a little time pass."""
        for name in self.answering:
            self.ends[name].answer()
        await asyncio.sleep(0.005)

    async def pass_(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.turn()

    def state(self, name: str = FIRST) -> object:
        report = self.prober.of_tunnel(name)
        return report["state"] if report else None

    def is_healthy(self) -> bool:
        return all(self.state(name) == "healthy" for name in self.ends)

    def standing(self, name: str = FIRST) -> Standing:
        return self.steering.said(name, Cause.PROBE)


@pytest.fixture
def namespaces(network: None) -> Iterator[Namespaces]:
    made = Namespaces(Path("/nowhere"), Journal(io.StringIO(), time.time))
    yield made
    made.close()


@pytest.fixture
async def watch(namespaces: Namespaces) -> AsyncIterator[Watch]:
    log = io.StringIO()
    journal = Journal(log, time.time)
    moves: list[dict[str, Standing]] = []
    steering = Steering(journal, lambda: moves.append(dict(steering.standings)))
    tunnels = Tunnels()
    with LocalPlane(1) as plane:

        def make(number: int, tunnel: TunnelPlan) -> Tunnel:
            return Tunnel(number, tunnel, plane, namespaces.own, time.time(), active={0: 1})

        plans = plan(document(((*CONNECTION, "probe"), "100x3"))).tunnels
        ends = {one.name: FarEnd(one.interface, str(one.inner_local)) for one in plans}
        for number, one in enumerate(plans, 1):
            tunnels.add(make(number, one))

        def next_prober(steering: Steering) -> Prober:
            return Prober(tunnels, namespaces, steering, journal, time.monotonic, time.time)

        prober = next_prober(steering)
        prober.follow()
        made = Watch(prober, tunnels, steering, ends, log, make, moves, next_prober)
        yield made
        made.prober.close()
        for end in ends.values():
            end.close()


@pytest.mark.alone
async def test_a_tunnel_whose_answers_stop_is_withdrawn_and_comes_back(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    watch.answering = {SECOND}
    began_at = time.monotonic()
    await watch.until(lambda: watch.standing() is Standing.WITHDRAWN)
    assert 0.2 < time.monotonic() - began_at < 0.6
    assert watch.state() == "unhealthy"
    reason = watch.prober.reason(FIRST)
    assert reason is not None
    assert reason.code == "probe_failed"
    assert reason.text.startswith("169.254.10.2 has not answered through the tunnel for 0.")
    assert watch.standing(SECOND) is Standing.NORMAL
    assert "probe lost tunnel=office-1 address=169.254.10.2 silent_s=0." in watch.log.getvalue()

    watch.answering = {FIRST, SECOND}
    await watch.until(lambda: watch.standing() is Standing.NORMAL)
    assert watch.is_healthy()
    assert watch.prober.reason(FIRST) is None
    assert "probe back tunnel=office-1 address=169.254.10.2 rtt_ms=" in watch.log.getvalue()


async def test_who_never_answers_keeps_its_routes_and_is_asked_rarely(watch: Watch) -> None:
    watch.answering = {SECOND}
    await watch.until(lambda: "probe unanswered" in watch.log.getvalue())
    asked = len(watch.ends[FIRST].requests())
    assert asked == 4
    await watch.pass_(0.5)
    assert watch.ends[FIRST].requests() == []
    assert watch.state() == "unanswered"
    assert watch.standing() is Standing.NORMAL
    assert watch.log.getvalue().count("probe unanswered") == 1


async def test_the_report_has_round_trip_and_loss(watch: Watch) -> None:
    await watch.pass_(0.8)
    report = watch.prober.of_tunnel(FIRST)
    assert report is not None
    assert (report["address"], report["interval_ms"], report["missing"]) == ("169.254.10.2", 100, 3)
    assert report["loss_percent"] == 0.0
    assert isinstance(report["rtt_ms"], float)
    assert 0 < report["rtt_ms"] < 50


async def test_answers_by_the_wrong_tunnel_are_not_taken(watch: Watch) -> None:
    """Nor those of another address, nor old ones a second time."""
    await watch.until(watch.is_healthy)
    watch.answering = {SECOND}
    while watch.standing() is Standing.NORMAL:
        for request in watch.ends[FIRST].requests():
            watch.ends[SECOND].put(reply_to(request))
            stranger = reply_to(request)
            stranger.src = "169.254.10.1"
            watch.ends[FIRST].put(stranger)
        await watch.turn()
    request = reply_to((await next_request(watch))[0])
    for _ in range(10):
        watch.ends[FIRST].put(request)
    await watch.pass_(0.3)
    assert watch.standing() is Standing.WITHDRAWN


async def next_request(watch: Watch) -> list:  # type: ignore[type-arg]  # scapy has no types
    found = watch.ends[FIRST].requests()
    while not found:
        await asyncio.sleep(0.005)
        found = watch.ends[FIRST].requests()
    return found


async def test_a_process_that_stood_still_blames_no_path(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    for _ in range(5):
        time.sleep(0.7)  # noqa: ASYNC251  the loop stands still: that is the point
        await watch.pass_(0.15)
        assert watch.is_healthy()
    assert watch.moves == []


async def test_nothing_is_sent_while_a_tunnel_is_down(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    tunnel = watch.tunnels.by_name[FIRST]
    tunnel.active = {}
    watch.answering = {SECOND}
    watch.ends[FIRST].requests()
    await watch.pass_(0.6)
    assert watch.ends[FIRST].requests() == []
    assert watch.state() == "waiting"
    assert watch.standing() is Standing.NORMAL
    tunnel.active = {0: 2}
    watch.answering = {FIRST, SECOND}
    await watch.until(watch.is_healthy)
    assert watch.moves == []


async def test_a_tunnel_that_is_no_longer_probed_takes_its_traffic_back(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    watch.answering = set()
    await watch.until(lambda: watch.standing() is Standing.WITHDRAWN)
    tunnel = watch.tunnels.by_name[FIRST]
    tunnel.plan = replace(tunnel.plan, probe=None)
    watch.prober.follow()
    assert watch.standing() is Standing.NORMAL
    assert watch.prober.of_tunnel(FIRST) is None
    watch.ends[FIRST].requests()
    await watch.pass_(0.3)
    assert watch.ends[FIRST].requests() == []


async def test_a_device_made_anew_is_found(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    old = watch.tunnels.by_name[FIRST]
    watch.ends[FIRST].close()
    await asyncio.sleep(0.15)  # a probe meets a device that is gone
    watch.ends[FIRST] = FarEnd(old.plan.interface, str(old.plan.inner_local))
    watch.tunnels.remove(old)
    watch.tunnels.add(watch.make(7, old.plan))
    watch.prober.follow()
    await watch.pass_(0.8)
    await watch.until(watch.is_healthy)
    assert watch.moves == []


async def test_the_next_process_begins_with_what_was_found(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    watch.answering = {SECOND}
    await watch.until(lambda: watch.standing() is Standing.WITHDRAWN)
    healthy, unhealthy = (watch.prober.found(one) for one in (Health.HEALTHY, Health.UNHEALTHY))
    assert healthy == {SECOND}
    assert unhealthy == {FIRST}
    watch.prober.close()

    steering = Steering(Journal(watch.log, time.time), lambda: None)
    watch.prober = watch.next_prober(steering)
    watch.prober.resume(healthy | {"gone"}, unhealthy | {"lost"})
    assert set(steering.standings) == {FIRST, "lost"}
    watch.prober.follow()
    assert set(steering.standings) == {FIRST}
    # From the first missing answers on, not from the first answer on.
    watch.answering = set()
    await watch.until(lambda: set(steering.standings) == {FIRST, SECOND})
    watch.answering = {FIRST, SECOND}
    await watch.until(lambda: not steering.standings)


async def test_a_namespace_made_anew_is_found(kept: Namespaces, place: str) -> None:
    """Sockets belong to the namespace that is gone; the one of the same name gets new ones."""
    log = io.StringIO()
    journal = Journal(log, time.time)
    tunnels, steering = Tunnels(), Steering(journal, lambda: None)
    (one, _) = plan(document(((*CONNECTION, "probe"), "100x3"))).tunnels
    one = replace(one, namespace=place)
    prober = Prober(tunnels, kept, steering, journal, time.monotonic, time.time)
    with LocalPlane(1) as plane:
        for number in (1, 2):
            end = end_in(place, one)
            kernel = kept.of(place)
            if number == 2:
                tunnels.remove(tunnels.by_name[FIRST])
            tunnels.add(Tunnel(number, one, plane, kernel, time.time(), active={0: 1}))
            await until_asked(prober, end)
            end.close()
            if number == 1:
                ip(f"netns del {place}")
                ip(f"netns add {place}")
                kept.release([])
                kept.use([place])
        prober.close()


def end_in(place: str, one: TunnelPlan) -> FarEnd:
    """Return the far end of a tunnel whose device is in a namespace."""
    made = FarEnd(one.interface)
    ip(f"link set {one.interface} netns {place}")
    ip(f"-n {place} link set {one.interface} up")
    ip(f"-n {place} addr add {one.inner_local} dev {one.interface}")
    return made


async def until_asked(prober: Prober, end: FarEnd) -> None:
    deadline = time.monotonic() + LONG_S
    while not end.answer():
        assert time.monotonic() < deadline
        prober.follow()
        await asyncio.sleep(0.05)


async def test_tunnels_with_ipv6_inside_are_probed_too(namespaces: Namespaces) -> None:
    log = io.StringIO()
    journal = Journal(log, time.time)
    tunnels, steering = Tunnels(), Steering(journal, lambda: None)
    inner = ((*CONNECTION, "tunnel", 0, "inner_cidr"), "fd00:10::/126")
    (one, _) = plan(document(((*CONNECTION, "probe"), "100x3"), inner)).tunnels
    end = FarEnd(one.interface, str(one.inner_local))
    prober = Prober(tunnels, namespaces, steering, journal, time.monotonic, time.time)
    with LocalPlane(1) as plane:
        tunnels.add(Tunnel(1, one, plane, namespaces.own, time.time(), active={0: 1}))
        while prober.found(Health.HEALTHY) != {FIRST}:
            await until_asked(prober, end)
        prober.close()
    end.close()


async def test_tunnels_that_fail_together_move_traffic_together(watch: Watch) -> None:
    await watch.until(watch.is_healthy)
    watch.answering = set()
    await watch.until(lambda: len(watch.steering.standings) == 2)
    assert 1 <= len(watch.moves) <= 2
    assert "" not in watch.moves[-1]


async def test_what_can_not_be_probed_is_told_and_tried_again(namespaces: Namespaces) -> None:
    log = io.StringIO()
    journal = Journal(log, time.time)
    tunnels, steering = Tunnels(), Steering(journal, lambda: None)
    prober = Prober(tunnels, namespaces, steering, journal, time.monotonic, time.time)
    (one, _) = plan(document(((*CONNECTION, "probe"), "100x3"))).tunnels
    with LocalPlane(1) as plane:
        tunnels.add(Tunnel(1, one, plane, namespaces.own, time.time(), active={0: 1}))
        prober.follow()
        assert 'tunnel=office-1 text="can not be probed: No such device"' in log.getvalue()
        end = FarEnd(one.interface, str(one.inner_local))
        prober.follow()
        deadline = time.monotonic() + LONG_S
        while not end.answer():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        prober.close()
        end.close()


@pytest.fixture
def kept(place: str, tmp_path: Path) -> Iterator[Namespaces]:
    """The namespaces with `place` among them, and a keeper of their own."""
    made = Namespaces(tmp_path, Journal(io.StringIO(), time.time))
    made.use([place])
    yield made
    made.end()
    made.close()


@pytest.fixture
def place() -> Iterator[str]:
    """A network namespace that nobody uses, by name; it is removed at the end."""
    made = f"twp{os.getpid()}"
    ip(f"netns add {made}")
    yield made
    ip(f"netns del {made}")


async def test_equal_addresses_in_two_namespaces_are_told_apart(
    kept: Namespaces, place: str
) -> None:
    log = io.StringIO()
    journal = Journal(log, time.time)
    tunnels, steering = Tunnels(), Steering(journal, lambda: None)
    (one, _) = plan(document(((*CONNECTION, "probe"), "100x3"))).tunnels
    other = replace(one, name=SECOND, namespace=place)
    there = end_in(place, other)
    here = FarEnd(one.interface, str(one.inner_local))
    prober = Prober(tunnels, kept, steering, journal, time.monotonic, time.time)
    with LocalPlane(1) as plane:
        for number, tunnel in enumerate((one, other), 1):
            kernel = kept.of(tunnel.namespace)
            tunnels.add(Tunnel(number, tunnel, plane, kernel, time.time(), active={0: 1}))
        prober.follow()
        deadline = time.monotonic() + LONG_S
        while prober.found(Health.HEALTHY) != {SECOND}:
            assert time.monotonic() < deadline, log.getvalue()
            there.answer()
            await asyncio.sleep(0.005)
        assert len(here.requests()) >= 1
        prober.close()
    for end in (here, there):
        end.close()
