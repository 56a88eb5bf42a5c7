"""IKE_SA_INIT and IKE_AUTH: both roles, every kind of suite, every message lost, doubled, late."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.ike.config import Encap, Identity, IdType, Start
from gateway.ike.context import EndpointLimits
from gateway.ike.events import ChildSaUp, Failed, IkeSaUp, Note, PathChanged, Send
from gateway.ike.iana import NotifyType, ProtocolId
from gateway.ike.message import Message, parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import KeyExchange, Nonce, Notify
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.sa import Path
from gateway.secret import Secret
from tests.support.long_messages import after_init, held_fragments, long_configs
from tests.support.pair import A_ADDRESS, B_ADDRESS, IkePair, config_a, config_b

GAVE_UP_S = 31.5


def ike(*texts: str) -> dict[str, object]:
    return {"ike_proposals": tuple(parse_proposal(text, ProtocolId.IKE) for text in texts)}


def esp(*texts: str) -> dict[str, object]:
    return {"esp_proposals": tuple(parse_proposal(text, ProtocolId.ESP) for text in texts)}


def test_handshake_in_four_messages() -> None:
    pair = IkePair.started()
    # a: IKE_SA_INIT { SA, KE, Ni, N(NATD_S), N(NATD_D), N(FRAG) } -->
    pair.deliver_to_b()
    # <-- b: IKE_SA_INIT { SA, KE, Nr, N(NATD_S), N(NATD_D), N(FRAG) }
    pair.deliver_to_a()
    assert pair.a.ike_sas == pair.b.ike_sas == 0
    # a: IKE_AUTH { IDi, N(INITIAL_CONTACT), IDr, AUTH, SA, TSi, TSr } -->
    pair.deliver_to_b()
    assert pair.b.ike_sas == 1
    # <-- b: IKE_AUTH { IDr, AUTH, SA, TSi, TSr }
    pair.deliver_to_a()
    assert pair.a.ike_sas == 1
    assert pair.waiting(pair.a) == pair.waiting(pair.b) == 0
    assert pair.has_traffic()


def test_both_ends_see_the_same_and_the_others_identity() -> None:
    pair = IkePair.established()
    (up_a,), (up_b,) = pair.a.all(IkeSaUp), pair.b.all(IkeSaUp)
    assert (up_a.spi_i, up_a.spi_r, up_a.suite) == (up_b.spi_i, up_b.spi_r, up_b.suite)
    assert (up_a.peer_id, up_b.peer_id) == ("b.gw.test", "a.gw.test")
    assert (up_a.original_initiator, up_b.original_initiator) == (True, False)


def test_esp_keys_are_equal_crosswise() -> None:
    pair = IkePair.established()
    (child_a,), (child_b,) = pair.a.all(ChildSaUp), pair.b.all(ChildSaUp)
    assert child_a.inbound == child_b.outbound
    assert child_a.outbound == child_b.inbound
    assert child_a.inbound.encr_key != child_a.outbound.encr_key
    assert (child_a.local_ts, child_a.remote_ts) == (child_b.remote_ts, child_b.local_ts)


def test_inbound_sa_is_installed_before_the_answer_leaves() -> None:
    pair = IkePair.established()
    kinds = [type(event) for event in pair.b.events]
    last_send = len(kinds) - 1 - kinds[::-1].index(Send)
    assert kinds.index(IkeSaUp) < kinds.index(ChildSaUp) < last_send


@pytest.mark.parametrize(
    "text",
    [
        "aes128gcm16-prfsha256-x25519",
        "aes256gcm16-prfsha384-ecp384",
        "chacha20poly1305-prfsha256-ecp256",
        "aes256-sha256-ecp521",
        "aes128-sha512-x25519",
        "aes192-sha384-ecp256",
    ],
)
def test_every_kind_of_ike_suite(text: str) -> None:
    pair = IkePair.established(config_a(**ike(text)), config_b(**ike(text)))
    assert pair.a.all(IkeSaUp)[0].suite == text
    pair.a.rekey_child()
    pair.b.rekey_ike()
    pair.deliver_all()
    assert pair.has_traffic()


@pytest.mark.parametrize(
    "text",
    [
        "aes128gcm16-noesn",
        "aes256gcm16-esn",
        "chacha20poly1305-noesn",
        "aes256-sha256-noesn",
        "aes128-sha384-esn",
        "aes256-sha512-noesn",
    ],
)
def test_every_kind_of_esp_suite(text: str) -> None:
    pair = IkePair.established(config_a(**esp(text)), config_b(**esp(text)))
    child = pair.a.all(ChildSaUp)[0]
    assert child.inbound.esn is text.endswith("-esn")
    assert (len(child.inbound.integ_key) == 0) is child.inbound.encr.is_aead


def test_default_proposals_of_both_ends_fit() -> None:
    defaults = {"ike_proposals": DEFAULT_IKE, "esp_proposals": DEFAULT_ESP}
    pair = IkePair.established(config_a(**defaults), config_b(**defaults))
    assert pair.a.all(IkeSaUp)[0].suite.startswith("aes256gcm16")


def test_ipv6_outside() -> None:
    from ipaddress import ip_address

    one, other = ip_address("2001:db8::1"), ip_address("2001:db8::2")
    IkePair.established(config_a(local=one, remote=other), config_b(local=other, remote=one))


@pytest.mark.parametrize("lost", range(4))
def test_any_lost_message_is_made_up_for(lost: int) -> None:
    pair = IkePair.started()
    for number in range(4):
        from_a = number % 2 == 0
        if number == lost:
            (pair.drop_to_b if from_a else pair.drop_to_a)()
            break
        (pair.deliver_to_b if from_a else pair.deliver_to_a)()
    waited = pair.wait_for(lambda: pair.a.state == pair.b.state == "established", 2.0)
    assert waited == 0.5
    assert pair.has_traffic()
    assert pair.a.ike_sas == pair.b.ike_sas == 1


def test_doubled_messages_change_nothing() -> None:
    pair = IkePair.started()
    for _ in range(4):
        pair.duplicate()
        flights = len(pair.link.flights)
        for _ in range(flights):
            pair.link.arrive(pair.link.flights.popleft())
    pair.deliver_all()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1
    assert pair.has_traffic()


def test_retransmissions_are_byte_identical_and_end() -> None:
    pair = IkePair.started()
    pair.cut()
    pair.link.flights.clear()
    began = pair.now
    sent = [event for event in pair.a.events if isinstance(event, Send)]
    times = [0.0]
    while not pair.a.all(Failed):
        pair.now = pair.a.endpoint.deadline
        before = len(pair.a.all(Send))
        pair.a.on_time()
        if len(pair.a.all(Send)) > before:
            times.append(pair.now - began)
    assert times == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert pair.now - began == GAVE_UP_S
    assert {event.datagram for event in pair.a.all(Send)} == {sent[0].datagram}
    assert pair.a.codes() == ["peer_unreachable"]
    assert "does UDP 500 pass" in pair.a.all(Failed)[0].reason.hint


def test_what_to_look_at_depends_on_the_exchange_without_an_answer() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()  # IKE_SA_INIT is done, and nothing more comes through
    pair.cut()
    pair.link.flights.clear()
    pair.wait_for(lambda: bool(pair.a.all(Failed)), 60.0)
    reason = pair.a.all(Failed)[0].reason
    assert reason.text.startswith("no response to IKE_AUTH")
    assert "does UDP 4500 pass both ways, and do fragments" in reason.hint


def test_responder_repeats_its_answer_byte_for_byte() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.drop_to_a()
    pair.advance(0.5, deliver=False)
    pair.deliver_to_b()
    first, second = pair.b.all(Send)
    assert first == second
    assert pair.b.drops("replayed") == 1


def test_answer_goes_where_the_question_came_from() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    assert pair.b.all(Send)[0].path == Path(B_ADDRESS, 500, A_ADDRESS, 500)


# ---- NAT, and the announced one ----


def test_preferred_encapsulation_moves_both_to_4500_without_a_nat() -> None:
    pair = IkePair.established()
    status = pair.a.endpoint.tunnel_status("office")
    assert status.path == Path(A_ADDRESS, 4500, B_ADDRESS, 4500)
    assert pair.a.all(ChildSaUp)[0].udp_encap
    assert pair.b.all(ChildSaUp)[0].udp_encap
    # The announced source is no reason to send keepalives: we are not behind a NAT.
    assert not status.nat_local
    assert not pair.b.endpoint.tunnel_status("office").nat_local


@pytest.mark.parametrize(
    ("a", "b", "encap"),
    [
        (Encap.AUTO, Encap.AUTO, False),
        (Encap.NEVER, Encap.NEVER, False),
        (Encap.NEVER, Encap.AUTO, False),
        (Encap.PREFER, Encap.AUTO, True),
        (Encap.AUTO, Encap.PREFER, True),
    ],
)
def test_who_wants_encapsulation(a: Encap, b: Encap, encap: bool) -> None:
    pair = IkePair.established(config_a(encap=a), config_b(encap=b))
    assert [side.all(ChildSaUp)[0].udp_encap for side in pair.sides()] == [encap, encap]
    port = pair.a.endpoint.tunnel_status("office").path
    assert port is not None
    assert port.remote_port == (4500 if encap else 500)


@pytest.mark.parametrize(("a", "b"), [(Encap.NEVER, Encap.PREFER), (Encap.PREFER, Encap.NEVER)])
def test_never_refuses_a_nat(a: Encap, b: Encap) -> None:
    pair = IkePair.started(config_a(encap=a), config_b(encap=b))
    pair.deliver_all()
    assert pair.a.ike_sas == pair.b.ike_sas == 0
    never = pair.a if a is Encap.NEVER else pair.b
    assert never.codes()[0] == "nat_detected"


# ---- groups and cookies ----


def test_a_good_guess_of_the_group_saves_the_round_trip() -> None:
    pair = IkePair.established(
        config_a(**ike("aes256gcm16-prfsha384-ecp256-x25519")),
        config_b(**ike("aes256gcm16-prfsha384-x25519-ecp256")),
    )
    assert pair.a.all(IkeSaUp)[0].suite.endswith("ecp256")


def test_wrong_guess_of_the_group_is_corrected() -> None:
    pair = IkePair.started(
        config_a(**ike("aes256gcm16-prfsha384-x25519-ecp384")),
        config_b(**ike("aes256gcm16-prfsha384-ecp384")),
    )
    pair.deliver_to_b()
    refusal = parse_clear(pair.link.flights[0].datagram)
    notify = refusal.notify(NotifyType.INVALID_KE_PAYLOAD)
    assert notify is not None
    assert notify.data == (20).to_bytes(2, "big")
    pair.deliver_all()
    assert pair.a.all(IkeSaUp)[0].suite.endswith("ecp384")
    assert pair.has_traffic()


def test_forged_wrong_group_does_not_spoil_the_true_answer() -> None:
    """The answer to the first request still counts after the second has gone out."""
    proposals = ike("aes256gcm16-prfsha384-x25519-ecp384")
    pair = IkePair.started(config_a(**proposals), config_b(**proposals))
    request = parse_clear(pair.link.flights[0].datagram)
    forged = Notify(NotifyType.INVALID_KE_PAYLOAD, (20).to_bytes(2, "big"))
    pair.a.receive(clear_answer(request, forged), pair.link.flights[0].path)
    assert pair.waiting(pair.a) == 2
    pair.deliver_all()
    assert pair.a.all(IkeSaUp)[0].suite.endswith("x25519")
    assert pair.has_traffic()


def test_endless_wrong_groups_end() -> None:
    pair = IkePair.started(config_a(**ike("aes256gcm16-prfsha384-x25519-ecp384")))
    pair.cut()
    for turn in range(20):
        request = parse_clear(pair.a.all(Send)[-1].datagram)
        group = 20 if request.one(KeyExchange).group == 31 else 31
        forged = Notify(NotifyType.INVALID_KE_PAYLOAD, group.to_bytes(2, "big"))
        pair.a.receive(clear_answer(request, forged), pair.a.all(Send)[-1].path)
        assert turn < 5 or pair.a.drops("unprotected_error") > 0
    assert len(pair.a.all(Send)) == 6
    pair.advance(60.0)
    assert pair.a.codes()[0] == "invalid_ke_payload"
    assert pair.a.all(Failed)[0].reason.text.endswith("each time")


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0", b"\0\x01", b"\xff\xff", b"\0\x1f\0"])
def test_wrong_group_that_we_did_not_offer_is_not_followed(data: bytes) -> None:
    pair = IkePair.started()
    request = parse_clear(pair.link.flights[0].datagram)
    pair.a.receive(
        clear_answer(request, Notify(NotifyType.INVALID_KE_PAYLOAD, data)),
        pair.link.flights[0].path,
    )
    assert len(pair.a.all(Send)) == 1
    pair.deliver_all()
    assert pair.has_traffic()


def test_a_peer_that_insists_on_a_group_of_its_own_is_told_from_one_that_refuses_all() -> None:
    pair = IkePair.started(config_a(**ike("aes256gcm16-prfsha384-x25519")))
    pair.cut()
    request = parse_clear(pair.a.all(Send)[-1].datagram)
    wanted = Notify(NotifyType.INVALID_KE_PAYLOAD, (14).to_bytes(2, "big"))
    pair.a.receive(clear_answer(request, wanted), pair.a.all(Send)[-1].path)
    pair.wait_for(lambda: bool(pair.a.all(Failed)), most=60.0)
    reason = pair.a.all(Failed)[0].reason
    assert (reason.code, reason.ours, reason.theirs) == ("invalid_ke_payload", "x25519", "modp2048")


def clear_answer(request: Message, *payloads: Notify) -> bytes:
    return serialise_clear(
        Message(request.spi_i, bytes(8), request.exchange, 0, True, False, tuple(payloads))
    )


COOKIES_AT_ONCE = EndpointLimits(cookie_from=0)


def stranger_pair(limits: EndpointLimits) -> IkePair:
    """Return a pair in which b knows a by its identity alone."""
    pair = IkePair(config_a(), config_b(remote=None), limits_b=limits)
    pair.start()
    return pair


def test_stranger_is_asked_for_a_cookie() -> None:
    pair = stranger_pair(COOKIES_AT_ONCE)
    # a: IKE_SA_INIT { SA, KE, Ni ... } -->
    pair.deliver_to_b()
    # <-- b: IKE_SA_INIT { N(COOKIE) }, and b keeps nothing
    demand = parse_clear(pair.link.flights[0].datagram)
    assert [type(one) for one in demand.payloads] == [Notify]
    assert len(pair.link.flights[0].datagram) < len(pair.a.all(Send)[0].datagram)
    assert pair.b.drops("cookie_demanded") == 1
    pair.deliver_to_a()
    # a: IKE_SA_INIT { N(COOKIE), SA, KE, Ni ... } -->   the same nonce and SPI
    first, second = (parse_clear(event.datagram) for event in pair.a.all(Send))
    assert isinstance(second.payloads[0], Notify)
    assert second.payloads[0].type == NotifyType.COOKIE
    assert (second.spi_i, second.one(Nonce)) == (first.spi_i, first.one(Nonce))
    pair.deliver_all()
    assert pair.has_traffic()


def test_configured_peer_is_never_asked_for_a_cookie() -> None:
    pair = IkePair(config_a(), config_b(), limits_b=COOKIES_AT_ONCE)
    pair.start()
    pair.deliver_all()
    assert pair.b.drops("cookie_demanded") == 0
    assert pair.has_traffic()


def test_cookie_goes_with_the_corrected_group() -> None:
    """COOKIE, then INVALID_KE_PAYLOAD: the third request bears the cookie again (section 2.6.1)."""
    pair = IkePair(
        config_a(**ike("aes256gcm16-prfsha384-x25519-ecp384")),
        config_b(remote=None, **ike("aes256gcm16-prfsha384-ecp384")),
        limits_b=COOKIES_AT_ONCE,
    )
    pair.start()
    pair.deliver_all()
    requests = [
        parse_clear(event.datagram)
        for event in pair.a.all(Send)
        if parse_header(event.datagram).exchange == 34
    ]
    cookies = [request.notify(NotifyType.COOKIE) for request in requests]
    assert cookies[0] is None
    assert cookies[1] == cookies[2]
    assert [request.one(KeyExchange).group for request in requests] == [31, 31, 20]
    assert pair.has_traffic()


def test_same_cookie_twice_is_ignored() -> None:
    pair = stranger_pair(COOKIES_AT_ONCE)
    pair.deliver_to_b()
    demand = pair.hold_to_a()
    pair.release(demand)
    pair.release(demand)
    assert len(pair.a.all(Send)) == 2


@pytest.mark.parametrize("length", [0, 65, 2000])
def test_cookie_of_a_wrong_length_is_dropped(length: int) -> None:
    pair = IkePair.started()
    request = parse_clear(pair.link.flights[0].datagram)
    forged = clear_answer(request, Notify(NotifyType.COOKIE, bytes(length)))
    pair.a.receive(forged, pair.link.flights[0].path)
    assert len(pair.a.all(Send)) == 1
    assert pair.a.drops("malformed") == 1


# ---- errors in the clear ----


@pytest.mark.parametrize("kind", [NotifyType.NO_PROPOSAL_CHOSEN, NotifyType.INVALID_SYNTAX, 8000])
def test_forged_error_is_not_believed_while_the_true_answer_may_come(kind: int) -> None:
    pair = IkePair.started()
    flight = pair.link.flights[0]
    pair.a.receive(clear_answer(parse_clear(flight.datagram), Notify(kind)), flight.path)
    assert pair.a.codes() == []
    pair.deliver_all()
    assert pair.has_traffic()


def test_error_is_believed_when_nothing_better_comes() -> None:
    pair = IkePair.started(
        config_a(**ike("aes256gcm16-prfsha384-x25519")),
        config_b(**ike("aes128gcm16-prfsha256-x25519")),
    )
    pair.deliver_all()
    assert pair.a.codes() == []
    pair.advance(0.5)
    assert pair.a.codes() == ["no_proposal_chosen"]
    failed = pair.a.all(Failed)[0]
    assert failed.reason.ours == "aes256gcm16-prfsha384-x25519"
    refused = pair.b.all(Failed)[0].reason
    assert (refused.ours, refused.theirs) == (
        "aes128gcm16-prfsha256-x25519",
        "aes256gcm16-prfsha384-x25519",
    )


# ---- authentication ----


def test_wrong_key_is_refused_and_both_say_so() -> None:
    pair = IkePair.started(config_a(psk=Secret(b"not the same key at all")))
    pair.deliver_all()
    assert pair.a.codes() == pair.b.codes() == ["authentication_failed"]
    assert "pre-shared key" in pair.b.all(Failed)[0].reason.text
    assert pair.a.ike_sas == pair.b.ike_sas == 0
    assert not pair.a.plane.inbound
    assert not pair.b.plane.inbound


def test_wrong_identity_is_refused_with_both_values() -> None:
    pair = IkePair.started(config_a(local_id=Identity.parse("c.gw.test")))
    pair.deliver_all()
    reason = pair.b.all(Failed)[0].reason
    assert (reason.code, reason.ours, reason.theirs) == (
        "identity_mismatch",
        "a.gw.test",
        "c.gw.test",
    )
    # The peer learns no more than that it is refused.
    assert pair.a.codes() == ["authentication_failed"]


def test_who_expects_another_identity_of_us_is_refused_with_both_values() -> None:
    pair = IkePair.started(config_a(remote_id=Identity.parse("x.gw.test")))
    pair.deliver_all()
    reason = pair.b.all(Failed)[0].reason
    assert (reason.code, reason.ours, reason.theirs) == (
        "identity_mismatch",
        "b.gw.test",
        "x.gw.test",
    )
    assert "local_id" in reason.hint
    assert pair.a.codes() == ["authentication_failed"]


def test_a_host_name_that_looks_like_an_address_is_told_from_it() -> None:
    name = Identity(IdType.FQDN, str(A_ADDRESS).encode())
    pair = IkePair.started(
        config_a(local_id=name), config_b(remote_id=Identity.parse(str(A_ADDRESS)))
    )
    pair.deliver_all()
    reason = pair.b.all(Failed)[0].reason
    assert (reason.ours, reason.theirs) == (str(A_ADDRESS), f"fqdn:{A_ADDRESS}")


def test_a_refusal_of_all_proposals_may_mean_that_nothing_is_configured_there() -> None:
    pair = IkePair.started(
        config_a(**ike("aes256gcm16-prfsha384-x25519")),
        config_b(**ike("aes128gcm16-prfsha256-x25519")),
    )
    pair.deliver_all()
    pair.advance(0.5)
    assert "no IKEv2 connection for our address" in pair.a.all(Failed)[0].reason.hint
    assert "no IKEv2 connection" not in pair.b.all(Failed)[0].reason.hint


def test_responder_with_another_identity_is_refused_by_the_initiator() -> None:
    """The responder believes the IKE SA up; it is told, on that IKE SA (section 2.21.2)."""
    pair = IkePair.started(config_a(remote_id=None), config_b(local_id=Identity.parse("x.gw.test")))
    pair.deliver_all()
    assert pair.has_traffic(), "without remote_id any identity that knows the key is good"
    strict = IkePair.started(config_a(), config_b(local_id=Identity.parse("x.gw.test")))
    strict.deliver_all()
    assert strict.b.codes() == ["identity_mismatch"]


def test_identity_of_the_same_text_and_another_type_is_another() -> None:
    pair = IkePair.started(config_a(local_id=Identity.parse("keyid:" + b"a.gw.test".hex())))
    pair.deliver_all()
    assert pair.b.codes() == ["identity_mismatch"]


def test_peer_of_unknown_address_is_found_by_identity() -> None:
    pair = IkePair.established(config_a(), config_b(remote=None))
    assert pair.b.all(IkeSaUp)[0].peer_id == "a.gw.test"


def test_peer_of_unknown_address_is_found_among_many() -> None:
    """Each tunnel has its own identity and key; the key must be that of the identity."""
    pair = IkePair(config_a(), config_b())
    others = [
        config_b(
            name=f"branch-{number}",
            remote=None,
            remote_id=Identity.parse(f"branch-{number}.test"),
            psk=Secret(b"key %d" % number),
        )
        for number in range(5)
    ]
    mine = config_b(name="office", remote=None)
    pair.b.take(pair.b.endpoint.configure([*others, mine], pair.now))
    pair.a.start()
    pair.fire()
    pair.deliver_all()
    assert pair.b.all(IkeSaUp)[0].tunnel == "office"
    assert pair.has_traffic()


def test_address_of_one_tunnel_and_identity_of_another_do_not_mix() -> None:
    """The key that counts is the one of the tunnel whose identity the peer claims."""
    pair = IkePair(config_a(psk=Secret(b"key of the other")), config_b())
    other = config_b(
        name="other", remote_id=Identity.parse("other.test"), psk=Secret(b"key of the other")
    )
    pair.b.take(pair.b.endpoint.configure([other, config_b()], pair.now))
    pair.a.start()
    pair.fire()
    pair.deliver_all()
    assert pair.b.ike_sas == 0


def test_peer_without_idr_is_answered() -> None:
    pair = IkePair.established(config_a(remote_id=None), config_b())
    assert pair.a.all(IkeSaUp)[0].peer_id == "b.gw.test"


def test_closed_tunnel_refuses_the_peer() -> None:
    pair = IkePair(config_a(), config_b())
    pair.b.start()
    pair.b.close()
    pair.a.start()
    pair.fire()
    pair.deliver_all()
    assert pair.b.drops("unknown_peer") == 1
    assert pair.b.ike_sas == 0


def test_unknown_address_is_refused_in_the_clear() -> None:
    from ipaddress import ip_address

    pair = IkePair.started(config_a(), config_b(remote=ip_address("203.0.113.9")))
    pair.deliver_all()
    assert pair.b.drops("unknown_peer") == 1
    pair.advance(1.0)
    assert pair.a.codes()[0] == "no_proposal_chosen"


# ---- the first Child SA ----


def test_selectors_are_narrowed() -> None:
    pair = IkePair.established(
        config_a(local_ts=(parse_selector("0.0.0.0/0"),), remote_ts=(parse_selector("0.0.0.0/0"),))
    )
    child = pair.a.all(ChildSaUp)[0]
    assert child.local_ts == (parse_selector("10.1.0.0/16"),)
    assert child.remote_ts == (parse_selector("10.2.0.0/16"),)


def test_unacceptable_selectors_leave_the_ike_sa_up() -> None:
    pair = IkePair.started(config_a(remote_ts=(parse_selector("172.16.0.0/12"),)))
    pair.deliver_all()
    assert pair.a.state == pair.b.state == "established"
    assert pair.a.codes() == pair.b.codes() == ["ts_unacceptable"]
    reason = pair.b.all(Failed)[0].reason
    assert "10.2.0.0/16" in reason.ours
    assert "172.16.0.0/12" in reason.theirs
    # a tries again on the same IKE SA, with growing pauses.
    pair.advance(120.0)
    assert set(pair.a.codes()) == {"ts_unacceptable"}
    assert 5 <= len(pair.a.codes()) <= 12
    assert pair.a.ike_sas == 1


def test_child_sa_comes_up_when_the_peer_is_corrected() -> None:
    wide = (parse_selector("172.16.0.0/12"),)
    pair = IkePair.started(config_a(remote_ts=wide))
    pair.deliver_all()
    pair.b.reconfigure(config_b(local_ts=wide))
    pair.wait_for(pair.has_traffic, 100.0)


def test_no_esp_proposal_in_common_leaves_the_ike_sa_up() -> None:
    pair = IkePair.started(config_a(**esp("aes128gcm16-noesn")))
    pair.deliver_all()
    assert pair.a.state == "established"
    assert pair.a.codes() == pair.b.codes() == ["no_proposal_chosen"]
    assert pair.b.all(Failed)[0].reason.theirs == "aes128gcm16-noesn"


def test_pfs_group_plays_no_part_in_ike_auth() -> None:
    pair = IkePair.established(config_a(**esp("aes256gcm16-ecp384-noesn")))
    assert pair.a.all(ChildSaUp)[0].suite == "aes256gcm16"


def test_esn_is_chosen_where_both_can() -> None:
    both = esp("aes256gcm16-esn-noesn")
    pair = IkePair.established(config_a(**both), config_b(**both))
    assert pair.a.all(ChildSaUp)[0].inbound.esn
    half = IkePair.established(config_a(**both), config_b(**esp("aes256gcm16-noesn")))
    assert not half.a.all(ChildSaUp)[0].inbound.esn


# ---- fragmentation ----


def test_large_messages_are_fragmented_both_ways() -> None:
    pair = IkePair.established(*long_configs())
    auth = [one for one in pair.a.all(Send) if parse_header(one.datagram).exchange == 35]
    assert len(auth) > 2
    assert max(len(one.datagram) for one in auth) <= 576 - 20 - 8 - 4
    assert len([one for one in pair.b.all(Send) if parse_header(one.datagram).exchange == 35]) > 1


def test_fragments_in_any_order_with_one_lost() -> None:
    pair = after_init()
    pair.drop_to_b()
    pair.reorder()
    pair.wait_for(pair.has_traffic, 2.0)
    # Only fragment 1 of the repeated request asks for the answer again.
    answers = [one for one in pair.b.all(Send) if parse_header(one.datagram).exchange == 35]
    assert len(answers) == len({one.datagram for one in answers})


def test_only_the_first_fragment_asks_for_the_answer_again() -> None:
    pair, fragments = held_fragments()
    for fragment in fragments:
        pair.release(fragment)
    once = pair.waiting(pair.b)
    pair.link.flights.clear()
    for fragment in fragments:
        pair.release(fragment)
    assert pair.waiting(pair.b) == once
    assert pair.b.drops("replayed") == 1
    assert pair.b.drops("message_id") == len(fragments) - 1


# ---- half-open ----


def test_half_open_ike_sa_goes_after_its_time() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.cut()
    pair.link.flights.clear()
    pair.a.close()
    pair.advance(29.0)
    assert pair.b.endpoint.counters.get("half_open_timeout", 0) == 0
    pair.advance(2.0)
    assert pair.b.endpoint.counters["half_open_timeout"] == 1
    assert pair.b.endpoint.deadline > pair.now + 1000


def forged_init(pair: IkePair, number: int) -> bytes:
    """Return a's IKE_SA_INIT with another SPI."""
    request = parse_clear(pair.a.all(Send)[0].datagram)
    return serialise_clear(dataclasses.replace(request, spi_i=number.to_bytes(8, "big")))


