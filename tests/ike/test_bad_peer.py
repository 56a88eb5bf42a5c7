"""
A peer, or somebody in between, that breaks the rules (reference list: rows 7, 8, 13, 17 and 20 to
27).

Before authentication: dropped, counted under one reason, and nothing changes. After it: answered as
the RFC says, and the worst that happens is the end of that one IKE SA.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis.strategies import binary, integers, sampled_from

from gateway.ike.config import Lifetime, Timers
from gateway.ike.context import EndpointLimits
from gateway.ike.drops import DropReason
from gateway.ike.events import ChildSaUp, Dropped, Event, Failed, IkeSaDown, Send
from gateway.ike.iana import ExchangeType, NotifyType, PayloadType, ProtocolId
from gateway.ike.message import Message, parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import (
    Auth,
    Delete,
    IdResponder,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Raw,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
)
from gateway.ike.proposals import Proposal, parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.sa import Path
from tests.support.forge import Forger
from tests.support.pair import A_ADDRESS, B_ADDRESS, IkePair, Side, config_a, config_b

FROM_A = Path(B_ADDRESS, 4500, A_ADDRESS, 4500)
ESP_ANSWER = parse_proposal("aes256gcm16-noesn", ProtocolId.ESP)
NONCE = Nonce(b"n" * 32)
TS_A = (parse_selector("10.1.0.0/16"),)
TS_B = (parse_selector("10.2.0.0/16"),)


def esp(text: str) -> dict[str, object]:
    return {"esp_proposals": (parse_proposal(text, ProtocolId.ESP),)}


def plain() -> IkePair:
    """Return an established pair without PFS, so that a forged answer needs no key exchange."""
    without = esp("aes256gcm16-noesn")
    return IkePair.established(config_a(**without), config_b(**without))


def dropped(side: Side) -> list[str]:
    return [event.reason for event in side.all(Dropped)]


def assert_unharmed(pair: IkePair) -> None:
    """Assert that the IKE SA is up, and that every exchange still works."""
    assert pair.a.state == pair.b.state == "established"
    for side in pair.sides():
        side.rekey_child()
        pair.deliver_all()
        assert pair.has_traffic(), pair.story()


# ---- before authentication ----


@given(binary(max_size=120))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_dropped_under_one_reason(datagram: bytes) -> None:
    pair = shared_pair()
    before = len(dropped(pair.b))
    pair.b.receive(datagram, FROM_A)
    assert len(dropped(pair.b)) == before + 1
    assert set(dropped(pair.b)) <= {one.value for one in DropReason}


_PAIRS: list[IkePair] = []


def shared_pair() -> IkePair:
    """Return one established pair for all examples: what they send must not harm it."""
    if not _PAIRS:
        _PAIRS.append(IkePair.established())
    return _PAIRS[0]


@given(integers(0, 10_000), integers(1, 255), sampled_from(["a", "b"]))
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_of_a_genuine_message_changes_nothing(
    at: int, mask: int, who: str
) -> None:
    pair = shared_pair()
    one: Side = getattr(pair, who)
    forger = Forger.of(one)
    genuine = forger.seal(forger.message(ExchangeType.INFORMATIONAL, (Delete(ProtocolId.IKE),)))
    at %= len(genuine)
    changed = genuine[:at] + bytes([genuine[at] ^ mask]) + genuine[at + 1 :]
    forger.send_raw(changed)
    pair.link.flights.clear()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert pair.has_traffic()


@pytest.mark.parametrize(
    "exchange", [ExchangeType.CREATE_CHILD_SA, ExchangeType.INFORMATIONAL, ExchangeType.IKE_AUTH]
)
@pytest.mark.parametrize("protected", [True, False])
def test_nothing_but_ike_auth_is_taken_before_authentication(
    exchange: ExchangeType, protected: bool
) -> None:
    """Row 7: a rekey of an unauthenticated IKE SA once was an authentication bypass."""
    pair = IkePair.started()
    pair.deliver_to_b()
    init = parse_clear(pair.link.flights[0].datagram)
    kind = 46 if protected else 0
    header = dataclasses.replace(
        parse_header(pair.link.flights[0].datagram),
        exchange=int(exchange),
        flags=0x08,
        message_id=1,
        next_payload=kind,
        length=28 if not protected else 28 + 40,
    )
    body = b"" if not protected else bytes([0, 0, 0, 40]) + bytes(36)
    assert init.spi_r != bytes(8)
    pair.b.receive(header.serialise() + body, FROM_A)
    assert pair.b.ike_sas == 0
    assert len(dropped(pair.b)) == 1
    pair.deliver_all()
    assert pair.has_traffic()


def test_ike_auth_twice_is_answered_once() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    auth = pair.hold_to_b()
    pair.release(auth)
    pair.release(auth)
    pair.deliver_all()
    assert pair.b.ike_sas == 1
    assert pair.b.drops("replayed") == 1
    Forger.of(pair.a).send(ExchangeType.IKE_AUTH, Notify(NotifyType.INITIAL_CONTACT))
    assert pair.b.drops("state") == 1
    assert pair.has_traffic()


def test_ike_sa_init_with_a_known_responder_spi_is_dropped() -> None:
    pair = IkePair.established()
    init = parse_clear(pair.a.all(Send)[0].datagram)
    spi_r = pair.a.endpoint.tunnel_status("office").spi_r
    pair.b.receive(serialise_clear(dataclasses.replace(init, spi_r=spi_r)), FROM_A)
    assert dropped(pair.b) == ["flags"]


def test_late_copy_of_ike_sa_init_makes_no_new_ike_sa() -> None:
    pair = IkePair.established()
    init = pair.a.all(Send)[0].datagram
    pair.b.receive(init, Path(B_ADDRESS, 500, A_ADDRESS, 500))
    assert dropped(pair.b) == ["state"]
    assert len(pair.b.all(Send)) == 2


@pytest.mark.parametrize("exchange", [0, 33, 38, 43, 44, 255])
@pytest.mark.parametrize("flags", range(0, 256, 8))
def test_unknown_exchanges_and_all_flags_are_dropped(exchange: int, flags: int) -> None:
    """Row 8."""
    pair = shared_pair()
    forger = Forger.of(pair.a)
    genuine = forger.seal(forger.message(37, ()))
    header = dataclasses.replace(parse_header(genuine), exchange=exchange, flags=flags)
    before = len(dropped(pair.b))
    pair.b.receive(header.serialise() + genuine[28:], FROM_A)
    assert len(dropped(pair.b)) == before + 1
    assert pair.b.ike_sas == 1
    pair.link.flights.clear()


def test_response_to_nothing_is_dropped() -> None:
    pair = IkePair.established()
    Forger.of(pair.b).send(ExchangeType.INFORMATIONAL, message_id=7, is_response=True)
    assert dropped(pair.a) == ["unexpected_response"]


@pytest.mark.parametrize("ahead", [1, 2, 1000, 2**32 - 3])
def test_message_ids_are_not_skipped(ahead: int) -> None:
    pair = IkePair.established()
    forger = Forger.of(pair.a)
    forger.send(ExchangeType.INFORMATIONAL, message_id=forger.next_id + ahead)
    assert dropped(pair.b) == ["message_id"]
    assert_unharmed(pair)


def test_garbage_with_the_next_message_id_does_not_move_the_window() -> None:
    pair = IkePair.established()
    forger = Forger.of(pair.a)
    genuine = forger.seal(forger.message(ExchangeType.INFORMATIONAL, ()))
    forger.send_raw(genuine[:-1] + bytes([genuine[-1] ^ 1]))
    assert dropped(pair.b) == ["bad_icv"]
    forger.send_raw(genuine)
    assert len(dropped(pair.b)) == 1
    assert pair.b.endpoint.counters["in.request.informational"] == 1


def test_our_own_message_sent_back_is_dropped() -> None:
    pair = IkePair.established()
    pair.a.rekey_child()
    own = pair.hold_to_b().datagram
    pair.a.receive(own, Path(A_ADDRESS, 4500, B_ADDRESS, 4500))
    assert dropped(pair.a) == ["unknown_spi"]
    other = IkePair.started()
    other.a.receive(other.hold_to_b().datagram, Path(A_ADDRESS, 500, B_ADDRESS, 500))
    assert len(dropped(other.a)) == 1
    assert other.a.ike_sas == 0


def test_clear_delete_is_dropped() -> None:
    pair = IkePair.established()
    message = Forger.of(pair.a).message(ExchangeType.INFORMATIONAL, (Delete(ProtocolId.IKE),))
    pair.b.receive(serialise_clear(message), FROM_A)
    assert dropped(pair.b) == ["clear"]
    assert pair.b.ike_sas == 1


def test_fragment_where_it_was_not_negotiated_is_dropped() -> None:
    """Row 20."""
    pair = IkePair.started()
    init = parse_clear(pair.hold_to_b().datagram)
    kept = tuple(
        one
        for one in init.payloads
        if not (isinstance(one, Notify) and one.type == NotifyType.FRAGMENTATION_SUPPORTED)
    )
    pair.b.receive(
        serialise_clear(dataclasses.replace(init, payloads=kept)),
        Path(B_ADDRESS, 500, A_ADDRESS, 500),
    )
    answer = parse_header(pair.link.flights[0].datagram)
    skf = dataclasses.replace(
        answer, next_payload=53, exchange=35, flags=0x08, message_id=1, length=28 + 40
    )
    pair.b.receive(skf.serialise() + bytes([0, 0, 0, 40]) + bytes(36), FROM_A)
    assert dropped(pair.b) == ["fragment"]


@pytest.mark.parametrize("version", [0x10, 0x30, 0xF0])
def test_other_major_version_is_counted_and_a_higher_one_answered(version: int) -> None:
    pair = IkePair.started()
    datagram = bytearray(pair.hold_to_b().datagram)
    datagram[17] = version
    pair.b.receive(bytes(datagram), Path(B_ADDRESS, 500, A_ADDRESS, 500))
    assert dropped(pair.b) == ["version"]
    answers = pair.b.all(Send)
    assert len(answers) == (1 if version > 0x20 else 0)
    if answers:
        notify = parse_clear(answers[0].datagram).notify(NotifyType.INVALID_MAJOR_VERSION)
        assert notify is not None
    (failed,) = pair.b.all(Failed)
    assert (failed.tunnel, failed.reason.code) == ("office", "version_mismatch")
    assert (failed.reason.ours, failed.reason.theirs) == ("2", str(version >> 4))


def test_answers_to_unknown_spis_are_rate_limited() -> None:
    pair = IkePair(limits_b=EndpointLimits(clear_answers_per_s=3.0))
    pair.start()
    for number in range(30):
        header = dataclasses.replace(
            parse_header(pair.a.all(Send)[0].datagram),
            spi_i=number.to_bytes(8, "big").replace(b"\0", b"\x01"),
            spi_r=b"\x07" * 8,
            exchange=37,
            next_payload=0,
            length=36,
        )
        pair.b.receive(header.serialise() + bytes(8), FROM_A)
    assert pair.b.drops("unknown_spi") == 30
    assert len(pair.b.all(Send)) == 3


# ---- AUTH (row 13) ----


def with_auth(auth: tuple[Payload, ...], identity: Payload | None = None) -> IkePair:
    """Return a pair in which b, instead of its true answer to IKE_AUTH, sends these payloads."""
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    number = parse_header(pair.link.flights[0].datagram).message_id
    pair.deliver_to_b()
    true_answer = pair.hold_to_a()
    forger = Forger.of(pair.b)
    true = forger_open_own(forger, true_answer.datagram)
    first = identity or true.one(IdResponder)
    rest = tuple(one for one in true.payloads if not isinstance(one, Auth | IdResponder))
    forger.send(ExchangeType.IKE_AUTH, first, *auth, *rest, message_id=number, is_response=True)
    return pair


def forger_open_own(forger: Forger, datagram: bytes) -> Message:
    """Return what the forger's own side has sealed."""
    return Forger(forger.side.peer, {**forger.saved, "original_initiator": True}).open(datagram)


