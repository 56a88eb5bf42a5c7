"""IKE message fragmentation (RFC 7383; D.1 rows 19 and 20)."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IntegrityError, UnsupportedCriticalPayload, UsageError, WireError
from gateway.ike.fragments import CONTENT_MAX, FRAGMENTS_MAX, Reassembly, is_fragment, split
from gateway.ike.iana import ExchangeType, Group, PayloadType, Prf
from gateway.ike.message import (
    Message,
    SkCipher,
    open_sealed,
    parse_clear,
    parse_header,
    seal_payload,
)
from gateway.ike.payloads import Certificate, Notify, Payload, Raw, VendorId, serialise_chain
from gateway.ike.proposals import IkeSuite
from gateway.sa import Encr, Integ
from gateway.secret import Secret

GCM = IkeSuite(Encr.AES_GCM_16, 128, Prf.HMAC_SHA2_256, Integ.NONE, Group.X25519)
CBC = IkeSuite(Encr.AES_CBC, 256, Prf.HMAC_SHA2_256, Integ.HMAC_SHA2_256_128, Group.X25519)
CIPHERS = {
    "gcm": SkCipher(GCM, Secret(bytes(20)), Secret(b"")),
    "cbc": SkCipher(CBC, Secret(bytes(32)), Secret(bytes(32))),
}
CIPHER = CIPHERS["gcm"]
LONG = (Certificate(4, bytes(range(250)) * 10), Notify(16384))


def message(*payloads: Payload, message_id: int = 1) -> Message:
    return Message(
        b"initiate", b"responds", ExchangeType.IKE_AUTH, message_id, False, True, payloads
    )


def counter() -> Iterator[bytes]:
    at = 0
    while True:
        at += 1
        yield at.to_bytes(16, "big")


def pieces(content: Message, cipher: SkCipher = CIPHER, limit: int = 500) -> tuple[bytes, ...]:
    fresh = counter()
    return split(content, cipher, lambda count: next(fresh)[-count:], limit)


def fragment(number: int, total: int, content: bytes, first: int = 0, message_id: int = 1) -> bytes:
    """Return one fragment with any numbers, rightly sealed."""
    numbers = number.to_bytes(2, "big") + total.to_bytes(2, "big")
    outer = message(message_id=message_id)
    return seal_payload(outer, PayloadType.SKF, first, numbers, content, CIPHER, bytes(8))


def add(parts: Reassembly, datagram: bytes, cipher: SkCipher = CIPHER) -> Message | None:
    return parts.add(datagram, parse_header(datagram), cipher)


@pytest.mark.parametrize("name", CIPHERS)
@pytest.mark.parametrize("limit", [200, 500, 576, 1280])
def test_fragments_in_any_order_give_the_message(name: str, limit: int) -> None:
    cipher = CIPHERS[name]
    datagrams = list(pieces(message(*LONG), cipher, limit))
    assert len(datagrams) > 1
    assert max(map(len, datagrams)) <= limit
    assert all(is_fragment(parse_header(one)) for one in datagrams)
    random.Random(limit).shuffle(datagrams)
    parts = Reassembly()
    assert [add(parts, one, cipher) for one in datagrams[:-1]] == [None] * (len(datagrams) - 1)
    assert parts.held_bytes > 0
    assert add(parts, datagrams[-1], cipher) == message(*LONG)
    assert parts.held_bytes == 0


def test_what_fits_is_not_fragmented() -> None:
    whole = message(Notify(16384))
    (datagram,) = pieces(whole, CIPHER, 68)
    assert len(datagram) == 28 + 4 + 8 + 8 + 1 + 16
    assert not is_fragment(parse_header(datagram))
    assert open_sealed(datagram, parse_header(datagram), CIPHER) == whole
    (datagram,) = pieces(whole, CIPHER, len(datagram))
    assert len(pieces(whole, CIPHER, len(datagram) - 1)) > 1


def test_every_datagram_has_its_own_iv_of_the_ciphers_length() -> None:
    for cipher in CIPHERS.values():
        asked: list[int] = []

        def iv(count: int, asked: list[int] = asked) -> bytes:
            asked.append(count)
            return len(asked).to_bytes(count, "big")

        datagrams = split(message(*LONG), cipher, iv, 600)
        assert asked == [cipher.iv_len] * len(datagrams)
        assert len({one[36 : 36 + cipher.iv_len] for one in datagrams}) == len(datagrams)


def test_only_the_first_fragment_names_the_first_payload() -> None:
    datagrams = pieces(message(*LONG))
    assert [one[28] for one in datagrams] == [PayloadType.CERT] + [0] * (len(datagrams) - 1)
    assert [one[32:36] for one in datagrams] == [
        at.to_bytes(2, "big") + len(datagrams).to_bytes(2, "big")
        for at in range(1, len(datagrams) + 1)
    ]


@pytest.mark.parametrize("name", CIPHERS)
def test_a_limit_without_room_is_our_own_mistake(name: str) -> None:
    with pytest.raises(UsageError, match="no room"):
        pieces(message(*LONG), CIPHERS[name], 60)


def test_more_fragments_than_can_be_numbered_are_our_own_mistake() -> None:
    with pytest.raises(UsageError, match="fragments"):
        pieces(message(*(VendorId(bytes(60000)) for _ in range(2))), CIPHER, 62)


def test_a_single_fragment_is_legal() -> None:
    first, chain = serialise_chain([Notify(16384)])
    found = add(Reassembly(), fragment(1, 1, chain, first))
    assert found == message(Notify(16384))


@pytest.mark.parametrize(
    ("number", "total"),
    [(0, 1), (0, 0), (1, 0), (2, 1), (65535, 2), (1, 65), (65, 65), (1, 65535), (65535, 65535)],
)
def test_numbers_outside_of_the_limits_are_refused(number: int, total: int) -> None:
    parts = Reassembly()
    with pytest.raises(IntegrityError, match=f"fragment {number} of {total}"):
        add(parts, fragment(number, total, b"x"))
    assert parts.held_bytes == 0


def test_fragments_cut_at_any_byte_or_changed_are_refused() -> None:
    datagram = fragment(1, 2, b"content")
    header = parse_header(datagram)
    parts = Reassembly()
    for at in range(len(datagram)):
        changed = datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1 :]
        for bad in (datagram[:at], changed):
            with pytest.raises(IntegrityError):
                parts.add(bad, header, CIPHER)
    assert parts.held_bytes == 0


def test_a_message_that_is_no_fragment_is_refused() -> None:
    (datagram,) = pieces(message(Notify(1)))
    with pytest.raises(IntegrityError, match="need SKF"):
        add(Reassembly(), datagram)


def test_a_fragment_is_no_sealed_message_and_no_clear_one() -> None:
    datagram = fragment(1, 1, b"")
    with pytest.raises(IntegrityError, match="need SK"):
        open_sealed(datagram, parse_header(datagram), CIPHER)
    with pytest.raises(WireError, match="inside a chain"):
        parse_clear(datagram)


def test_a_duplicate_with_other_content_is_ignored() -> None:
    first, chain = serialise_chain([Notify(16384), VendorId(b"x")])
    parts = Reassembly()
    assert add(parts, fragment(1, 2, chain[:5], first)) is None
    assert add(parts, fragment(1, 2, b"other", 200)) is None
    assert parts.held_bytes == 5
    assert add(parts, fragment(2, 2, chain[5:])) == message(Notify(16384), VendorId(b"x"))


def test_a_larger_total_begins_anew_and_a_smaller_one_is_ignored() -> None:
    first, chain = serialise_chain([Notify(16384)])
    parts = Reassembly()
    assert add(parts, fragment(1, 2, b"old")) is None
    assert add(parts, fragment(3, 3, chain[6:])) is None
    assert parts.held_bytes == 2
    assert add(parts, fragment(2, 2, b"old")) is None
    assert add(parts, fragment(2, 3, chain[3:6])) is None
    assert add(parts, fragment(1, 3, chain[:3], first)) == message(Notify(16384))


def test_a_fragment_of_the_next_message_begins_anew() -> None:
    first, chain = serialise_chain([Notify(16384)])
    parts = Reassembly()
    assert add(parts, fragment(1, 2, b"old")) is None
    assert add(parts, fragment(1, 1, chain, first, message_id=2)) is not None
    assert parts.held_bytes == 0


def test_a_forged_fragment_of_another_total_does_not_discard_what_is_held() -> None:
    parts = Reassembly()
    assert add(parts, fragment(1, 2, b"held")) is None
    forged = fragment(1, 3, b"forged")[:-1] + b"\0"
    with pytest.raises(IntegrityError):
        add(parts, forged)
    assert parts.held_bytes == 4


def test_what_is_held_is_bounded() -> None:
    parts = Reassembly()
    for number in range(1, 17):
        assert add(parts, fragment(number, FRAGMENTS_MAX, bytes(4000))) is None
        assert parts.held_bytes <= CONTENT_MAX
    with pytest.raises(IntegrityError, match="more than 65536 bytes"):
        add(parts, fragment(17, FRAGMENTS_MAX, bytes(4000)))
    assert parts.held_bytes == 0


@pytest.mark.parametrize("kind", [PayloadType.SK, PayloadType.SKF])
def test_an_encrypted_payload_inside_fragments_is_the_peers_mistake(kind: int) -> None:
    first, chain = serialise_chain([Raw(kind, False, bytes(40))])
    with pytest.raises(WireError, match="inside a chain"):
        add(Reassembly(), fragment(1, 1, chain, first))


def test_after_a_message_that_does_not_parse_nothing_is_held() -> None:
    parts = Reassembly()
    assert add(parts, fragment(2, 2, b"\0\0\0\3")) is None
    with pytest.raises(WireError):
        add(parts, fragment(1, 2, b"\0\0\0\4", 43))
    assert parts.held_bytes == 0


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.binary(max_size=12)), max_size=12)
)
@settings(max_examples=200)
def test_any_fragments_give_a_message_or_one_of_three_errors(
    numbered: list[tuple[int, int, bytes]],
) -> None:
    parts = Reassembly()
    for number, total, content in numbered:
        try:
            add(parts, fragment(number, total, content, first=content[0] if content else 0))
        except (IntegrityError, WireError, UnsupportedCriticalPayload):
            continue
        assert parts.held_bytes <= 48
