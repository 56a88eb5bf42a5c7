"""
After the loss of a data plane process: the busiest tunnels first, not too many at a time, and
nobody waits for a peer that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from gateway.dataplane.plane import LocalPlane
from gateway.dataplane.remote import RemotePlane
from gateway.ike.events import Failed, Reason
from gateway.node import renewal
from gateway.node.keeper import Succession
from gateway.node.plan import plan
from gateway.node.renewal import (
    AT_ONCE,
    BRIDGE_S,
    PATIENCE_S,
    Renewal,
    Wave,
)
from gateway.node.tunnel import Sample, Tunnel
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip
from tests.node.test_keeper import NEW, up
from tests.support.documents import CONNECTION, document

pytestmark = pytest.mark.system

FIRST, SECOND = "office-1", "office-2"


@dataclass
class Rest:
    """In place of the succession: how often it was asked to keep what no change has brought."""

    asked: int = 0

    def keep_rest(self) -> None:
        self.asked += 1


@dataclass
class Bench:
    """A gateway whose tunnels were up, a clock under the test's hand, and what was asked for."""

    gw: Parts
    renewal: Renewal = field(init=False)
    now: float = 100.0
    asked: list[str] = field(default_factory=list)
    rest: Rest = field(default_factory=Rest)

    def __post_init__(self) -> None:
        nobody = cast("RemotePlane", self.gw.plane)
        self.renewal = Renewal(
            nobody,
            lambda: nobody,
            self.gw.daemon,
            self.gw.reconciler,
            cast("Succession", self.rest),
            self.gw.tunnels,
            self.gw.journal,
            lambda: self.now,
            lambda: self.now,
        )

    def tunnel(self, name: str) -> Tunnel:
        return self.gw.tunnels.by_name[name]

    async def comes_up(self, name: str, spi: int) -> None:
        """The peer of a tunnel has agreed to another Child SA."""
        self.gw.daemon.carry_out([replace(up(spi), tunnel=name)])
        await asyncio.sleep(0)


@pytest.fixture
async def bench(network: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    for address in ("192.0.2.1/32", "198.51.100.1/32"):
        ip(f"addr add {address} dev lo")
    with LocalPlane(1) as plane, parts(plane) as gw:
        gw.reconciler.apply(plan(document(((*CONNECTION, "start"), "respond"))))
        made = Bench(gw)
        monkeypatch.setattr(gw.daemon, "rekey_tunnel", lambda name, ike: made.asked.append(name))
        for tunnel in gw.tunnels:
            gw.plane.set_carrier(tunnel.number, True)
            tunnel.is_bridging = True
        yield made


def carried(tunnel: Tunnel, octets: int) -> None:
    """Let a tunnel have carried something between its last two samples."""
    stats = tunnel.plane.tunnel_stats(tunnel.number)
    tunnel.samples = (Sample(1.0, stats), Sample(2.0, replace(stats, in_bytes=octets)))


async def test_the_busiest_tunnel_is_first(bench: Bench) -> None:
    carried(bench.tunnel(FIRST), 1000)
    carried(bench.tunnel(SECOND), 5000)
    assert bench.renewal._ranked() == [SECOND, FIRST]


async def test_as_one_is_done_the_next_one_begins(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "AT_ONCE", 1)
    bench.renewal.begin([SECOND, FIRST], bench.now)
    assert (bench.asked, bench.rest.asked) == ([SECOND], 0)
    bench.now += 0.2
    await bench.comes_up(SECOND, NEW)
    assert (bench.asked, bench.rest.asked) == ([SECOND, FIRST], 1)
    assert bench.renewal.is_pressing
    bench.now += 0.1
    await bench.comes_up(FIRST, NEW + 1)
    assert not bench.renewal.is_pressing
    report = bench.gw.daemon.renewed
    assert report is not None
    assert (report["tunnels"], report["renewed"], report["silent_s"]) == (2, 2, 0.3)
    told = "data_plane replaced tunnels=2 renewed=2 silent_s=0.3 half_silent_s=0.2"
    assert told in bench.gw.log.getvalue()
    assert "tunnel down" not in bench.gw.log.getvalue()


async def test_a_peer_that_does_not_answer_holds_up_nobody_and_loses_its_carrier(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "AT_ONCE", 1)
    bench.renewal.begin([SECOND, FIRST], bench.now)
    bench.renewal.tick()
    assert bench.asked == [SECOND]
    bench.now += PATIENCE_S
    bench.renewal.tick()
    assert bench.asked == [SECOND, FIRST]
    await bench.comes_up(FIRST, NEW)
    assert "NO-CARRIER" not in ip("link show ts-office-2")
    bench.now += BRIDGE_S
    # There is nothing that it sends on: with a thousand tunnels 32 words for each took seconds.
    with monkeypatch.context() as patched:
        patched.setattr(bench.gw.plane, "clear_outbound", lambda *_: pytest.fail("not needed"))
        bench.renewal.tick()
    assert "NO-CARRIER" in ip("link show ts-office-2")
    assert "NO-CARRIER" not in ip("link show ts-office-1")
    reason = bench.tunnel(SECOND).reason
    assert reason is not None
    assert reason.code == "data_plane_lost"
    # It may still come: then it is as any tunnel that comes up.
    await bench.comes_up(SECOND, NEW + 1)
    assert "NO-CARRIER" not in ip("link show ts-office-2")


async def test_a_device_that_the_data_plane_does_not_know_holds_up_no_other(bench: Bench) -> None:
    """Where it is put back and refused, it is bridging, and made anew later."""
    bench.renewal.begin([FIRST, SECOND], bench.now)
    bench.gw.plane.del_tunnel(bench.tunnel(FIRST).number)
    bench.now += BRIDGE_S
    bench.renewal.tick()
    assert "NO-CARRIER" in ip("link show ts-office-2")
    assert not bench.tunnel(SECOND).is_bridging


async def test_more_tunnels_than_the_time_is_enough_for_are_asked_for_one_after_the_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "AT_ONCE", 1)
    bench.renewal.begin([SECOND, FIRST], bench.now)
    bench.now += BRIDGE_S - 0.5
    await bench.comes_up(SECOND, NEW)
    assert bench.asked == [SECOND, FIRST]
    assert bench.renewal.is_pressing
    bench.now += 0.6
    bench.renewal.tick()
    assert not bench.renewal.is_pressing  # all else has waited long enough
    assert "NO-CARRIER" in ip("link show ts-office-1")
    assert bench.gw.daemon.renewed is None
    await bench.comes_up(FIRST, NEW + 1)
    assert "NO-CARRIER" not in ip("link show ts-office-1")
    report = bench.gw.daemon.renewed
    assert report is not None
    assert (report["renewed"], report["silent_s"]) == (2, 3.1)


