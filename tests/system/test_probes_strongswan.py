"""
Probes toward a customer's device that is not ours (F4): strongSwan with and without an inner
address.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan) --- host b
      ts-office-1 169.254.11.1                169.254.11.2 on lo, or nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from lab.commands import wait_for
from lab.netns import Namespace
from lab.strongswan import Connection
from lab.twinspan import Value
from tests.system.support import FIRST, Ends, ping, reach_each_other

pytestmark = pytest.mark.system

OURS, THEIRS = "169.254.11.1/32", "169.254.11.2/32"
PROBE: Mapping[str, Value] = {"probe": "200x3", "liveness_s": 600}


def with_inner(
    made: Connection, *, local: Sequence[str] = (), remote: Sequence[str] = ()
) -> Connection:
    """Return a connection whose selectors let inner addresses pass too."""
    child = made.child
    local_ts, remote_ts = (*child.local_ts, *local), (*child.remote_ts, *remote)
    return replace(made, child=replace(child, local_ts=local_ts, remote_ts=remote_ts))


def wait_probe(ends: Ends, state: str) -> None:
    """Wait until the probes of our tunnel say that."""
    wait_for(f"probes {state}", lambda: probe_of(ends)["state"] == state, 15.0, every_s=0.1)


def probe_of(ends: Ends) -> Mapping[str, object]:
    found = ends.ours.tunnels()[FIRST].raw["probe"]
    assert isinstance(found, dict)
    return found


def has_route(ends: Ends) -> bool:
    """Say whether the customer's network is routed into the tunnel."""
    net = ends.pair.b.lan4
    return f"ts-{FIRST}" in ends.pair.a.gateway.run("ip", "route", "show", net)


@contextmanager
def without_echo(machine: Namespace, hook: str) -> Iterator[None]:
    """Drop ICMP at one of netfilter's hooks."""
    rules = f"table inet noecho {{\n chain c {{\n  type filter hook {hook} priority 0\n"
    machine.run("nft", "-f", "-", text=rules + "  meta l4proto icmp drop\n }\n}\n")
    try:
        yield
    finally:
        machine.run("nft", "delete", "table", "inet", "noecho")


def test_a_peer_with_an_inner_address_is_watched(ends: Ends) -> None:
    gateway = ends.pair.b.gateway
    gateway.address("lo", THEIRS)
    ends.agree([with_inner(ends.connection(), local=[THEIRS], remote=[OURS])], PROBE)
    wait_probe(ends, "healthy")
    assert has_route(ends)
    with without_echo(gateway, "input"):
        wait_probe(ends, "unhealthy")
        assert not has_route(ends)
        assert ends.ours.tunnels()[FIRST].is_up
        assert not ping(ends.pair.a.host, ends.pair.b.host4)
    wait_probe(ends, "healthy")
    assert has_route(ends)
    reach_each_other(ends.pair)


def test_a_host_behind_the_peer_may_be_the_one_who_answers(ends: Ends) -> None:
    settings = {**PROBE, "probe_address": ends.pair.b.host4}
    ends.agree([with_inner(ends.connection(), remote=[OURS])], settings)
    wait_probe(ends, "healthy")
    assert probe_of(ends)["address"] == ends.pair.b.host4
    with without_echo(ends.pair.b.gateway, "forward"):
        wait_probe(ends, "unhealthy")
        assert not has_route(ends)
    # No route leads to it by now: the probes find their way all the same.
    wait_probe(ends, "healthy")
    reach_each_other(ends.pair)


def test_a_policy_connection_is_watched_where_its_selectors_hold_both_addresses(ends: Ends) -> None:
    pair = ends.pair
    settings = {
        **PROBE,
        "routing": "policy",
        "local_cidrs": [pair.a.lan4, OURS],
        "remote_cidrs": [pair.b.lan4, THEIRS],
    }
    ends.agree([with_inner(ends.connection(), local=[THEIRS], remote=[OURS])], settings)
    wait_probe(ends, "healthy")
    with without_echo(pair.b.gateway, "input"):
        wait_probe(ends, "unhealthy")
        assert not has_route(ends)
    wait_probe(ends, "healthy")
    reach_each_other(pair)


def test_a_peer_without_an_inner_address_keeps_its_route_with_a_warning(ends: Ends) -> None:
    ends.agree([ends.connection()], PROBE)
    wait_for("the warning", lambda: "probe unanswered" in log(ends), 15.0, every_s=0.2)
    assert probe_of(ends)["state"] == "unanswered"
    assert has_route(ends)
    reach_each_other(ends.pair)
    assert "unanswered" in ends.ours.cli("status")


def log(ends: Ends) -> str:
    return ends.ours.cli("log", "--lines", "200")
