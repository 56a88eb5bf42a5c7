"""
Table: what we make of a response that is not as it should be, or only unusual.

IKE_SA_INIT is not protected, so that a wrong one is dropped and the true one waited for; what the
peer itself has sealed counts.
"""

from __future__ import annotations

from gateway.ike.iana import NotifyType, TransformType
from gateway.ike.transforms import Transform
from tests.ike.conformance.edits import (
    CRITICAL,
    UNKNOWN,
    at,
    both,
    cut,
    flags,
    grown,
    header,
    last,
    length,
    message_id,
    notify,
    only,
    put,
    reversed_order,
    said_length,
    said_next,
    tail,
    twice,
    unchanged,
    without,
    without_notify,
)
from tests.ike.conformance.requests import BAD_ECP, BAD_MODP
from tests.ike.conformance.rows import (
    AUTH,
    CHILD,
    DELETE,
    ECP,
    ESP_TEXT,
    GOOD,
    HYBRID,
    ID_R,
    IKE_TEXT,
    KE,
    MODP,
    NONCE,
    NOTIFY,
    PROTECTED,
    SA,
    SPI4,
    SPI8,
    TOLERATED,
    TS_I,
    TS_R,
    dropped,
    esp,
    fails,
    ike,
    lacking,
    lacks,
    more,
    rows,
    sa,
    ts,
)
from tests.ike.conformance.script import (
    Edit,
    at_auth,
    at_followup,
    at_ike_rekey,
    at_init,
    at_intermediate,
    at_liveness,
)

N = NotifyType
SHA2_256 = Transform(TransformType.INTEG, 12)


def no_child(error: int) -> Edit:
    """Take the Child SA back, with an error in its place."""
    rest = both(without(SA), both(without(TS_I), without(TS_R)))
    return both(rest, notify(error))


