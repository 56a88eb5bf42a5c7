"""A thousand connections: BIRD's configuration of them, and what changes when one does."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address

from gateway.routing.bird_conf import bird_conf
from gateway.routing.plan import BgpPeer, RoutingPlan
from tests.routing.plans import OFFICE, plan_of, routes_into

_FIRST = IPv4Address("169.254.100.0")


def peer(number: int) -> BgpPeer:
    return replace(
        OFFICE,
        name=f"branch{number}-1",
        connection=f"branch{number}",
        interface=f"ts-{number}",
        asn=4_200_000_000 + number,
        local=_FIRST + 4 * number + 1,
        remote=_FIRST + 4 * number + 2,
    )


def of_many(count: int) -> RoutingPlan:
    peers = [peer(number) for number in range(count)]
    statics = tuple(
        routes_into(each, (f"10.{64 + number // 256}.{number % 256}.0/24", 100))
        for number, each in enumerate(peers)
    )
    return plan_of(*peers, statics=statics)


def least_s(plan: RoutingPlan) -> float:
    """Return the CPU seconds that making the configuration takes, the least of five times."""
    taken = []
    for _ in range(5):
        began = time.process_time()
        bird_conf(plan, "bird.log")
        taken.append(time.process_time() - began)
    return min(taken)


def test_the_time_grows_as_the_connections_do() -> None:
    """Eight times as many take eight times as long; if each looked at all others, 64 times."""
    few, many = of_many(125), of_many(1000)
    assert least_s(many) < 24 * least_s(few)


def test_another_hold_time_of_one_connection_changes_one_line_of_its_session() -> None:
    plan = of_many(1000)
    (gateway,) = plan.gateways
    edited = [*gateway.peers]
    edited[500] = replace(edited[500], hold_s=9)
    after = RoutingPlan((replace(gateway, peers=tuple(edited)),))
    old, new = (bird_conf(each, "bird.log").splitlines() for each in (plan, after))
    assert len(old) == len(new)
    changed = [at for at, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    assert [new[at].strip() for at in changed] == ["hold time 9;"]
    heads = [line for line in new[: changed[0]] if line.startswith("protocol ")]
    assert heads[-1].startswith("protocol bgp 'bgp_branch500-1' ")
