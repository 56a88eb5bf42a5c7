"""
Both ends begin something at once: every order in which their messages can arrive, with one loss at
most, ends with what both agree on (RFC 7296 sections 2.8 and 2.25).

Not drawn at random but all of them: see `tests/support/interleave.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.ike.config import Start
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import Event
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from tests.support.branching import Action, Node
from tests.support.copies import small
from tests.support.interleave import (
    Found,
    Is,
    World,
    agree,
    explore,
    is_down,
    one_pair,
    two_pairs,
)
from tests.support.pair import TUNNEL, IkePair, config_a, config_b
from tests.support.slots import SIX, mirrored, of

Call = Callable[[IkeEndpoint, float], list[Event]]


def rekey_child(end: IkeEndpoint, now: float) -> list[Event]:
    return end.rekey_child(TUNNEL, now)


def rekey_ike(end: IkeEndpoint, now: float) -> list[Event]:
    return end.rekey_ike(TUNNEL, now)


def initiate(end: IkeEndpoint, now: float) -> list[Event]:
    return end.initiate(TUNNEL, now)


def close(end: IkeEndpoint, now: float) -> list[Event]:
    return end.close(TUNNEL, now)


def reauthenticate(end: IkeEndpoint, now: float) -> list[Event]:
    """Authenticate anew beside the IKE SA there is, as for a peer that wants it (RFC 4478)."""
    tunnel = end._tunnels[TUNNEL]
    tunnel.is_reauth_due, tunnel.beside_at = True, now
    end._settle(tunnel, now)
    return end.on_time(now)


def delete_child(end: IkeEndpoint, now: float) -> list[Event]:
    """Delete the Child SA of the first slot that is sent on."""
    children = end.tunnel_status(TUNNEL).children
    used = [child.spi_in for child in children if child.is_outbound and child.slot == 0]
    return end.close_child(used[0], now) if used else []


def established() -> IkePair:
    return IkePair.established()


def aged() -> IkePair:
    """Return a pair whose IKE SA is older than anything that is begun now."""
    pair = IkePair.established()
    pair.advance(5.0)
    return pair


def further(*, is_offered_alone: bool = True) -> dict[str, object]:
    """Return proposals with one more key exchange (RFC 9370), or with it and without."""
    kinds = ("x25519-ke1_mlkem768",) if is_offered_alone else ("x25519-ke1_mlkem768", "x25519")
    ike = tuple(parse_proposal(f"aes256gcm16-prfsha384-{kind}", ProtocolId.IKE) for kind in kinds)
    esp = tuple(parse_proposal(f"aes256gcm16-{kind}-noesn", ProtocolId.ESP) for kind in kinds)
    return {"ike_proposals": ike, "esp_proposals": esp}


def hybrid(size: int = 1500) -> IkePair:
    """Return a pair whose rekeys have one more key exchange each, in one datagram of this size."""
    wanted = further() | {"fragment_size": size}
    return IkePair.established(config_a(**wanted), config_b(**wanted))


def in_fragments() -> IkePair:
    """Return the same, and the additional key exchange has two fragments each way."""
    return hybrid(1280)


def mixed() -> IkePair:
    """Return a pair of which a can do what b can not."""
    wanted = further(is_offered_alone=False) | {"fragment_size": 1500}
    return IkePair.established(config_a(**wanted), config_b())


def one_of_two() -> IkePair:
    """Return a pair with one Child SA of the two that a is to ask for."""
    pair = IkePair.established(of(config_a(), SIX[:2]), of(config_b(), mirrored(SIX[:2])))
    spi = next(c.spi_in for c in pair.a.endpoint.tunnel_status(TUNNEL).children if c.slot == 1)
    pair.a.take(pair.a.endpoint.close_child(spi, pair.now))
    pair.advance(20.0)
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1
    return pair


def none_of_one() -> IkePair:
    """Return a pair with an IKE SA and no Child SA."""
    pair = IkePair.established()
    pair.a.take(delete_child(pair.a.endpoint, pair.now))
    pair.advance(20.0)
    assert not pair.a.plane.inbound
    assert not pair.b.plane.inbound
    return pair


def none_of_hybrid(size: int = 1500) -> IkePair:
    """Return the same, and what is to be made has one more key exchange."""
    pair = hybrid(size)
    pair.a.take(delete_child(pair.a.endpoint, pair.now))
    pair.advance(20.0)
    assert not pair.a.plane.inbound
    return pair


def none_of_fragments() -> IkePair:
    """Return the same, with two fragments each way."""
    return none_of_hybrid(1280)


def nothing(**changes: object) -> IkePair:
    pair = IkePair(config_a(start=Start.RESPOND, **changes), config_b(**changes))
    pair.start()
    return pair


def nothing_childless() -> IkePair:
    return nothing(childless=True)


def nothing_hybrid(size: int = 1500) -> IkePair:
    """Return a pair that will set up an IKE SA with one more key exchange."""
    return nothing(fragment_size=size, **further())


def nothing_in_fragments() -> IkePair:
    """Return the same, with two fragments each way."""
    return nothing_hybrid(1280)


@dataclass(frozen=True)
class Case:
    """What each end is asked for, from where, and what both are to have in the end."""

    begin: Callable[[], IkePair]
    a: Call
    b: Call
    end: Is
    lowest: str = "a"  # who has the lowest nonces
    has_esp: bool = True  # packets are sent on new SAs, and may overtake messages

    def __str__(self) -> str:
        return f"{self.begin.__name__}-{self.a.__name__}-{self.b.__name__}-{self.lowest}"


CASES = (
    Case(nothing, initiate, initiate, one_pair, "a"),
    Case(nothing, initiate, initiate, one_pair, "b"),
    Case(established, rekey_child, rekey_child, one_pair, "a"),
    Case(established, rekey_child, rekey_child, one_pair, "b", has_esp=False),
    Case(established, rekey_ike, rekey_ike, one_pair, "a"),
    Case(established, rekey_ike, rekey_ike, one_pair, "b"),
    Case(established, rekey_child, rekey_ike, one_pair),
    Case(established, rekey_ike, rekey_child, one_pair),
    Case(established, delete_child, rekey_child, agree),
    Case(established, rekey_child, delete_child, one_pair),
    Case(established, delete_child, rekey_ike, agree),
    Case(established, rekey_ike, delete_child, one_pair),
    Case(established, delete_child, delete_child, agree),
    Case(established, close, rekey_child, is_down),
    Case(established, rekey_child, close, is_down),
    Case(established, close, rekey_ike, is_down),
    Case(established, rekey_ike, close, is_down),
    Case(established, close, close, is_down),
    Case(aged, reauthenticate, reauthenticate, one_pair, "a"),
    Case(aged, reauthenticate, reauthenticate, one_pair, "b"),
    Case(aged, reauthenticate, rekey_child, one_pair, has_esp=False),
    Case(aged, reauthenticate, rekey_ike, one_pair, has_esp=False),
    Case(aged, reauthenticate, delete_child, agree, has_esp=False),
    Case(aged, reauthenticate, close, is_down, has_esp=False),
    Case(none_of_one, initiate, initiate, one_pair, "a"),
    Case(none_of_one, initiate, initiate, one_pair, "b"),
    Case(none_of_one, initiate, rekey_child, one_pair),
    Case(none_of_one, initiate, rekey_ike, one_pair),
    Case(none_of_one, initiate, close, is_down),
    Case(one_of_two, initiate, delete_child, agree),
    Case(one_of_two, initiate, rekey_child, two_pairs, has_esp=False),
    Case(hybrid, rekey_child, rekey_child, one_pair, "a", has_esp=False),
    Case(hybrid, rekey_ike, rekey_ike, one_pair, "a"),
    Case(hybrid, rekey_ike, rekey_child, one_pair, "a", has_esp=False),
    Case(hybrid, delete_child, rekey_child, agree, "a", has_esp=False),
    Case(hybrid, rekey_child, delete_child, one_pair, has_esp=False),
    Case(hybrid, rekey_ike, delete_child, one_pair, has_esp=False),
    Case(hybrid, close, rekey_child, is_down, "a"),
    Case(hybrid, rekey_child, rekey_child, one_pair, "b", has_esp=False),
    Case(hybrid, rekey_ike, rekey_ike, one_pair, "b", has_esp=False),
    Case(hybrid, rekey_child, rekey_ike, one_pair, has_esp=False),
    Case(hybrid, delete_child, rekey_ike, agree, has_esp=False),
    Case(hybrid, rekey_ike, close, is_down, has_esp=False),
    Case(mixed, rekey_child, rekey_child, one_pair, "b", has_esp=False),
    Case(mixed, rekey_ike, rekey_ike, one_pair, has_esp=False),
    Case(none_of_hybrid, initiate, initiate, one_pair, "a", has_esp=False),
    Case(none_of_hybrid, initiate, initiate, one_pair, "b", has_esp=False),
    Case(none_of_hybrid, initiate, rekey_ike, one_pair, has_esp=False),
    Case(nothing_childless, initiate, initiate, one_pair, "a", has_esp=False),
    Case(nothing_hybrid, initiate, initiate, one_pair, "a", has_esp=False),
)
# With fragments there are many more orders: these are the few that take a second or two each.
CASES_IN_FRAGMENTS = (
    Case(in_fragments, rekey_child, rekey_child, one_pair, "a", has_esp=False),
    Case(in_fragments, delete_child, rekey_child, agree, has_esp=False),
    Case(in_fragments, rekey_child, delete_child, one_pair, has_esp=False),
    Case(in_fragments, close, rekey_child, is_down, has_esp=False),
    Case(none_of_fragments, initiate, initiate, one_pair, "a", has_esp=False),
)
# And these go with `./run fuzz`: see `tests/fuzz/orders.py`.
LONG_CASES = (
    Case(in_fragments, rekey_child, rekey_child, one_pair, "b", has_esp=False),
    Case(in_fragments, rekey_ike, rekey_ike, one_pair, "a", has_esp=False),
    Case(in_fragments, rekey_ike, rekey_ike, one_pair, "b", has_esp=False),
    Case(in_fragments, rekey_ike, rekey_child, one_pair, has_esp=False),
    Case(in_fragments, rekey_child, rekey_ike, one_pair, has_esp=False),
    Case(in_fragments, rekey_ike, delete_child, one_pair, has_esp=False),
    Case(in_fragments, delete_child, rekey_ike, agree, has_esp=False),
    Case(in_fragments, rekey_ike, close, is_down, has_esp=False),
    Case(none_of_fragments, initiate, initiate, one_pair, "b", has_esp=False),
    Case(none_of_fragments, initiate, rekey_ike, one_pair, has_esp=False),
    Case(nothing_in_fragments, initiate, initiate, one_pair, "a", has_esp=False),
)
LOWEST = {"a": (0x10, 0x20), "b": (0x20, 0x10)}  # first bytes of the nonces of a and of b


def world(case: Case) -> World:
    """Return where a case begins."""
    pair = case.begin()
    for side, first in zip(pair.sides(), LOWEST[case.lowest], strict=True):
        side.random.nonces.clear()
        side.random.nonces_start(*range(first, first + 12))
    pair.a.random.fraction, pair.b.random.fraction = 0.2, 0.8
    asks = Action(case.a.__name__, True, case.a), Action(case.b.__name__, False, case.b)
    ends = Node.of(pair.a, case.has_esp), Node.of(pair.b, case.has_esp)
    is_kept = case.end is one_pair and delete_child not in (case.a, case.b)
    is_gapless = case.begin in (established, aged, hybrid) and is_kept
    return World(*ends, pair.now, asks=asks, is_gapless=is_gapless)


def explored(case: Case) -> Found:
    """Visit all that can become of a case."""
    with small():
        return explore(world(case), case.end)


@pytest.mark.parametrize("case", [*CASES, *CASES_IN_FRAGMENTS], ids=str)
def test_every_order_with_one_loss_ends_well(case: Case) -> None:
    found = explored(case)
    assert found.worlds > found.ends > 1