ROWS = (
    # ---- what is ignored ----
    *rows((at_init, *PROTECTED), GOOD, *TOLERATED),
    # ---- what no exchange may have ----
    *rows(
        PROTECTED,
        dropped("message_id"),
        ("D8", "response flag missing", flags(0x20)),
    ),
    *rows(
        PROTECTED,
        dropped("unknown_spi"),
        ("D8", "initiator flag wrong", flags(0x08)),
        ("1.1.8", "SPI of the responder unknown", header(spi_r=SPI8)),
    ),
    *rows(
        PROTECTED,
        dropped("unexpected_response"),
        ("D8", "another exchange", header(exchange=44)),
        ("D7", "message ID of the next response", message_id(1)),
    ),
    *rows(
        PROTECTED,
        dropped("malformed"),
        ("D1", "length one too many", length(1)),
    ),
    *rows(
        PROTECTED,
        dropped("version"),
        ("1.1.4", "major version 3", header(version=0x30)),
    ),
    *rows(
        PROTECTED,
        fails("unsupported_critical_payload", is_up=False),
        ("1.1.4", "unknown critical payload", last(UNKNOWN, b"x", CRITICAL)),
    ),
    *rows(
        PROTECTED,
        fails("invalid_syntax", is_up=False),
        ("D2", "bytes after the last payload", tail(b"more")),
        ("D2", "a hundred and one payloads", last(UNKNOWN, times=101)),
        ("D2", "SK inside SK", last(46, bytes(40))),
        ("D5", "notify: shorter than its header", last(NOTIFY, b"\3\0")),
    ),
    *rows(
        (at_auth, *CHILD, at_ike_rekey),
        fails("invalid_syntax", is_up=False),
        *[("D2", f"payload of length {count}", said_length(count)) for count in range(4)],
        ("D2", "payload past the end", said_length(65535)),
        ("D2", "chain that goes on", said_next(41)),
    ),
    # ---- IKE_SA_INIT ----
    *rows(
        at_init,
        GOOD,
        ("1.1.4", "payloads in the opposite order", reversed_order),
        ("1.1.1", "no fragmentation", without_notify(N.FRAGMENTATION_SUPPORTED)),
        ("1.1.1", "nothing said of childless", without_notify(N.CHILDLESS_IKEV2_SUPPORTED)),
        ("D4", "ninety notifies", last(NOTIFY, b"\0\0\x9c\x40", times=90)),
    ),
    *rows(
        at_init,
        dropped("malformed"),
        *[("D2", f"payload of length {count}", said_length(count)) for count in range(4)],
        ("D2", "chain that goes on", said_next(41)),
        ("D2", "a hundred and one payloads", last(UNKNOWN, times=101)),
        ("D1", "more than a message in the clear may have", last(43, bytes(9000))),
        ("D20", "SK in the clear", last(46, bytes(40))),
        ("D20", "SKF in the clear", last(53, bytes(40))),
        ("1.1.5", "a cookie of no bytes", only(notify(N.COOKIE))),
        ("1.1.5", "a cookie of 65 bytes", only(notify(N.COOKIE, b"c" * 65))),
        ("D9", "group 65535", at(KE, 0, b"\xff\xff")),
        ("D9", "empty key", put(KE, b"\0\x1f\0\0")),
        ("D11", "an integrity algorithm beside an AEAD", put(SA, sa(more(IKE_TEXT, SHA2_256)))),
        ("D12", "empty nonce", put(NONCE, b"")),
        ("D12", "nonce of 257 bytes", put(NONCE, bytes(257))),
        ("1.1.4", "unknown critical payload", last(UNKNOWN, b"x", CRITICAL)),
        ("D1", "length one too many", length(1)),
        ("D2", "bytes after the last payload", tail(b"more")),
        ("D7", "no SPI of the responder", header(spi_r=bytes(8))),
        ("1.1.6", "a transform that was not offered", put(SA, sa("aes128gcm16-prfsha384-x25519"))),
        ("1.1.6", "two proposals", put(SA, sa(IKE_TEXT, IKE_TEXT))),
        ("1.1.6", "the number of another proposal", at(SA, 4, b"\7")),
        (
            "1.1.6",
            "two ciphers",
            put(SA, sa(more(IKE_TEXT, Transform(TransformType.ENCR, 20, 256)))),
        ),
        ("D11", "no PRF", put(SA, sa(lacking(IKE_TEXT, TransformType.PRF)))),
        ("D9", "key of another group", at(KE, 0, b"\0\x13")),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        ("D9", "key one byte short", cut(KE, 1)),
        ("D12", "nonce of 15 bytes", put(NONCE, bytes(15))),
        ("1.1.1", "two payloads of SA", twice(SA)),
        *lacks("1.1.1", KE, NONCE),
    ),
    *rows(
        at_init,
        dropped("version"),
        ("1.1.4", "major version 3", header(version=0x30)),
    ),
    *rows(
        at_init,
        dropped("flags"),
        ("D7", "message ID is not 0", message_id(1)),
        ("D8", "response flag missing", flags(0x20)),
    ),
    *rows(
        at_init,
        dropped("unexpected_response"),
        ("D7", "another SPI of the initiator", header(spi_i=SPI8)),
    ),
    *rows(
        at_init,
        dropped("unprotected_error"),
        ("1.1.1", "nothing but notifies", without(SA)),
        ("1.1.8", "error: no proposal chosen", only(notify(N.NO_PROPOSAL_CHOSEN))),
        (
            "1.1.6",
            "another group is wanted that was not offered",
            only(notify(N.INVALID_KE_PAYLOAD, b"\0\x13")),
        ),
    ),
    *rows(at_init, dropped("malformed"), *BAD_MODP, pair=MODP),
    *rows(at_init, dropped("malformed"), *BAD_ECP, pair=ECP),
    # ---- IKE_INTERMEDIATE ----
    *rows(at_intermediate, GOOD, ("1.1.1", "nothing is changed", unchanged), pair=HYBRID),
    *rows(
        at_intermediate,
        fails("invalid_syntax", is_up=False),
        ("D10", "ML-KEM ciphertext one byte short", cut(KE, 1)),
        ("D10", "ML-KEM ciphertext one byte long", grown(KE, b"x")),
        ("D9", "another method", at(KE, 0, b"\0\x25")),
        *lacks("1.1.1", KE),
        ("1.1.8", "error: invalid syntax", only(notify(N.INVALID_SYNTAX))),
        pair=HYBRID,
    ),
    # ---- IKE_FOLLOWUP_KE ----
    *rows(at_followup, GOOD, ("1.2.3", "nothing is changed", unchanged), pair=HYBRID),
    *rows(
        at_followup,
        GOOD,
        ("1.2.6", "error: state not found", only(notify(N.STATE_NOT_FOUND))),
        ("1.2.6", "error: temporary failure", only(notify(N.TEMPORARY_FAILURE))),
        pair=HYBRID,
    ),
    *rows(
        at_followup,
        fails("invalid_syntax", is_up=True),
        ("D10", "ML-KEM ciphertext one byte short", cut(KE, 1)),
        ("D9", "another method", at(KE, 0, b"\0\x25")),
        *lacks("1.2.3", KE),
        pair=HYBRID,
    ),
    # ---- IKE_AUTH ----
    *rows(
        at_auth,
        GOOD,
        ("1.1.7", "narrower selectors", put(TS_R, ts("10.2.7.0/24"))),
        ("1.1.1", "payloads in the opposite order", reversed_order),
    ),
    *rows(
        at_auth,
        fails("ts_unacceptable", is_up=True),
        ("D24", "error for the Child SA alone: selectors", no_child(N.TS_UNACCEPTABLE)),
        ("D27", "wider selectors", put(TS_R, ts("10.0.0.0/8"))),
    ),
    *rows(
        at_auth,
        fails("no_proposal_chosen", is_up=True),
        ("D24", "error for the Child SA alone: proposal", no_child(N.NO_PROPOSAL_CHOSEN)),
        ("D27", "a transform that was not offered", esp("aes128gcm16-noesn")),
    ),
    *rows(
        at_auth,
        fails("no_additional_sas", is_up=True),
        ("D24", "error for the Child SA alone: no more", no_child(N.NO_ADDITIONAL_SAS)),
    ),
    *rows(
        at_auth,
        fails("peer_error", is_up=True),
        ("D24", "error for the Child SA alone: address failure", no_child(36)),
        ("D24", "error for the Child SA alone: unknown", no_child(8000)),
    ),
    *rows(
        at_auth,
        fails("identity_mismatch", is_up=False),
        ("1.1.9", "another identity", put(ID_R, b"\2\0\0\0evil.test")),
    ),
    *rows(
        at_auth,
        fails("invalid_syntax", is_up=False),
        ("D6", "empty identity", put(ID_R, b"\2\0\0\0")),
        *lacks("1.1.1", ID_R, AUTH),
    ),
    *rows(
        at_auth,
        fails("authentication_failed", is_up=False),
        ("1.1.10", "wrong AUTH", at(AUTH, 4, b"\0\0\0\0")),
        ("D13", "AUTH cut off", cut(AUTH, 1)),
        ("D13", "AUTH with more behind it", grown(AUTH, b"x")),
        ("D13", "NULL authentication", at(AUTH, 0, b"\x0d")),
        ("D13", "method 0", at(AUTH, 0, b"\0")),
        ("D13", "private method", at(AUTH, 0, b"\xc9")),
        ("D13", "AUTH of no bytes", put(AUTH, b"\2\0\0\0")),
        ("1.1.8", "error: authentication failed", only(notify(N.AUTHENTICATION_FAILED))),
    ),
    *rows(
        at_auth,
        fails("auth_method_mismatch", is_up=False),
        ("D13", "signature where a pre-shared key is agreed", at(AUTH, 0, b"\x0e")),
    ),
    *rows(
        at_auth,
        fails("invalid_syntax", is_up=True),
        ("D24", "no Child SA and no reason", both(without(SA), both(without(TS_I), without(TS_R)))),
    ),
    # ---- CREATE_CHILD_SA for a Child SA ----
    *rows(
        CHILD,
        GOOD,
        ("1.2.1", "payloads in the opposite order", reversed_order),
        ("1.1.7", "narrower selectors", put(TS_R, ts("10.2.7.0/24"))),
    ),
    *rows(
        CHILD,
        fails("ts_unacceptable", is_up=True),
        ("D27", "wider selectors", put(TS_R, ts("10.0.0.0/8"))),
        ("D27", "selectors of others", put(TS_I, ts("172.16.0.0/12"))),
        ("1.2.5", "error: selectors unacceptable", only(notify(N.TS_UNACCEPTABLE))),
    ),
    *rows(
        CHILD,
        fails("invalid_syntax", is_up=False),
        ("D21", "no selectors", put(TS_I, b"\0\0\0\0")),
        ("D12", "nonce of 15 bytes", put(NONCE, bytes(15))),
    ),
    *rows(
        CHILD,
        fails("no_proposal_chosen", is_up=True),
        ("D27", "a transform that was not offered", esp("aes128gcm16-x25519-noesn")),
        ("D27", "two proposals", esp(ESP_TEXT, ESP_TEXT)),
        ("D27", "no group", esp("aes256gcm16-noesn")),
        ("1.2.5", "error: no proposal chosen", only(notify(N.NO_PROPOSAL_CHOSEN))),
    ),
    *rows(
        CHILD,
        fails("invalid_syntax", is_up=True),
        ("D27", "SPI of zeros", at(SA, 8, bytes(4))),
        ("D27", "no key", without(KE)),
        ("D27", "key of another group", at(KE, 0, b"\0\x13")),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        *lacks("1.2.1", SA, NONCE, TS_I, TS_R),
    ),
    *rows(
        CHILD,
        fails("no_additional_sas", is_up=True),
        ("1.2.5", "error: no additional SAs", only(notify(N.NO_ADDITIONAL_SAS))),
    ),
    *rows(
        CHILD,
        fails("peer_error", is_up=True),
        ("1.2.5", "error that nobody knows", only(notify(8000))),
    ),
    # ---- CREATE_CHILD_SA for the IKE SA ----
    *rows(
        at_ike_rekey,
        fails("no_proposal_chosen", is_up=False),
        ("1.2.4", "a transform that was not offered", ike("aes128gcm16-prfsha384-x25519")),
        ("1.2.4", "two proposals", ike(IKE_TEXT, IKE_TEXT)),
    ),
    *rows(
        at_ike_rekey,
        fails("invalid_syntax", is_up=False),
        ("D11", "SPI of zeros", at(SA, 8, bytes(8))),
        ("D9", "key of another group", at(KE, 0, b"\0\x13")),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        *lacks("1.2.4", SA, NONCE, KE),
    ),
    *rows(
        at_ike_rekey,
        GOOD,
        ("1.2.4", "error: temporary failure", only(notify(N.TEMPORARY_FAILURE))),
    ),
    *rows(
        at_ike_rekey,
        fails("no_proposal_chosen", is_up=True),
        ("1.2.4", "error: no proposal chosen", only(notify(N.NO_PROPOSAL_CHOSEN))),
    ),
    *rows(
        at_ike_rekey,
        fails("no_additional_sas", is_up=True),
        ("1.2.4", "error: no additional SAs", only(notify(N.NO_ADDITIONAL_SAS))),
    ),
    # ---- INFORMATIONAL ----
    *rows(
        at_liveness,
        GOOD,
        ("1.3.1", "Delete in the answer to nothing", last(DELETE, b"\3\4\0\1" + SPI4)),
        ("1.3.3", "error: invalid syntax", only(notify(N.INVALID_SYNTAX))),
    ),
)
