"""Who wants traffic to leave a tunnel: the strongest cause counts, and routes follow."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from gateway.dataplane.plane import LocalPlane
from gateway.node.journal import Journal
from gateway.node.netlink import Route
from gateway.node.plan import plan
from gateway.node.routes import DEMOTED_METRIC, FAIL_CLOSED_METRIC
from gateway.node.steering import Cause, Steering
from gateway.routing.plan import Standing
from tests.node.gateway_parts import Parts, parts
from tests.node.network import ip
from tests.support.documents import CONNECTION, document

NET = ip_network("10.20.0.0/16")


class Moves:
    """Counts how often traffic had to move."""

    def __init__(self) -> None:
        self.log = io.StringIO()
        self.count = 0
        self.steering = Steering(Journal(self.log, time.time), self._moved)

    def _moved(self) -> None:
        self.count += 1


def test_a_tunnel_of_which_nothing_is_said_is_normal() -> None:
    steering = Moves().steering
    assert steering.of("office-1") is Standing.NORMAL
    assert steering.standings == {}
    assert steering.causes("office-1") == ()


def test_the_strongest_cause_counts_and_each_takes_back_its_own_word() -> None:
    made = Moves()
    steering = made.steering
    steering.say("office-1", Cause.FAILBACK, Standing.DEMOTED)
    steering.say("office-1", Cause.PROBE, Standing.WITHDRAWN)
    assert steering.of("office-1") is Standing.WITHDRAWN
    assert steering.causes("office-1") == (Cause.FAILBACK, Cause.PROBE)
    steering.say("office-1", Cause.PROBE, Standing.NORMAL)
    assert steering.of("office-1") is Standing.DEMOTED
    assert steering.standings == {"office-1": Standing.DEMOTED}
    steering.say("office-1", Cause.FAILBACK, Standing.NORMAL)
    assert steering.standings == {}
    assert made.count == 4


def test_what_changes_no_standing_moves_nothing() -> None:
    made = Moves()
    made.steering.say("office-1", Cause.PROBE, Standing.WITHDRAWN)
    made.steering.changed.clear()
    for cause, standing in (
        (Cause.PROBE, Standing.WITHDRAWN),
        (Cause.FAILBACK, Standing.DEMOTED),
        (Cause.FAILBACK, Standing.NORMAL),
        (Cause.DRAIN, Standing.NORMAL),
    ):
        made.steering.say("office-1", cause, standing)
    assert made.count == 1
    assert not made.steering.changed.is_set()


def test_a_tunnel_that_is_gone_is_forgotten() -> None:
    steering = Moves().steering
    for name in ("office-1", "office-2"):
        steering.say(name, Cause.DRAIN, Standing.DEMOTED)
    steering.forget(frozenset({"office-2"}))
    assert steering.standings == {"office-2": Standing.DEMOTED}


def test_what_is_said_together_moves_traffic_once() -> None:
    made = Moves()
    with made.steering.together():
        for name in ("office-1", "office-2"):
            made.steering.say(name, Cause.PROBE, Standing.WITHDRAWN)
        assert made.count == 0
    assert made.count == 1
    with made.steering.together():
        pass
    assert made.count == 1


def test_a_move_is_told() -> None:
    made = Moves()
    made.steering.say("office-1", Cause.DRAIN, Standing.DEMOTED)
    assert "standing tunnel=office-1 standing=demoted cause=drain" in made.log.getvalue()


@pytest.fixture
async def gw(network: None) -> AsyncIterator[Parts]:
    ip("addr add 192.0.2.1/32 dev lo")
    ip("addr add 198.51.100.1/32 dev lo")
    with LocalPlane(1) as plane, parts(plane) as made:
        made.reconciler.apply(plan(document(((*CONNECTION, "start"), "respond"))))
        yield made


CLOSED = Route(NET, FAIL_CLOSED_METRIC, None)
SECOND = Route(NET, 101, "ts-office-2")


@pytest.mark.system
async def test_routes_of_static_connections_follow_the_standing(gw: Parts) -> None:
    gw.steering.say("office-1", Cause.FAILBACK, Standing.DEMOTED)
    demoted = Route(NET, 100 + DEMOTED_METRIC, "ts-office-1")
    assert gw.kernel.routes() == {SECOND, demoted, CLOSED}
    gw.steering.say("office-1", Cause.PROBE, Standing.WITHDRAWN)
    assert gw.kernel.routes() == {SECOND, CLOSED}
    gw.reconciler.repair()
    assert gw.kernel.routes() == {SECOND, CLOSED}
    for cause in (Cause.PROBE, Cause.FAILBACK):
        gw.steering.say("office-1", cause, Standing.NORMAL)
    assert gw.kernel.routes() == {Route(NET, 100, "ts-office-1"), SECOND, CLOSED}


@pytest.mark.system
async def test_nothing_leaves_in_clear_when_all_tunnels_are_withdrawn(gw: Parts) -> None:
    for name in ("office-1", "office-2"):
        gw.steering.say(name, Cause.PROBE, Standing.WITHDRAWN)
    assert gw.kernel.routes() == {CLOSED}
