"""Table: what we answer to a request that is not as it should be, or only unusual."""

from __future__ import annotations

from gateway.ike.iana import NotifyType, ProtocolId, TransformType
from gateway.ike.proposals import Proposal
from gateway.ike.transforms import Transform
from tests.ike.conformance.edits import (
    CRITICAL,
    UNKNOWN,
    at,
    body,
    both,
    cut,
    first,
    flags,
    grown,
    header,
    last,
    length,
    message_id,
    notify,
    put,
    reversed_order,
    said_length,
    said_next,
    tail,
    unchanged,
    without,
    without_notify,
)
from tests.ike.conformance.rows import (
    AUTH,
    CHILD,
    DELETE,
    ECP,
    ENDS,
    ESP_TEXT,
    GOOD,
    HYBRID,
    ID_I,
    ID_R,
    IKE_TEXT,
    KE,
    MODP,
    MODP2048_P,
    NONCE,
    NOTIFY,
    PROTECTED,
    SA,
    SPI4,
    SPI8,
    TOLERATED,
    TS_I,
    TS_R,
    Case,
    Outcome,
    answered,
    dropped,
    ends,
    esp,
    ike,
    in_clear,
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
    at_child_rekey,
    at_followup,
    at_ike_rekey,
    at_init,
    at_intermediate,
    at_liveness,
)

N = NotifyType


COOKIE = b"\0\0\x40\x06" + bytes(33)  # the body of a Notify payload
UNKNOWN_CIPHERS = tuple(Transform(TransformType.ENCR, 1024 + at) for at in range(250))
BAD_KEYS = {
    "AES key of no bits": Transform(TransformType.ENCR, 20, 0),
    "AES key of 7 bits": Transform(TransformType.ENCR, 20, 7),
    "AES key of 65535 bits": Transform(TransformType.ENCR, 20, 65535),
    "AES key of no length": Transform(TransformType.ENCR, 20),
}
LENGTHS = {
    what: sa(more(IKE_TEXT.replace("aes256gcm16", "aes128gcm16"), one), IKE_TEXT)
    for what, one in BAD_KEYS.items()
}
CHAINS: tuple[Case, ...] = (
    *[("D2", f"payload of length {count}", said_length(count)) for count in range(4)],
    ("D2", "payload past the end", said_length(65535)),
    *[("D2", f"chain that goes on with {kind}", said_next(kind)) for kind in (33, 41, 255)],
)
BAD_MODP: tuple[Case, ...] = tuple(
    ("D10", f"MODP value {name}", body(KE, lambda old, value=value: old[:4] + value))  # type: ignore[misc]
    for name, value in {
        "0": bytes(256),
        "1": bytes(255) + b"\1",
        "p - 1": (MODP2048_P - 1).to_bytes(256, "big"),
        "p": MODP2048_P.to_bytes(256, "big"),
        "above p": b"\xff" * 256,
        "of 255 bytes": b"\2" * 255,
    }.items()
)
BAD_ECP: tuple[Case, ...] = tuple(
    ("D10", f"point {name}", body(KE, lambda old, value=value: old[:4] + value))  # type: ignore[misc]
    for name, value in {
        "at infinity": bytes(64),
        "off the curve": bytes(63) + b"\1",
        "compressed": b"\2" + bytes(31) + b"\1",
        "with its encoding": b"\4" + bytes(64),
    }.items()
)


def in_place_of(text: str, transform: Transform) -> Proposal:
    """Return a proposal with another transform of one type."""
    kept = lacking(text, TransformType(transform.type))
    return Proposal(kept.protocol, (transform, *kept.transforms))


def in_place_of_cipher(transform: Transform) -> Proposal:
    """Return the usual proposal with another cipher."""
    return in_place_of(IKE_TEXT, transform)


def with_attribute(attribute: bytes) -> bytes:
    """Return the body of an SA payload whose cipher, AES, has this attribute."""
    whole = sa(in_place_of_cipher(Transform(TransformType.ENCR, 20)))
    # Proposal: a header of 8 bytes. Transform: last, reserved, length (2), and four bytes more.
    head, cipher, others = whole[:8], whole[8:16], whole[16:]
    cipher = cipher[:2] + (8 + len(attribute)).to_bytes(2, "big") + cipher[4:] + attribute
    body_ = head + cipher + others
    return body_[:2] + len(body_).to_bytes(2, "big") + body_[4:]


