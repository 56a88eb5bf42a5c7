"""Payloads: round trip, cut anywhere, trailing bytes, what each refuses (RFC 7296 section 3)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import UnsupportedCriticalPayload, WireError
from gateway.ike.iana import NotifyType, PayloadType, ProtocolId
from gateway.ike.payloads import (
    Auth,
    Certificate,
    CertificateRequest,
    Delete,
    IdInitiator,
    IdResponder,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Raw,
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
    VendorId,
    parse_chain,
    serialise_chain,
)
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, Proposal, Transform
from gateway.sa import TrafficSelector

NET4 = TrafficSelector(IPv4Address("10.1.0.0"), IPv4Address("10.1.255.255"))
HOST6 = TrafficSelector(IPv6Address("2001:db8::1"), IPv6Address("2001:db8::1"), 6, 80, 443)
OPAQUE = TrafficSelector(IPv4Address("10.2.0.1"), IPv4Address("10.2.0.9"), 17, 65535, 0)
ODD = Proposal(
    ProtocolId.ESP,
    (Transform(1, 99, 0), Transform(1, 20, 256, b"\x80\x0f\x00\x07"), Transform(77, 65535)),
    b"\x01\x02\x03\x04",
    9,
)

SAMPLES: list[Payload] = [
    SecurityAssociation(DEFAULT_IKE),
    SecurityAssociation(tuple(one.with_spi(b"spi!") for one in DEFAULT_ESP)),
    SecurityAssociation((ODD,)),
    KeyExchange(31, bytes(range(32))),
    KeyExchange(65535, b""),
    IdInitiator(2, b"a.gw.test"),
    IdInitiator(1, bytes([192, 0, 2, 1]), b"\1\2\3"),
    IdResponder(5, bytes(16)),
    IdResponder(13, b""),
    IdResponder(99, b"\0"),
    Certificate(4, b"\x30\x03"),
    CertificateRequest(4, bytes(20)),
    Auth(2, bytes(32)),
    Auth(255, b""),
    Nonce(bytes(16)),
    Nonce(bytes(256)),
    Notify(NotifyType.COOKIE, b"c"),
    Notify(NotifyType.REKEY_SA, b"", ProtocolId.ESP, b"\0\0\1\0"),
    Notify(65535, b"unknown", 9, bytes(255)),
    Delete(ProtocolId.IKE),
    Delete(ProtocolId.ESP, (b"\0\0\1\0", b"\0\0\1\1")),
    Delete(ProtocolId.ESP),
    VendorId(b"who"),
    VendorId(b""),
    TrafficSelectorsI((NET4, HOST6, OPAQUE)),
    TrafficSelectorsR((HOST6,)),
    Raw(PayloadType.CP, False, b"\1\0\0\0"),
    Raw(PayloadType.EAP, True, b""),
    Raw(200, False, b"whatever"),
]
ALL = pytest.mark.parametrize(
    "payload", SAMPLES, ids=lambda one: f"{one.TYPE}-{SAMPLES.index(one)}"
)
# The rest of the body is a value of any length: one cut there is another valid payload.
FREE_TAIL = {
    PayloadType.KE,
    PayloadType.CERT,
    PayloadType.CERTREQ,
    PayloadType.AUTH,
    PayloadType.VENDOR,
    PayloadType.CP,
    PayloadType.EAP,
    200,
}


def parse_one(kind: int, body: bytes, critical: int = 0) -> Payload:
    chain = bytes([0, critical]) + (len(body) + 4).to_bytes(2, "big") + body
    (payload,) = parse_chain(kind, chain)
    return payload


def numbered(payload: Payload) -> Payload:
    """Return the payload as it comes back: proposals have their numbers by then."""
    if not isinstance(payload, SecurityAssociation):
        return payload
    return SecurityAssociation(
        tuple(
            Proposal(one.protocol, one.transforms, one.spi, one.number or at)
            for at, one in enumerate(payload.proposals, 1)
        )
    )


def test_every_payload_class_has_a_sample() -> None:
    known = set(PayloadType) - {PayloadType.NONE, PayloadType.SK, PayloadType.SKF}
    assert known <= {one.TYPE for one in SAMPLES}


@ALL
def test_round_trip(payload: Payload) -> None:
    critical = 0x80 if isinstance(payload, Raw) and payload.critical else 0
    assert parse_one(payload.TYPE, payload.serialise(), critical) == numbered(payload)


@ALL
def test_a_chain_cut_at_any_byte_is_refused(payload: Payload) -> None:
    first, chain = serialise_chain([payload, VendorId(b"end")])
    for length in range(len(chain)):
        with pytest.raises(WireError):
            parse_chain(first, chain[:length])


@ALL
def test_bytes_after_the_last_payload_are_refused(payload: Payload) -> None:
    first, chain = serialise_chain([payload])
    with pytest.raises(WireError, match="message: 1 trailing bytes"):
        parse_chain(first, chain + b"\0")


@ALL
def test_a_body_cut_at_any_byte_gives_an_error_or_another_value(payload: Payload) -> None:
    body = payload.serialise()
    for length in range(len(body)):
        try:
            found = parse_one(payload.TYPE, body[:length])
        except WireError:
            continue
        assert payload.TYPE in FREE_TAIL | {
            PayloadType.ID_I,
            PayloadType.ID_R,
            PayloadType.NONCE,
            PayloadType.NOTIFY,
        }
        assert found != payload


@pytest.mark.parametrize(
    "payload",
    [
        SecurityAssociation(DEFAULT_IKE),
        Delete(ProtocolId.IKE),
        Delete(ProtocolId.ESP, (b"\0\0\1\0",)),
        TrafficSelectorsI((NET4,)),
        TrafficSelectorsR((HOST6, NET4)),
        Nonce(bytes(256)),
        IdInitiator(1, bytes(4)),
        Notify(NotifyType.NAT_DETECTION_SOURCE_IP, bytes(20)),
        Notify(NotifyType.INVALID_KE_PAYLOAD, b"\0\x13"),
        Notify(NotifyType.COOKIE, bytes(64)),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_byte_more_in_a_body_of_fixed_length_is_refused(payload: Payload) -> None:
    with pytest.raises(WireError):
        parse_one(payload.TYPE, payload.serialise() + b"\0")


@ALL
def test_reserved_bits_and_the_critical_bit_of_known_payloads_are_ignored(payload: Payload) -> None:
    if isinstance(payload, Raw):
        assert parse_one(payload.TYPE, payload.serialise(), 0x7F) == Raw(
            payload.type, False, payload.body
        )
    else:
        assert parse_one(payload.TYPE, payload.serialise(), 0xFF) == numbered(payload)


# ---- the chain ----


def test_a_chain_keeps_the_order() -> None:
    first, chain = serialise_chain(SAMPLES)
    assert parse_chain(first, chain) == tuple(numbered(one) for one in SAMPLES)


def test_an_empty_chain_is_empty() -> None:
    assert serialise_chain([]) == (0, b"")
    assert parse_chain(0, b"") == ()
    with pytest.raises(WireError, match="4 trailing bytes"):
        parse_chain(0, bytes(4))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 65535])
def test_a_payload_length_below_four_or_past_the_end_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="payload 43"):
        parse_chain(PayloadType.VENDOR, bytes([0, 0]) + length.to_bytes(2, "big"))


def test_a_chain_that_never_ends_runs_out_of_bytes() -> None:
    endless = bytes([PayloadType.VENDOR, 0, 0, 4]) * 50
    with pytest.raises(WireError, match="next payload: need 1 bytes, have 0"):
        parse_chain(PayloadType.VENDOR, endless)


@pytest.mark.parametrize("kind", [PayloadType.NOTIFY, PayloadType.CERTREQ, 200])
def test_more_than_a_hundred_payloads_are_refused(kind: int) -> None:
    body = Notify(1).serialise()
    one = bytes([kind, 0]) + (len(body) + 4).to_bytes(2, "big") + body
    last = bytes([0, 0]) + one[2:]
    assert len(parse_chain(kind, one * 99 + last)) == 100
    with pytest.raises(WireError, match="more than 100"):
        parse_chain(kind, one * 100 + last)


@pytest.mark.parametrize("kind", [1, 5, 13, 32, 49, 52, 54, 200, 255])
def test_unknown_payloads_are_kept_unless_critical(kind: int) -> None:
    assert parse_one(kind, b"body") == Raw(kind, False, b"body")
    with pytest.raises(UnsupportedCriticalPayload) as caught:
        parse_one(kind, b"body", 0x80)
    assert caught.value.payload_type == kind
    assert caught.value.notify_data() == bytes([kind])


@pytest.mark.parametrize("kind", [PayloadType.SK, PayloadType.SKF])
def test_encrypted_payloads_never_stand_in_a_chain(kind: int) -> None:
    with pytest.raises(WireError, match="inside a chain"):
        parse_one(kind, bytes(60))


@given(st.integers(0, 255), st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_give_payloads_or_a_peer_error(first: int, body: bytes) -> None:
    try:
        payloads = parse_chain(first, body)
    except (WireError, UnsupportedCriticalPayload):
        return
    kept = tuple(one for one in payloads if not has_only_other_selectors(one))
    assert parse_chain(*serialise_chain(kept)) == kept


def has_only_other_selectors(payload: Payload) -> bool:
    """Return whether a TS payload is empty, since its selectors are of types that are left out."""
    return isinstance(payload, (TrafficSelectorsI, TrafficSelectorsR)) and not payload.selectors


@given(st.sampled_from(sorted(PayloadType)), st.binary(max_size=120))
@settings(max_examples=300)
def test_any_body_gives_a_payload_or_a_wire_error(kind: int, body: bytes) -> None:
    try:
        payload = parse_one(kind, body) if kind else None
    except WireError:
        return
    assert payload is None or kind == payload.TYPE


# ---- single payloads ----


@pytest.mark.parametrize("length", [0, 1, 15, 257, 65000])
def test_a_nonce_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(WireError, match=f"nonce: {length} bytes"):
        parse_one(PayloadType.NONCE, bytes(length))


@pytest.mark.parametrize(
    ("id_type", "value"),
    [(1, bytes(16)), (1, bytes(3)), (5, bytes(4)), (5, b""), (2, b""), (99, b"")],
)
def test_an_identity_of_another_length_is_refused(id_type: int, value: bytes) -> None:
    for kind in (PayloadType.ID_I, PayloadType.ID_R):
        with pytest.raises(WireError):
            parse_one(kind, bytes([id_type, 0, 0, 0]) + value)


def test_an_identity_may_hold_anything_and_be_long() -> None:
    value = b"a\0b\n" + bytes(65000)
    assert parse_one(PayloadType.ID_I, b"\x02\0\0\0" + value) == IdInitiator(2, value)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (NotifyType.NAT_DETECTION_SOURCE_IP, b""),
        (NotifyType.NAT_DETECTION_SOURCE_IP, bytes(19)),
        (NotifyType.NAT_DETECTION_DESTINATION_IP, bytes(21)),
        (NotifyType.COOKIE, b""),
        (NotifyType.COOKIE, bytes(65)),
        (NotifyType.INVALID_KE_PAYLOAD, b""),
        (NotifyType.INVALID_KE_PAYLOAD, bytes(3)),
        (NotifyType.SET_WINDOW_SIZE, bytes(2)),
        (NotifyType.SIGNATURE_HASH_ALGORITHMS, bytes(3)),
    ],
)
def test_notify_data_of_another_length_is_refused(kind: int, data: bytes) -> None:
    with pytest.raises(WireError, match=f"notify {kind}"):
        parse_one(PayloadType.NOTIFY, Notify(kind, data).serialise())


@pytest.mark.parametrize("spi_len", [5, 255])
def test_a_notify_whose_spi_is_longer_than_itself_is_refused(spi_len: int) -> None:
    with pytest.raises(WireError, match="notify 16393: SPI"):
        parse_one(PayloadType.NOTIFY, bytes([3, spi_len]) + (16393).to_bytes(2, "big") + bytes(4))


@pytest.mark.parametrize(
    ("protocol", "spi_len", "count", "tail"),
    [
        (1, 8, 1, 8),  # an IKE SA is not named
        (1, 0, 1, 0),
        (3, 8, 1, 8),
        (3, 0, 1, 0),
        (3, 4, 2, 4),  # more SPIs than bytes
        (3, 4, 65535, 400),
        (3, 4, 1, 8),  # fewer
        (0, 0, 65535, 0),
        (2, 3, 1, 3),
    ],
)
def test_a_delete_that_does_not_add_up_is_refused(
    protocol: int, spi_len: int, count: int, tail: int
) -> None:
    body = bytes([protocol, spi_len]) + count.to_bytes(2, "big") + bytes(tail)
    with pytest.raises(WireError):
        parse_one(PayloadType.DELETE, body)


# ---- traffic selectors (D.1 row 21) ----


def ts_body(*selectors: bytes, count: int | None = None) -> bytes:
    return bytes([len(selectors) if count is None else count, 0, 0, 0]) + b"".join(selectors)


def ts_bytes(kind: int, length: int, content: bytes) -> bytes:
    return bytes([kind, 0]) + length.to_bytes(2, "big") + content


GOOD = ts_bytes(7, 16, bytes([0, 0, 255, 255, 10, 0, 0, 0, 10, 0, 0, 255]))


@pytest.mark.parametrize(
    "body",
    [
        ts_body(),
        ts_body(GOOD, count=0),
        ts_body(GOOD, count=2),
        ts_body(GOOD, GOOD, count=1),
        ts_body(GOOD, count=255),
        ts_body(ts_bytes(7, 15, GOOD[4:])),
        ts_body(ts_bytes(7, 17, GOOD[4:])),
        ts_body(ts_bytes(7, 3, GOOD[4:])),
        ts_body(ts_bytes(7, 0, b"")),
        ts_body(ts_bytes(7, 40, bytes(36))),
        ts_body(ts_bytes(8, 16, GOOD[4:])),
        ts_body(ts_bytes(7, 16, bytes([0, 0, 255, 255, 10, 0, 0, 2, 10, 0, 0, 1]))),
        ts_body(ts_bytes(7, 16, bytes([0, 2, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2]))),
        ts_body(ts_bytes(7, 16, bytes([255, 255, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2]))),
        ts_body(ts_bytes(10, 3, b"")),
        ts_body(ts_bytes(10, 9, b"")),
    ],
)
def test_traffic_selectors_that_do_not_add_up_are_refused(body: bytes) -> None:
    for kind in (PayloadType.TS_I, PayloadType.TS_R):
        with pytest.raises(WireError):
            parse_one(kind, body)


def test_selectors_of_other_types_are_left_out() -> None:
    body = ts_body(ts_bytes(9, 28, bytes(24)), GOOD, ts_bytes(10, 9, b"label"), ts_bytes(0, 4, b""))
    first, last = IPv4Address("10.0.0.0"), IPv4Address("10.0.0.255")
    assert parse_one(PayloadType.TS_I, body) == TrafficSelectorsI((TrafficSelector(first, last),))


def test_255_selectors_parse() -> None:
    parsed = parse_one(PayloadType.TS_R, ts_body(*[GOOD] * 255))
    assert isinstance(parsed, TrafficSelectorsR)
    assert len(parsed.selectors) == 255


# ---- SA payload structure (D.1 rows 4 and 11) ----


def transform(kind: int, number: int, attributes: bytes = b"", last: int = 0) -> bytes:
    body = bytes([kind, 0]) + number.to_bytes(2, "big") + attributes
    return bytes([last, 0]) + (len(body) + 4).to_bytes(2, "big") + body


def proposal(
    *transforms: bytes,
    last: int = 0,
    spi: bytes = b"",
    count: int | None = None,
    more: int = 0,
    number: int = 1,
) -> bytes:
    body = bytes([number, 1, len(spi), len(transforms) if count is None else count]) + spi
    body += b"".join(transforms)
    return bytes([last, 0]) + (len(body) + 4 + more).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        proposal(transform(1, 20), number=0),
        proposal(transform(1, 20), count=2),
        proposal(transform(1, 20, last=3)),
        proposal(transform(1, 20, last=0), transform(2, 5)),
        proposal(transform(1, 20), count=0),
        proposal(transform(1, 20), last=2),
        proposal(transform(1, 20), last=1),
        proposal(transform(1, 20)) + proposal(transform(1, 20)),
        proposal(transform(1, 20), spi=b"123"),
        proposal(transform(1, 20), spi=bytes(255)),
        proposal(transform(1, 20), more=1),
        proposal(transform(1, 20), more=-1),
        proposal(transform(1, 20), more=-13),
        proposal(transform(1, 20, b"\x80")),
        proposal(transform(1, 20, b"\x80\x0e\x01")),
        proposal(transform(1, 20, b"\x00\x0e\xff\xff")),
    ],
)
def test_proposals_that_do_not_add_up_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        parse_one(PayloadType.SA, body)


@pytest.mark.parametrize(
    ("attributes", "key_bits", "others"),
    [
        (b"", None, b""),
        (b"\x80\x0e\x01\x00", 256, b""),
        (b"\x80\x0e\x00\x00", 0, b""),
        (b"\x80\x0e\x00\x80\x80\x0e\x01\x00", 128, b"\x80\x0e\x01\x00"),
        (b"\x00\x0e\x00\x00", None, b"\x00\x0e\x00\x00"),
        (b"\x00\x0e\x00\x02\x01\x00", None, b"\x00\x0e\x00\x02\x01\x00"),
        (b"\x80\x63\x00\x01", None, b"\x80\x63\x00\x01"),
    ],
)
def test_attributes_but_one_key_length_are_kept_as_they_came(
    attributes: bytes, key_bits: int | None, others: bytes
) -> None:
    parsed = parse_one(PayloadType.SA, proposal(transform(1, 20, attributes)))
    assert isinstance(parsed, SecurityAssociation)
    assert parsed.proposals[0].transforms == (Transform(1, 20, key_bits, others),)


def test_more_than_255_proposals_are_refused() -> None:
    one = proposal(transform(1, 20), last=2)
    parsed = parse_one(PayloadType.SA, one * 254 + proposal(transform(1, 20)))
    assert isinstance(parsed, SecurityAssociation)
    assert len(parsed.proposals) == 255
    with pytest.raises(WireError, match="more than 255 proposals"):
        parse_one(PayloadType.SA, one * 255 + proposal(transform(1, 20)))


def test_fifty_proposals_of_a_hundred_transforms_parse() -> None:
    transforms = [transform(1, at, last=3) for at in range(99)] + [transform(1, 99)]
    body = b"".join(proposal(*transforms, last=2) for _ in range(49)) + proposal(*transforms)
    parsed = parse_one(PayloadType.SA, body)
    assert isinstance(parsed, SecurityAssociation)
    assert [len(one.transforms) for one in parsed.proposals] == [100] * 50
    assert len(str(parsed.proposals[0])) < 2000
