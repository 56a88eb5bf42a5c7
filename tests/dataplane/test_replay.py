"""The anti-replay window (RFC 4303 section 3.4.3), through sealed packets of the native module."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._native import lib
from tests.support.esp import GCM, EspState, inbound, inner4, outbound

W = 64
PACKET = inner4(28)
MAX32 = (1 << 32) - 1


def verdict(seal: EspState, opener: EspState, seq: int) -> bool:
    """Seal and open one packet: was it accepted? Anything but GW_OK and GW_E_REPLAY fails."""
    err = opener.open(seal.seal(seq, PACKET)).err
    assert err in (lib.GW_OK, lib.GW_E_REPLAY)
    return bool(err == lib.GW_OK)


def test_table() -> None:
    seal, opener = outbound(GCM), inbound(GCM, window=W)
    table = [
        (1, True),
        (1, False),
        (9, True),
        (8, True),
        (W + 9, True),
        (9, False),  # just fell out
        (10, True),  # just inside
        (10, False),
        (MAX32, True),
        (MAX32, False),
        (MAX32 - W + 1, True),
        (MAX32 - W, False),
        (1, False),
    ]
    for row, (seq, accepted) in enumerate(table, 1):
        assert verdict(seal, opener, seq) == accepted, f"row {row}"


def test_sequence_number_zero_is_never_accepted() -> None:
    sealed = bytearray(outbound(GCM).seal(1, PACKET))
    sealed[4:8] = bytes(4)
    assert inbound(GCM).open(bytes(sealed)).err == lib.GW_E_REPLAY


def test_a_forged_number_far_ahead_does_not_move_the_window() -> None:
    seal, opener = outbound(GCM), inbound(GCM, window=W)
    forged = bytearray(seal.seal(1, PACKET))
    forged[4:8] = (1_000_000).to_bytes(4, "big")
    assert opener.open(bytes(forged)).err == lib.GW_E_ICV
    assert verdict(seal, opener, 1)


class PlainArray:
    """The window as the RFC's words say it: a set of all numbers accepted, and the highest."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._top = 0
        self._seen: set[int] = set()

    def accept(self, seq: int) -> bool:
        if seq in self._seen or seq + self._window <= self._top:
            return False
        self._seen.add(seq)
        self._top = max(self._top, seq)
        return True


@settings(max_examples=100, deadline=None)
@given(
    window=st.sampled_from([64, 65, 1000, 1024, 4096]),
    start=st.sampled_from([1, 5000, MAX32 - 9000]),
    steps=st.lists(
        st.one_of(st.integers(-70, 70), st.integers(-5000, 5000)), min_size=1, max_size=60
    ),
)
def test_as_a_plain_array(window: int, start: int, steps: list[int]) -> None:
    seal, opener = outbound(GCM), inbound(GCM, window=window)
    array = PlainArray(window)
    seq = start
    for step in steps:
        seq = min(max(seq + step, 1), MAX32)
        assert verdict(seal, opener, seq) == array.accept(seq)


@settings(max_examples=50, deadline=None)
@given(
    window=st.sampled_from([64, 1024]),
    steps=st.lists(st.integers(-30, 40), min_size=1, max_size=60),
)
@pytest.mark.parametrize("start", [(1 << 32) - 300, (7 << 32) - 300])
def test_as_a_plain_array_over_the_esn_wrap(start: int, window: int, steps: list[int]) -> None:
    seal, opener = outbound(GCM, esn=True), inbound(GCM, esn=True, window=window)
    # Without having lost 2^32 packets a receiver gets there only step by step.
    for seq in range(1 << 31, start, 1 << 31):
        assert verdict(seal, opener, seq)
    array = PlainArray(window)
    seq = top = start + 300
    assert verdict(seal, opener, seq) == array.accept(seq)
    for step in steps:
        # Never below the window: such a number reads as one of the next 2^32 (RFC 4303 A2.1).
        seq = max(seq + step, top - window + 1)
        top = max(seq, top)
        assert verdict(seal, opener, seq) == array.accept(seq)