@pytest.mark.parametrize(
    "auth",
    [
        (Auth(2, b""),),
        (Auth(2, b"x"),),
        (Auth(2, bytes(47)),),
        (Auth(2, bytes(48)),),
        (Auth(2, bytes(4096)),),
        (Auth(13, bytes(48)),),
        (Auth(0, bytes(48)),),
        (Auth(201, bytes(48)),),
        (),
        (Auth(2, bytes(48)), Auth(2, bytes(48))),
    ],
    ids=["empty", "one", "short", "wrong", "long", "null", "zero", "private", "none", "twice"],
)
def test_bad_auth_of_the_responder_never_establishes(auth: tuple[Payload, ...]) -> None:
    pair = with_auth(auth)
    assert pair.a.ike_sas == 0
    assert not pair.a.plane.inbound
    assert len(pair.a.codes()) == 1


def test_responder_that_is_refused_is_told() -> None:
    pair = with_auth((Auth(2, bytes(48)),))
    forger = Forger.of(pair.b)
    told = forger.open(pair.link.flights[0].datagram)
    assert told.notify(NotifyType.AUTHENTICATION_FAILED) is not None
    pair.deliver_all()
    assert pair.b.ike_sas == 0


def test_other_identity_of_the_responder_never_establishes() -> None:
    pair = with_auth((Auth(2, bytes(48)),), IdResponder(2, b"evil.test"))
    assert pair.a.codes() == ["identity_mismatch"]
    assert pair.a.ike_sas == 0


