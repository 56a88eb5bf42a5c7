"""scapy as the independent judge: it opens the ESP packets we seal, and we those it seals."""

from __future__ import annotations

import pytest

from gateway._native import lib
from tests.support.esp import (
    BACKENDS,
    CBC,
    GCM,
    SUITES,
    ScapySa,
    Suite,
    inbound,
    inner4,
    inner6,
    outbound,
)

PACKETS = [inner4(size) for size in (28, 45, 46, 47, 48, 1400)] + [inner6(100)]
HIGH = 5 << 32

suites = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
both_kinds = pytest.mark.parametrize("suite", [GCM, CBC], ids=lambda suite: suite.name)
backends = pytest.mark.parametrize("backend", BACKENDS)
with_esn = pytest.mark.parametrize("esn", [False, True], ids=["seq32", "esn"])
encapsulated = pytest.mark.parametrize("udp", [False, True], ids=["esp", "udp"])


@suites
@backends
@with_esn
@encapsulated
def test_scapy_opens_what_we_seal(suite: Suite, backend: int, esn: bool, udp: bool) -> None:
    seal, judge = outbound(suite, esn=esn, backend=backend), ScapySa(suite, esn=esn, udp=udp)
    for seq, packet in enumerate(PACKETS, HIGH + 1 if esn else 1):
        assert judge.open(seq, seal.seal(seq, packet)) == packet


@suites
@backends
@with_esn
@encapsulated
def test_we_open_what_scapy_seals(suite: Suite, backend: int, esn: bool, udp: bool) -> None:
    opener, judge = inbound(suite, esn=esn, backend=backend), ScapySa(suite, esn=esn, udp=udp)
    for seq, packet in enumerate(PACKETS, 1):
        opened = opener.open(judge.seal(seq, packet))
        assert (opened.err, opened.inner) == (lib.GW_OK, packet)


@suites
@backends
def test_scapy_seals_over_the_esn_wrap(suite: Suite, backend: int) -> None:
    opener, judge = inbound(suite, esn=True, backend=backend), ScapySa(suite, esn=True)
    # scapy cannot be told to send a low half of 0.
    for seq in [(1 << 32) - 2, (1 << 32) - 1, (1 << 32) + 1, (1 << 32) + 2]:
        assert opener.open(judge.seal(seq, PACKETS[0])).err == lib.GW_OK


@both_kinds
@backends
@with_esn
def test_a_lying_trailer_with_a_right_icv_is_refused(suite: Suite, backend: int, esn: bool) -> None:
    opener, judge = inbound(suite, esn=esn, backend=backend), ScapySa(suite, esn=esn)
    lies = [
        (bytes(30), b"", 31),  # longer than the whole text
        (bytes(30), b"", 255),
        (bytes(28), bytes([1, 2]), 3),  # one byte too many
        (bytes(28), bytes([2, 1]), 2),  # not 1, 2
        (bytes(28), bytes(2), 2),
        (bytes(15), bytes(range(1, 15)) + b"\x01", 15),
    ]
    for seq, (data, padding, pad_len) in enumerate(lies, 1):
        packet = judge.seal_text(seq, data, padding, pad_len, 4)
        opened = opener.open(packet)
        assert (opened.err, opened.inner) == (lib.GW_E_PADDING, b""), (padding, pad_len)
        # Its ICV was right, so its number is used up.
        assert opener.open(packet).err == lib.GW_E_REPLAY


@both_kinds
@backends
def test_padding_up_to_255_bytes_is_accepted(suite: Suite, backend: int) -> None:
    opener, judge = inbound(suite, backend=backend), ScapySa(suite)
    inner = inner4(47)
    for seq, pad_len in enumerate((15, 63, 207, 255), 1):
        padding = bytes(i % 256 for i in range(1, pad_len + 1))
        packet = judge.seal_text(seq, inner, padding, pad_len, 4)
        assert opener.open(packet).inner == inner


@both_kinds
@backends
def test_a_dummy_packet_is_opened_as_nothing(suite: Suite, backend: int) -> None:
    opener, judge = inbound(suite, backend=backend), ScapySa(suite)
    opened = opener.open(judge.seal_text(1, bytes(62), b"", 0, 59))
    assert (opened.err, opened.inner, opened.next_header) == (lib.GW_OK, b"", 59)


@both_kinds
@backends
def test_the_trailers_next_header_is_reported_as_it_is(suite: Suite, backend: int) -> None:
    opener, judge = inbound(suite, backend=backend), ScapySa(suite)
    assert opener.open(judge.seal_text(1, bytes(62), b"", 0, 6)).next_header == 6
