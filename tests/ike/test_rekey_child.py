"""
Rekey of a Child SA from either end, alone and together (RFC 7296 sections 1.3.3, 2.8.1, 2.25.1).

Message names: R = CREATE_CHILD_SA { N(REKEY_SA), SA, Ni, KEi, TSi, TSr }, D = INFORMATIONAL { D }.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from itertools import permutations

import pytest

from gateway.ike.config import Lifetime
from gateway.ike.events import ChildSaDown, ChildSaUp, Failed, OutboundDone, OutboundReady, Send
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import Delete, Notify
from gateway.ike.proposals import parse_proposal
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side, config_a, config_b

LINGER_S = 5.0


def esp(*texts: str) -> dict[str, object]:
    return {"esp_proposals": tuple(parse_proposal(text, ProtocolId.ESP) for text in texts)}


def outbound_is_accepted(pair: IkePair) -> bool:
    return pair.has_traffic()


def assert_one_child(pair: IkePair) -> None:
    """Assert that both ends hold the same single Child SA and send on it."""
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()
    assert outbound_is_accepted(pair), pair.story()


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize(
    "text", ["aes256gcm16-noesn", "aes256gcm16-x25519-noesn", "aes256-sha256-ecp256-noesn"]
)
def test_rekey_from_either_end_with_and_without_pfs(who: str, text: str) -> None:
    pair = IkePair.established(config_a(**esp(text)), config_b(**esp(text)))
    one: Side = getattr(pair, who)
    one.rekey_child()
    pair.deliver_all()
    old, new = one.all(ChildSaUp)
    assert new.replaces == old.inbound.spi
    assert new.inbound.encr_key != old.inbound.encr_key
    assert ("ecp256" in new.suite or "x25519" in new.suite) is ("-x" in text or "-e" in text)
    assert pair.has_traffic()
    pair.advance(LINGER_S)
    assert_one_child(pair)


def test_responder_sends_on_the_old_sa_until_it_hears_the_new_one() -> None:
    pair = IkePair.established()
    old_b = pair.b.plane.sending_on
    pair.a.rekey_child()
    # a: R -->
    pair.deliver_to_b()
    assert pair.b.plane.sending_on == old_b
    assert len(pair.b.plane.inbound) == 2
    # <-- b: R's answer; a sends on the new one at once
    pair.deliver_to_a()
    assert pair.a.plane.sending_on == pair.a.all(ChildSaUp)[1].inbound.spi
    assert pair.b.plane.sending_on == old_b
    # ESP on the new SA -->
    assert pair.a.send_esp()
    assert pair.b.plane.sending_on == pair.b.all(ChildSaUp)[1].inbound.spi
    assert len(pair.b.all(OutboundReady)) == 1
    pair.deliver_all()
    assert len(pair.b.all(OutboundReady)) == 1


def test_delete_of_the_old_sa_tells_the_responder_as_well() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()
    pair.deliver_to_a()
    # a: D(old) -->      no packet has come on the new SA
    pair.deliver_to_b()
    assert pair.b.plane.sending_on == pair.b.all(ChildSaUp)[1].inbound.spi


def test_old_inbound_sa_lingers_and_goes() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_all()
    pair.advance(LINGER_S - 0.1)
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 2
    pair.advance(0.2)
    assert_one_child(pair)
    assert pair.a.all(ChildSaDown)[0].reason.code == "rekeyed"


def test_traffic_flows_at_every_moment_of_a_rekey() -> None:
    pair = IkePair.established()
    pair.b.rekey_child()
    while pair.link.flights:
        assert pair.has_traffic()
        pair.link.arrive(pair.link.flights.popleft())
    assert pair.has_traffic()


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("who", ["a", "b"])
def test_any_lost_message_of_a_rekey_is_made_up_for(lost: int, who: str) -> None:
    """R, its answer, D, its answer: each lost once."""
    pair = IkePair.established()
    getattr(pair, who).rekey_child()
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    pair.advance(1.0)
    assert pair.has_traffic()
    pair.advance(LINGER_S)
    assert_one_child(pair)
    assert [len(side.all(ChildSaUp)) for side in pair.sides()] == [2, 2]


def test_doubled_and_reordered_messages_of_a_rekey() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    for _ in range(8):
        pair.duplicate()
        pair.reorder()
        for _ in range(len(pair.link.flights)):
            pair.link.arrive(pair.link.flights.popleft())
    pair.advance(LINGER_S + 1)
    assert_one_child(pair)


def test_lifetime_begins_the_rekey_and_the_initiator_is_first() -> None:
    life = Lifetime(100.0, jitter=0.1)
    pair = IkePair.established(config_a(child_lifetime=life), config_b(child_lifetime=life))
    pair.advance(91.0)
    assert pair.a.endpoint.counters["child_sa_up"] == 1
    pair.advance(5.0)
    assert pair.a.endpoint.counters["rekey_child.done"] == 1
    assert pair.b.endpoint.counters["rekey_child.done"] == 0
    pair.advance(1000.0)
    assert pair.a.endpoint.counters["peer_unreachable"] == 0
    assert pair.a.ike_sas == 1
    assert_one_child(pair)


def test_soft_limit_of_packets_begins_the_rekey_by_either_spi() -> None:
    pair = IkePair.established()
    child = pair.a.all(ChildSaUp)[0]
    pair.a.take(pair.a.endpoint.soft_limit(child.outbound.spi, pair.now))
    pair.a.take(pair.a.endpoint.soft_limit(child.inbound.spi, pair.now))
    pair.deliver_all()
    assert len(pair.a.all(ChildSaUp)) == 2
    pair.a.take(pair.a.endpoint.soft_limit(0xDEAD, pair.now))
    assert len(pair.a.all(ChildSaUp)) == 2


def test_who_knows_the_tunnel_has_only_that_one_looked_at() -> None:
    pair = IkePair.established()
    other = replace(pair.a.config, name="other", remote=ip_address("203.0.113.77"))
    pair.a.take(pair.a.endpoint.configure([pair.a.config, other], pair.now))
    spi = pair.a.all(ChildSaUp)[0].inbound.spi
    for tunnel, rekeys in (("other", 1), (pair.a.config.name, 2), ("unknown", 3)):
        pair.a.take(pair.a.endpoint.soft_limit(spi, pair.now, tunnel))
        pair.deliver_all()
        assert len(pair.a.all(ChildSaUp)) == rekeys
        spi = pair.a.all(ChildSaUp)[-1].inbound.spi


def test_limits_of_a_child_sa_are_jittered_and_below_the_wrap() -> None:
    life = Lifetime(100.0, bytes=1000, packets=500, jitter=0.2)
    pair = IkePair.established(config_a(child_lifetime=life), config_b())
    limits = pair.a.all(ChildSaUp)[0].limits
    assert (limits.soft_packets, limits.soft_bytes) == (450, 900)
    assert (limits.hard_packets, limits.hard_bytes) == (1000, 2000)
    unlimited = pair.b.all(ChildSaUp)[0].limits
    assert unlimited.soft_packets < unlimited.hard_packets == 2**32 - 1
    assert unlimited.soft_bytes == 0


def test_rekey_keeps_narrowed_selectors() -> None:
    from gateway.ike.selectors import parse_selector

    wide = (parse_selector("0.0.0.0/0"),)
    pair = IkePair.established(config_a(local_ts=wide, remote_ts=wide))
    pair.a.rekey_child()
    pair.deliver_all()
    old, new = pair.a.all(ChildSaUp)
    assert (new.local_ts, new.remote_ts) == (old.local_ts, old.remote_ts)


# ---- groups ----


def test_rekey_with_the_wrong_group_is_corrected_and_remembered() -> None:
    pair = IkePair.established(
        config_a(**esp("aes256gcm16-x25519-ecp256-noesn")),
        config_b(**esp("aes256gcm16-ecp256-noesn")),
    )
    pair.a.rekey_child()
    pair.deliver_all()
    assert pair.a.all(ChildSaUp)[1].suite == "aes256gcm16-ecp256"
    sent = len(pair.a.all(Send))
    pair.a.rekey_child()
    pair.deliver_all()
    assert len(pair.a.all(Send)) - sent == 2
    assert_after_linger(pair)


def assert_after_linger(pair: IkePair) -> None:
    pair.advance(LINGER_S + 0.1)
    assert_one_child(pair)


def test_groups_that_differ_fail_the_rekey_with_a_hint() -> None:
    pair = IkePair.established(
        config_a(**esp("aes256gcm16-x25519-noesn")), config_b(**esp("aes256gcm16-noesn"))
    )
    pair.a.rekey_child()
    pair.deliver_all()
    assert pair.a.codes() == ["no_proposal_chosen"]
    assert "PFS" in pair.a.all(Failed)[0].reason.hint
    assert "PFS" in pair.b.all(Failed)[0].reason.hint
    assert pair.has_traffic()


def test_child_sa_that_cannot_be_rekeyed_is_replaced_with_its_ike_sa() -> None:
    life = Lifetime(100.0)
    pair = IkePair.established(
        config_a(child_lifetime=life, **esp("aes256gcm16-x25519-noesn")),
        config_b(child_lifetime=life, **esp("aes256gcm16-noesn")),
    )
    pair.advance(160.0)
    assert "lifetime_over" in pair.a.codes() + pair.b.codes()
    assert_one_child(pair)


# ---- collisions ----


def ends_of(pair: IkePair, nonces: tuple[int, int, int, int]) -> None:
    """Choose the nonces: a's Ni, b's Nr of a's exchange; b's Ni, a's Nr of b's exchange."""
    a_initiates, b_answers, b_initiates, a_answers = nonces
    pair.a.random.nonces_start(a_initiates, a_answers)
    pair.b.random.nonces_start(b_initiates, b_answers)


@pytest.mark.parametrize("nonces", list(permutations((1, 2, 3, 4))))
def test_rekey_collision_closes_the_sa_with_the_lowest_nonce(
    nonces: tuple[int, int, int, int],
) -> None:
    """Both ends rekey the same Child SA at once, in every order of the four nonces."""
    pair = IkePair.established()
    ends_of(pair, nonces)
    pair.a.rekey_child()
    pair.b.rekey_child()
    # a: R -->        <-- b: R
    pair.deliver_to_b()
    assert pair.has_traffic()
    pair.deliver_to_a()
    assert pair.has_traffic()
    # Both answers, then the deletes.
    pair.deliver_to_b()
    assert pair.has_traffic()
    pair.deliver_to_a()
    assert pair.has_traffic()
    spi_of_a = pair.a.all(ChildSaUp)[-1].inbound.spi
    pair.deliver_all()
    pair.advance(LINGER_S + 0.1)
    assert_one_child(pair)
    a_loses = 1 in nonces[:2]
    assert (spi_of_a not in pair.a.plane.inbound) is a_loses
    assert pair.a.codes() == pair.b.codes() == []


@pytest.mark.parametrize("a_loses", [True, False])
def test_collision_with_one_answer_delayed(a_loses: bool) -> None:
    """b's answer to a comes last, after everything of b's own rekey is over."""
    pair = IkePair.established()
    ends_of(pair, (1, 2, 3, 4) if a_loses else (3, 4, 1, 2))
    pair.a.rekey_child()
    pair.b.rekey_child()
    pair.deliver_to_b()
    request_of_b = pair.hold_to_a()
    answer_to_a = pair.hold_to_a()
    pair.release(request_of_b)
    for _ in range(6):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
        assert pair.has_traffic()
    pair.release(answer_to_a)
    pair.deliver_all()
    assert pair.has_traffic()
    pair.advance(LINGER_S + 0.1)
    assert_one_child(pair)


@pytest.mark.parametrize("a_loses", [True, False])
def test_collision_that_only_one_end_notices(a_loses: bool) -> None:
    """b's request is lost; b finishes a's rekey first, then repeats its own, which is too late."""
    pair = IkePair.established()
    ends_of(pair, (1, 2, 3, 4) if a_loses else (3, 4, 1, 2))
    pair.a.rekey_child()
    pair.b.rekey_child()
    # <-- b: R is lost
    pair.drop_to_a()
    # a: R -->  answered; D(old) -->  answered with D
    while pair.link.flights:
        pair.link.arrive(pair.link.flights.popleft())
    assert pair.has_traffic()
    # <-- b: R again: the Child SA is gone
    pair.advance(1.0)
    assert pair.has_traffic()
    pair.advance(LINGER_S)
    assert_one_child(pair)
    assert [len(side.all(ChildSaUp)) for side in pair.sides()] == [2, 2]


def test_request_for_a_child_sa_being_deleted_meets_temporary_failure() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.b.rekey_child()
    request_of_b = pair.hold_to_a()
    pair.deliver_to_b()
    pair.deliver_to_a()
    # a has its answer and its D(old) is out; b's request comes only now
    delete_of_a = pair.hold_to_b()
    pair.release(request_of_b)
    forger = Forger.of(pair.b)
    answer = forger.open(pair.link.flights[0].datagram)
    assert answer.notify(NotifyType.TEMPORARY_FAILURE) is not None
    pair.deliver_all()
    pair.release(delete_of_a)
    pair.deliver_all()
    assert pair.has_traffic()
    pair.advance(LINGER_S + 0.1)
    assert_one_child(pair)


def test_temporary_failure_without_cause_is_tried_again() -> None:
    """
    a is busy rekeying the IKE SA; b's rekey of the Child SA waits and succeeds on the new one.
    """
    pair = IkePair.established()
    pair.a.rekey_ike()
    held = pair.hold_to_b()
    pair.b.rekey_child()
    pair.deliver_to_a()
    pair.deliver_to_b()
    pair.release(held)
    pair.deliver_all()
    assert len(pair.b.all(ChildSaUp)) == 1
    pair.advance(11.0 + LINGER_S)
    assert len(pair.b.all(ChildSaUp)) == 2
    assert_one_child(pair)


def test_peer_that_has_lost_the_child_sa_gets_a_new_one() -> None:
    """CHILD_SA_NOT_FOUND: the old one goes, a new one is made."""
    pair = IkePair.established()
    pair.a.rekey_child()
    request = pair.hold_to_b()
    forger = Forger.of(pair.b)
    message_id = parse_header(request.datagram).message_id
    notify = Notify(NotifyType.CHILD_SA_NOT_FOUND, b"", ProtocolId.ESP, bytes(4))
    forger.send(ExchangeType.CREATE_CHILD_SA, notify, message_id=message_id, is_response=True)
    assert not pair.a.plane.inbound
    assert pair.waiting(pair.a) == 1


# ---- Delete against rekey ----


def test_delete_of_the_child_sa_that_we_rekey() -> None:
    """b deletes the Child SA while a's rekey of it is on its way: a new one comes up."""
    pair = IkePair.established()
    pair.a.rekey_child()
    held = pair.hold_to_b()
    forger = Forger.of(pair.b)
    spi = pair.b.all(ChildSaUp)[0].inbound.spi
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi.to_bytes(4, "big"),)))
    answer = forger.answer()
    assert answer.all(Delete)[0].spis == (pair.a.all(ChildSaUp)[0].inbound.spi.to_bytes(4, "big"),)
    # a's inbound SA stays: the answer to its rekey may replace it
    assert len(pair.a.plane.inbound) == 1
    pair.release(held)
    assert len(pair.b.plane.inbound) == 2


