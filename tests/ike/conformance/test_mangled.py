"""
Each payload of each message, from either end, treated badly in each of several ways: whatever is
made of it, in the end both ends have one and the same IKE SA and Child SA, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.ike.conformance.rows import HYBRID, KE, NONCE
from tests.ike.conformance.script import (
    Meeting,
    Part,
    Point,
    Wire,
    at_auth,
    at_child_rekey,
    at_followup,
    at_ike_rekey,
    at_init,
    at_intermediate,
    at_new_child,
    request_of_a,
    response_of_b,
)
from tests.support.pair import IkePair, Side

SETTLED_S = 900.0  # the longest back-off, and a replaced IKE SA that goes unused
Treat = Callable[[Part], tuple[Part, ...]]
WAYS: dict[str, Treat] = {
    "left out": lambda part: (),
    "doubled": lambda part: (part, part),
    "emptied": lambda part: (replace(part, body=b""),),
    "cut": lambda part: (replace(part, body=part.body[:-1]),),
    "grown": lambda part: (replace(part, body=part.body + b"x"),),
    "of zeros": lambda part: (replace(part, body=bytes(len(part.body))),),
    "of ones": lambda part: (replace(part, body=b"\xff" * len(part.body)),),
    "unknown": lambda part: (replace(part, kind=200),),
    "unknown and critical": lambda part: (replace(part, kind=200, flags=0x80),),
}
POINTS: dict[Point, Callable[[], IkePair]] = {
    at_init: IkePair,
    at_intermediate: HYBRID,
    at_auth: IkePair,
    at_child_rekey: IkePair,
    at_new_child: IkePair,
    at_ike_rekey: IkePair,
    at_followup: HYBRID,
}
# With these changed both ends hold other keys, as only who is one of them could bring about.
CHANGES, SECRET = ("cut", "grown", "of zeros", "of ones"), (NONCE, KE)
OF_CHILD = (at_child_rekey, at_new_child, at_followup)
Meet = Callable[[IkePair, Point, Callable[[Wire], Wire]], Meeting]


def holds(side: Side) -> tuple[object, ...]:
    """Return what a side has: its IKE SAs, Child SAs and SPIs."""
    sas = side.endpoint._context.sas.values()
    children = frozenset(
        frozenset((one.spi_in, one.spi_out)) for sa in sas for one in sa.children.values()
    )
    spis = frozenset((sa.spi_i, sa.spi_r) for sa in sas)
    return spis, children, len(side.plane.inbound), side.endpoint.inbound_spis


def are_settled(pair: IkePair) -> bool:
    """Return whether both hold the same, one of each, and can use it."""
    one, other = holds(pair.a), holds(pair.b)
    is_one = len(pair.a.endpoint._context.sas) == 1 and one[2:] == (1, 1)
    return one == other and is_one and pair.has_traffic()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("meet", [request_of_a, response_of_b])
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.__name__)
def test_a_mangled_payload_is_got_over(point: Point, meet: Meet, way: str) -> None:
    number, count = 0, 1
    while number < count:

        def edit(wire: Wire, number: int = number) -> Wire:
            nonlocal count
            parts = wire.parts
            count = len(parts)
            if way in CHANGES and point in OF_CHILD and parts[number].kind in SECRET:
                return wire
            treated = WAYS[way](parts[number])
            return replace(wire, parts=(*parts[:number], *treated, *parts[number + 1 :]))

        pair = POINTS[point]()
        meet(pair, point, edit)
        pair.deliver_all()
        pair.wait_for(lambda pair=pair: are_settled(pair), SETTLED_S)  # type: ignore[misc]
        number += 1
