"""
ML-KEM beside another key exchange: in IKE_INTERMEDIATE (RFC 9242) when an IKE SA is set up, in
IKE_FOLLOWUP_KE (RFC 9370) when one of its SAs is rekeyed.
"""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from

from gateway.ike.config import Lifetime, Start
from gateway.ike.dh import KeyPair
from gateway.ike.events import ChildSaUp, IkeSaDown, IkeSaUp, Send
from gateway.ike.exchanges import intermediate
from gateway.ike.fragments import STRANGER_MAX, split
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import (
    KeyExchange,
    Nonce,
    Notify,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
)
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, parse_proposal
from tests.support.forge import Forger
from tests.support.pair import PSK, IkePair, Side, config_a, config_b
from tests.support.slots import six_a, six_b
from tests.support.tap import Tap

HYBRID = "x25519-ke1_mlkem768"
TWO = "x25519-ke1_mlkem768-ke2_mlkem1024"
INTERMEDIATE = ExchangeType.IKE_INTERMEDIATE
FOLLOWUP = ExchangeType.IKE_FOLLOWUP_KE


def profile(ike: str = HYBRID, esp: str = HYBRID, **more: object) -> dict[str, object]:
    return {
        "ike_proposals": (parse_proposal(f"aes256gcm16-prfsha384-{ike}", ProtocolId.IKE),),
        "esp_proposals": (parse_proposal(f"aes256gcm16-{esp}-noesn", ProtocolId.ESP),),
        **more,
    }


def hybrid_pair(ike: str = HYBRID, esp: str = HYBRID) -> IkePair:
    """Return an established pair with ML-KEM on both SAs, and on their rekeys."""
    return IkePair.established(config_a(**profile(ike, esp)), config_b(**profile(ike, esp)))


def tap_of(pair: IkePair, ppk: bytes = b"") -> Tap:
    """Return a listener that has heard everything so far."""
    privates = [*pair.a.random.privates, *pair.b.random.privates]
    tap = Tap(PSK.reveal(), privates, ppk)
    for flight in pair.link.seen:
        tap.feed(flight.datagram)
    return tap


def assert_keys(pair: IkePair, tap: Tap) -> None:
    """Assert that all ESP keys are those that the listener has found."""
    for side in pair.sides():
        for up in side.all(ChildSaUp):
            assert up.inbound.encr_key.reveal() == tap.child_keys[up.inbound.spi]
            assert up.outbound.encr_key.reveal() == tap.child_keys[up.outbound.spi]


def assert_works(pair: IkePair) -> None:
    """Assert that one IKE SA and one Child SA are left, and that both ends can rekey them."""
    pair.advance(40.0)
    for side in pair.sides():
        for action in (side.rekey_child, side.rekey_ike):
            action()
            pair.deliver_all()
            assert pair.has_traffic(), pair.story()
    pair.advance(40.0)
    one, other = (side.endpoint.tunnel_status("office") for side in pair.sides())
    assert (one.spi_i, one.spi_r) == (other.spi_i, other.spi_r), pair.story()
    assert pair.a.ike_sas == pair.b.ike_sas == 1, pair.story()
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1, pair.story()
    assert pair.a.endpoint.inbound_spis == pair.b.endpoint.inbound_spis == 1


def sent(side: Side, exchange: ExchangeType) -> list[bytes]:
    return [
        event.datagram
        for event in side.all(Send)
        if parse_header(event.datagram).exchange == exchange
    ]


# ---- setting up ----


@pytest.mark.parametrize("ike", [HYBRID, TWO, "x25519-ke3_mlkem1024-ke7_mlkem768"])
def test_keys_and_auth_are_those_of_the_rfcs(ike: str) -> None:
    pair = hybrid_pair(ike, HYBRID)
    tap = tap_of(pair)
    assert tap.verified == ["auth"]
    assert tap.exchanges.count(INTERMEDIATE) == 2 * (ike.count("_"))
    assert_keys(pair, tap)
    assert pair.a.all(IkeSaUp)[0].suite == f"aes256gcm16-prfsha384-{ike}"