def test_delete_of_the_new_sa_before_its_answer_comes() -> None:
    """b answers a's rekey, deletes what it made, and the Delete overtakes the answer."""
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()
    answer = pair.hold_to_a()
    new = pair.b.all(ChildSaUp)[1].inbound.spi
    forger = Forger.of(pair.b)
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (new.to_bytes(4, "big"),)))
    assert forger.answer().all(Delete) == ()
    pair.release(answer)
    # What was deleted is not installed; the old one goes on, and is rekeyed again soon.
    assert len(pair.a.all(ChildSaUp)) == 1
    assert pair.a.plane.sending_on == pair.a.all(ChildSaUp)[0].inbound.spi


def test_both_ends_delete_the_same_child_sa() -> None:
    """Two Deletes that cross are both answered without a Delete of ours (section 1.4.1)."""
    pair = IkePair.established()
    pair.a.rekey_child()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.hold_to_b()
    old = pair.b.all(ChildSaUp)[0].inbound.spi
    forger = Forger.of(pair.b)
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (old.to_bytes(4, "big"),)))
    assert forger.answer().all(Delete) == ()
    assert pair.a.plane.sending_on == pair.a.all(ChildSaUp)[1].inbound.spi


def test_peer_that_rekeys_the_same_child_sa_twice() -> None:
    """Some peers rekey again before they delete: accepted, and the deletes sort it out."""
    pair = IkePair.established()
    pair.a.rekey_child()
    first = pair.hold_to_b()
    pair.release(first)
    assert len(pair.b.plane.inbound) == 2
    pair.deliver_all()
    pair.a.rekey_child()
    pair.deliver_all()
    pair.advance(LINGER_S + 0.1)
    assert_one_child(pair)


def test_deleted_child_sa_is_made_again() -> None:
    pair = IkePair.established()
    spi = pair.b.all(ChildSaUp)[0].inbound.spi
    forger = Forger.of(pair.b)
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi.to_bytes(4, "big"),)))
    assert pair.a.plane.outbound is None
    assert pair.a.all(OutboundDone)[0].reason.code == "deleted_by_peer"
    pair.link.flights.clear()
    pair.advance(2.0, deliver=False)
    assert pair.a.all(ChildSaDown)[0].reason.code == "deleted_by_peer"
    assert not pair.a.plane.inbound
    assert parse_header(pair.link.flights[0].datagram).exchange == ExchangeType.CREATE_CHILD_SA


def test_short_lives_of_both_ends_leave_one_child_sa() -> None:
    life = Lifetime(50.0)
    pair = IkePair.established(config_a(child_lifetime=life), config_b(child_lifetime=life))
    pair.advance(600.0)
    assert_one_child(pair)
    assert pair.a.ike_sas == 1
    assert pair.a.endpoint.counters["rekey_child.done"] >= 10