def rekeys(protocol: int, spi: bytes) -> Edit:
    """Name another SA to be rekeyed."""
    return both(without_notify(N.REKEY_SA), notify(N.REKEY_SA, b"", protocol, spi))


ROWS = (
    # ---- what is ignored ----
    *rows((at_init, *PROTECTED), GOOD, *TOLERATED, ("1.1.4", "unknown error notify", notify(8000))),
    # ---- what no exchange may have ----
    *rows(
        PROTECTED,
        answered(N.UNSUPPORTED_CRITICAL_PAYLOAD, is_up=None),
        ("1.1.4", "unknown critical payload", last(UNKNOWN, b"x", CRITICAL)),
        ("D3", "fifty critical payloads", last(UNKNOWN, b"x", CRITICAL, times=50)),
    ),
    *rows(
        PROTECTED,
        ends(N.INVALID_SYNTAX),
        ("D2", "bytes after the last payload", tail(b"more")),
        ("D2", "a hundred and one payloads", last(UNKNOWN, times=101)),
        ("D2", "SK inside SK", last(46, bytes(40))),
        ("D19", "SKF inside SK", last(53, bytes(40))),
        ("D5", "notify: SPI longer than the payload", last(NOTIFY, b"\3\xff\x40\0")),
        ("D5", "notify: shorter than its header", last(NOTIFY, b"\3\0")),
    ),
    *rows((at_auth, *CHILD, at_ike_rekey), ends(N.INVALID_SYNTAX), *CHAINS),
    *rows(
        PROTECTED,
        dropped("unexpected_response"),
        ("D8", "response flag set", flags(0x20)),
    ),
    *rows(
        PROTECTED,
        dropped("unknown_spi", N.INVALID_IKE_SPI),
        ("D8", "initiator flag wrong", flags(0x08)),
        ("1.1.8", "SPI of the responder unknown", header(spi_r=SPI8)),
    ),
    *rows(
        PROTECTED,
        dropped("exchange"),
        ("D8", "exchange type unknown", header(exchange=99)),
    ),
    *rows(
        PROTECTED,
        dropped("message_id"),
        ("D7", "message ID of the next request", message_id(1)),
        ("D7", "message ID far ahead", message_id(1000)),
    ),
    *rows(
        PROTECTED,
        dropped("malformed"),
        ("D1", "length one too many", length(1)),
        ("D1", "length one too few", length(-1)),
    ),
    *rows(
        PROTECTED,
        dropped("version", N.INVALID_MAJOR_VERSION),
        ("1.1.4", "major version 3", header(version=0x30)),
    ),
    *rows(
        PROTECTED,
        dropped("version"),
        ("1.1.4", "major version 1", header(version=0x10)),
    ),
    *rows(
        PROTECTED,
        GOOD,
        ("D2", "next payload of IKEv1", last(13, b"x")),
        ("D4", "ninety CERTREQ", last(38, b"\4" + bytes(20), times=90)),
        ("D4", "ninety notifies", last(NOTIFY, b"\0\0\x9c\x40", times=90)),
        ("D1", "a message of 60,000 bytes", last(43, bytes(60000))),
    ),
    *rows(CHILD, ends(N.INVALID_SYNTAX), *lacks("1.2.1", SA, NONCE, TS_I, TS_R)),
    *rows(at_ike_rekey, ends(N.INVALID_SYNTAX), *lacks("1.2.1", SA, NONCE, KE)),
    *rows(at_auth, ends(N.INVALID_SYNTAX), *lacks("1.1.1", ID_I, AUTH)),
    # ---- IKE_SA_INIT ----
    *rows(
        at_init,
        GOOD,
        ("1.1.4", "payloads in the opposite order", reversed_order),
        (
            "1.1.6",
            "unknown transforms beside known",
            put(
                SA,
                sa(
                    more(
                        IKE_TEXT,
                        Transform(TransformType.ENCR, 999),
                        Transform(TransformType.PRF, 999),
                        Transform(TransformType.DH, 999),
                    )
                ),
            ),
        ),
        (
            "D11",
            "AEAD with integrity NONE",
            put(SA, sa(more(IKE_TEXT, Transform(TransformType.INTEG, 0)))),
        ),
        ("D11", "an SPI in the first exchange", put(SA, sa(IKE_TEXT, spi=SPI8))),
        ("D9", "reserved bytes of KE set", at(KE, 2, b"\xff\xff")),
        (
            "1.1.1",
            "no NAT detection",
            both(
                without_notify(N.NAT_DETECTION_SOURCE_IP),
                without_notify(N.NAT_DETECTION_DESTINATION_IP),
            ),
        ),
        ("D4", "ninety notifies", last(NOTIFY, b"\0\0\x9c\x40", times=90)),
        ("D4", "fifty proposals", put(SA, sa(*[IKE_TEXT] * 50))),
        ("D4", "two hundred transforms", put(SA, sa(more(IKE_TEXT, *UNKNOWN_CIPHERS)))),
        ("1.1.1", "no fragmentation", without_notify(N.FRAGMENTATION_SUPPORTED)),
        ("1.1.5", "a cookie that nobody has asked for", first(NOTIFY, COOKIE)),
        *[("D2", f"payload of IKEv1, {kind}", first(kind, b"x")) for kind in (1, 5, 12)],
    ),
    *rows(
        at_init,
        in_clear(N.UNSUPPORTED_CRITICAL_PAYLOAD),
        ("D3", "fifty critical payloads", last(UNKNOWN, b"x", CRITICAL, times=50)),
        ("1.1.4", "unknown critical payload", last(UNKNOWN, b"x", CRITICAL)),
    ),
    *rows(
        at_init,
        dropped("version", N.INVALID_MAJOR_VERSION),
        ("1.1.4", "major version 3", header(version=0x30)),
    ),
    *rows(
        at_init,
        dropped("version"),
        ("1.1.4", "major version 1", header(version=0x10)),
    ),
    *rows(
        at_init,
        dropped("malformed"),
        ("D1", "length one too many", length(1)),
        ("D1", "length one too few", length(-1)),
        ("D1", "length of nothing", length(-20)),
        ("D7", "no SPI of the initiator", header(spi_i=bytes(8))),
    ),
    *rows(
        at_init,
        in_clear(N.INVALID_SYNTAX),
        ("D2", "bytes after the last payload", tail(b"more")),
        *CHAINS,
        ("D2", "a hundred and one payloads", last(UNKNOWN, times=101)),
        ("D4", "two hundred CERTREQ", last(38, b"\4" + bytes(20), times=200)),
        ("D1", "more than a message in the clear may have", last(43, bytes(9000))),
        ("D20", "SK in the clear", last(46, bytes(40))),
        ("D20", "SKF in the clear", last(53, bytes(40))),
        ("D5", "notify: SPI longer than the payload", last(NOTIFY, b"\3\xff\x40\0")),
        ("D5", "notify: shorter than its header", last(NOTIFY, b"\3\0")),
        ("D5", "cookie of 65 bytes", first(NOTIFY, COOKIE + bytes(32))),
        ("D11", "attribute past the end", put(SA, with_attribute(b"\0\x0e\xff\xff"))),
        ("D11", "empty SA payload", put(SA, b"")),
        ("D11", "proposal cut off", cut(SA, 4)),
        ("D12", "empty nonce", put(NONCE, b"")),
        ("D12", "nonce of 15 bytes", put(NONCE, bytes(15))),
        ("D12", "nonce of 257 bytes", put(NONCE, bytes(257))),
        ("D12", "nonce of 8,000 bytes", put(NONCE, bytes(8000))),
        ("D9", "empty key", put(KE, b"\0\x1f\0\0")),
        ("D9", "key one byte short", cut(KE, 1)),
        ("D9", "key one byte long", grown(KE, b"x")),
        ("D9", "KE payload of three bytes", put(KE, b"\0\x1f\0")),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        *lacks("1.1.1", SA, KE, NONCE),
        ("D5", "NAT detection of 19 bytes", notify(N.NAT_DETECTION_SOURCE_IP, bytes(19))),
        ("D5", "empty COOKIE", notify(N.COOKIE)),
        ("D4", "a hundred and one notifies", last(NOTIFY, b"\0\0\x9c\x40", times=101)),
    ),
    *rows(
        at_init,
        dropped("flags"),
        ("D7", "message ID is not 0", message_id(1)),
        ("D7", "SPI of a responder", header(spi_r=SPI8)),
        ("D8", "response flag set", flags(0x20)),
        ("D8", "initiator flag missing", flags(0x08)),
    ),
    *rows(
        at_init,
        ENDS,
        ("1.1.6", "the second proposal fits", put(SA, sa("aes128-sha256-modp2048", IKE_TEXT))),
        ("D12", "nonce of 256 bytes", put(NONCE, bytes(256))),
        *[("D11", f"{what} before a good one", put(SA, body)) for what, body in LENGTHS.items()],
    ),
    # Our answer would be longer than the question, and who asks may not be there.
    *rows(
        at_init,
        Outcome(None, "drop.cookie_demanded"),
        ("D12", "nonce of 16 bytes", put(NONCE, bytes(16))),
    ),
    *rows(
        at_init,
        in_clear(N.NO_PROPOSAL_CHOSEN),
        ("1.1.6", "unknown type of transform", put(SA, sa(more(IKE_TEXT, Transform(99, 1))))),
        ("1.1.6", "no cipher in common", put(SA, sa("aes128-sha256-x25519"))),
        ("1.1.6", "ESP instead of IKE", put(SA, sa(ESP_TEXT, spi=SPI4, protocol=ProtocolId.ESP))),
        ("D11", "no cipher", put(SA, sa(lacking(IKE_TEXT, TransformType.ENCR)))),
        ("D11", "no PRF", put(SA, sa(lacking(IKE_TEXT, TransformType.PRF)))),
        ("D11", "no group", put(SA, sa(lacking(IKE_TEXT, TransformType.DH)))),
        (
            "D11",
            "no length of the key",
            put(
                SA,
                sa(
                    more(
                        IKE_TEXT.replace("aes256gcm16-", "chacha20poly1305-"),
                        Transform(TransformType.ENCR, 20),
                    )
                ),
            ),
        ),
        (
            "D11",
            "AEAD with an integrity algorithm",
            put(SA, sa(more(IKE_TEXT, Transform(TransformType.INTEG, 12)))),
        ),
        (
            "D11",
            "CBC without an integrity algorithm",
            put(SA, sa(lacking("aes256-sha384-x25519", TransformType.INTEG))),
        ),
        (
            "D11",
            "CBC with the integrity algorithm NONE",
            put(SA, sa(in_place_of("aes256-sha384-x25519", Transform(TransformType.INTEG, 0)))),
        ),
        ("D11", "group NONE", put(SA, sa(in_place_of(IKE_TEXT, Transform(TransformType.DH, 0))))),
        ("D11", "PRF 0", put(SA, sa(in_place_of(IKE_TEXT, Transform(TransformType.PRF, 0))))),
        (
            "D11",
            "PRF unknown",
            put(SA, sa(in_place_of(IKE_TEXT, Transform(TransformType.PRF, 99)))),
        ),
        ("D11", "two lengths of one key", put(SA, with_attribute(b"\x80\x0e\1\0" * 2))),
        (
            "D11",
            "no encryption",
            put(SA, sa(in_place_of_cipher(Transform(TransformType.ENCR, 11)))),
        ),
        ("D11", "GMAC", put(SA, sa(in_place_of_cipher(Transform(TransformType.ENCR, 21, 256))))),
        *[("D11", what, put(SA, sa(in_place_of_cipher(one)))) for what, one in BAD_KEYS.items()],
        ("D11", "attribute without a length of the key", put(SA, with_attribute(b"\x80\x63\0\1"))),
        ("D11", "empty attribute", put(SA, with_attribute(b"\0\x0e\0\0"))),
    ),
    *rows(
        at_init,
        in_clear(N.INVALID_KE_PAYLOAD),
        ("1.1.6", "group of the key not chosen", at(KE, 0, b"\0\x13")),
        ("D9", "group 0", at(KE, 0, b"\0\0")),
        ("D9", "group 65535", at(KE, 0, b"\xff\xff")),
        ("D9", "private group", at(KE, 0, b"\x04\x01")),
    ),
    *rows(at_init, in_clear(N.INVALID_SYNTAX), *BAD_MODP, pair=MODP),
    *rows(at_init, in_clear(N.INVALID_SYNTAX), *BAD_ECP, pair=ECP),
    # ---- IKE_INTERMEDIATE ----
    *rows(
        at_intermediate,
        GOOD,
        ("1.1.1", "nothing is changed", unchanged),
        pair=HYBRID,
    ),
    *rows(
        at_intermediate,
        ends(N.INVALID_SYNTAX),
        ("D10", "ML-KEM key one byte short", cut(KE, 1)),
        ("D10", "ML-KEM key that is none", body(KE, lambda old: old[:4] + b"\xff" * 1184)),
        ("D9", "another method", at(KE, 0, b"\0\x25")),
        ("D9", "empty key", put(KE, b"\0\x24\0\0")),
        *lacks("1.1.1", KE),
        pair=HYBRID,
    ),
    *rows(
        at_intermediate,
        dropped("state"),
        ("D7", "CREATE_CHILD_SA before authentication", header(exchange=36)),
        ("D7", "Delete before authentication", header(exchange=37)),
        pair=HYBRID,
    ),
    *rows(
        at_intermediate,
        ends(N.INVALID_SYNTAX),
        ("D7", "IKE_AUTH before the key exchange", header(exchange=35)),
        pair=HYBRID,
    ),
    # ---- IKE_AUTH ----
    *rows(
        at_auth,
        dropped("state"),
        ("D7", "CREATE_CHILD_SA before authentication", header(exchange=36)),
        ("D7", "Delete before authentication", header(exchange=37)),
        ("D7", "IKE_FOLLOWUP_KE before authentication", header(exchange=44)),
    ),
    *rows(
        at_auth,
        ends(N.INVALID_SYNTAX),
        ("D25", "IKE_INTERMEDIATE that was not agreed on", header(exchange=43)),
    ),
    *rows(
        at_auth,
        ends(N.AUTHENTICATION_FAILED, "identity_mismatch"),
        ("1.1.9", "another identity", put(ID_I, b"\2\0\0\0evil.test")),
    ),
    *rows(
        at_auth,
        ends(N.AUTHENTICATION_FAILED),
        ("1.1.9", "reserved bytes of the identity set", at(ID_I, 1, b"\1\2\3")),
        ("1.1.9", "another identity of the responder", put(ID_R, b"\2\0\0\0other.test")),
        ("D6", "identity of an unknown type", put(ID_I, b"\xc8\0\0\0x")),
        ("D6", "name with a zero byte", put(ID_I, b"\2\0\0\0a.gw.test\0.evil")),
        ("D6", "distinguished name that is no DER", put(ID_I, b"\x09\0\0\0\x30\xff")),
        ("D6", "identity of 60,000 bytes", put(ID_I, b"\2\0\0\0" + b"a" * 60000)),
        ("1.1.10", "wrong AUTH", at(AUTH, 4, b"\0\0\0\0")),
        ("D13", "AUTH cut off", cut(AUTH, 1)),
        ("D13", "AUTH with more behind it", grown(AUTH, b"x")),
        ("D13", "AUTH of no bytes", put(AUTH, b"\2\0\0\0")),
        ("D13", "NULL authentication", at(AUTH, 0, b"\x0d")),
        ("D13", "method 0", at(AUTH, 0, b"\0")),
        ("D13", "private method", at(AUTH, 0, b"\xc9")),
        ("D13", "signature where a pre-shared key is agreed", at(AUTH, 0, b"\x0e")),
        ("D15", "signature whose algorithm is longer than it", put(AUTH, b"\x0e\0\0\0\xff\x30")),
    ),
    *rows(
        at_auth,
        GOOD,
        ("1.1.9", "no identity of the responder", without(ID_R)),
        ("1.1.10", "reserved bytes of AUTH set", at(AUTH, 1, b"\1\2\3")),
        ("D24", "no Child SA asked for", both(without(SA), both(without(TS_I), without(TS_R)))),
    ),
    *rows(
        at_auth,
        ends(N.INVALID_SYNTAX),
        ("D6", "empty identity", put(ID_I, b"\2\0\0\0")),
        ("D6", "IPv4 identity of 16 bytes", put(ID_I, b"\1\0\0\0" + bytes(16))),
    ),
    # ---- the selectors of a Child SA ----
    *rows(
        (at_auth, *CHILD),
        GOOD,
        ("1.1.7", "narrower selectors", put(TS_I, ts("10.1.7.0/24"))),
        ("1.1.7", "several selectors", put(TS_I, ts("10.1.7.0/24", "10.1.8.0/24"))),
        ("1.1.7", "wider selectors", put(TS_I, ts("10.0.0.0/8"))),
        ("1.1.7", "selectors of one protocol", put(TS_I, ts("10.1.0.0/16[tcp]"))),
    ),
    *rows(
        CHILD,
        GOOD,
        (
            "D21",
            "a security label beside a selector",
            put(TS_I, b"\2\0\0\0\x0a\0\0\x08abcd" + ts("10.1.0.0/16")[4:]),
        ),
        ("1.2.7", "reserved bytes of the selectors set", at(TS_I, 1, b"\1\2\3")),
        ("1.2.5", "the second proposal fits", esp("aes128-sha256-noesn", ESP_TEXT)),
        (
            "D11",
            "two kinds of ESN",
            esp(more(ESP_TEXT, Transform(TransformType.ESN, 7), protocol=ProtocolId.ESP)),
        ),
        ("D11", "no ESN at all", esp(lacking(ESP_TEXT, TransformType.ESN, ProtocolId.ESP))),
        ("D25", "transport mode asked for", notify(N.USE_TRANSPORT_MODE)),
        ("1.2.1", "payloads in the opposite order", reversed_order),
    ),
    *rows(
        CHILD,
        answered(N.TS_UNACCEPTABLE, "ts_unacceptable"),
        ("1.1.7", "selectors of others", put(TS_I, ts("172.16.0.0/12"))),
        ("1.1.7", "selectors of the other family", put(TS_I, ts("2001:db8::/32"))),
        ("D21", "selector of type 0", at(TS_I, 4, b"\0")),
        ("D21", "selector of type 9, a Fibre Channel's", at(TS_I, 4, b"\x09")),
    ),
    *rows(
        CHILD,
        ends(N.INVALID_SYNTAX),
        ("D21", "no selectors", put(TS_I, b"\0\0\0\0")),
        ("D21", "fewer selectors than said", at(TS_I, 0, b"\2")),
        ("D21", "more selectors than said", at(TS_I, 0, b"\0")),
        ("D21", "selector of IPv4 with 40 bytes", put(TS_I, b"\1\0\0\0\x07\0\0\x28" + bytes(36))),
        ("D21", "selector of three bytes", put(TS_I, b"\1\0\0\0\x07\0\0\x03")),
        ("D21", "selector that begins after its end", at(TS_I, 12, b"\x0a\2\0\0")),
        (
            "D11",
            "SPI of 8 bytes",
            body(SA, lambda old: old[:6] + b"\x08" + old[7:8] + bytes(4) + old[8:]),
        ),
        ("D12", "empty nonce", put(NONCE, b"")),
        ("D12", "nonce of 15 bytes", put(NONCE, bytes(15))),
        ("D12", "nonce of 257 bytes", put(NONCE, bytes(257))),
        ("D12", "nonce of 60,000 bytes", put(NONCE, bytes(60000))),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        ("D9", "key one byte long", grown(KE, b"x")),
        ("D9", "empty key", put(KE, b"\0\x1f\0\0")),
    ),
    *rows(CHILD, ends(N.INVALID_SYNTAX), *BAD_MODP, pair=MODP),
    *rows(CHILD, ends(N.INVALID_SYNTAX), *BAD_ECP, pair=ECP),
    *rows(
        CHILD,
        GOOD,
        ("D4", "two hundred proposals", esp(*[ESP_TEXT] * 200)),
        (
            "D4",
            "two hundred and fifty transforms",
            esp(more(ESP_TEXT, *UNKNOWN_CIPHERS[:250], protocol=ProtocolId.ESP)),
        ),
    ),
    *rows(
        CHILD,
        answered(N.NO_PROPOSAL_CHOSEN, "no_proposal_chosen"),
        ("1.2.5", "no ESP proposal in common", esp("aes128-sha256-x25519-noesn")),
        (
            "1.2.5",
            "no key exchange where one is wanted",
            both(esp("aes256gcm16-noesn"), without(KE)),
        ),
        ("D11", "AH", at(SA, 5, b"\2")),
        ("D11", "protocol 0", at(SA, 5, b"\0")),
        ("D11", "protocol 200", at(SA, 5, b"\xc8")),
        (
            "D11",
            "CBC without an integrity algorithm",
            esp(lacking("aes256-sha256-x25519-noesn", TransformType.INTEG, ProtocolId.ESP)),
        ),
    ),
    # ---- IKE_FOLLOWUP_KE ----
    *rows(at_followup, GOOD, ("1.2.3", "nothing is changed", unchanged), pair=HYBRID),
    *rows(
        at_followup,
        answered(N.STATE_NOT_FOUND),
        ("D25", "unknown link", at(NOTIFY, 4, bytes(8))),
        ("D25", "no link", without(NOTIFY)),
        pair=HYBRID,
    ),
    *rows(
        at_followup,
        ends(N.INVALID_SYNTAX),
        ("D10", "ML-KEM key one byte short", cut(KE, 1)),
        ("D9", "another method", at(KE, 0, b"\0\x25")),
        *lacks("1.2.3", KE),
        pair=HYBRID,
    ),
    *rows(
        CHILD,
        answered(N.INVALID_KE_PAYLOAD),
        ("1.2.5", "key of another group", at(KE, 0, b"\0\x13")),
        ("D9", "a group and no key", without(KE)),
    ),
    # ---- rekeys ----
    *rows(
        at_child_rekey,
        answered(N.CHILD_SA_NOT_FOUND),
        ("D22", "REKEY_SA of an unknown SPI", rekeys(3, SPI4)),
        ("D22", "REKEY_SA of protocol 0", rekeys(0, SPI4)),
        ("D22", "REKEY_SA of the IKE SA", rekeys(1, SPI8)),
        ("D22", "REKEY_SA of AH", rekeys(2, SPI4)),
        ("D22", "REKEY_SA of protocol 200", rekeys(200, SPI4)),
        ("D22", "REKEY_SA of an SPI of two bytes", rekeys(3, b"\1\2")),
        ("D22", "REKEY_SA of no SPI", rekeys(3, b"")),
    ),
    *rows(
        at_ike_rekey,
        GOOD,
        ("1.2.4", "the second proposal fits", ike("aes128-sha256-modp2048", IKE_TEXT)),
    ),
    *rows(
        at_ike_rekey,
        answered(N.NO_PROPOSAL_CHOSEN, "no_proposal_chosen"),
        ("1.2.4", "no proposal in common", ike("aes128-sha256-x25519")),
    ),
    *rows(
        at_ike_rekey,
        answered(N.INVALID_KE_PAYLOAD),
        ("1.2.4", "key of another group", at(KE, 0, b"\0\x13")),
    ),
    *rows(
        at_ike_rekey,
        ends(N.INVALID_SYNTAX),
        ("D10", "key of low order", put(KE, b"\0\x1f\0\0" + bytes(32))),
        ("D11", "SPI of four bytes", put(SA, sa(IKE_TEXT, spi=SPI4))),
        ("D11", "SPI of zeros", put(SA, sa(IKE_TEXT, spi=bytes(8)))),
        ("D11", "no SPI", put(SA, sa(IKE_TEXT))),
        ("D12", "nonce of 15 bytes", put(NONCE, bytes(15))),
    ),
    # ---- INFORMATIONAL ----
    *rows(
        at_liveness,
        dropped("state"),
        ("D7", "IKE_AUTH again", header(exchange=35)),
        ("D25", "IKE_INTERMEDIATE after authentication", header(exchange=43)),
    ),
    *rows(
        at_liveness,
        dropped("flags"),
        ("D7", "IKE_SA_INIT with the SPIs of an IKE SA", header(exchange=34)),
    ),
    *rows(
        at_liveness,
        dropped("exchange"),
        *[
            ("D8", f"exchange type {kind}", header(exchange=kind))
            for kind in (0, 1, 33, 38, 39, 42, 45, 128, 255)
        ],
    ),
    *rows(
        at_liveness,
        answered(N.STATE_NOT_FOUND),
        ("D25", "IKE_FOLLOWUP_KE of nothing", header(exchange=44)),
    ),
    *rows(
        at_liveness,
        GOOD,
        ("D25", "a ticket", notify(16409, bytes(32))),
        ("D25", "authentication lifetime of three bytes", notify(N.AUTH_LIFETIME, bytes(3))),
        ("D25", "loop of redirects", last(NOTIFY, b"\0\0\x40\x17\1\4\xc0\0\2\1", times=90)),
        ("D23", "the same SPI a hundred times", last(DELETE, b"\3\4\0\x64" + SPI4 * 100)),
        ("1.3.1", "Delete of an unknown SPI", last(DELETE, b"\3\4\0\1" + SPI4)),
        ("1.3.1", "Delete of nothing", last(DELETE, b"\3\4\0\0")),
        ("D23", "Delete of AH", last(DELETE, b"\2\4\0\1" + SPI4)),
        ("D23", "Delete of protocol 0", last(DELETE, b"\0\4\0\1" + SPI4)),
        ("1.3.3", "the peer says: invalid SPI", notify(N.INVALID_SPI, SPI4)),
        ("D25", "an unsolicited address update", notify(N.UPDATE_SA_ADDRESSES)),
        ("D25", "an unsolicited redirect", notify(N.REDIRECT, b"\1\4\xc0\0\2\1")),
        ("D5", "redirect to nowhere", notify(N.REDIRECT)),
        ("D26", "INITIAL_CONTACT long after IKE_AUTH", notify(N.INITIAL_CONTACT)),
    ),
    *rows(
        at_liveness,
        ENDS,
        ("1.3.1", "Delete of the IKE SA", last(DELETE, b"\1\0\0\0")),
        (
            "D23",
            "Delete of IKE SA and Child SA",
            both(last(DELETE, b"\1\0\0\0"), last(DELETE, b"\3\4\0\1" + SPI4)),
        ),
        ("1.3.3", "the peer says: invalid syntax", notify(N.INVALID_SYNTAX)),
        ("1.3.3", "the peer says: authentication failed", notify(N.AUTHENTICATION_FAILED)),
    ),
    *rows(
        at_liveness,
        ends(N.INVALID_SYNTAX),
        ("D23", "Delete of ESP with an SPI of 8 bytes", last(DELETE, b"\3\x08\0\1" + SPI8)),
        ("D23", "Delete of the IKE SA with an SPI", last(DELETE, b"\1\x08\0\1" + SPI8)),
        ("D23", "more SPIs than bytes", last(DELETE, b"\3\4\xff\xff" + SPI4)),
    ),
    # ---- message IDs after a failover (RFC 6311), which we do not announce ----
    *rows(
        at_auth,
        GOOD,
        ("1.1.3", "message IDs can be synchronised", notify(N.IKEV2_MESSAGE_ID_SYNC_SUPPORTED)),
    ),
    *rows(
        at_liveness,
        GOOD,
        ("1.1.3", "message IDs are to be synchronised", notify(N.IKEV2_MESSAGE_ID_SYNC, bytes(12))),
        ("D5", "message IDs, cut off", notify(N.IKEV2_MESSAGE_ID_SYNC, bytes(3))),
    ),
    *rows(
        at_liveness,
        dropped("message_id"),
        (
            "1.1.3",
            "message IDs are to be synchronised by message ID 0",
            both(header(message_id=0), notify(N.IKEV2_MESSAGE_ID_SYNC, bytes(12))),
        ),
    ),
)