def test_true_auth_with_its_end_cut_off_is_refused() -> None:
    pair = IkePair.started()
    for _ in range(2):
        pair.link.arrive(pair.link.flights.popleft())
    number = parse_header(pair.link.flights[0].datagram).message_id
    pair.deliver_to_b()
    forger = Forger.of(pair.b)
    true = forger_open_own(forger, pair.hold_to_a().datagram)
    auth = true.one(Auth)
    forger.send(
        ExchangeType.IKE_AUTH,
        true.one(IdResponder),
        Auth(auth.method, auth.data[:-1]),
        message_id=number,
        is_response=True,
    )
    assert pair.a.codes() == ["authentication_failed"]


# ---- after authentication ----


def answer_of(pair: IkePair, *payloads: Payload) -> Message:
    """Return b's answer to a forged CREATE_CHILD_SA of a."""
    forger = Forger.of(pair.a)
    forger.send(ExchangeType.CREATE_CHILD_SA, *payloads)
    return forger.answer()


def child_request(
    proposal: Proposal = ESP_ANSWER, spi: bytes = b"\x11\x22\x33\x44", *extra: Payload
) -> tuple[Payload, ...]:
    return (
        *extra,
        SecurityAssociation((proposal.with_spi(spi),)),
        NONCE,
        TrafficSelectorsI(TS_A),
        TrafficSelectorsR(TS_B),
    )


