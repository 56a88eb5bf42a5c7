"""
A network address translation between the gateways.

    host a --- gw a --- [192.0.2.254 router 172.16.0.1] --- gw b --- host b
             192.0.2.1            NAT                    172.16.0.2

Either our daemon or strongSwan stands behind the router. The router keeps port 4500 or changes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import impair, probe, sites, topology
from lab.netns import Lab, Namespace
from lab.strongswan import Connection, StrongSwan
from lab.topology import Pair
from lab.twinspan import Document, Tunnel, TunnelView, Twinspan, Value
from tests.system.support import FIRST, ping, reach_each_other

pytestmark = pytest.mark.system

ROUTER = "192.0.2.254"
DEPOT = "10.30.0.0/24"  # behind the second device
IDS = {"a": "a.gw.test", "b": "b.gw.test"}


@pytest.fixture(scope="module")
def pair(lab: Lab) -> Pair:
    """Return the two sites with the router between them."""
    return topology.natted(lab)


@pytest.fixture(params=[None, 41000], ids=["port kept", "port changed"])
def router(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """Return the router, translating."""
    assert pair.router is not None
    impair.nat(pair.router, first_port=request.param)
    yield pair.router
    impair.nat_away(pair.router)
    impair.forget_flows(pair.router)


def _wanted(
    pair: Pair, keys: sites.Secrets, *, we_are_inside: bool, start: str, anywhere: bool = False
) -> Document:
    here, there = (pair.b, pair.a) if we_are_inside else (pair.a, pair.b)
    settings: dict[str, Value] = {"start": start, "local_id": IDS[here.name]}
    customer = sites.Customer(
        address=None if we_are_inside else ROUTER,
        is_anywhere=anywhere,
        identity=IDS[there.name],
    )
    return sites.document(here, there, keys, settings=settings, customer=customer)


def _document(
    pair: Pair, keys: sites.Secrets, *, we_are_inside: bool, start: str, anywhere: bool = False
) -> tuple[Twinspan, sites.Secrets]:
    here = pair.b if we_are_inside else pair.a
    wanted = _wanted(pair, keys, we_are_inside=we_are_inside, start=start, anywhere=anywhere)
    return Twinspan(here.gateway, wanted), keys


def _told(pair: Pair, keys: sites.Secrets, *, is_inside: bool) -> Connection:
    here, there = (pair.b, pair.a) if is_inside else (pair.a, pair.b)
    base = sites.swan_connection(here, there, keys)
    return replace(
        base,
        remote=base.remote if is_inside else ROUTER,
        local_id=IDS[here.name],
        remote_id=IDS[there.name],
        encap=False,
    )


def _swan(pair: Pair, keys: sites.Secrets, *, is_inside: bool) -> StrongSwan:
    here = pair.b if is_inside else pair.a
    return StrongSwan(here.gateway, [_told(pair, keys, is_inside=is_inside)])


def _peer(tunnel: TunnelView) -> str:
    """Return where a tunnel's peer speaks from, address and port."""
    ike = tunnel.raw["ike"]
    assert isinstance(ike, dict)
    return str(ike["path"]).partition("-")[2]


@pytest.mark.parametrize("anywhere", [False, True], ids=["known address", "any address"])
def test_strongswan_behind_a_nat_reaches_us(pair: Pair, router: Namespace, anywhere: bool) -> None:
    ours, keys = _document(
        pair, sites.Secrets(), we_are_inside=False, start="respond", anywhere=anywhere
    )
    swan = _swan(pair, keys, is_inside=True)
    ours.start()
    swan.start()
    try:
        swan.initiate(FIRST)
        ours.wait_up()
        reach_each_other(pair)
        ours.cli("rekey", FIRST)
        reach_each_other(pair)
    finally:
        swan.stop()
        ours.end()


