"""The messages of a tunnel that is traced, told in the notation of RFC 7296."""

from __future__ import annotations

import pytest

from gateway.ike.context import EndpointLimits
from gateway.ike.events import Spoken
from gateway.ike.iana import ExchangeType
from gateway.ike.message import Message
from gateway.ike.notation import told
from gateway.ike.payloads import Delete, IdInitiator, Notify, Payload, Raw, VendorId
from tests.support.pair import PSK, TUNNEL, IkePair, Side, config_a, config_b

INIT_NOTIFIES = (
    "N(NAT_DETECTION_SOURCE_IP), N(NAT_DETECTION_DESTINATION_IP), N(FRAGMENTATION_SUPPORTED)"
)


def traced() -> IkePair:
    """Return a pair that is established while both ends are traced."""
    pair = IkePair(config_a(), config_b())
    for side in pair.sides():
        side.endpoint.trace(frozenset({TUNNEL}))
    pair.start()
    pair.deliver_all()
    return pair


def said(side: Side) -> list[str]:
    """Return what a side has sent (>) and received (<), as lines."""
    return [f"{'>' if one.is_sent else '<'} {one.exchange}: {one.line}" for one in side.all(Spoken)]


def test_a_set_up_reads_as_in_the_rfc() -> None:
    pair = traced()
    assert said(pair.a) == [
        f"> IKE_SA_INIT 0 request: HDR, SAi1, KEi, Ni, {INIT_NOTIFIES}",
        f"< IKE_SA_INIT 0 response: HDR, SAr1, KEr, Nr, {INIT_NOTIFIES}",
        "> IKE_AUTH 1 request: HDR, SK {IDi, N(INITIAL_CONTACT), IDr, AUTH, SAi2, TSi, TSr}",
        "< IKE_AUTH 1 response: HDR, SK {IDr, AUTH, SAr2, TSi, TSr}",
    ]
    turned = str.maketrans("<>", "><")
    assert said(pair.b) == [line.translate(turned) for line in said(pair.a)]


def test_what_the_payloads_say_stands_beside_it() -> None:
    init, _, auth, _ = traced().a.all(Spoken)
    assert init.details[:3] == (
        "SAi1: aes256gcm16-prfsha384-x25519",
        "KEi: x25519, 32 bytes",
        "Ni: 32 bytes",
    )
    assert {"IDi: a.gw.test", "IDr: b.gw.test", "AUTH: PSK, 48 bytes"} <= set(auth.details)
    assert {"TSi: 10.1.0.0/16", "TSr: 10.2.0.0/16"} <= set(auth.details)


def test_no_secret_and_nothing_that_one_is_made_of_is_told() -> None:
    pair = traced()
    pair.a.rekey_child()
    pair.a.rekey_ike()
    pair.deliver_all()
    text = "\n".join(f"{one.line} {one.details}" for one in pair.a.all(Spoken))
    (sa,) = pair.a.endpoint._context.sas.values()
    assert sa.keys is not None
    names = ("sk_d", "sk_ei", "sk_er", "sk_ai", "sk_ar", "sk_pi", "sk_pr")
    secrets = [getattr(sa.keys.secrets, name).reveal() for name in names]
    for value in (PSK.reveal(), sa.nonce_i, sa.nonce_r, *filter(None, secrets)):
        assert value.hex() not in text
        assert value.decode("latin-1") not in text


def test_a_rekey_and_its_delete_name_their_spis() -> None:
    pair = traced()
    before = len(said(pair.a))
    old = pair.a.plane.sending[0]
    pair.a.rekey_child()
    pair.deliver_all()
    assert said(pair.a)[before:] == [
        "> CREATE_CHILD_SA 2 request: HDR, SK {N(REKEY_SA), SA, Ni, KEi, TSi, TSr}",
        "< CREATE_CHILD_SA 2 response: HDR, SK {SA, Nr, KEr, TSi, TSr}",
        "> INFORMATIONAL 3 request: HDR, SK {D}",
        "< INFORMATIONAL 3 response: HDR, SK {D}",
    ]
    assert pair.a.all(Spoken)[before + 2].details == (f"D: ESP SPI {old:#010x}",)


