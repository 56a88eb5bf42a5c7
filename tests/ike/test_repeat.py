"""How often, and to whom, a stored response is sent again (RFC 7296 section 2.1)."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

from gateway.sa import Path
from tests.support.long_messages import held_fragments
from tests.support.pair import TUNNEL, Flight, IkePair


def asked_once() -> tuple[IkePair, Flight]:
    """Return a pair and the liveness check of a that b has answered, with as many bytes."""
    pair = IkePair.established()
    pair.advance(15.0, deliver=False)
    request = pair.hold_to_b()
    pair.link.flights.clear()  # of b's own
    pair.release(request)
    assert len(pair.hold_to_a().datagram) == len(request.datagram)
    return pair, request


def elsewhere(path: Path) -> Path:
    """Return b's view of the path of a request, from another address."""
    other = ip_address("203.0.113.66")
    return Path(path.remote, path.remote_port, other, path.local_port)


def test_five_at_once_then_five_a_second() -> None:
    pair, request = asked_once()
    for _ in range(20):
        pair.release(request)
    assert pair.waiting(pair.b) == 5
    pair.now += 0.4
    for _ in range(20):
        pair.release(request)
    assert pair.waiting(pair.b) == 5 + 2
    pair.now += 60.0
    for _ in range(20):
        pair.release(request)
    assert pair.waiting(pair.b) == 5 + 2 + 5


def test_an_answer_as_long_as_its_question_goes_wherever_that_came_from() -> None:
    pair, request = asked_once()
    pair.b.receive(request.datagram, elsewhere(request.path))
    assert pair.hold_to_a().path.remote == elsewhere(request.path).remote


def test_a_long_answer_goes_where_it_went_first_though_the_peer_has_moved_since() -> None:
    pair, fragments = held_fragments()
    for fragment in fragments:
        pair.release(fragment)
    once = pair.waiting(pair.b)
    assert once > 1
    pair.link.flights.clear()
    (sa,) = pair.b.endpoint._context.sas.values()
    moved = dataclasses.replace(sa.path, remote=ip_address("203.0.113.66"))
    pair.b.take(pair.b.endpoint.esp_path(TUNNEL, moved, pair.now))
    assert sa.path == moved
    pair.release(fragments[0])
    assert pair.waiting(pair.b) == once
