"""The cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import WireError
from gateway.ike.wire import Reader


def test_numbers_are_big_endian_and_follow_each_other() -> None:
    reader = Reader(bytes(range(1, 17)))
    assert reader.u8("a") == 0x01
    assert reader.u16("b") == 0x0203
    assert reader.u32("c") == 0x04050607
    assert reader.u64("d") == 0x08090A0B0C0D0E0F
    assert reader.left == 1
    assert reader.rest() == b"\x10"
    assert reader.rest() == b""


def test_reading_past_the_end_names_the_field_and_keeps_the_place() -> None:
    reader = Reader(b"ab")
    with pytest.raises(WireError, match="SPI: need 4 bytes, have 2"):
        reader.take(4, "SPI")
    assert reader.take(2, "SPI") == b"ab"


def test_a_negative_count_is_refused() -> None:
    reader = Reader(b"abcd")
    with pytest.raises(WireError, match="need -1"):
        reader.take(-1, "body")
    with pytest.raises(WireError, match="need -4"):
        reader.sub(-4, "body")


def test_a_sub_reader_ends_where_it_should() -> None:
    reader = Reader(b"abcdef")
    inner = reader.sub(4, "inner")
    assert inner.take(4, "all") == b"abcd"
    with pytest.raises(WireError, match="more"):
        inner.u8("more")
    assert reader.rest() == b"ef"


def test_end_refuses_what_is_left() -> None:
    reader = Reader(b"ab")
    with pytest.raises(WireError, match="message: 2 trailing bytes"):
        reader.end("message")
    reader.rest()
    reader.end("message")


@given(st.binary(max_size=40), st.lists(st.integers(-3, 20), max_size=10))
def test_pieces_are_a_prefix_of_the_data(data: bytes, counts: list[int]) -> None:
    reader = Reader(data)
    pieces = b""
    for count in counts:
        if 0 <= count <= reader.left:
            pieces += reader.take(count, "piece")
        else:
            with pytest.raises(WireError):
                reader.take(count, "piece")
    assert pieces + reader.rest() == data
