"""
What a peer asks of us about our authentication: to repeat it in time (RFC 4478), to go elsewhere
(RFC 5685), or to do without a Child SA in it (RFC 6023).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.ike.config import Start
from gateway.ike.events import ChildSaUp, IkeSaDown, IkeSaUp
from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.message import Message, open_sealed, parse_header, serialise_clear
from gateway.ike.payloads import Notify, SecurityAssociation
from gateway.sa import Path
from tests.support.forge import Forger
from tests.support.pair import IkePair, config_a, config_b
from tests.support.slots import six_a, six_b

INFORMATIONAL = ExchangeType.INFORMATIONAL


def lifetime(seconds: int) -> Notify:
    return Notify(NotifyType.AUTH_LIFETIME, seconds.to_bytes(4, "big"))


def told(pair: IkePair, seconds: int) -> None:
    """Let b tell a for how long its authentication is good."""
    Forger.of(pair.b).send(INFORMATIONAL, lifetime(seconds))
    pair.link.flights.clear()  # b itself has asked nothing
    pair.b.is_frozen = False


def step_b(pair: IkePair) -> None:
    """Let b know that its next message ID is used."""
    sa = next(one for one in pair.b.endpoint._context.sas.values() if one.is_usable)
    sa.window.next_request += 1


# ---- AUTH_LIFETIME ----


def test_who_has_begun_authenticates_again_in_time() -> None:
    pair = IkePair.established()
    told(pair, 1000)
    step_b(pair)
    (first,) = pair.a.all(IkeSaUp)
    pair.advance(790.0)
    assert len(pair.a.all(IkeSaUp)) == 1
    while pair.now < 1000.0 + 910.0:
        pair.advance(0.5)
        assert pair.has_traffic()
    ups = pair.a.all(IkeSaUp)
    assert len(ups) == 2
    assert ups[1].replaces is None  # authenticated anew, not rekeyed
    assert [down.spi_i for down in pair.a.all(IkeSaDown)] == [first.spi_i]
    assert pair.a.codes() == pair.b.codes() == []
    pair.advance(20.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1


@pytest.mark.parametrize("b_still_wants", [True, False])
def test_those_for_a_worker_each_move_to_the_new_ike_sa(b_still_wants: bool) -> None:
    pair = IkePair.established(config_a(resources=2), config_b(resources=2))
    pair.advance(2.0)
    told(pair, 1000)
    step_b(pair)
    pair.advance(780.0)
    if not b_still_wants:
        pair.b.config = replace(pair.b.config, resources=0)
        pair.b.restart()
    while pair.now < 1000.0 + 930.0:
        pair.advance(0.5)
        assert pair.has_traffic()
    assert pair.a.ike_sas == pair.b.ike_sas == 1, pair.story()
    slots = [0, 1, 2] if b_still_wants else [0]
    for side in pair.sides():
        assert sorted(one.slot for one in side.plane.children.values()) == slots, pair.story()
        assert all(side.send_esp(slot) for slot in slots)


def test_it_is_begun_again_until_it_succeeds() -> None:
    pair = IkePair.established()
    told(pair, 100)
    step_b(pair)
    pair.advance(75.0)
    while pair.now < 1000.0 + 140.0:  # no IKE_SA_INIT comes through
        pair.advance(0.2, deliver=False)
        kept = [one for one in pair.link.flights if one.exchange != ExchangeType.IKE_SA_INIT]
        pair.link.flights.clear()
        pair.link.flights.extend(kept)
        pair.deliver_all()
        assert pair.has_traffic()
    assert "peer_unreachable" in pair.a.codes()
    assert len(pair.a.all(IkeSaUp)) == 1
    pair.advance(60.0)
    assert len(pair.a.all(IkeSaUp)) == 2
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert pair.has_traffic()


def test_a_rekey_and_a_restart_do_not_forget_it() -> None:
    pair = IkePair.established()
    told(pair, 200)
    step_b(pair)
    pair.a.rekey_ike()
    pair.deliver_all()
    pair.a.restart()
    ups = len(pair.a.all(IkeSaUp))
    pair.advance(190.0)
    assert len(pair.a.all(IkeSaUp)) == ups + 1
    assert pair.has_traffic()


def test_it_binds_only_who_has_begun() -> None:
    pair = IkePair.established()
    Forger.of(pair.a).send(INFORMATIONAL, lifetime(20))
    sa = next(one for one in pair.a.endpoint._context.sas.values() if one.is_usable)
    sa.window.next_request += 1
    pair.link.flights.clear()
    pair.advance(100.0)
    assert len(pair.b.all(IkeSaUp)) == 1


def test_a_lifetime_of_nothing_is_no_storm() -> None:
    pair = IkePair.established()
    told(pair, 0)
    step_b(pair)
    pair.advance(9.0)
    assert len(pair.a.all(IkeSaUp)) == 1
    pair.advance(20.0)
    assert len(pair.a.all(IkeSaUp)) == 2


# ---- REDIRECT ----

ELSEWHERE = Notify(NotifyType.REDIRECT, b"\x03\x0dgw2.gw.example")


def test_a_redirect_in_the_clear_may_be_forged_and_is_not_followed() -> None:
    pair = IkePair.started()
    request = pair.link.flights[0]
    header = parse_header(request.datagram)
    answer = Message(header.spi_i, bytes([7] * 8), header.exchange, 0, True, False, (ELSEWHERE,))
    path = Path(
        request.path.local,
        request.path.local_port,
        request.path.remote,
        request.path.remote_port,
    )
    pair.a.receive(serialise_clear(answer), path)
    pair.deliver_all()  # the true answer comes as well
    assert pair.has_traffic()
    assert pair.a.codes() == []

    pair = IkePair.started()
    pair.link.flights.clear()
    spi = pair.a.endpoint.tunnel_status("office").spi_i
    pair.a.receive(serialise_clear(replace(answer, spi_i=spi)), path)
    pair.advance(0.6, deliver=False)
    assert pair.a.codes() == ["redirect_refused"]


def test_a_redirect_in_ike_auth_ends_the_ike_sa() -> None:
    pair = IkePair.started()
    for _ in range(3):
        pair.link.arrive(pair.link.flights.popleft())
    flight = pair.hold_to_a()
    forger = Forger.of(pair.b)
    opened = open_sealed(flight.datagram, parse_header(flight.datagram), forger._cipher(False))
    kept = [one for one in opened.payloads if not isinstance(one, SecurityAssociation)]
    flight.datagram = forger.seal(replace(opened, payloads=(*kept, ELSEWHERE)))
    pair.release(flight)
    assert pair.a.codes() == ["redirect_refused"]
    assert not pair.a.all(IkeSaUp)
    assert pair.a.endpoint.inbound_spis == 0
    pair.deliver_to_b()
    assert [down.reason.code for down in pair.b.all(IkeSaDown)] == ["deleted_by_peer"]


def test_a_redirect_later_is_answered_and_not_followed() -> None:
    pair = IkePair.established()
    Forger.of(pair.b).send(INFORMATIONAL, ELSEWHERE)
    step_b(pair)
    pair.deliver_all()
    pair.advance(30.0)
    assert pair.has_traffic()
    assert len(pair.a.all(IkeSaUp)) == 1


# ---- childless ----


def test_without_a_child_sa_in_ike_auth_the_first_has_a_key_exchange_of_its_own() -> None:
    pair = IkePair.started(config_a(childless=True), config_b())
    for _ in range(4):
        pair.link.arrive(pair.link.flights.popleft())
    assert pair.a.state == pair.b.state == "established"
    assert not pair.a.all(ChildSaUp)
    pair.deliver_all()
    assert [up.suite for up in pair.a.all(ChildSaUp)] == ["aes256gcm16-x25519"]
    assert pair.has_traffic()
    assert pair.a.codes() == pair.b.codes() == []


@pytest.mark.parametrize("lost", range(6))
def test_any_lost_message_of_it_is_made_up_for(lost: int) -> None:
    pair = IkePair.started(config_a(childless=True), config_b())
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(3.0)
    assert pair.has_traffic()
    assert len(pair.a.all(ChildSaUp)) == 1


def test_each_slot_is_asked_for_by_itself() -> None:
    pair = IkePair.started(six_a(childless=True), six_b())
    pair.deliver_all()
    assert [up.slot for up in pair.a.all(ChildSaUp)] == list(range(6))
    assert {up.suite for up in pair.a.all(ChildSaUp)} == {"aes256gcm16-x25519"}


def test_both_begin_and_one_is_childless() -> None:
    pair = IkePair(config_a(childless=True), config_b(start=Start.INITIATE))
    pair.start()
    pair.advance(60.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert len(pair.a.plane.inbound) == 1
    assert pair.has_traffic()


def test_authenticating_again_brings_its_child_sa_with_it() -> None:
    pair = IkePair.established(config_a(childless=True), config_b())
    told(pair, 100)
    step_b(pair)
    while pair.now < 1000.0 + 120.0:
        pair.advance(0.5)
        assert pair.has_traffic()
    assert len(pair.a.all(IkeSaUp)) == 2
