"""
Rekeys from either end under traffic: no packet may be lost by them.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b

A probe of 200 datagrams a second and a paced iperf3 run all the while; both count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from lab import iperf, probe
from lab.commands import wait_for
from lab.twinspan import Value
from tests.system.support import FIRST, Ends, assert_nothing_lost

pytestmark = pytest.mark.system


@pytest.fixture
def up(ends: Ends) -> Ends:
    """Return the ends with tunnel 1 up, PFS on."""
    proposals = {
        "ike_proposals": ["aes256gcm16-prfsha384-x25519"],
        "esp_proposals": ["aes256gcm16-x25519"],
    }
    ends.agree([ends.connection()], {"start": "initiate", **proposals})
    ends.ours.wait_up()
    return ends


def _spis(ends: Ends) -> tuple[object, ...]:
    return ends.ours.tunnels()[FIRST].spis


def _are_others(ends: Ends, before: tuple[object, ...]) -> bool:
    return set(_spis(ends)).isdisjoint(before)


def _is_settled(ends: Ends) -> bool:
    """Return whether both ends have one Child SA, which can be rekeyed again."""
    return len(_spis(ends)) == 1 and len(ends.swan.children(FIRST)) == 1


def _probe(ends: Ends, rate: int = 200) -> probe.Probe:
    return probe.start(ends.pair.a.host, ends.pair.b.host, ends.pair.b.host4, rate=rate)


def _ours_child(ends: Ends) -> None:
    ends.ours.cli("rekey", FIRST)


def _ours_ike(ends: Ends) -> None:
    ends.ours.cli("rekey", FIRST, "--ike")


def _theirs_child(ends: Ends) -> None:
    ends.swan.rekey_child(FIRST)


def _theirs_ike(ends: Ends) -> None:
    ends.swan.rekey_ike(FIRST)


def _carried(ends: Ends) -> None:
    """Run paced traffic of iperf3 both ways while a probe counts, and check that none is lost."""
    a, b = ends.pair.a.host, ends.pair.b.host
    for direction in ((), ("-R",)):
        # charon reads its one socket with one thread and the kernel's default buffer: what a busy
        # machine holds up for half a second must fit there.
        paced = ("-u", "-b", "320k", "-l", "500", *direction)
        flow = iperf.measure(a, b, ends.pair.b.host4, *paced, seconds=1.0)
        assert flow.sent > 50
        assert flow.lost == 0


@pytest.mark.parametrize("rekey", [_ours_child, _theirs_child])
def test_a_child_sa_rekey_loses_no_packet(up: Ends, rekey: Callable[[Ends], None]) -> None:
    running = _probe(up)
    seen_spis = [_spis(up)]
    for _ in range(3):
        rekey(up)
        wait_for("other SPIs", lambda: _spis(up) != seen_spis[-1], 5.0)
        seen_spis.append(_spis(up))
        wait_for("one Child SA", partial(_is_settled, up), 10.0)
    _carried(up)
    assert_nothing_lost(running.stop())


@pytest.mark.parametrize("rekey", [_ours_ike, _theirs_ike])
def test_an_ike_sa_rekey_loses_no_packet(up: Ends, rekey: Callable[[Ends], None]) -> None:
    running = _probe(up)
    spis = [sa.initiator_spi for sa in up.swan.sas()]
    children = _spis(up)
    rekey(up)
    wait_for(
        "another IKE SA",
        lambda: (
            [sa.initiator_spi for sa in up.swan.sas() if sa.state == "ESTABLISHED"]
            not in (spis, [])
        ),
        5.0,
    )
    _carried(up)
    assert _spis(up) == children
    # The Child SA moved to the new IKE SA, which rekeys it in its turn.
    _ours_child(up)
    wait_for("other SPIs", lambda: _spis(up) != children, 5.0)
    assert_nothing_lost(running.stop())
    (sa,) = [sa for sa in up.swan.sas() if sa.state == "ESTABLISHED"]
    assert sa.initiator_spi not in spis


def test_rekeys_that_collide_lose_no_packet(up: Ends) -> None:
    """Both ends begin a Child SA rekey at the same moment, twice."""
    running = _probe(up)
    for _ in range(2):
        before = _spis(up)
        _theirs_child(up)
        _ours_child(up)
        wait_for("other SPIs", partial(_are_others, up, before), 10.0)
        wait_for("one Child SA", partial(_is_settled, up), 10.0)
    assert_nothing_lost(running.stop())


def test_a_limit_of_packets_rekeys_by_itself(ends: Ends) -> None:
    settings: dict[str, Value] = {"start": "initiate", "child_lifetime_packets": 1000}
    ends.agree([ends.connection()], settings)
    ends.ours.wait_up()
    running = _probe(ends, 400)
    for _ in range(2):
        before = _spis(ends)
        wait_for("a rekey", partial(_are_others, ends, before), 20.0)
    assert_nothing_lost(running.stop())


def test_a_rekeyed_sa_is_gone_after_its_linger(up: Ends) -> None:
    before = set(_spis(up))
    _ours_child(up)
    wait_for("one Child SA, another one", lambda: _is_one_other(up, before), 10.0)


def _is_one_other(ends: Ends, before: set[object]) -> bool:
    spis = ends.ours.tunnels()[FIRST].all_spis
    return len(spis) == 1 and before.isdisjoint(spis)