def test_the_defaults_of_both_ends_choose_ml_kem() -> None:
    defaults = {"ike_proposals": DEFAULT_IKE, "esp_proposals": DEFAULT_ESP}
    pair = IkePair.established(config_a(**defaults), config_b(**defaults))
    assert pair.a.all(IkeSaUp)[0].suite == "aes256gcm16-prfsha384-x25519-ke1_mlkem768"
    pair.b.rekey_child()
    pair.deliver_all()
    suite = pair.a.all(ChildSaUp)[-1].suite
    assert suite == "aes256gcm16-x25519-ke1_mlkem768-esn"
    assert all(one.endpoint.tunnel_status("office").is_post_quantum for one in pair.sides())


@pytest.mark.parametrize("plain", ["a", "b"])
def test_a_peer_without_additional_key_exchanges_takes_another_proposal(plain: str) -> None:
    """As of RFC 7296 alone: it does not know the transform type, and says nothing of RFC 9242."""
    defaults = {"ike_proposals": DEFAULT_IKE, "esp_proposals": DEFAULT_ESP}
    old = profile("x25519", "x25519")
    a, b = (old, defaults) if plain == "a" else (defaults, old)
    pair = IkePair.established(config_a(**a), config_b(**b))
    assert pair.a.all(IkeSaUp)[0].suite == "aes256gcm16-prfsha384-x25519"
    assert not sent(pair.a, INTERMEDIATE)
    assert not pair.a.endpoint.tunnel_status("office").is_post_quantum
    for side in pair.sides():
        side.rekey_child()
        pair.deliver_all()
        assert pair.a.all(ChildSaUp)[-1].suite == "aes256gcm16-x25519"


def test_an_offer_without_the_notify_can_not_mean_additional_key_exchanges() -> None:
    pair = IkePair.started(config_a(**profile()), config_b(**profile()))
    flight = pair.hold_to_b()
    notify = Notify(NotifyType.INTERMEDIATE_EXCHANGE_SUPPORTED).serialise()
    other = Notify(40000).serialise()
    assert flight.datagram.endswith(notify)
    flight.datagram = flight.datagram.replace(notify, other)
    pair.release(flight)
    assert pair.b.codes() == ["no_proposal_chosen"]


def test_ike_sa_init_stays_small_and_everything_else_in_fragments() -> None:
    defaults = {"ike_proposals": DEFAULT_IKE, "esp_proposals": DEFAULT_ESP}
    pair = IkePair.established(config_a(**defaults), config_b(**defaults))
    sizes = [len(one.datagram) for one in pair.link.seen]
    assert max(sizes) <= 1280 - 20 - 8
    assert max(len(one) for one in sent(pair.a, ExchangeType.IKE_SA_INIT)) < 900
    assert len(sent(pair.a, INTERMEDIATE)) == 2


@pytest.mark.parametrize("lost", range(9))
@pytest.mark.parametrize("who", ["a", "b"])
def test_any_lost_message_of_the_set_up_is_made_up_for(lost: int, who: str) -> None:
    pair = IkePair.started(config_a(**profile(TWO)), config_b(**profile(TWO)))
    for _ in range(lost):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    side: Side = getattr(pair, who)
    if pair.waiting(side):
        pair.hold_to(side.peer)
    pair.advance(5.0)
    assert pair.has_traffic()
    assert pair.a.codes() == pair.b.codes() == []
    assert tap_of(pair).verified == ["auth"]


@settings(max_examples=40, deadline=None)
@given(lists(sampled_from(["deliver", "lose", "double", "reorder", "wait"]), max_size=60))
def test_a_bad_network_only_delays(acts: list[str]) -> None:
    pair = IkePair.started(config_a(**profile(TWO)), config_b(**profile(TWO)))
    disturb(pair, acts)
    pair.wait_for(lambda: pair.a.state == pair.b.state == "established", 120.0)
    for side, action in ((pair.a, "rekey_child"), (pair.b, "rekey_ike"), (pair.b, "rekey_child")):
        getattr(side, action)()
        disturb(pair, acts)
    assert_works(pair)
    assert_keys(pair, tap_of(pair))


def disturb(pair: IkePair, acts: list[str]) -> None:
    """Let the network do these things, one after the other, to what is on its way."""
    for act in acts:
        match act:
            case "deliver" if pair.link.flights:
                pair.link.arrive(pair.link.flights.popleft())
            case "lose" if pair.link.flights:
                pair.link.flights.popleft()
            case "double" if len(pair.link.flights) < 20:
                pair.duplicate()
            case "reorder":
                pair.reorder()
            case "wait":
                pair.advance(0.6, deliver=False)
            case _:
                pass