def test_a_request_that_is_sent_again_is_told_with_its_try() -> None:
    pair = traced()
    pair.cut()
    pair.a.rekey_child()
    pair.advance(3.0)
    again = [line for line in said(pair.a) if "again" in line]
    assert again[0].startswith("> CREATE_CHILD_SA 2 request: again, try 2 of ")


def test_nothing_is_told_of_a_tunnel_that_nobody_traces() -> None:
    pair = traced()
    count = len(said(pair.a))
    pair.a.endpoint.trace(frozenset({"another"}))
    pair.a.rekey_child()
    pair.deliver_all()
    assert len(said(pair.a)) == count
    assert len(said(pair.b)) > count


def recorded() -> IkePair:
    """Return a pair that is established while both ends record, and nobody traces."""
    pair = IkePair(config_a(), config_b())
    for side in pair.sides():
        side.endpoint.record()
    pair.start()
    pair.deliver_all()
    return pair


def test_what_is_recorded_is_what_is_traced_once() -> None:
    both = recorded()
    assert (said(both.a), said(both.b)) == (said(traced().a), said(traced().b))
    for side in both.sides():
        side.endpoint.trace(frozenset({TUNNEL}))
    before = len(said(both.a))
    both.a.rekey_child()
    both.deliver_all()
    assert len(said(both.a)) == before + 4


def test_what_only_says_that_an_end_is_there_is_traced_and_not_recorded() -> None:
    lines = {}
    for pair in (recorded(), traced()):
        before = len(said(pair.a))
        pair.advance(60.0)
        lines[pair.a.endpoint._context.is_recorded] = said(pair.a)[before:]
    assert lines[True] == []
    assert "> INFORMATIONAL 2 request: HDR, SK {}" in lines[False]


def test_a_request_is_recorded_only_once_it_is_let_in() -> None:
    limits = EndpointLimits(cookie_from=0)
    pair = IkePair(config_a(), config_b(remote=None), limits_b=limits)
    pair.b.endpoint.record()
    pair.start()
    pair.deliver_to_b()
    assert said(pair.b) == []  # it was asked for a cookie
    pair.deliver_all()
    assert said(pair.b)[0].startswith("< IKE_SA_INIT 0 request: HDR, N(COOKIE), SAi1")
    assert pair.b.state == "established"


def message(*payloads: Payload, exchange: int = ExchangeType.INFORMATIONAL) -> Message:
    return Message(b"i" * 8, b"r" * 8, exchange, 7, False, True, payloads)


@pytest.mark.parametrize(
    ("payload", "name", "detail"),
    [
        (Notify(40000, b"12"), "N(40000)", ("N(40000): 2 bytes",)),
        (Notify(16393, b"", 3, b"\0\1\2\3"), "N(REKEY_SA)", ("N(REKEY_SA): ESP SPI 0x00010203",)),
        (Delete(1), "D", ("D: the IKE SA",)),
        (VendorId(b"\x1b[2J"), "V", ("V: 4 bytes",)),
        (Raw(47, False, b"x"), "CP", ()),
        (Raw(200, False, b"x"), "200", ()),
        (IdInitiator(2, b"a\x1b[31mb"), "IDi", ("IDi: a\\x1b[31mb",)),
        (IdInitiator(77, b"\1\2"), "IDi", ("IDi: type 77:0102",)),
    ],
)
def test_what_a_peer_may_send_is_told_without_harm(
    payload: Payload, name: str, detail: tuple[str, ...]
) -> None:
    assert told(message(payload)) == ("INFORMATIONAL 7 request", f"HDR, SK {{{name}}}", detail)


def test_an_exchange_that_nobody_knows_has_its_number() -> None:
    assert told(message(exchange=99))[0] == "99 7 request"
