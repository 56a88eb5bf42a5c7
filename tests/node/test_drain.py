"""
Whoever wants traffic to leave a tunnel: commands and an edit, at the same time and in every order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import DataPlaneError
from gateway.ike.events import ChildSaDown, Reason
from gateway.node import drain, rollout
from gateway.node.commands import Commands
from gateway.node.control_socket import ControlError
from gateway.node.drain import Claim, Drained
from gateway.node.plan import NodePlan, TunnelPlan, plan
from gateway.node.steering import Cause
from gateway.node.udp import SocketError, open_ike_socket
from gateway.routing.plan import Standing
from gateway.routing.routers import Routers
from tests.node.gateway_parts import Parts
from tests.node.network import ip
from tests.node.test_keeper import NEW, up
from tests.support.documents import CONNECTION, FIRST, REMOVED, SECOND, document

pytestmark = pytest.mark.system

ONE, OTHER = "office-1", "office-2"
DOWN = ((*FIRST, "admin"), "down")
INNER = ((*FIRST, "inner_cidr"), "169.254.20.0/30")
OTHER_INNER = ((*SECOND, "inner_cidr"), "169.254.20.4/30")


def wanted(*edits: tuple[tuple[str | int, ...], object]) -> NodePlan:
    return plan(document(((*CONNECTION, "start"), "respond"), *edits))


@dataclass
class Bench:
    """A gateway whose two tunnels are up, and its commands."""

    gw: Parts
    commands: Commands

    async def ask(self, command: str, tunnel: str = ONE, **more: object) -> dict[str, object]:
        request: dict[str, object] = {"command": command, "tunnel": tunnel, **more}
        (answer,) = [each async for each in self.commands.answer(request)]
        return cast("dict[str, object]", answer)

    def begin(self, command: str, tunnel: str = ONE) -> asyncio.Task[dict[str, object]]:
        return asyncio.create_task(self.ask(command, tunnel))

    def standing(self, tunnel: str = ONE) -> Standing:
        return self.gw.steering.said(tunnel, Cause.DRAIN)

    def planned(self, tunnel: str = ONE) -> TunnelPlan:
        return next(each for each in self.gw.status.plans if each.name == tunnel)


@pytest.fixture
async def bench(gw: Parts) -> AsyncIterator[Bench]:
    unused = cast(Any, None)
    gw.reconciler.apply(wanted())
    for at, name in enumerate((ONE, OTHER)):
        gw.daemon.carry_out([replace(up(NEW + at), tunnel=name)])
    ends = (gw.tunnels, gw.drain, gw.status, gw.journal)
    commands = Commands(unused, gw.daemon, gw.reconciler, *ends, unused, unused, unused)
    yield Bench(gw, commands)
    await gw.rollout.stop()


@pytest.fixture
def busy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """Give the first tunnel a BGP peer that goes on to send into it; until the event is set."""
    quiet, counted = asyncio.Event(), iter(range(0, 1 << 40, 1 << 20))
    peer = SimpleNamespace(is_up=True, bgp=None, peer=SimpleNamespace(bfd=None))
    with monkeypatch.context() as patched:
        patched.setattr(Routers, "peer", lambda _, name: peer if name == ONE else None)
        patched.setattr(
            bench.gw.drain, "_received", lambda _: 0 if quiet.is_set() else next(counted)
        )
        for name, seconds in (
            ("LEAST_S", 0.02),
            ("LOOK_S", 0.01),
            ("ASKED_S", 0.2),
            ("TOLD_S", 0.2),
        ):
            patched.setattr(drain, name, seconds)
        yield quiet


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():  # noqa: ASYNC110 - it has no event of its own
            await asyncio.sleep(0.005)


async def until_moved(bench: Bench) -> None:
    await until(lambda: bench.standing() is not Standing.NORMAL)


async def test_a_drained_tunnel_stays_so_until_somebody_says_up(bench: Bench) -> None:
    assert (await bench.ask("drain"))["drained"] == "moved"
    assert bench.standing() is Standing.DEMOTED
    await bench.ask("reset")
    assert bench.standing() is Standing.DEMOTED
    await bench.ask("up")
    assert bench.standing() is Standing.NORMAL


@pytest.mark.parametrize("command", ["drain", "down", "reset"])
async def test_up_while_it_drains_is_the_last_word(
    bench: Bench, busy: asyncio.Event, command: str
) -> None:
    """The peer still sends: nothing may be withdrawn from it after the word."""
    asked = bench.begin(command)
    await until_moved(bench)
    await bench.ask("up")
    with pytest.raises(ControlError, match="was taken up again meanwhile"):
        await asked
    assert bench.standing() is Standing.NORMAL
    assert ONE not in bench.gw.reconciler.taken_down


async def test_who_drains_a_tunnel_already_is_named(bench: Bench, busy: asyncio.Event) -> None:
    """Of two words that close it, the second one came back as taken up again."""
    first = bench.begin("down")
    await until_moved(bench)
    with pytest.raises(ControlError, match="office-1 is being drained already"):
        await bench.ask("reset")
    busy.set()
    assert (await first)["admin"] == "down"
    assert (await bench.ask("down"))["admin"] == "down"  # said twice it is no mistake


async def test_down_at_once_ends_a_reset_that_waits(bench: Bench, busy: asyncio.Event) -> None:
    reset = bench.begin("reset")
    await until_moved(bench)
    await bench.ask("down", now=True)
    with pytest.raises(ControlError, match="not allowed to be up"):
        await reset
    assert ONE in bench.gw.reconciler.taken_down
    assert bench.standing() is Standing.NORMAL


async def test_a_tunnel_that_goes_while_it_drains_leaves_no_word_behind(
    bench: Bench, busy: asyncio.Event
) -> None:
    """Another tunnel may have its name later."""
    down = bench.begin("down")
    await until_moved(bench)
    alone = wanted((FIRST, REMOVED), ((*FIRST, "name"), OTHER))
    await bench.gw.rollout.apply(alone, at_once=True)
    with pytest.raises(ControlError, match="office-1 was removed from the document meanwhile"):
        await down
    assert not bench.gw.reconciler.taken_down
    assert not bench.gw.drain.is_claimed(ONE, Claim.CLOSING)


async def test_a_word_that_is_cancelled_is_taken_back(bench: Bench, busy: asyncio.Event) -> None:
    down = bench.begin("down")
    await until_moved(bench)
    down.cancel()
    await asyncio.wait([down])
    assert bench.standing() is Standing.NORMAL


async def test_the_end_of_an_edit_leaves_alone_what_an_operator_drains(
    bench: Bench, busy: asyncio.Event
) -> None:
    """The traffic would come back into a tunnel that is closed the moment after."""
    assert await bench.gw.rollout.apply(wanted(OTHER_INNER)) == {OTHER}
    down = bench.begin("down")
    await until_moved(bench)
    await until(lambda: not bench.gw.rollout.waiting)
    await bench.gw.rollout.stop()
    assert bench.standing() is not Standing.NORMAL or down.done()
    busy.set()
    assert (await down)["drained"] in ("quiet", "busy")


async def test_nothing_stays_away_where_nothing_else_takes_the_traffic(bench: Bench) -> None:
    bench.gw.daemon.carry_out([ChildSaDown(OTHER, NEW + 1, Reason("peer", "it has gone"))])
    assert (await bench.ask("drain"))["drained"] == Drained.ALONE.value
    assert bench.standing() is Standing.NORMAL
    assert not bench.gw.drain.is_claimed(ONE, Claim.OPERATOR)


async def test_up_is_refused_where_an_edit_is_about_to_take_it_down(
    bench: Bench, busy: asyncio.Event
) -> None:
    assert await bench.gw.rollout.apply(wanted(DOWN)) == {ONE}
    with pytest.raises(ControlError, match="change it there"):
        await bench.ask("up")


async def test_an_edit_goes_on_when_the_next_one_can_not_be_begun(
    bench: Bench, busy: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address in use changes nothing, also of what is under way."""
    assert await bench.gw.rollout.apply(wanted(INNER)) == {ONE}
    addresses = (("gateway", "public_addresses"), ["192.0.2.1", "203.0.113.77"])
    ip("addr add 203.0.113.77/32 dev lo")
    with open_ike_socket(ip_address("203.0.113.77")), pytest.raises(SocketError):
        await bench.gw.rollout.apply(wanted(INNER, addresses))
    assert bench.gw.rollout.waiting == {ONE}
    busy.set()
    await until(lambda: bench.planned() == wanted(INNER).tunnels[0])
    assert not bench.gw.rollout.waiting


async def test_a_turn_of_an_edit_that_fails_is_tried_again(
    bench: Bench, busy: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await bench.gw.rollout.apply(wanted(INNER)) == {ONE}
    monkeypatch.setattr(rollout, "AGAIN_S", 0.01)
    apply, failures = bench.gw.reconciler.apply, iter([DataPlaneError("gone", -1), None])

    def fails_once(plan: NodePlan) -> object:
        error = next(failures, None)
        if error is not None:
            raise error
        return apply(plan)

    monkeypatch.setattr(bench.gw.reconciler, "apply", fails_once)
    busy.set()
    await until(lambda: bench.planned() == wanted(INNER).tunnels[0])
    assert "edit failed text=gone" in bench.gw.log.getvalue()
