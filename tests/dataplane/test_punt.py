"""Punt records and replies, as a data plane that is not trusted may write them."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._native import ffi, lib
from gateway.dataplane import codec
from gateway.dataplane.channel import Reply, parse_record
from gateway.dataplane.control import ANSWER
from gateway.dataplane.interface import EncapKind, Punt, PuntType
from gateway.dataplane.punt import BATCH, make_record, parse_punt, read_punts
from gateway.errors import DataPlaneError
from tests.dataplane.values import PATH


def record(kind: int, data: bytes = b"", announced: int | None = None) -> bytes:
    header = ffi.new("struct gw_punt *")
    header.type, header.tunnel, header.spi = kind, 7, 0x1234
    header.length = len(data) if announced is None else announced
    codec.fill_path(header.path, PATH, EncapKind.UDP)
    return bytes(ffi.buffer(header)) + data


def reply(number: int, code: int = 0, content: bytes = b"") -> bytes:
    return make_record(lib.GW_PUNT_REPLY, ANSWER.pack(number, code, 0, len(content)) + content)


@pytest.mark.parametrize("kind", list(PuntType))
def test_every_type_of_punt_is_read(kind: PuntType) -> None:
    assert parse_punt(record(kind, b"data")) == Punt(kind, 7, 0x1234, PATH, b"data")


def test_punt_without_path() -> None:
    punt = parse_punt(make_record(PuntType.WORKER_FAILED, b"out of memory"))
    assert punt == Punt(PuntType.WORKER_FAILED, 0, 0, None, b"out of memory")


def test_cut_punt_is_refused_at_every_byte() -> None:
    whole = record(PuntType.IKE, b"x" * 20)
    for cut in range(len(whole)):
        with pytest.raises(DataPlaneError):
            parse_punt(whole[:cut])


def test_punt_with_trailing_bytes_is_refused() -> None:
    with pytest.raises(DataPlaneError, match="announces 4"):
        parse_punt(record(PuntType.IKE, b"data") + b"!")


@pytest.mark.parametrize("kind", [0, 9, 65535])
def test_unknown_type_of_punt_is_refused(kind: int) -> None:
    with pytest.raises(DataPlaneError, match=f"punt type {kind}"):
        parse_punt(record(kind))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_punt_or_refused(content: bytes) -> None:
    with contextlib.suppress(DataPlaneError):
        assert isinstance(parse_punt(content), Punt)


@given(st.binary(max_size=120))
def test_any_bytes_behind_a_header_are_a_record_or_refused(content: bytes) -> None:
    for kind in (lib.GW_PUNT_REPLY, PuntType.IKE):
        try:
            parse_record(memoryview(record(kind, content)), ())
        except DataPlaneError:
            assert kind == lib.GW_PUNT_REPLY


def test_reply_is_read() -> None:
    assert parse_record(memoryview(reply(9, -4, b"no")), (5,)) == Reply(9, -4, 0, b"no", (5,))


def test_cut_reply_is_refused_at_every_byte() -> None:
    whole = reply(9, 0, b"content")
    for cut in range(len(whole)):
        with pytest.raises(DataPlaneError):
            parse_record(memoryview(whole[:cut]), ())


def test_reply_that_lies_about_its_length_is_refused() -> None:
    lie = make_record(lib.GW_PUNT_REPLY, ANSWER.pack(1, 0, 0, 2) + b"abc")
    with pytest.raises(DataPlaneError, match="3 bytes announces 2"):
        parse_record(memoryview(lie), ())


def test_descriptor_with_a_punt_is_refused() -> None:
    with pytest.raises(DataPlaneError, match="with a descriptor"):
        parse_record(memoryview(record(PuntType.IKE)), (5,))


def test_read_punts_takes_what_waits_up_to_a_batch() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    got: list[Punt] = []
    with ours, theirs:
        ours.setblocking(False)
        for _ in range(BATCH + 3):
            theirs.send(record(PuntType.FIRST_INBOUND))
        assert [read_punts(ours, got.append) for _ in range(3)] == [BATCH, 3, 0]
    assert len(got) == BATCH + 3