def test_we_reach_strongswan_from_behind_a_nat(pair: Pair, router: Namespace) -> None:
    ours, keys = _document(pair, sites.Secrets(), we_are_inside=True, start="initiate")
    swan = _swan(pair, keys, is_inside=False)
    swan.start()
    ours.start()
    try:
        ours.wait_up()
        reach_each_other(pair)
        (sa,) = swan.sas()
        assert sa.remote == ROUTER
        swan.rekey_child(FIRST)
        reach_each_other(pair)
    finally:
        ours.end()
        swan.stop()


@pytest.mark.parametrize("anywhere", [False, True], ids=["known address", "any address"])
def test_two_devices_behind_one_address_are_told_apart(
    pair: Pair, router: Namespace, anywhere: bool
) -> None:
    """Both come from the router's address; each has an identity, a key and a prefix of its own."""
    keys = sites.Secrets()
    wanted = _wanted(pair, keys, we_are_inside=False, start="respond", anywhere=anywhere)
    (office,) = wanted.connections
    there = office.tunnels[0].remote
    depot = replace(
        office,
        name="depot",
        remote_cidrs=[DEPOT],
        tunnels=[Tunnel("depot-1", "192.0.2.1", there, "169.254.13.0/30", keys.psk[1])],
        customer={"identity": "c.gw.test"},
    )
    ours = Twinspan(pair.a.gateway, replace(wanted, connections=[office, depot]))
    first = _told(pair, keys, is_inside=True)
    second = replace(
        first,
        name="depot-1",
        local="172.16.0.3",
        local_id="c.gw.test",
        psk=keys.psk[1],
        child=replace(first.child, local_ts=(DEPOT,)),
    )
    swan = StrongSwan(pair.b.gateway, [first, second])
    pair.b.gateway.run("ip", "addr", "add", "172.16.0.3/24", "dev", "wan1")
    pair.b.gateway.run("ip", "addr", "add", "10.30.0.1/24", "dev", "lo")
    ours.start()
    swan.start()
    try:
        for name in (FIRST, "depot-1"):
            swan.initiate(name)
        ours.wait_up()
        peers = {_peer(one) for one in ours.tunnels().values()}
        assert {peer.partition(":")[0] for peer in peers} == {ROUTER}
        assert len(peers) == 2  # by the port
        reach_each_other(pair)
        before = ours.tunnels()
        assert ping(pair.a.host, "10.30.0.1")
        after = ours.tunnels()
        assert after["depot-1"].in_packets - before["depot-1"].in_packets >= 3
        assert after[FIRST].in_packets - before[FIRST].in_packets <= 1
        ours.cli("rekey", FIRST)
        swan.rekey_child("depot-1")
        reach_each_other(pair)
        assert ping(pair.a.host, "10.30.0.1")
    finally:
        swan.stop()
        ours.end()
        pair.b.gateway.run("ip", "addr", "del", "10.30.0.1/24", "dev", "lo")
        pair.b.gateway.run("ip", "addr", "del", "172.16.0.3/24", "dev", "wan1")


@pytest.mark.alone
def test_the_path_follows_a_nat_that_changes_its_mapping(pair: Pair) -> None:
    """The router forgets its flows: the peer's packets come from another port; ours follow."""
    assert pair.router is not None
    impair.nat(pair.router, first_port=42000)
    ours, keys = _document(pair, sites.Secrets(), we_are_inside=False, start="respond")
    swan = _swan(pair, keys, is_inside=True)
    ours.start()
    swan.start()
    try:
        swan.initiate(FIRST)
        ours.wait_up()
        running = probe.start(pair.b.host, pair.a.host, pair.a.host4)
        time.sleep(1.0)
        impair.nat(pair.router, first_port=43000)
        impair.forget_flows(pair.router)
        time.sleep(1.5)
        seen = running.stop()
        assert seen.goes_on
        # Lost is what we still sent to the old port: the path moves with the first packet.
        assert seen.silence_ms < 500
        assert ping(pair.a.host, pair.b.host4)
        children = swan.children()
        assert len(children) == 1
        assert "path" in ours.log_text()
    finally:
        impair.nat_away(pair.router)
        swan.stop()
        ours.end()