def test_refusals_in_the_clear_are_rate_limited() -> None:
    pair = IkePair(limits_b=EndpointLimits(clear_answers_per_s=5.0))
    pair.start()
    from ipaddress import ip_address

    stranger = Path(B_ADDRESS, 500, ip_address("203.0.113.77"), 500)
    for number in range(1, 51):
        pair.b.receive(forged_init(pair, number), stranger)
    assert len(pair.b.all(Send)) == 5
    assert pair.b.drops("unknown_peer") == 50


def test_one_guess_of_the_key_for_each_ike_sa_init() -> None:
    """A refused IKE SA only repeats its refusal; it never takes a second IKE_AUTH."""
    pair = IkePair.started(config_a(psk=Secret(b"a wrong guess of the key")))
    pair.deliver_to_b()
    pair.deliver_to_a()
    auth = pair.hold_to_b()
    pair.release(auth)
    pair.release(auth)
    first, second = pair.b.all(Send)[-2:]
    assert first == second
    assert pair.b.drops("replayed") == 1
    assert pair.b.codes() == ["authentication_failed"]
    pair.advance(40.0, deliver=False)
    pair.release(auth)
    assert pair.b.drops("unknown_spi") == 1


def test_clean_handshake_reports_no_failure() -> None:
    pair = IkePair.established()
    kinds = {type(event) for side in pair.sides() for event in side.events}
    assert kinds <= {Send, IkeSaUp, ChildSaUp, Note, PathChanged}


def test_responder_only_tunnel_does_not_begin() -> None:
    pair = IkePair(config_a(start=Start.RESPOND), config_b())
    pair.start()
    pair.advance(100.0)
    assert not pair.a.all(Send)
    pair.a.initiate()
    pair.deliver_all()
    assert pair.has_traffic()
