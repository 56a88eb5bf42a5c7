"""
Rekey of the IKE SA from either end, alone and together (RFC 7296 sections 1.3.2, 2.18, 2.25.2).
"""

from __future__ import annotations

from itertools import permutations

import pytest

from gateway.ike.config import Lifetime
from gateway.ike.events import ChildSaDown, ChildSaUp, IkeSaDown, IkeSaUp, Send
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import Delete, Notify
from gateway.ike.proposals import parse_proposal
from tests.support.forge import Forger
from tests.support.pair import IkePair, Side, config_a, config_b


def ike(*texts: str) -> dict[str, object]:
    return {"ike_proposals": tuple(parse_proposal(text, ProtocolId.IKE) for text in texts)}


def assert_one_ike_sa(pair: IkePair) -> None:
    """Assert that both ends hold one IKE SA, the same, and that it works in both directions."""
    one, other = (side.endpoint.tunnel_status("office") for side in pair.sides())
    assert (one.spi_i, one.spi_r) == (other.spi_i, other.spi_r), pair.story()
    assert pair.a.ike_sas == pair.b.ike_sas == 1, pair.story()
    for side in pair.sides():
        side.rekey_child()
        pair.deliver_all()
        assert pair.has_traffic(), pair.story()
    pair.advance(6.0)
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()


@pytest.mark.parametrize("who", ["a", "b"])
def test_rekey_from_either_end(who: str) -> None:
    pair = IkePair.established()
    one: Side = getattr(pair, who)
    one.rekey_ike()
    pair.deliver_all()
    for side in pair.sides():
        first, second = side.all(IkeSaUp)
        assert second.replaces == first.spi_i
        assert second.spi_i != first.spi_i
        assert side.all(IkeSaDown)[0].reason.code == "rekeyed"
        assert not side.all(ChildSaDown)
        assert second.original_initiator is (side is one)
    assert_one_ike_sa(pair)


def test_roles_swap_and_swap_again() -> None:
    """The initiator flag belongs to who began the rekey; message IDs start over."""
    pair = IkePair.established()
    for side in (pair.b, pair.a, pair.b, pair.b):
        side.rekey_ike()
        pair.deliver_all()
        status = side.endpoint.tunnel_status("office")
        assert status.original_initiator
        sent = len(side.all(Send))
        side.rekey_child()
        header = parse_header(side.all(Send)[sent].datagram)
        assert (header.message_id, header.from_original_initiator) == (0, True)
        pair.deliver_all()
    assert_one_ike_sa(pair)


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("who", ["a", "b"])
def test_any_lost_message_of_a_rekey_is_made_up_for(lost: int, who: str) -> None:
    pair = IkePair.established()
    getattr(pair, who).rekey_ike()
    for _ in range(lost):
        pair.link.arrive(pair.link.flights.popleft())
    pair.link.flights.popleft()
    assert pair.has_traffic()
    pair.advance(2.0)
    assert_one_ike_sa(pair)


def test_doubled_and_reordered_messages_of_a_rekey() -> None:
    pair = IkePair.established()
    pair.a.rekey_ike()
    for _ in range(8):
        pair.duplicate()
        pair.reorder()
        for _ in range(len(pair.link.flights)):
            pair.link.arrive(pair.link.flights.popleft())
    pair.advance(2.0)
    assert_one_ike_sa(pair)


@pytest.mark.parametrize("nonces", list(permutations((1, 2, 3, 4))))
def test_collision_closes_the_ike_sa_with_the_lowest_nonce(
    nonces: tuple[int, int, int, int],
) -> None:
    pair = IkePair.established()
    a_initiates, b_answers, b_initiates, a_answers = nonces
    pair.a.random.nonces_start(a_initiates, a_answers)
    pair.b.random.nonces_start(b_initiates, b_answers)
    pair.a.rekey_ike()
    pair.b.rekey_ike()
    # a: { SA, Ni, KEi } -->    <-- b: { SA, Ni, KEi }    then both answers, then the deletes
    while pair.link.flights:
        assert pair.has_traffic()
        pair.link.arrive(pair.link.flights.popleft())
    a_loses = 1 in nonces[:2]
    status = pair.a.endpoint.tunnel_status("office")
    assert status.original_initiator is not a_loses
    assert_one_ike_sa(pair)


@pytest.mark.parametrize("a_loses", [True, False])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_collision_with_answers_in_any_order(a_loses: bool, order: tuple[int, int, int]) -> None:
    pair = IkePair.established()
    nonces = (1, 2, 3, 4) if a_loses else (3, 4, 1, 2)
    pair.a.random.nonces_start(nonces[0], nonces[3])
    pair.b.random.nonces_start(nonces[2], nonces[1])
    pair.a.rekey_ike()
    pair.b.rekey_ike()
    pair.deliver_to_b()
    held = [pair.hold_to_a(), pair.hold_to_a()]
    pair.release(held[0])
    rest = [held[1], *(pair.link.flights.popleft() for _ in range(len(pair.link.flights)))]
    for at in order:
        if at < len(rest):
            pair.release(rest[at])
    pair.advance(3.0)
    assert_one_ike_sa(pair)


@pytest.mark.parametrize("a_loses", [True, False])
def test_collision_that_only_one_end_notices(a_loses: bool) -> None:
    """b's request is lost; when it is repeated, the IKE SA it names is replaced."""
    pair = IkePair.established()
    nonces = (1, 2, 3, 4) if a_loses else (3, 4, 1, 2)
    pair.a.random.nonces_start(nonces[0], nonces[3])
    pair.b.random.nonces_start(nonces[2], nonces[1])
    pair.a.rekey_ike()
    pair.b.rekey_ike()
    pair.drop_to_a()
    pair.deliver_all()
    assert pair.has_traffic()
    pair.advance(130.0)
    assert_one_ike_sa(pair)