@pytest.mark.parametrize("protocol", [0, 1, 2, 200])
def test_rekey_of_another_protocol_is_not_found(protocol: int) -> None:
    """Row 22: once an assertion failed while the bad number was echoed."""
    pair = plain()
    spi = pair.a.all(ChildSaUp)[0].inbound.spi.to_bytes(4, "big")
    rekey = Notify(NotifyType.REKEY_SA, b"", protocol, spi if protocol != 1 else bytes(8))
    answer = answer_of(pair, *child_request(ESP_ANSWER, b"\x11\x22\x33\x44", rekey))
    assert answer.notify(NotifyType.CHILD_SA_NOT_FOUND) is not None
    assert_unharmed_after_forgery(pair)


@pytest.mark.parametrize("spi", [b"", b"\x01\x02", bytes(4), b"\xff" * 4, bytes(8)])
def test_rekey_of_an_unknown_spi_is_not_found(spi: bytes) -> None:
    pair = plain()
    rekey = Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP if spi else 0, spi)
    answer = answer_of(pair, *child_request(ESP_ANSWER, b"\x11\x22\x33\x44", rekey))
    assert answer.notify(NotifyType.CHILD_SA_NOT_FOUND) is not None


def test_rekey_that_names_our_spi_instead_of_its_own_is_not_found() -> None:
    pair = plain()
    spi = pair.b.all(ChildSaUp)[0].inbound.spi.to_bytes(4, "big")
    rekey = Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, spi)
    answer = answer_of(pair, *child_request(ESP_ANSWER, b"\x11\x22\x33\x44", rekey))
    assert answer.notify(NotifyType.CHILD_SA_NOT_FOUND) is not None


