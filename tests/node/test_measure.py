"""Measuring through real devices: who answers inside and outside, and who does not."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from gateway.dataplane.plane import LocalPlane
from gateway.node import measure
from gateway.node.journal import Journal
from gateway.node.measure import Measurer
from gateway.node.namespaces import Namespaces
from gateway.node.plan import plan
from gateway.node.tunnel import Tunnel, Tunnels
from gateway.sa import Path as OuterPath
from tests.node.far_end import FarEnd, reply_to
from tests.node.network import ip
from tests.support.documents import document

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("network")]

FIRST, SECOND = "office-1", "office-2"


@dataclass
class Bed:
    """Two tunnels that are up; what is at their far ends; the peer's addresses are not there."""

    measurer: Measurer
    tunnels: Tunnels
    ends: dict[str, FarEnd]
    ike: dict[str, tuple[float, float]] = field(default_factory=dict)
    late_s: float = 0.0  # this host's clock was set so far ahead since

    def side(self, which: str, name: str = FIRST) -> dict[str, Any]:
        found = self.measurer.of_tunnel(name)
        assert found is not None
        side = found[which]
        assert isinstance(side, dict)
        return side

    def set_interval(self, every_s: float) -> None:
        for tunnel in self.tunnels:
            assert tunnel.plan.measure is not None
            measured = replace(tunnel.plan.measure, every_s=every_s)
            tunnel.plan = replace(tunnel.plan, measure=measured)
        self.measurer.follow()

    async def until(self, holds: Callable[[], bool], answering: tuple[str, ...] = ()) -> None:
        end = time.monotonic() + 30.0
        while not holds():
            assert time.monotonic() < end, [self.measurer.of_tunnel(n) for n in self.ends]
            for name in answering:
                self.ends[name].answer()
            await asyncio.sleep(0.01)


@pytest.fixture
async def bed(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bed]:
    monkeypatch.setattr(measure, "LATE_S", 0.4)
    monkeypatch.setattr("gateway.node.round_trips.LATE_S", 0.4)
    journal = Journal(io.StringIO(), time.time)
    namespaces, tunnels = Namespaces(Path("/nowhere"), journal), Tunnels()
    plans = plan(document()).tunnels
    for one in plans:
        ip(f"addr add {one.local} dev lo")
    with LocalPlane(1) as plane:
        ends = {one.name: FarEnd(one.interface, str(one.inner_local)) for one in plans}
        for number, one in enumerate(plans, 1):
            tunnels.add(Tunnel(number, one, plane, namespaces.own, time.time(), active={0: 1}))
        found: list[Bed] = []
        measurer = Measurer(
            tunnels,
            namespaces,
            lambda name: found[0].ike.get(name),
            journal,
            time.monotonic,
            lambda: time.time() + found[0].late_s,
        )
        found.append(Bed(measurer, tunnels, ends))
        found[0].set_interval(0.2)
        yield found[0]
        measurer.close()
        for end in ends.values():
            end.close()
        namespaces.close()


def arrive(bed: Bed) -> None:
    """Have the peer's public addresses on this host: they answer by themselves."""
    for tunnel in bed.tunnels:
        ip(f"addr add {tunnel.plan.remote} dev lo")


async def test_both_sides_are_measured(bed: Bed) -> None:
    arrive(bed)
    sides = [(side, name) for side in ("inside", "outside") for name in bed.ends]
    await bed.until(
        lambda: all(bed.side(*one)["state"] == "answered" for one in sides), (FIRST, SECOND)
    )
    for side, name in sides:
        found = bed.side(side, name)
        assert found["by"] == "icmp"
        assert 0.0 <= found["min_ms"] <= found["rtt_ms"] <= found["max_ms"] < 400.0
        assert found["loss_percent"] == 0.0
    assert bed.side("outside")["target"] == str(bed.tunnels.by_name[FIRST].plan.remote)
    assert bed.side("inside")["target"] == "169.254.10.2"


async def test_a_peer_that_never_answers_has_no_loss(bed: Bed) -> None:
    await bed.until(lambda: bed.side("inside")["state"] == "no_answer")
    assert bed.side("inside")["loss_percent"] is None
    assert bed.side("inside", SECOND)["rtt_ms"] is None


async def test_answers_that_stop_are_loss(bed: Bed) -> None:
    await bed.until(lambda: bed.side("inside")["state"] == "answered", (FIRST,))
    await bed.until(lambda: (bed.side("inside")["loss_percent"] or 0.0) > 50.0)
    assert bed.side("inside", SECOND)["state"] == "no_answer"


@pytest.mark.alone
async def test_an_answer_counts_only_through_the_tunnel_of_its_request(bed: Bed) -> None:
    async def astray() -> None:
        for request in bed.ends[FIRST].requests():
            bed.ends[SECOND].put(reply_to(request))
        await asyncio.sleep(0.01)

    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        await astray()
    assert bed.side("inside")["state"] == "no_answer"


async def test_ike_stands_in_for_an_address_that_answers_no_echo(bed: Bed) -> None:
    ip(f"route add {bed.tunnels.by_name[FIRST].plan.remote} dev {bed.ends[SECOND].name}")
    await bed.until(lambda: bed.side("outside")["state"] == "no_answer")
    bed.ike[FIRST] = (time.monotonic(), 0.031)
    await bed.until(lambda: bed.side("outside")["by"] == "ike")
    found = bed.side("outside")
    assert (found["state"], found["rtt_ms"], found["loss_percent"]) == ("answered", 31.0, None)


async def test_a_clock_that_is_set_is_no_round_trip(bed: Bed) -> None:
    await bed.until(lambda: bed.side("inside")["state"] == "answered", (FIRST,))
    bed.late_s = -3600.0
    before = bed.side("inside")["max_ms"]
    for _ in range(60):
        bed.ends[FIRST].answer()
        await asyncio.sleep(0.01)
    assert bed.side("inside")["max_ms"] < max(400.0, before)


async def test_a_tunnel_that_is_down_is_not_measured_inside(bed: Bed) -> None:
    await bed.until(lambda: bed.side("inside")["state"] == "answered", (FIRST,))
    bed.tunnels.by_name[FIRST].active.clear()
    await bed.until(lambda: bed.side("inside")["state"] == "waiting")
    assert bed.side("inside")["loss_percent"] is None


async def test_measuring_follows_the_plan(bed: Bed) -> None:
    tunnel = bed.tunnels.by_name[FIRST]
    assert tunnel.plan.measure is not None
    tunnel.plan = replace(tunnel.plan, measure=replace(tunnel.plan.measure, inside=None))
    bed.measurer.follow()
    found = bed.measurer.of_tunnel(FIRST)
    assert found is not None
    assert found["inside"] is None
    remote = IPv4Address("203.0.113.99")
    tunnel.ike_path = OuterPath(tunnel.plan.local, 4500, remote, 4500)
    bed.measurer.follow()
    assert bed.side("outside")["target"] == "203.0.113.99"
    tunnel.plan = replace(tunnel.plan, measure=None)
    bed.measurer.follow()
    assert bed.measurer.of_tunnel(FIRST) is None