def test_authentication_before_the_key_exchange_is_refused() -> None:
    """What is agreed on can not be left out, or whoever breaks x25519 would do so."""
    pair = IkePair.started(config_a(**profile()), config_b(**profile()))
    pair.deliver_to_b()
    pair.deliver_to_a()
    sa = next(iter(pair.a.endpoint._context.sas.values()))
    sa.window.close()
    sa.window.next_request = 1
    sa.further.waiting = ()
    pair.link.flights.clear()
    intermediate.proceed(sa, pair.now)
    pair.a.take(pair.a.endpoint._events(pair.now))
    pair.deliver_all()
    assert "invalid_syntax" in pair.b.codes()
    assert not pair.b.all(IkeSaUp)


@pytest.mark.parametrize("restarted", ["a", "b"])
def test_a_restart_in_the_middle_begins_again(restarted: str) -> None:
    pair = IkePair.started(config_a(**profile()), config_b(**profile()))
    for _ in range(3):
        pair.link.arrive(pair.link.flights.popleft())
    side: Side = getattr(pair, restarted)
    side.restart()
    pair.wait_for(lambda: pair.a.state == pair.b.state == "established", 60.0)
    assert pair.has_traffic()
    assert_works(pair)


def test_half_open_ike_sas_go_in_time_however_far_they_came() -> None:
    pair = IkePair.started(config_a(**profile(TWO)), config_b(**profile(TWO)))
    for _ in range(5):
        pair.link.arrive(pair.link.flights.popleft())
    pair.cut()
    pair.link.flights.clear()
    pair.a.close()
    pair.advance(31.0)
    assert pair.b.endpoint.counters["half_open_timeout"] == 1
    assert not pair.b.endpoint._context.sas


def test_who_is_not_authenticated_can_make_us_hold_little() -> None:
    """Of a message in fragments that never becomes whole, and that is sealed rightly."""
    pair = IkePair.started(config_a(**profile()), config_b(**profile()))
    pair.deliver_to_b()
    pair.deliver_to_a()
    sa = next(iter(pair.a.endpoint._context.sas.values()))
    pair.link.flights.clear()
    big = KeyExchange(36, bytes(60000))
    whole = sa.message(INTERMEDIATE, 1, (big,), False)
    assert sa.keys is not None
    many = split(whole, sa.keys.seal, sa._next_iv, 1232)
    half_open = next(iter(pair.b.endpoint._context.sas.values()))
    for datagram in many[:-1]:
        pair.b.receive(datagram, half_open.path)
        assert half_open.request_fragments.held_bytes <= STRANGER_MAX
    assert pair.b.drops("fragment") > 0


def test_a_closed_attempt_is_gone_at_once() -> None:
    pair = IkePair.started(config_a(**profile()), config_b(**profile()))
    pair.deliver_to_b()
    pair.deliver_to_a()
    assert pair.a.state == "connecting"
    pair.a.close()
    assert pair.a.state == "idle"
    pair.deliver_all()
    assert not pair.b.all(IkeSaUp)


def test_both_begin_at_once_with_ml_kem() -> None:
    pair = IkePair(config_a(**profile()), config_b(**profile(), start=Start.INITIATE))
    pair.start()
    pair.deliver_all()
    pair.advance(15.0)
    assert_works(pair)


# ---- rekeys ----


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("esp", [HYBRID, TWO])
def test_rekeyed_keys_are_those_of_the_rfc(who: str, action: str, esp: str) -> None:
    pair = hybrid_pair(esp, esp)
    side: Side = getattr(pair, who)
    getattr(side, action)()
    pair.deliver_all()
    side.peer.rekey_child()
    pair.deliver_all()
    tap = tap_of(pair)
    expected = 2 * 2 * esp.count("_")
    assert tap.exchanges.count(FOLLOWUP) == expected
    assert_keys(pair, tap)
    assert_works(pair)
    assert not pair.a.codes() + pair.b.codes()


@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("lost", range(10))
@pytest.mark.parametrize("who", ["a", "b"])
def test_any_lost_message_of_a_rekey_is_made_up_for(action: str, lost: int, who: str) -> None:
    pair = hybrid_pair()
    getattr(getattr(pair, who), action)()
    for _ in range(lost):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
            assert pair.has_traffic()
    if pair.link.flights:
        pair.link.flights.popleft()
    pair.advance(3.0)
    assert not pair.a.codes() + pair.b.codes()
    assert_works(pair)