def assert_unharmed_after_forgery(pair: IkePair) -> None:
    """Assert that b's half works: a's own window has been run over by its forger."""
    assert pair.b.state == "established"
    assert pair.has_traffic()
    pair.b.rekey_child()
    pair.deliver_all()
    assert pair.has_traffic()


@pytest.mark.parametrize("spi", [bytes(4), b"\0\0\0\x01", b"\0\0\0\xff"])
def test_reserved_spi_of_the_peer_is_invalid_syntax(spi: bytes) -> None:
    answer = answer_of(plain(), *child_request(ESP_ANSWER, spi))
    assert answer.notify(NotifyType.INVALID_SYNTAX) is not None


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        (SecurityAssociation, NotifyType.INVALID_SYNTAX),
        (Nonce, NotifyType.INVALID_SYNTAX),
        (TrafficSelectorsI, NotifyType.INVALID_SYNTAX),
        (TrafficSelectorsR, NotifyType.INVALID_SYNTAX),
    ],
)
def test_missing_payload_ends_the_ike_sa_and_nothing_else(
    drop: type[Payload], expected: NotifyType
) -> None:
    pair = plain()
    kept = tuple(one for one in child_request() if not isinstance(one, drop))
    assert answer_of(pair, *kept).notify(expected) is not None
    assert pair.b.ike_sas == 0
    pair.advance(60.0)
    assert pair.has_traffic(), "it comes up again by itself"


def test_child_sa_for_the_selectors_of_others_is_refused() -> None:
    pair = plain()
    request = (
        SecurityAssociation((ESP_ANSWER.with_spi(b"\x11\x22\x33\x44"),)),
        NONCE,
        TrafficSelectorsI((parse_selector("172.16.0.0/12"),)),
        TrafficSelectorsR(TS_B),
    )
    assert answer_of(pair, *request).notify(NotifyType.TS_UNACCEPTABLE) is not None
    assert pair.b.codes() == ["ts_unacceptable"]
    assert pair.b.ike_sas == 1


def test_number_of_child_sas_is_bounded() -> None:
    """Row 26: the peer asks for Child SAs without end."""
    pair = plain()
    forger = Forger.of(pair.a)
    last = None
    for number in range(40):
        spi = (0x11000000 + number).to_bytes(4, "big")
        forger.send(ExchangeType.CREATE_CHILD_SA, *child_request(ESP_ANSWER, spi))
        last = forger.answer()
    assert last is not None
    assert last.notify(NotifyType.NO_ADDITIONAL_SAS) is not None
    assert len(pair.b.plane.inbound) == 8
    assert pair.b.ike_sas == 1


def test_child_sa_that_the_peer_replaced_and_never_deleted_goes_in_the_end() -> None:
    """a rekeys and forgets the Delete: b deletes the old Child SA at its hard limit."""
    life = Lifetime(100.0)
    proposal = esp("aes256gcm16-noesn")
    quiet = Timers(liveness=0.0)
    pair = IkePair.established(
        config_a(timers=quiet, **proposal), config_b(child_lifetime=life, **proposal)
    )
    pair.advance(90.0)
    old = pair.a.all(ChildSaUp)[0].inbound.spi
    rekey = Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, old.to_bytes(4, "big"))
    answer_of(pair, *child_request(ESP_ANSWER, b"\x11\x22\x33\x44", rekey))
    assert len(pair.b.plane.inbound) == 2
    replaced = pair.b.all(ChildSaUp)[0].inbound.spi
    pair.advance(59.0)
    assert replaced in pair.b.plane.inbound
    pair.advance(8.0)
    assert replaced not in pair.b.plane.inbound
    assert pair.b.ike_sas == 1


@pytest.mark.parametrize(
    "deletes",
    [
        (Delete(ProtocolId.ESP, ()),),
        (Delete(ProtocolId.ESP, (b"\x01\x02\x03\x04",)),),
        (Delete(ProtocolId.AH, (b"\x01\x02\x03\x04",)),),
        (Delete(ProtocolId.ESP, tuple(bytes([1, 2, 3, one]) for one in range(200))),),
    ],
)
def test_delete_of_what_is_not_there_changes_nothing(deletes: tuple[Delete, ...]) -> None:
    """Row 23."""
    pair = plain()
    forger = Forger.of(pair.a)
    forger.send(ExchangeType.INFORMATIONAL, *deletes)
    assert forger.answer().payloads == ()
    assert_unharmed_after_forgery(pair)