def test_children_are_refused_while_the_ike_sa_is_rekeyed() -> None:
    pair = IkePair.established()
    pair.a.rekey_ike()
    held = pair.hold_to_b()
    forger = Forger.of(pair.b)
    pair.b.rekey_child()
    pair.deliver_to_a()
    answer = forger.open(pair.link.flights[0].datagram)
    assert answer.notify(NotifyType.TEMPORARY_FAILURE) is not None
    pair.release(held)
    pair.deliver_all()
    pair.advance(20.0)
    assert_one_ike_sa(pair)


def test_ike_rekey_is_refused_while_a_child_is_rekeyed_and_tried_again() -> None:
    pair = IkePair.established()
    pair.b.rekey_child()
    held = pair.hold_to_a()
    pair.a.rekey_ike()
    pair.deliver_to_b()
    pair.deliver_to_a()
    assert len(pair.a.all(IkeSaUp)) == 1
    pair.release(held)
    pair.deliver_all()
    pair.advance(11.0)
    assert len(pair.a.all(IkeSaUp)) == 2
    assert_one_ike_sa(pair)


def test_delete_of_the_ike_sa_wins_over_its_rekey() -> None:
    pair = IkePair.established()
    pair.a.rekey_ike()
    held = pair.hold_to_b()
    pair.b.close()
    pair.deliver_to_a()
    assert pair.a.plane.outbound is None
    pair.release(held)
    pair.deliver_all()
    assert pair.a.ike_sas == pair.b.ike_sas == 0
    pair.advance(1.0)
    assert not pair.a.plane.inbound
    assert not pair.b.plane.inbound


def test_close_while_the_answer_to_the_rekey_is_on_its_way() -> None:
    """Both the old IKE SA and the one the peer has just made are closed."""
    pair = IkePair.established()
    pair.a.rekey_ike()
    pair.deliver_to_b()
    pair.a.close()
    pair.advance(1.0)
    assert pair.a.state == pair.b.state == "idle"
    assert not pair.b.plane.inbound
    assert pair.b.ike_sas == 0


def test_tasks_about_children_move_to_the_new_ike_sa() -> None:
    pair = IkePair.established()
    pair.a.rekey_ike()
    pair.a.rekey_child()
    pair.deliver_all()
    pair.advance(12.0)
    assert len(pair.a.all(ChildSaUp)) == 2
    assert_one_ike_sa(pair)


def test_lifetime_begins_the_rekey_again_and_again() -> None:
    life = Lifetime(60.0)
    pair = IkePair.established(config_a(ike_lifetime=life), config_b(ike_lifetime=life))
    pair.advance(1000.0)
    assert len(pair.a.all(IkeSaUp)) >= 15
    assert pair.a.codes() == pair.b.codes() == []
    assert_one_ike_sa(pair)


def test_rekey_with_another_group() -> None:
    pair = IkePair.established(
        config_a(**ike("aes256gcm16-prfsha384-x25519-ecp256")),
        config_b(**ike("aes256gcm16-prfsha384-x25519")),
    )
    pair.b.reconfigure(config_b(**ike("aes256gcm16-prfsha384-ecp256")))
    pair.wait_for(pair.has_traffic, 10.0)
    pair.a.rekey_ike()
    pair.deliver_all()
    assert pair.a.all(IkeSaUp)[-1].suite.endswith("ecp256")
    pair.advance(15.0)
    assert pair.has_traffic()


def test_refused_rekey_leaves_the_old_one_and_is_tried_again() -> None:
    pair = IkePair.established()
    pair.a.rekey_ike()
    request = pair.hold_to_b()
    number = parse_header(request.datagram).message_id
    forger = Forger.of(pair.b)
    refusal = Notify(NotifyType.NO_PROPOSAL_CHOSEN)
    forger.send(ExchangeType.CREATE_CHILD_SA, refusal, message_id=number, is_response=True)
    assert pair.a.codes() == ["no_proposal_chosen"]
    assert pair.has_traffic()
    assert pair.a.state == "established"


def test_old_ike_sa_goes_when_its_delete_never_comes() -> None:
    """b answered the rekey; a and its Delete are gone for good, and the new IKE SA with them."""
    pair = IkePair.established()
    pair.a.rekey_ike()
    pair.deliver_to_b()
    pair.cut()
    pair.link.flights.clear()
    pair.advance(200.0)
    assert pair.b.ike_sas == 0
    assert not pair.b.plane.inbound


def test_delete_of_the_replaced_ike_sa_leaves_the_children() -> None:
    pair = IkePair.established()
    forger = Forger.of(pair.a)
    pair.a.rekey_ike()
    pair.deliver_to_b()
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.IKE), message_id=forger.next_id + 1)
    assert pair.b.plane.inbound
    assert pair.b.ike_sas == 1


def test_collision_answered_with_temporary_failure_leaves_the_peers_ike_sa() -> None:
    """a has finished its rekey when b's request comes; its Delete is late. b takes a's at once."""
    pair = IkePair.established()
    pair.a.rekey_ike()
    pair.b.rekey_ike()
    request_of_b = pair.hold_to_a()
    pair.deliver_to_b()
    pair.deliver_to_a()
    delete_of_a = pair.hold_to_b()
    pair.release(request_of_b)
    # <-- a: N(TEMPORARY_FAILURE)
    pair.deliver_to_b()
    one, other = (side.endpoint.tunnel_status("office") for side in pair.sides())
    assert (one.spi_i, one.spi_r) == (other.spi_i, other.spi_r)
    pair.release(delete_of_a)
    pair.deliver_all()
    assert_one_ike_sa(pair)