@pytest.mark.parametrize("nonces", list(permutations((1, 2, 3, 4))))
@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("mixed", [False, True])
def test_collision_of_rekeys(action: str, nonces: tuple[int, ...], mixed: bool) -> None:
    """
    Both at once. The one with the lowest nonce goes no further; where only one end has ML-KEM on
    its list first, the two exchanges may differ in length.
    """
    pair = hybrid_pair()
    if mixed:
        make_mixed(pair)
    pair.a.random.nonces_start(nonces[0], nonces[3])
    pair.b.random.nonces_start(nonces[2], nonces[1])
    ups = len(pair.a.all(ChildSaUp)), len(pair.a.all(IkeSaUp))
    getattr(pair.a, action)()
    getattr(pair.b, action)()
    while pair.link.flights:
        assert pair.has_traffic(), pair.story()
        pair.link.arrive(pair.link.flights.popleft())
    pair.advance(1.0)
    made = len(pair.a.all(ChildSaUp)) - ups[0], len(pair.a.all(IkeSaUp)) - ups[1]
    if not mixed:
        assert made == ((1, 0) if action == "rekey_child" else (0, 1)), pair.story()
    assert_works(pair)


def make_mixed(pair: IkePair) -> None:
    """Let both allow ML-KEM and nothing beside x25519; a prefers the one and b the other."""
    both = [profile(), profile("x25519", "x25519")]
    ours = {key: (*both[0][key], *both[1][key]) for key in both[0]}  # type: ignore[misc]
    pair.a.endpoint._tunnels["office"].config = config_a(**ours)
    pair.b.endpoint._tunnels["office"].config = config_b(
        **{key: tuple(reversed(value)) for key, value in ours.items()}
    )


@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("late", range(6))
@pytest.mark.parametrize("a_loses", [True, False])
def test_collision_that_comes_late(action: str, late: int, a_loses: bool) -> None:
    """b's request is held back while a's exchange goes on."""
    pair = hybrid_pair()
    nonces = (1, 2, 3, 4) if a_loses else (3, 4, 1, 2)
    pair.a.random.nonces_start(nonces[0], nonces[3])
    pair.b.random.nonces_start(nonces[2], nonces[1])
    getattr(pair.a, action)()
    getattr(pair.b, action)()
    held = pair.hold_to_a()
    for _ in range(late):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    pair.release(held)
    pair.deliver_all()
    assert pair.has_traffic(), pair.story()
    assert_works(pair)


@pytest.mark.parametrize("lost_by", ["a", "b", ""])
@pytest.mark.parametrize("a_loses", [True, False])
def test_new_child_sas_of_both_ends_at_once(lost_by: str, a_loses: bool) -> None:
    """
    Both ask for the Child SAs that are missing, and one of them has to repeat an additional key
    exchange, so the other is done long before; each slot has one Child SA in the end.
    """
    nonces = (1, 2, 3, 4) if a_loses else (3, 4, 1, 2)
    pair = IkePair.started(six_a(**profile()), six_b(**profile(), start=Start.INITIATE))
    pair.drop_to_a()
    pair.a.random.nonces_start(nonces[0], nonces[3])
    pair.deliver_to_b()
    pair.b.random.nonces_start(nonces[2], nonces[1])
    while not pair.a.all(IkeSaUp):
        pair.link.arrive(pair.link.flights.popleft())
    pair.b.initiate()
    loser: Side = pair.a if lost_by == "a" else pair.b
    while lost_by and pair.link.flights:
        flight = pair.link.flights.popleft()
        if flight.exchange == FOLLOWUP and flight.sender is loser:
            break
        pair.link.arrive(flight)
    pair.advance(60.0)
    for side in pair.sides():
        assert sorted(one.slot for one in side.plane.children.values()) == list(range(6))
    for slot in range(6):
        assert pair.a.send_esp(slot), pair.story()
        assert pair.b.send_esp(slot), pair.story()