def test_delete_twice_is_answered_twice_and_done_once() -> None:
    pair = plain()
    spi = pair.a.all(ChildSaUp)[0].inbound.spi.to_bytes(4, "big")
    forger = Forger.of(pair.a)
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi, spi)))
    assert len(forger.answer().all(Delete)[0].spis) == 1
    forger.send(ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi,)))
    assert forger.answer().payloads == ()


def test_unknown_and_unsolicited_payloads_are_skipped() -> None:
    """Rows 3 and 25: CP, EAP, private notifies, MOBIKE, REDIRECT ... in any number."""
    pair = plain()
    forger = Forger.of(pair.a)
    odd: list[Payload] = [Raw(47, False, bytes(4)), Raw(48, False, bytes(4)), Raw(200, False, b"")]
    odd += [Notify(kind, b"whatever") for kind in (12345, 16396, 16407, 16438, 40960, 65535)]
    forger.send(ExchangeType.INFORMATIONAL, *odd)
    assert forger.answer().payloads == ()
    assert_unharmed_after_forgery(pair)


def test_unknown_critical_payload_is_answered_and_the_ike_sa_stays() -> None:
    pair = plain()
    forger = Forger.of(pair.a)
    forger.send(ExchangeType.INFORMATIONAL, Raw(200, True, b"x"))
    notify = forger.answer().notify(NotifyType.UNSUPPORTED_CRITICAL_PAYLOAD)
    assert notify is not None
    assert notify.data == bytes([200])
    assert pair.b.ike_sas == 1


def test_broken_content_of_a_response_ends_the_ike_sa() -> None:
    """The peer itself sealed it, so nobody else is harmed; a new IKE SA follows."""
    pair = plain()
    pair.a.rekey_child()
    number = parse_header(pair.hold_to_b().datagram).message_id
    broken = Raw(int(PayloadType.NONCE), False, b"short")
    Forger.of(pair.b).send(36, broken, message_id=number, is_response=True)
    assert pair.a.ike_sas == 0
    pair.advance(30.0)
    assert pair.has_traffic()


# ---- answers that break the rules (rows 24 and 27) ----


def answer_child(pair: IkePair, *payloads: Payload) -> None:
    """Answer a's rekey of the Child SA, as b, with these payloads."""
    pair.a.rekey_child()
    number = parse_header(pair.hold_to_b().datagram).message_id
    Forger.of(pair.b).send(
        ExchangeType.CREATE_CHILD_SA, *payloads, message_id=number, is_response=True
    )


def child_answer(
    proposals: tuple[Proposal, ...] = (dataclasses.replace(ESP_ANSWER, number=1),),
    spi: bytes = b"\x11\x22\x33\x44",
    ts_i: str = "10.1.0.0/16",
    ts_r: str = "10.2.0.0/16",
) -> tuple[Payload, ...]:
    return (
        SecurityAssociation(tuple(one.with_spi(spi) for one in proposals)),
        NONCE,
        TrafficSelectorsI((parse_selector(ts_i),)),
        TrafficSelectorsR((parse_selector(ts_r),)),
    )


