"""Headers, clear and sealed messages (RFC 7296 sections 3.1 and 3.14; D.1 rows 1, 2, 3, 8, 17)."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IntegrityError, UnsupportedCriticalPayload, UsageError, WireError
from gateway.ike.iana import ExchangeType, Group, NotifyType, PayloadType, Prf
from gateway.ike.message import (
    InvalidMajorVersion,
    Message,
    SkCipher,
    open_sealed,
    parse_clear,
    parse_header,
    seal,
    serialise_clear,
)
from gateway.ike.payloads import (
    Delete,
    KeyExchange,
    Nonce,
    Notify,
    Payload,
    Raw,
    TrafficSelectorsI,
    TrafficSelectorsR,
    VendorId,
)
from gateway.ike.proposals import IkeSuite
from gateway.ike.suites import encr_key_len, integ_key_len
from gateway.sa import Encr, Integ
from gateway.secret import Secret

SPI_I, SPI_R = b"initiate", b"responds"
SUITES = [
    IkeSuite(Encr.AES_GCM_16, 128, Prf.HMAC_SHA2_256, Integ.NONE, Group.X25519),
    IkeSuite(Encr.AES_GCM_16, 256, Prf.HMAC_SHA2_384, Integ.NONE, Group.X25519),
    IkeSuite(Encr.CHACHA20_POLY1305, 256, Prf.HMAC_SHA2_256, Integ.NONE, Group.X25519),
    IkeSuite(Encr.AES_CBC, 128, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Group.MODP2048),
    IkeSuite(Encr.AES_CBC, 192, Prf.HMAC_SHA2_384, Integ.HMAC_SHA2_384_192, Group.MODP2048),
    IkeSuite(Encr.AES_CBC, 256, Prf.HMAC_SHA2_512, Integ.HMAC_SHA2_512_256, Group.MODP2048),
]
EACH_SUITE = pytest.mark.parametrize("suite", SUITES, ids=str)


def cipher_of(suite: IkeSuite, seed: int = 1) -> SkCipher:
    return SkCipher(
        suite,
        Secret(bytes([seed]) * encr_key_len(suite.encr, suite.key_bits)),
        Secret(bytes([seed + 1]) * integ_key_len(suite.integ)),
    )


def message(*payloads: Payload) -> Message:
    return Message(SPI_I, SPI_R, ExchangeType.INFORMATIONAL, 7, False, True, payloads)


def sealed(content: Message, suite: IkeSuite) -> tuple[bytes, SkCipher]:
    cipher = cipher_of(suite)
    return seal(content, cipher, bytes(range(cipher.iv_len))), cipher


def opened(datagram: bytes, cipher: SkCipher) -> Message:
    return open_sealed(datagram, parse_header(datagram), cipher)


# ---- the header ----


def header_bytes(**changes: bytes) -> bytes:
    fields = {
        "spi_i": SPI_I,
        "spi_r": SPI_R,
        "next": b"\0",
        "version": b"\x20",
        "exchange": b"\x25",
        "flags": b"\x08",
        "message_id": b"\0\0\0\7",
        "length": b"\0\0\0\x1c",
    }
    return b"".join((fields | changes).values())


def test_a_header_is_read_field_by_field() -> None:
    header = parse_header(header_bytes())
    assert (header.spi_i, header.spi_r) == (SPI_I, SPI_R)
    assert (header.next_payload, header.version) == (0, 0x20)
    assert (header.exchange, header.message_id) == (ExchangeType.INFORMATIONAL, 7)
    assert header.length == 28
    assert header.serialise() == header_bytes()


@pytest.mark.parametrize("length", range(28))
def test_a_short_datagram_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="header"):
        parse_header(header_bytes()[:length])


@pytest.mark.parametrize("length", [0, 27, 29, 0xFFFF, 0xFFFFFFFF])
def test_a_length_that_is_not_the_datagrams_is_refused(length: int) -> None:
    with pytest.raises(WireError, match=f"length {length} in a datagram of 28 bytes"):
        parse_header(header_bytes(length=length.to_bytes(4, "big")))


@pytest.mark.parametrize("datagram", [b"\xff", bytes(4), bytes(28), b"\xff" * 65535])
def test_what_is_no_ike_is_refused(datagram: bytes) -> None:
    with pytest.raises(WireError):
        parse_header(datagram)


def test_spi_i_of_zero_is_refused() -> None:
    with pytest.raises(WireError, match="SPIi is zero"):
        parse_header(header_bytes(spi_i=bytes(8)))
    # Nor is one of another version answered: the answer would have no SPI either.
    with pytest.raises(WireError, match="SPIi is zero"):
        parse_header(header_bytes(spi_i=bytes(8), version=b"\x30"))


@pytest.mark.parametrize("version", [0x00, 0x10, 0x30, 0xF0])
def test_another_major_version_is_told_apart(version: int) -> None:
    with pytest.raises(InvalidMajorVersion, match=r"need 2\.0") as caught:
        parse_header(header_bytes(version=bytes([version])))
    assert caught.value.notify == NotifyType.INVALID_MAJOR_VERSION
    assert caught.value.header.message_id == 7


def test_a_higher_minor_version_and_unknown_flags_are_ignored() -> None:
    header = parse_header(header_bytes(version=b"\x2f", flags=b"\xd7"))
    assert not header.is_response
    assert not header.from_original_initiator


@pytest.mark.parametrize(
    ("flags", "is_response", "is_initiator"),
    [(0, False, False), (8, False, True), (0x20, True, False), (0x28, True, True)],
)
def test_flags(flags: int, is_response: bool, is_initiator: bool) -> None:
    header = parse_header(header_bytes(flags=bytes([flags])))
    assert header.is_response is is_response
    assert header.from_original_initiator is is_initiator
    parsed = parse_clear(header_bytes(flags=bytes([flags])))
    assert serialise_clear(parsed) == header_bytes(flags=bytes([flags]))


@pytest.mark.parametrize("exchange", [0, 33, 38, 43, 255])
def test_an_unknown_exchange_type_parses(exchange: int) -> None:
    assert parse_clear(header_bytes(exchange=bytes([exchange]))).exchange == exchange


# ---- clear messages ----


def test_a_clear_message_comes_back() -> None:
    whole = message(KeyExchange(31, bytes(32)), Nonce(bytes(32)), Notify(16388, bytes(20)))
    whole = dataclasses.replace(whole, is_response=True, from_original_initiator=False)
    assert parse_clear(serialise_clear(whole)) == whole


def test_a_clear_message_of_more_than_8192_bytes_is_refused() -> None:
    fits = message(VendorId(bytes(8192 - 28 - 4)))
    assert parse_clear(serialise_clear(fits)) == fits
    with pytest.raises(WireError, match="message of 8193 bytes"):
        parse_clear(serialise_clear(message(VendorId(bytes(8193 - 28 - 4)))))


def test_a_sealed_message_is_no_clear_message() -> None:
    datagram, _ = sealed(message(Notify(1)), SUITES[0])
    with pytest.raises(WireError, match="inside a chain"):
        parse_clear(datagram)


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_give_a_header_or_a_wire_error(data: bytes) -> None:
    try:
        header = parse_header(data)
    except WireError:
        return
    assert header.length == len(data)


@given(st.integers(0, 255), st.binary(max_size=300))
@settings(max_examples=200)
def test_any_chain_gives_a_clear_message_or_a_peer_error(first: int, chain: bytes) -> None:
    length = (28 + len(chain)).to_bytes(4, "big")
    datagram = header_bytes(next=bytes([first]), length=length) + chain
    try:
        parsed = parse_clear(datagram)
    except (WireError, UnsupportedCriticalPayload):
        return
    kept = dataclasses.replace(parsed, payloads=without_other_selectors(parsed))
    assert parse_clear(serialise_clear(kept)) == kept


def without_other_selectors(found: Message) -> tuple[Payload, ...]:
    """Return the payloads but TS payloads that are empty, their selectors being left out."""
    empty = (TrafficSelectorsI(()), TrafficSelectorsR(()))
    return tuple(one for one in found.payloads if one not in empty)


# ---- finding payloads ----


def test_payloads_are_found_by_class() -> None:
    found = message(Notify(5), Nonce(bytes(16)), Notify(16390, b"c"))
    assert found.one(Nonce) == Nonce(bytes(16))
    assert found.maybe(Delete) is None
    assert [one.type for one in found.all(Notify)] == [5, 16390]
    assert found.notify(NotifyType.COOKIE) == Notify(16390, b"c")
    assert found.notify(NotifyType.REKEY_SA) is None


def test_a_missing_or_doubled_payload_is_the_peers_mistake() -> None:
    with pytest.raises(WireError, match="no payload Nonce"):
        message().one(Nonce)
    twice = message(Nonce(bytes(16)), Nonce(bytes(17)))
    for find in (twice.one, twice.maybe):
        with pytest.raises(WireError, match="2 payloads Nonce"):
            find(Nonce)


# ---- sealed messages ----


@EACH_SUITE
@pytest.mark.parametrize("size", [0, 1, 14, 15, 16, 17, 1000])
def test_a_sealed_message_opens(suite: IkeSuite, size: int) -> None:
    content = message(VendorId(bytes(size)))
    datagram, cipher = sealed(content, suite)
    assert parse_header(datagram).next_payload == PayloadType.SK
    assert opened(datagram, cipher) == content


@EACH_SUITE
def test_an_empty_message_opens(suite: IkeSuite) -> None:
    datagram, cipher = sealed(message(), suite)
    assert opened(datagram, cipher) == message()


@EACH_SUITE
def test_any_changed_bit_is_an_integrity_error(suite: IkeSuite) -> None:
    datagram, cipher = sealed(message(Notify(16393, b"", 3, bytes(4))), suite)
    # The header that was read stays the same, so each change reaches the integrity check.
    header = parse_header(datagram)
    for at in range(len(datagram)):
        changed = datagram[:at] + bytes([datagram[at] ^ 0x40]) + datagram[at + 1 :]
        with pytest.raises(IntegrityError):
            open_sealed(changed, header, cipher)


@EACH_SUITE
def test_a_datagram_cut_at_any_byte_is_an_integrity_error(suite: IkeSuite) -> None:
    datagram, cipher = sealed(message(Notify(1)), suite)
    header = parse_header(datagram)
    for length in range(len(datagram)):
        with pytest.raises(IntegrityError):
            open_sealed(datagram[:length], header, cipher)


@EACH_SUITE
def test_bytes_after_sk_are_an_integrity_error(suite: IkeSuite) -> None:
    datagram, cipher = sealed(message(Notify(1)), suite)
    longer = datagram[:24] + (len(datagram) + 4).to_bytes(4, "big") + datagram[28:] + bytes(4)
    with pytest.raises(IntegrityError, match="SK: length"):
        opened(longer, cipher)


@EACH_SUITE
def test_the_wrong_key_is_an_integrity_error(suite: IkeSuite) -> None:
    datagram, _ = sealed(message(Notify(1)), suite)
    with pytest.raises(IntegrityError):
        opened(datagram, cipher_of(suite, 9))


def test_a_payload_before_sk_is_refused_unread() -> None:
    datagram, cipher = sealed(message(Notify(1)), SUITES[0])
    clear = bytes([PayloadType.SK, 0, 0, 4])
    length = (len(datagram) + 4).to_bytes(4, "big")
    mixed = datagram[:16] + bytes([200]) + datagram[17:24] + length + clear + datagram[28:]
    with pytest.raises(IntegrityError, match="first payload is 200"):
        opened(mixed, cipher)


def test_a_clear_message_is_never_taken_for_a_sealed_one() -> None:
    datagram = serialise_clear(message(Delete(1)))
    with pytest.raises(IntegrityError, match="first payload is 42"):
        opened(datagram, cipher_of(SUITES[0]))


def reseal(first: int, plain: bytes, suite: IkeSuite) -> tuple[bytes, SkCipher]:
    """Return a datagram with any bytes inside SK, padding included, and a right check value."""
    cipher = cipher_of(suite)
    body_len = cipher.iv_len + len(plain) + cipher.icv_len
    header = header_bytes(next=b"\x2e", length=(32 + body_len).to_bytes(4, "big"))
    prefix = header + bytes([first, 0]) + (4 + body_len).to_bytes(2, "big")
    return prefix + cipher.seal_plain(prefix, bytes(cipher.iv_len), plain), cipher


@EACH_SUITE
def test_a_pad_length_beyond_the_content_is_the_peers_mistake(suite: IkeSuite) -> None:
    datagram, cipher = reseal(41, bytes(15) + b"\x10", suite)
    with pytest.raises(WireError, match="pad length 16 in 16 bytes"):
        opened(datagram, cipher)
    datagram, cipher = reseal(0, bytes(15) + b"\x0f", suite)
    assert opened(datagram, cipher).payloads == ()


@pytest.mark.parametrize("size", [1, 15, 17])
def test_cbc_content_that_is_no_whole_blocks_is_the_peers_mistake(size: int) -> None:
    cipher = cipher_of(SUITES[3])
    body_len = cipher.iv_len + size + cipher.icv_len
    header = header_bytes(next=b"\x2e", length=(32 + body_len).to_bytes(4, "big"))
    prefix = header + bytes([0, 0]) + (4 + body_len).to_bytes(2, "big")
    covered = prefix + bytes(cipher.iv_len + size)
    with pytest.raises(WireError, match="no whole blocks"):
        opened(covered + cipher.check_value(covered), cipher)


@EACH_SUITE
@pytest.mark.parametrize("kind", [PayloadType.SK, PayloadType.SKF])
def test_an_encrypted_payload_inside_sk_is_the_peers_mistake(suite: IkeSuite, kind: int) -> None:
    datagram, cipher = sealed(message(Raw(kind, False, bytes(40))), suite)
    with pytest.raises(WireError, match="inside a chain"):
        opened(datagram, cipher)


def test_an_unknown_payload_inside_sk_is_kept_or_answered() -> None:
    datagram, cipher = sealed(message(Raw(200, False, b"x")), SUITES[0])
    assert opened(datagram, cipher).payloads == (Raw(200, False, b"x"),)
    datagram, cipher = sealed(message(Raw(200, True, b"x")), SUITES[0])
    with pytest.raises(UnsupportedCriticalPayload, match="200"):
        opened(datagram, cipher)


@given(st.sampled_from(SUITES), st.integers(0, 255), st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_inside_sk_give_a_message_or_a_peer_error(
    suite: IkeSuite, first: int, plain: bytes
) -> None:
    plain = plain[: len(plain) // 16 * 16] if suite.encr is Encr.AES_CBC else plain
    if not plain:
        plain = bytes(16)
    datagram, cipher = reseal(first, plain, suite)
    try:
        found = opened(datagram, cipher)
    except (WireError, UnsupportedCriticalPayload):
        return
    kept = dataclasses.replace(found, payloads=without_other_selectors(found))
    again, _ = sealed(kept, suite)
    assert opened(again, cipher) == kept


@EACH_SUITE
def test_our_own_mistakes_with_keys_and_ivs_are_usage_errors(suite: IkeSuite) -> None:
    cipher = cipher_of(suite)
    with pytest.raises(UsageError, match="IV of 3 bytes"):
        seal(message(), cipher, b"abc")
    good = Secret(bytes(encr_key_len(suite.encr, suite.key_bits)))
    with pytest.raises(UsageError, match="encryption key of 5 bytes"):
        SkCipher(suite, Secret(bytes(5)), Secret(b""))
    with pytest.raises(UsageError, match="integrity key of 7 bytes"):
        SkCipher(suite, good, Secret(bytes(7)))


@EACH_SUITE
def test_a_cipher_does_not_print_its_keys(suite: IkeSuite) -> None:
    shown = repr(cipher_of(suite))
    assert shown in ("<SkCipher AEAD>", f"<SkCipher {suite.integ.name}>")
