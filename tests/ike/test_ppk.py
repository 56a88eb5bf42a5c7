"""Post-quantum pre-shared keys (RFC 8784): who has one, who insists on it, and what comes of it."""

from __future__ import annotations

import pytest

from gateway.ike.config import Ppk
from gateway.ike.events import ChildSaUp, Failed, IkeSaUp
from gateway.ike.iana import NotifyType, ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.secret import Secret
from tests.support.pair import PSK, IkePair, config_a, config_b
from tests.support.tap import Tap

KEY = bytes(range(32))
MUST = Ppk(b"quantum-1", Secret(KEY))
MAY = Ppk(b"quantum-1", Secret(KEY), is_required=False)
OTHER_NAME = Ppk(b"quantum-2", Secret(KEY))
OTHER_NAME_MAY = Ppk(b"quantum-2", Secret(KEY), is_required=False)
OTHER_KEY = Ppk(b"quantum-1", Secret(bytes(32)), is_required=False)
USED, PLAIN = "with it", "without it"


def tap_of(pair: IkePair) -> Tap:
    tap = Tap(PSK.reveal(), [*pair.a.random.privates, *pair.b.random.privates], KEY)
    for flight in pair.link.seen:
        tap.feed(flight.datagram)
    return tap


# RFC 8784 section 3, both tables: ours, the peer's, what comes of it.
OUTCOMES = [
    (MUST, MUST, USED),
    (MUST, MAY, USED),
    (MAY, MUST, USED),
    (MAY, MAY, USED),
    (None, MAY, PLAIN),
    (MAY, None, PLAIN),
    (MAY, OTHER_NAME_MAY, PLAIN),
    (None, MUST, "ppk_mismatch"),
    (MUST, None, "ppk_missing"),
    (MUST, OTHER_NAME_MAY, "ppk_mismatch"),
    (MAY, OTHER_NAME, "ppk_mismatch"),
    (MUST, OTHER_KEY, "authentication_failed"),
    (MAY, OTHER_KEY, "authentication_failed"),
]


@pytest.mark.parametrize(("ours", "theirs", "outcome"), OUTCOMES)
def test_who_has_one_and_who_insists(ours: Ppk | None, theirs: Ppk | None, outcome: str) -> None:
    pair = IkePair.started(config_a(ppk=ours), config_b(ppk=theirs))
    pair.deliver_all()
    if outcome not in (USED, PLAIN):
        pair.advance(40.0, deliver=True)
        assert outcome in (*pair.a.codes(), *pair.b.codes())
        assert not pair.a.all(IkeSaUp) + pair.b.all(IkeSaUp)
        assert not pair.a.plane.inbound
        assert pair.b.endpoint.inbound_spis == 0
        return
    assert pair.has_traffic()
    tap = tap_of(pair)
    assert tap.verified == (["ppk", "auth"] if outcome is USED else ["auth"])
    for side in pair.sides():
        status = side.endpoint.tunnel_status("office")
        assert status.has_ppk is status.is_post_quantum is (outcome is USED)
        for up in side.all(ChildSaUp):
            assert up.inbound.encr_key.reveal() == tap.child_keys[up.inbound.spi]


def test_who_insists_and_is_refused_is_told_to_look_at_it() -> None:
    """The peer says no more than AUTHENTICATION_FAILED, as for a wrong pre-shared key."""
    pair = IkePair.started(config_a(ppk=OTHER_NAME), config_b(ppk=MAY))
    pair.deliver_all()
    reason = next(event.reason for event in pair.a.all(Failed))
    assert reason.code == "authentication_failed"
    assert reason.ours == "a.gw.test to b.gw.test, ppk_id quantum-2"
    assert reason.hint.endswith("; and ppk_id and ppk")


def test_a_wrong_post_quantum_key_is_named_beside_the_pre_shared_one() -> None:
    other = Ppk(b"quantum-1", Secret(bytes(32)))
    pair = IkePair.started(config_a(ppk=other), config_b(ppk=MUST))
    pair.deliver_all()
    reason = pair.b.all(Failed)[0].reason
    assert (reason.code, reason.ours) == ("authentication_failed", "ppk_id quantum-1")
    assert reason.hint.endswith("; and ppk")


def test_who_insists_and_finds_none_names_its_own() -> None:
    pair = IkePair.started(config_a(ppk=MUST), config_b())
    pair.deliver_all()
    pair.wait_for(lambda: bool(pair.a.all(Failed)), 60.0)
    reason = pair.a.all(Failed)[0].reason
    assert (reason.code, reason.ours, reason.theirs) == (
        "ppk_missing",
        "ppk_id quantum-1",
        "no ppk",
    )


def test_it_goes_with_ml_kem_and_stays_in_the_keys_of_rekeys() -> None:
    hybrid = parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE)
    pair = IkePair.established(
        config_a(ppk=MUST, ike_proposals=(hybrid,)), config_b(ppk=MUST, ike_proposals=(hybrid,))
    )
    for side in pair.sides():
        side.rekey_child()
        pair.deliver_all()
        side.rekey_ike()
        pair.deliver_all()
    tap = tap_of(pair)
    assert tap.verified == ["ppk", "auth"]
    for up in (*pair.a.all(ChildSaUp), *pair.b.all(ChildSaUp)):
        assert up.inbound.encr_key.reveal() == tap.child_keys[up.inbound.spi]
    pair.a.restart()
    assert pair.a.endpoint.tunnel_status("office").has_ppk
    pair.b.rekey_child()
    pair.deliver_all()
    assert pair.has_traffic()


def test_the_name_goes_sealed_and_the_key_nowhere() -> None:
    pair = IkePair.established(config_a(ppk=MAY), config_b(ppk=MAY))
    wire = b"".join(flight.datagram for flight in pair.link.seen)
    assert b"quantum-1" not in wire
    assert KEY not in wire
    assert KEY.hex() not in repr(pair.a.endpoint.tunnel_status("office")) + repr(MUST)


def test_a_stripped_notify_is_no_downgrade() -> None:
    """USE_PPK is in what AUTH covers: who takes it out of IKE_SA_INIT is found out."""
    pair = IkePair.started(config_a(ppk=MAY), config_b(ppk=MAY))
    flight = pair.hold_to_b()
    use_ppk = NotifyType.USE_PPK.to_bytes(2, "big")
    assert flight.datagram.endswith(use_ppk)
    flight.datagram = flight.datagram[:-2] + (40000).to_bytes(2, "big")
    pair.release(flight)
    pair.deliver_all()
    assert "authentication_failed" in pair.b.codes()
    assert not pair.a.all(IkeSaUp)


def test_a_new_key_is_used_by_the_next_ike_sa() -> None:
    pair = IkePair.established(config_a(ppk=MAY), config_b(ppk=MAY))
    new = Ppk(b"quantum-2", Secret(KEY), is_required=True)
    pair.a.reconfigure(config_a(ppk=new))
    pair.b.reconfigure(config_b(ppk=new))
    pair.deliver_all()
    assert len(pair.a.all(IkeSaUp)) == 1
    pair.a.close()
    pair.deliver_all()
    pair.advance(2.0)
    pair.b.initiate()
    pair.a.initiate()
    pair.deliver_all()
    pair.advance(20.0)
    assert pair.a.endpoint.tunnel_status("office").has_ppk
    assert pair.has_traffic()