async def test_one_whose_turn_comes_late_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "AT_ONCE", 1)
    bench.renewal.begin([SECOND, FIRST], bench.now)
    bench.now += BRIDGE_S
    bench.renewal.tick()
    assert bench.asked == [SECOND, FIRST]
    await bench.comes_up(FIRST, NEW)
    report = bench.gw.daemon.renewed
    assert report is not None
    assert (report["tunnels"], report["renewed"]) == (2, 1)


def test_where_all_answers_are_late_they_are_waited_for_longer() -> None:
    """With a thousand tunnels all were under way at once, and each was asked again and again."""
    names = [str(number) for number in range(3 * AT_ONCE)]
    wave = Wave(0.0, 0.0, len(names), dict.fromkeys(names[2 * AT_ONCE :]))
    assert wave.patience_s == PATIENCE_S
    for begun_at, took_s in ((0.0, 2.0), (2.0, 0.1)):
        wave.under_way = dict.fromkeys(names[:AT_ONCE], begun_at)
        for name in names[:AT_ONCE]:
            wave.answered(name, begun_at + took_s)
        expected = max(PATIENCE_S, 3 * took_s)
        assert wave.patience_s == pytest.approx(expected, abs=0.1)
    wave.answered(names[-1], 5.0)  # the peer was faster
    assert names[-1] not in wave.waiting


async def test_one_that_was_not_up_is_left_alone(bench: Bench) -> None:
    bench.tunnel(FIRST).is_bridging = False
    bench.renewal.begin([FIRST, SECOND], bench.now)
    assert bench.asked == [SECOND]


async def test_with_a_peer_that_refuses_the_rekey_another_ike_sa_is_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(bench.gw.daemon, "terminate_tunnel", ended.append)
    bench.renewal.begin([FIRST], bench.now)
    for _ in range(2):  # what refuses that one too is asked again after the core's own pause
        bench.gw.daemon.carry_out([Failed(FIRST, Reason("no_proposal", "no"))])
        await asyncio.sleep(0)
    assert ended == [FIRST]


async def test_where_nothing_was_up_it_is_over_at_once(bench: Bench) -> None:
    bench.renewal.begin([], bench.now)
    assert "data_plane replaced tunnels=0" in bench.gw.log.getvalue()


async def test_a_tunnel_that_is_closed_meanwhile_stays_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an operator or by the document: its traffic goes elsewhere at once, and no key is made."""
    monkeypatch.setattr(bench.gw.daemon, "terminate_tunnel", lambda _: pytest.fail("it is closed"))
    bench.renewal.begin([FIRST, SECOND], bench.now)
    bench.gw.reconciler.take_down(FIRST)
    assert "NO-CARRIER" in ip("link show ts-office-1")
    bench.gw.daemon.carry_out([Failed(FIRST, Reason("no_proposal", "no"))])
    await asyncio.sleep(0)
    start, down = ((*CONNECTION, "start"), "respond"), ((*CONNECTION, "admin"), "down")
    bench.gw.reconciler.apply(plan(document(start, down)))
    assert "NO-CARRIER" in ip("link show ts-office-2")
