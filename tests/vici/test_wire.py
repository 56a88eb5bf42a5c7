"""
VICI's encoding: our own round trip, the `vici` package as the second judge, and any bytes at all.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import pytest
import vici.protocol
from hypothesis import given
from hypothesis import strategies as st

from gateway.vici.wire import (
    DEPTH_MAX,
    LENGTH,
    PACKET_MAX,
    Packet,
    PacketType,
    Section,
    ViciError,
    decode_message,
    decode_packet,
    encode_message,
    encode_packet,
)

NAMES = st.text("abz-09_/. ", min_size=1, max_size=20)
TEXTS = st.text("abz09\0\n=é€😀", max_size=50)
MESSAGES: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(NAMES, st.one_of(TEXTS, st.lists(TEXTS, max_size=4)), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.one_of(TEXTS, inner), max_size=4),
    max_leaves=10,
)


def as_text(message: Any) -> Any:
    """Return what the package decodes, with text for bytes."""
    if isinstance(message, bytes):
        return message.decode()
    if isinstance(message, list):
        return [as_text(item) for item in message]
    return {key: as_text(value) for key, value in message.items()}


@given(MESSAGES)
def test_a_message_comes_back_as_it_went(message: Section) -> None:
    assert decode_message(encode_message(message)) == message


@given(MESSAGES)
def test_the_vici_package_writes_the_same_bytes(message: Section) -> None:
    assert encode_message(message) == vici.protocol.Message.serialize(message)


@given(MESSAGES)
def test_the_vici_package_reads_what_we_write(message: Section) -> None:
    read = vici.protocol.Message.deserialize(vici.protocol.FiniteStream(encode_message(message)))
    assert as_text(read) == message


@given(st.sampled_from(PacketType), NAMES, MESSAGES)
def test_a_packet_comes_back(kind: PacketType, name: str, message: Section) -> None:
    encoded = encode_packet(Packet(kind, name, message))
    assert LENGTH.unpack(encoded[:4]) == (len(encoded) - 4,)
    packet = decode_packet(encoded[4:])
    assert packet.type is kind
    assert packet.name in ("", name)
    assert packet.message in ({}, message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_packet_or_one_error(data: bytes) -> None:
    try:
        packet = decode_packet(data)
    except ViciError:
        return
    again = encode_packet(packet)[4:]
    assert decode_packet(again) == packet


@given(MESSAGES, st.data())
def test_a_spoiled_message_is_another_one_or_one_error(
    message: Section, data: st.DataObject
) -> None:
    encoded = bytearray(encode_message(message))
    if not encoded:
        return
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ViciError):
        decode_message(bytes(encoded))


@given(MESSAGES)
def test_what_is_cut_off_is_an_error_or_shorter(message: Section) -> None:
    encoded = encode_message(message)
    for end in range(len(encoded)):
        with contextlib.suppress(ViciError):
            assert len(encode_message(decode_message(encoded[:end]))) < len(encoded)


def test_what_is_no_text_keeps_its_bytes() -> None:
    encoded = b"\x03\x01k\x00\x02\xff\xfe"
    assert encode_message(decode_message(encoded)) == encoded


BAD = [
    (b"\x02", "has not begun"),
    (b"\x01\x01a", "has no end"),
    (b"\x04\x01a", "1 bytes wanted"),
    (b"\x04\x01a\x03", "element 3 within a list"),
    (b"\x05\x00\x00", "element 5 has no place"),
    (b"\x07", "element 7 has no place"),
    (b"\x03\x05ab", "5 bytes wanted, 2 are left"),
    (b"\x03\x01a\x00\x05ab", "5 bytes wanted, 2 are left"),
    (b"\x01\x01a" * (DEPTH_MAX + 1), "within each other"),
]


@pytest.mark.parametrize(("data", "words"), BAD)
def test_a_bad_message_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ViciError, match=words):
        decode_message(data)


def test_packets_that_are_no_packets() -> None:
    for data, words in (
        (b"", "1 bytes wanted"),
        (b"\x09", "packet type 9"),
        (b"\x03\x03log\x00", "something stands after a EVENT_REGISTER"),
        (b"\x05x", "something stands after a EVENT_CONFIRM"),
    ):
        with pytest.raises(ViciError, match=words):
            decode_packet(data)


def test_what_does_not_fit_is_not_written() -> None:
    deep: Section = {}
    for _ in range(DEPTH_MAX + 1):
        deep = {"a": deep}
    for message in ({"n" * 256: "v"}, {"n": "v" * 65536}, deep):
        with pytest.raises(ViciError):
            encode_message(message)
    large = {str(number): "v" * 65535 for number in range(9)}
    assert len(encode_message(large)) > PACKET_MAX
    with pytest.raises(ViciError, match="at most 524288"):
        encode_packet(Packet(PacketType.CMD_RESPONSE, message=large))


def test_the_package_speaks_with_our_packets() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = vici.protocol.Transport(theirs)
        transport.send(vici.protocol.Packet.request("version", None))
        length = LENGTH.unpack(ours.recv(4))[0]
        assert decode_packet(ours.recv(length)) == Packet(PacketType.CMD_REQUEST, "version")
        ours.sendall(encode_packet(Packet(PacketType.CMD_RESPONSE, message={"a": "b"})))
        answer = vici.protocol.Packet.parse(transport.receive())
        assert answer.response_type == PacketType.CMD_RESPONSE
