"""
INITIAL_CONTACT (RFC 7296 section 2.4) names identities, not tunnels: a peer may take down all that
it has with ours, so it is said only where that is meant.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

from gateway.ike.config import Identity, Start, TunnelConfig
from gateway.ike.events import IkeSaDown, Spoken
from tests.support.pair import IkePair, Side, config_a, config_b

OTHER_ADDRESS = ip_address("192.0.2.9")  # our second public one
TWIN = "office-2"


def twin_a(**changes: object) -> TunnelConfig:
    return config_a(name=TWIN, local=OTHER_ADDRESS, **changes)


def twin_b(**changes: object) -> TunnelConfig:
    return config_b(name=TWIN, remote=OTHER_ADDRESS, **changes)


def both(a: TunnelConfig, b: TunnelConfig) -> IkePair:
    """Return a pair with a second tunnel between the two; nothing is on its way yet."""
    pair = IkePair()
    pair.b.take(pair.b.endpoint.configure([config_b(), b], pair.now))
    pair.a.take(pair.a.endpoint.configure([config_a(), a], pair.now))
    pair.a.endpoint.trace(frozenset({"office", TWIN}))
    return pair


def said(side: Side) -> list[str]:
    """Return the tunnels for which a side has said that it is the first contact."""
    lines = [one for one in side.all(Spoken) if one.is_sent and "INITIAL_CONTACT" in one.line]
    return [one.tunnel for one in lines]


def states(side: Side) -> list[str]:
    return [side.endpoint.tunnel_status(name).state for name in ("office", TWIN)]


def test_twins_that_begin_together_do_not_take_each_other_down() -> None:
    pair = both(twin_a(), twin_b())
    pair.deliver_all()
    assert said(pair.a) == []
    assert states(pair.a) == states(pair.b) == ["established", "established"]
    assert not pair.b.all(IkeSaDown)


def test_a_twin_that_begins_later_says_nothing_either() -> None:
    pair = both(twin_a(start=Start.RESPOND), twin_b())
    pair.deliver_all()
    assert said(pair.a) == ["office"]
    pair.a.take(pair.a.endpoint.initiate(TWIN, pair.now))
    pair.deliver_all()
    assert said(pair.a) == ["office"]
    assert states(pair.b) == ["established", "established"]


def test_once_the_twin_is_down_it_is_the_first_contact_again() -> None:
    pair = both(twin_a(), twin_b())
    pair.deliver_all()
    for name in ("office", TWIN):
        pair.a.take(pair.a.endpoint.close(name, pair.now))
        pair.deliver_all()
    pair.a.take(pair.a.endpoint.initiate(TWIN, pair.now))
    pair.deliver_all()
    assert said(pair.a) == [TWIN]


def test_tunnels_of_other_identities_are_none_of_its_business() -> None:
    other = Identity.parse("a2.gw.test")
    pair = both(twin_a(local_id=other), twin_b(remote_id=other))
    pair.deliver_all()
    assert sorted(said(pair.a)) == ["office", TWIN]
    assert states(pair.b) == ["established", "established"]


def test_a_tunnel_that_is_gone_is_no_twin() -> None:
    pair = both(twin_a(), twin_b())
    pair.deliver_all()
    for name in ("office", TWIN):
        pair.a.take(pair.a.endpoint.close(name, pair.now))
    pair.deliver_all()
    pair.a.take(pair.a.endpoint.configure([config_a()], pair.now))
    pair.a.take(pair.a.endpoint.initiate("office", pair.now))
    pair.deliver_all()
    assert said(pair.a) == ["office"]


def test_a_first_contact_ends_nothing_of_another_peer() -> None:
    """Where any identity will do, another one does not mean that the first peer has restarted."""
    pair = IkePair.established(config_a(), config_b(remote=None, remote_id=None))
    pair.advance(5.0)
    other = dataclasses.replace(config_a(), local_id=Identity.parse("c.gw.test"))
    pair.a.config = other
    pair.a.crash()
    pair.deliver_all()
    assert pair.a.state == "established"
    assert not pair.b.all(IkeSaDown)
    assert pair.b.ike_sas == 2
    assert pair.has_traffic()
    pair.advance(1.0)
    pair.a.crash()
    pair.deliver_all()
    assert [down.reason.code for down in pair.b.all(IkeSaDown)] == ["initial_contact"]