@pytest.mark.parametrize("one", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("other", ["rekey_child", "rekey_ike", "close"])
@pytest.mark.parametrize("after", range(7))
def test_other_exchanges_in_the_middle(one: str, other: str, after: int) -> None:
    pair = hybrid_pair()
    getattr(pair.a, one)()
    for _ in range(after):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    getattr(pair.b, other)()
    pair.deliver_all()
    if other == "close":
        pair.advance(40.0)
        assert pair.a.ike_sas == pair.b.ike_sas == 0
        assert not pair.a.plane.inbound
        assert not pair.b.plane.inbound
        assert pair.a.endpoint.inbound_spis == pair.b.endpoint.inbound_spis == 0
        return
    assert pair.has_traffic(), pair.story()
    assert_works(pair)


@pytest.mark.parametrize("action", ["rekey_child", "rekey_ike"])
@pytest.mark.parametrize("delivered", range(8))
@pytest.mark.parametrize("who", ["a", "b"])
def test_restart_in_the_middle_of_a_rekey(action: str, delivered: int, who: str) -> None:
    """The initiator repeats what it can not finish; the responder knows it no more."""
    pair = hybrid_pair()
    getattr(pair.a, action)()
    for _ in range(delivered):
        if pair.link.flights:
            pair.link.arrive(pair.link.flights.popleft())
    getattr(pair, who).restart()
    pair.advance(60.0)
    assert pair.has_traffic(), pair.story()
    assert_works(pair)


def test_a_lost_state_is_said_and_the_rekey_begun_again() -> None:
    pair = hybrid_pair()
    pair.a.rekey_child()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.b.restart()
    # a: IKE_FOLLOWUP_KE -->   <-- b: N(STATE_NOT_FOUND)
    pair.deliver_all()
    assert pair.b.endpoint.counters["out.error.47"] == 1
    assert pair.has_traffic()
    pair.advance(11.0)
    assert pair.a.endpoint.counters["rekey_child.done"] == 1
    assert not pair.a.codes()


def test_an_unknown_link_changes_nothing() -> None:
    pair = hybrid_pair()
    forger = Forger.of(pair.a)
    key = KeyExchange(36, bytes(1184))
    link = Notify(NotifyType.ADDITIONAL_KEY_EXCHANGE, b"nobody's")
    forger.send(FOLLOWUP, key, link)
    assert forger.answer().notify(NotifyType.STATE_NOT_FOUND) is not None
    forger.send(FOLLOWUP, key)
    assert forger.answer().notify(NotifyType.STATE_NOT_FOUND) is not None
    assert pair.has_traffic()


@given(integers(0, 3))
@settings(max_examples=4, deadline=None)
def test_what_a_peer_leaves_unfinished_is_forgotten(delivered: int) -> None:
    """Its SPI is given back, and our own rekeys wait no longer than that."""
    pair = hybrid_pair()
    spis = pair.b.endpoint.inbound_spis
    forger = Forger.of(pair.a)
    for _ in range(6):
        begin_forged_rekey(pair, forger)
        forger.answer()
    assert spis < pair.b.endpoint.inbound_spis <= spis + 4
    before = len(pair.b.all(ChildSaUp))
    pair.b.rekey_child()
    assert not pair.waiting(pair.b)
    pair.a.is_frozen = True
    pair.advance(9.0)
    pair.a.is_frozen = False
    assert len(pair.b.all(ChildSaUp)) == before
    pair.advance(30.0)
    assert pair.b.endpoint.inbound_spis <= spis + 1


def begin_forged_rekey(pair: IkePair, forger: Forger) -> None:
    """Let a ask for a new Child SA and go no further."""
    config = config_a(**profile())
    offer = config.esp_proposals[0].with_spi(bytes([1, 2, 3, 4]))
    forger.send(
        ExchangeType.CREATE_CHILD_SA,
        SecurityAssociation((offer,)),
        Nonce(bytes(32)),
        KeyExchange(31, KeyPair.generate(31).public),
        TrafficSelectorsI(config.local_ts),
        TrafficSelectorsR(config.remote_ts),
    )


def test_lifetimes_go_on_for_hours() -> None:
    lives = {"ike_lifetime": Lifetime(70.0), "child_lifetime": Lifetime(31.0)}
    pair = IkePair.established(config_a(**profile(), **lives), config_b(**profile(), **lives))
    for _ in range(40):
        pair.advance(30.0)
        assert pair.has_traffic()
    assert pair.a.codes() == pair.b.codes() == []
    assert {down.reason.code for down in pair.a.all(IkeSaDown)} == {"rekeyed"}
    assert_keys(pair, tap_of(pair))
