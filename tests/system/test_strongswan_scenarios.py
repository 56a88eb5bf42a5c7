"""
Scenarios of strongSwan's own test suite that are more than a suite of algorithms or a refusal.

One pair of daemons serves all tests, as in `test_strongswan`. docs/interop.md tells which scenario
is tried where.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lab import probe, sites
from lab.commands import LabError, wait_for
from lab.strongswan import Connection, Ppk
from lab.twinspan import Value
from tests.system.support import FIRST, Ends, counters, ping, reach_each_other, wait_reason

pytestmark = pytest.mark.system

CHARON = ("make_before_break = yes",)  # else it ends an IKE SA before it authenticates again
KEY = "0x" + "5c" * 32
PPK: dict[str, Value] = {"ppk": KEY, "ppk_id": "quantum-1"}


def _begin(ends: Ends, start: str) -> None:
    """Let the end begin that is to begin; wait until the tunnel is up."""
    if start == "respond":
        ends.swan.initiate(FIRST)
    ends.ours.wait_up()


def _ike(ends: Ends) -> dict[str, object]:
    found = ends.ours.tunnels()[FIRST].raw["ike"]
    assert isinstance(found, dict)
    return found


def _child(connection: Connection, **changes: object) -> Connection:
    child = replace(connection.child, **changes)  # type: ignore[arg-type]  # named by the test
    return replace(connection, child=child)


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_the_first_child_sa_comes_after_ike_auth(ends: Ends, start: str) -> None:
    """ikev2/net2net-childless: charon takes nothing else, and its Child SA has a group."""
    connection = replace(ends.connection(), more={"childless": "force"})
    ends.agree([connection], {"start": start, "childless": True})
    _begin(ends, start)
    reach_each_other(ends.pair)
    (child,) = ends.swan.children()
    assert child.encr == "AES_GCM_16-256-CURVE_25519"


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_a_ppk_is_used_where_both_ends_have_it(ends: Ends, start: str) -> None:
    """ikev2/rw-psk-ppk: used; not required and unknown to the peer; required and unknown."""
    plain = ends.connection()
    ends.agree([replace(plain, ppk=Ppk("quantum-1", KEY, "yes"))], {"start": start, **PPK})
    _begin(ends, start)
    reach_each_other(ends.pair)
    assert _ike(ends)["ppk"] is True
    assert _ike(ends)["post_quantum"] is True
    other = {**PPK, "ppk_id": "quantum-2"}  # charon has the first one by now
    ends.agree([plain], {"start": start, **other, "ppk_required": False})
    _begin(ends, start)
    assert _ike(ends)["ppk"] is False
    ends.agree([plain], {"start": start, **other})
    if start == "respond":
        with pytest.raises(LabError):
            ends.swan.initiate(FIRST)
    code = {"initiate": "authentication_failed", "respond": "ppk_mismatch"}[start]
    wait_reason(ends.ours, FIRST, code)  # charon says no more than that
    assert "ppk_id" in ends.ours.cli("explain", FIRST, check=False)


def test_a_peer_that_authenticates_again_leaves_no_gap(ends: Ends) -> None:
    """ikev2/reauth-mbb: charon begins a second IKE SA, and ends the first when that one is up."""
    ends.agree([replace(ends.connection(), more={"reauth_time": "4s"})], {"start": "initiate"})
    ends.ours.wait_up()
    reach_each_other(ends.pair)
    first = _ike(ends)["spi_i"]
    running = probe.start(ends.pair.a.host, ends.pair.b.host, ends.pair.b.host4, rate=50)
    try:
        wait_for("another IKE SA", lambda: _is_replaced(ends, first), 20.0, every_s=0.2)
    finally:
        seen = running.stop()
    assert seen.goes_on
    assert len(seen.lost) <= 2  # charon's own switch from one to the other


def _is_replaced(ends: Ends, first: object) -> bool:
    """Say whether both ends have the same one IKE SA, and it is not the first."""
    spi = _ike(ends).get("spi_i")
    return spi != first and [sa.initiator_spi for sa in ends.swan.sas()] == [spi]


def test_a_child_sa_that_charon_ends_for_idleness_comes_back(ends: Ends) -> None:
    """ikev2/inactivity-timeout: the IKE SA stays, and the next packet finds a Child SA."""
    connection = _child(ends.connection(), more={"inactivity": "2s"})
    ends.agree([connection], {"start": "initiate", "measure_s": 0})
    ends.ours.wait_up()
    before, ike = ends.ours.tunnels()[FIRST].spis, _ike(ends)["spi_i"]
    wait_for("the end of it", lambda: "inactivity" in ends.swan.log_text(), 15.0, every_s=0.2)
    wait_for("another one", lambda: _is_new(ends, before), 15.0, every_s=0.2)
    reach_each_other(ends.pair)
    assert _ike(ends)["spi_i"] == ike


def _is_new(ends: Ends, before: tuple[object, ...]) -> bool:
    now = ends.ours.tunnels()[FIRST].spis
    return len(now) == 1 and now != before


@pytest.mark.parametrize("start", ["initiate", "respond"])
def test_selectors_of_protocols_let_nothing_else_through(ends: Ends, start: str) -> None:
    """ikev2/protoport-dual and -range: pings and some ports pass, the next one does not."""
    pair = ends.pair
    ours, theirs = ((f"{lan}[icmp]", f"{lan}[udp/5000-5010]") for lan in (pair.a.lan4, pair.b.lan4))
    connection = _child(ends.connection(), local_ts=theirs, remote_ts=ours)
    settings = {"local_ts": list(ours), "remote_ts": list(theirs)}
    ends.agree([connection], {"start": start, **settings})
    _begin(ends, start)
    assert ping(pair.a.host, pair.b.host4)
    assert [_verdict(ends, port) for port in (5000, 5010, 5011)] == ["carried"] * 2 + [
        "no_selector"
    ]
    before = _selector_drops(ends)
    pair.a.host.run("bash", "-c", f"echo > /dev/udp/{pair.b.host4}/5011")
    wait_for("the drop", lambda: _selector_drops(ends) > before, 5.0)


def _verdict(ends: Ends, port: int) -> str:
    """Return what `twinspan path` says of a datagram to that port."""
    words = (ends.pair.a.host4, ends.pair.b.host4, "--proto", "udp", "--dport", str(port))
    (place,) = json.loads(ends.ours.cli("path", *words, "-o", "json", check=False))["places"]
    return str(place["verdict"])


def _selector_drops(ends: Ends) -> int:
    return ends.ours.tunnels()[FIRST].drops.get("selector_out", 0)


def test_a_peer_that_moves_keeps_its_ike_sa(ends: Ends) -> None:
    """
    ikev2/mobike and dynamic-initiator: another address under the same IKE SA, then a new start.

    kernel-libipsec can not change the addresses of an ESP SA, so charon rekeys its Child SA.
    """
    gateway = ends.pair.b.gateway
    first, second = ends.pair.b.public4[0], "192.0.2.77"
    connection = replace(
        ends.connection(),
        local="%any",
        local_id="b.gw.test",
        more={"mobike": "yes"},
        unique="replace",
    )
    anywhere = sites.Customer(is_anywhere=True, identity="b.gw.test")
    ends.agree([connection], {"liveness_s": 60}, customer=anywhere)
    _begin(ends, "respond")
    reach_each_other(ends.pair)
    ike = _ike(ends)["spi_i"]
    gateway.sysctl("net.ipv4.conf.wan1.promote_secondaries=1")
    gateway.ip("address", "add", f"{second}/24", "dev", "wan1")
    gateway.ip("address", "del", f"{first}/24", "dev", "wan1")
    try:
        wait_for("the new address", lambda: _remote(ends).startswith(second), 10.0, every_s=0.2)
        reach_each_other(ends.pair)
        assert _ike(ends)["spi_i"] == ike
        ends.swan.kill()
    finally:
        gateway.ip("address", "add", f"{first}/24", "dev", "wan1")
        gateway.ip("address", "del", f"{second}/24", "dev", "wan1")
    ends.swan.start()
    ends.swan.initiate(FIRST)
    wait_for("the first address", lambda: _remote(ends).startswith(first), 10.0, every_s=0.2)
    assert _ike(ends)["spi_i"] != ike
    wait_for("one Child SA", lambda: len(ends.ours.tunnels()[FIRST].spis) == 1, 10.0)
    reach_each_other(ends.pair)


def test_a_peer_that_sends_us_on_is_followed_where_that_is_allowed(ends: Ends) -> None:
    """
    ikev2/redirect-active: there, and when that IKE SA ends, at the configured address again.

    The other gateway is the same charon at another address. It sends on only who says that it can
    be sent on.
    """
    gateway, first, second = ends.pair.b.gateway, ends.pair.b.public4[0], "192.0.2.78"
    connection = replace(ends.connection(), local="%any")
    gateway.ip("address", "add", f"{second}/24", "dev", "wan1")
    try:
        ends.agree([connection], {"start": "initiate", "allow_redirect": True})
        ends.ours.wait_up()
        before = counters(ends.ours).get("ike.redirect.followed", 0)
        ends.swan.redirect(FIRST, second)
        wait_for("the other gateway", lambda: _is_up_at(ends, second), 10.0, every_s=0.2)
        reach_each_other(ends.pair)
        assert counters(ends.ours)["ike.redirect.followed"] == before + 1
        ends.swan.terminate(FIRST)
        wait_for("the configured one", lambda: _is_up_at(ends, first), 10.0, every_s=0.2)
        reach_each_other(ends.pair)
    finally:
        gateway.ip("address", "del", f"{second}/24", "dev", "wan1")


def _is_up_at(ends: Ends, address: str) -> bool:
    return ends.ours.tunnels()[FIRST].is_up and _remote(ends).startswith(f"{address}:")


def _remote(ends: Ends) -> str:
    """Return where our IKE SA finds the peer."""
    return str(_ike(ends)["path"]).rpartition("-")[2]