NOT_OFFERED = parse_proposal("aes128gcm16-noesn", ProtocolId.ESP)
BAD_ANSWERS = {
    "transform not offered": child_answer((NOT_OFFERED,)),
    "two proposals": child_answer((ESP_ANSWER, ESP_ANSWER)),
    "another number": child_answer((dataclasses.replace(ESP_ANSWER, number=7),)),
    "supernet": child_answer(ts_i="10.0.0.0/8"),
    "other selectors": child_answer(ts_r="172.16.0.0/12"),
    "more selectors than a Child SA holds": (
        *child_answer()[:2],
        TrafficSelectorsI(tuple(parse_selector(f"10.1.{number}.0/24") for number in range(33))),
        child_answer()[3],
    ),
    "reserved SPI": child_answer(spi=b"\0\0\0\x07"),
    "IKE instead of ESP": (
        SecurityAssociation(
            (parse_proposal("aes256gcm16-prfsha384-x25519", ProtocolId.IKE).with_spi(bytes(8)),)
        ),
        *child_answer()[1:],
    ),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answer_is_undone_and_the_ike_sa_stays(name: str) -> None:
    """What the peer made of our offer is deleted by the SPI we offered."""
    pair = plain()
    answer_child(pair, *BAD_ANSWERS[name])
    assert len(pair.a.all(ChildSaUp)) == 1
    assert pair.a.state == "established"
    assert len(pair.a.codes()) == 1
    deletion = Forger.of(pair.b).open(pair.link.flights[0].datagram)
    assert deletion.all(Delete)[0].protocol == ProtocolId.ESP
    assert pair.has_traffic()


def test_good_forged_answer_is_taken() -> None:
    """The base of the table above: without its fault the answer is good."""
    pair = plain()
    answer_child(pair, *child_answer())
    assert len(pair.a.all(ChildSaUp)) == 2


def test_answer_with_a_key_exchange_we_did_not_begin_is_undone() -> None:
    pair = IkePair.established()
    group = dataclasses.replace(
        parse_proposal("aes256gcm16-x25519-noesn", ProtocolId.ESP), number=1
    )
    sa, nonce, *ts = child_answer((group,))
    answer_child(pair, sa, nonce, KeyExchange(19, bytes(64)), *ts)
    assert len(pair.a.all(ChildSaUp)) == 1
    assert pair.a.state == "established"
    assert pair.has_traffic()


def test_bad_answer_to_an_ike_rekey_in_a_collision_leaves_no_ike_sa_behind() -> None:
    """Both rekey at once; b's answer to a's request can not be computed with: all is closed."""
    pair = IkePair.established()
    pair.a.rekey_ike()
    forger = Forger.of(pair.b)
    number = parse_header(pair.hold_to_b().datagram).message_id
    pair.b.rekey_ike()
    pair.deliver_to_a()  # a holds the IKE SA that b asked for
    forger.send(ExchangeType.CREATE_CHILD_SA, NONCE, message_id=number, is_response=True)
    pair.link.flights.clear()
    pair.cut()
    pair.advance(200.0)
    assert pair.a.all(IkeSaDown)
    assert not pair.a.store.records


def test_ike_auth_answer_without_the_child_sa_leaves_the_ike_sa_up() -> None:
    """Row 24."""
    pair = IkePair.started()
    for _ in range(2):
        pair.link.arrive(pair.link.flights.popleft())
    number = parse_header(pair.link.flights[0].datagram).message_id
    pair.deliver_to_b()
    forger = Forger.of(pair.b)
    true = forger_open_own(forger, pair.hold_to_a().datagram)
    forger.send(
        ExchangeType.IKE_AUTH,
        true.one(IdResponder),
        true.one(Auth),
        message_id=number,
        is_response=True,
    )
    assert pair.a.state == "established"
    assert not pair.a.plane.inbound
    pair.advance(60.0)
    assert pair.has_traffic()


def test_every_drop_reason_is_a_counter_of_its_own() -> None:
    assert len({one.value for one in DropReason}) == len(DropReason)


def test_drops_are_counted_as_often_as_they_are_reported() -> None:
    pair = shared_pair()
    for side in pair.sides():
        counted = sum(
            count for name, count in side.endpoint.counters.items() if name.startswith("drop.")
        )
        assert counted == len(side.all(Dropped))


def test_stranger_cannot_fill_memory_with_wrong_spis() -> None:
    pair = IkePair.established()
    stranger = Path(B_ADDRESS, 4500, ip_address("203.0.113.9"), 4500)
    events: list[Event] = []
    for number in range(2000):
        header = parse_header(pair.a.all(Send)[-1].datagram)
        forged = dataclasses.replace(header, spi_r=number.to_bytes(8, "big"), length=28)
        events += pair.b.endpoint.receive(forged.serialise(), stranger, pair.now)
    assert pair.b.drops("unknown_spi") == 2000
    assert pair.has_traffic()
