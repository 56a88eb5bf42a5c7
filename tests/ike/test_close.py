"""
Closing loses nothing that is under way (RFC 7296 section 1.4.1): who closes stops sending first,
and both ends keep receiving until the other has stopped.
"""

from __future__ import annotations

import pytest

from gateway.ike.events import ChildSaDown, Event, IkeSaDown, OutboundDone, Send
from gateway.ike.iana import ExchangeType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import Delete
from gateway.sa import EspSa
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side

LINGER_S = 5.0  # without an answer
CLOSE_LINGER_S = 1.0  # after it


def under_way(side: Side) -> EspSa:
    """Return the SA of an ESP packet that `side` sends now."""
    sa = side.plane.outbound
    assert sa is not None
    return sa


def arrives(side: Side, packet: EspSa) -> bool:
    return side.plane.inbound.get(packet.spi) == packet


def order_of(side: Side, *kinds: type[Event]) -> list[str]:
    return [type(event).__name__ for event in side.events if isinstance(event, kinds)]


@pytest.mark.parametrize("who", ["a", "b"])
def test_packets_that_are_under_way_arrive_on_both_ends(who: str) -> None:
    pair = IkePair.established()
    closer: Side = getattr(pair, who)
    ours, theirs = under_way(closer), under_way(closer.peer)
    closer.close()
    # closer: INFORMATIONAL { D(IKE) } -->      and two ESP packets, one each way
    assert closer.plane.outbound is None
    assert arrives(closer, theirs)
    pair.deliver_to_b() if who == "a" else pair.deliver_to_a()
    assert closer.peer.plane.outbound is None
    assert arrives(closer.peer, ours)
    assert arrives(closer, theirs)
    # <-- INFORMATIONAL { }
    pair.deliver_all()
    pair.advance(CLOSE_LINGER_S - 0.1)
    assert arrives(closer.peer, ours)
    assert arrives(closer, theirs)
    pair.advance(0.2)
    assert not closer.plane.inbound
    assert not closer.peer.plane.inbound


def test_sending_stops_before_the_peer_is_told() -> None:
    pair = IkePair.established()
    before = len(pair.a.events), len(pair.b.events)
    pair.a.close()
    pair.deliver_all()
    for side, at in zip(pair.sides(), before, strict=True):
        side.events = side.events[at:]
        assert order_of(side, OutboundDone, Send, IkeSaDown)[:3] == [
            "OutboundDone",
            "IkeSaDown",
            "Send",
        ]


def test_without_an_answer_the_inbound_sas_go_all_the_same() -> None:
    pair = IkePair.established()
    pair.cut()
    pair.a.close()
    pair.advance(LINGER_S - 0.1)
    assert pair.a.plane.inbound
    pair.advance(0.2)
    assert not pair.a.plane.inbound


def test_a_lost_answer_is_repeated() -> None:
    """b keeps it as long as its inbound SAs linger."""
    pair = IkePair.established()
    pair.a.close()
    pair.deliver_to_b()
    pair.drop_to_a()
    pair.advance(2.0)
    assert pair.a.state == pair.b.state == "idle"
    assert pair.b.drops("replayed") == 1


def test_a_closed_tunnel_comes_back_while_the_old_one_lingers() -> None:
    """INITIAL_CONTACT does not shorten what is being closed: packets may still be under way."""
    pair = IkePair.established()
    packet = under_way(pair.a)
    pair.a.close()
    pair.deliver_all()
    pair.a.initiate()
    pair.deliver_all()
    assert pair.has_traffic()
    assert arrives(pair.b, packet)
    pair.advance(2.0)
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1
    assert pair.has_traffic()


def test_a_child_sa_that_the_peer_deletes_goes_on_receiving() -> None:
    pair = IkePair.established()
    spi = under_way(pair.a).spi
    packet = under_way(pair.b)
    Forger.of(pair.b).send(
        ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi.to_bytes(4, "big"),))
    )
    assert pair.a.plane.outbound is None
    assert order_of(pair.a, OutboundDone, ChildSaDown) == ["OutboundDone"]
    assert arrives(pair.a, packet)


def test_a_restart_in_the_middle_of_closing_still_ends_it() -> None:
    for delivered in range(3):
        pair = IkePair.established()
        pair.a.close()
        for _ in range(delivered):
            if pair.link.flights:
                pair.link.arrive(pair.link.flights.popleft())
        pair.a.restart()
        pair.b.restart()
        pair.a.take(pair.a.endpoint.close("office", pair.now))
        pair.advance(10.0)
        spis = [child.spi_in for child in pair.b.endpoint.tunnel_status("office").children]
        assert not spis, pair.story()
        assert pair.b.all(OutboundDone)


def test_what_is_closed_says_nothing_more_than_its_delete() -> None:
    pair = IkePair.established()
    before = len(pair.a.all(Send))
    pair.a.close()
    pair.advance(100.0)
    sent = pair.a.all(Send)[before:]
    assert [parse_header(one.datagram).exchange for one in sent] == [ExchangeType.INFORMATIONAL]
