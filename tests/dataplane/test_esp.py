"""ESP tunnel mode through the pure functions of the native module (RFC 4303)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway._native import ffi, lib
from gateway.sa import Encr, Integ
from tests.support.esp import (
    BACKENDS,
    BY_NAME,
    CBC,
    GCM,
    SPI,
    SUITES,
    EspState,
    Suite,
    fill_sa,
    inbound,
    inner4,
    inner6,
    outbound,
    try_new,
)

RECORDED = sorted((Path(__file__).parents[1] / "vectors" / "strongswan").glob("*.json"))
INNER_SIZES = [28, 29, 30, 31, 32, 63, 64, 65, 1400, 9000]

suites = pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
both_ends = pytest.mark.parametrize("suite", [GCM, CBC], ids=lambda suite: suite.name)
backends = pytest.mark.parametrize("backend", BACKENDS)
with_esn = pytest.mark.parametrize("esn", [False, True], ids=["seq32", "esn"])


@suites
@backends
@with_esn
def test_what_is_sealed_is_opened(suite: Suite, backend: int, esn: bool) -> None:
    seal, opener = outbound(suite, esn=esn, backend=backend), inbound(suite, esn=esn)
    packets = [inner4(size) for size in INNER_SIZES] + [inner6(1280)]
    for seq, packet in enumerate(packets, 1):
        sealed = seal.seal(seq, packet)
        assert sealed[:8] == SPI.to_bytes(4, "big") + seq.to_bytes(4, "big")
        assert packet[20:] not in sealed
        opened = opener.open(sealed)
        assert (opened.err, opened.inner) == (lib.GW_OK, packet)
        assert opened.next_header == (4 if packet[0] >> 4 == 4 else 41)


@suites
def test_overhead_is_what_sealing_adds(suite: Suite) -> None:
    seal = outbound(suite)
    for size in INNER_SIZES:
        overhead = len(seal.seal(size, inner4(size))) - size
        assert lib.gw_esp_overhead(suite.encr, suite.integ, size) == overhead
        frame = 8 + suite.iv_len + 2 + suite.icv_len
        assert frame <= overhead < frame + suite.block


def test_rfc_7634_appendix_a() -> None:
    suite = BY_NAME["chacha20poly1305"]
    key = bytes(range(0x80, 0xA0)) + bytes.fromhex("a0a1a2a3")
    packet = bytes.fromhex(
        "01020304000000051011121314151617"
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6"
        "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3"
        "cbec163fac469b502773f6fb94e664da9165b82829f641e0"
        "76aaa8266b7fb0f7b11b369907e1ad43"
    )
    inner = bytes.fromhex(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10"
        "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
        "2425262728292a2b2c2d2e2f3031323334353637"
    )
    for backend in BACKENDS:
        err, state = try_new(fill_sa(suite, encr_key=key, backend=backend), False)
        assert err == lib.GW_OK
        opened = state.open(packet)
        assert (opened.err, opened.inner, opened.next_header) == (lib.GW_OK, inner, 4)


def recorded_states(record: dict[str, list[dict[str, str]]], backend: int) -> list[list[EspState]]:
    """Return the inbound states of both recorded Child SAs: [first, rekeyed][from a, from b]."""
    keys: dict[str, list[bytes]] = {}
    for secret in record["secrets"]:
        keys.setdefault(secret["label"], []).append(bytes.fromhex(secret["hex"]))
    spis = list(dict.fromkeys(int(packet["udp"][:8], 16) for packet in recorded_esp(record)))
    states = []
    for child in (0, 1):
        pair = []
        for side, spi in zip(("initiator", "responder"), spis[2 * child :], strict=False):
            encr_key = keys[f"encryption {side} key"][child]
            integ_key = keys.get(f"integrity {side} key", [b"", b""])[child]
            name = str(record["esp_proposal"])
            suite = next(s for s in SUITES if name.startswith(s.name))
            sa = fill_sa(suite, spi=spi, encr_key=encr_key, integ_key=integ_key, backend=backend)
            err, state = try_new(sa, False)
            assert err == lib.GW_OK
            pair.append(state)
        states.append(pair)
    return states


def recorded_esp(record: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    """Return the ESP packets of a recording: on port 4500, without the non-ESP marker."""
    return [
        packet
        for packet in record["packets"]
        if int(packet["sport"]) == 4500 and not packet["udp"].startswith("00000000")
    ]


@backends
@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_strongswan_packets_open(path: Path, backend: int) -> None:
    record = json.loads(path.read_text())
    first, rekeyed = recorded_states(record, backend)
    packets = recorded_esp(record)
    assert len(packets) == 8
    for number, packet in enumerate(packets):
        state = (first if number < 4 else rekeyed)["ab".index(packet["from"])]
        datagram = bytes.fromhex(packet["udp"])
        opened = state.open(datagram)
        assert opened.err == lib.GW_OK
        # An echo request or reply of ping: the IP header's length is the packet's.
        six = path.stem.startswith("ipv6")
        assert opened.next_header == (41 if six else 4)
        length = int.from_bytes(opened.inner[4:6] if six else opened.inner[2:4], "big")
        assert length + (40 if six else 0) == len(opened.inner)
        assert state.open(datagram).err == lib.GW_E_REPLAY


def test_recordings_are_there() -> None:
    assert len(RECORDED) == 13


@both_ends
@backends
def test_a_packet_cut_at_any_byte_is_refused(suite: Suite, backend: int) -> None:
    opener = inbound(suite, backend=backend)
    sealed = outbound(suite).seal(1, inner4(80))
    shortest = 8 + suite.iv_len + suite.block + suite.icv_len
    for size in range(len(sealed)):
        err = opener.open(sealed[:size]).err
        whole_blocks = size >= shortest and (size - shortest) % suite.block == 0
        assert err == (lib.GW_E_ICV if whole_blocks else lib.GW_E_SHORT)
    assert opener.open(sealed + b"\0").err == lib.GW_E_SHORT
    assert opener.open(sealed + bytes(suite.block)).err == lib.GW_E_ICV
    assert opener.open(sealed).err == lib.GW_OK


@suites
@backends
@with_esn
def test_a_change_of_any_byte_is_noticed(suite: Suite, backend: int, esn: bool) -> None:
    opener = inbound(suite, esn=esn, backend=backend)
    packet = inner4(60)
    sealed = outbound(suite, esn=esn).seal(7, packet)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1 << (place % 8)
        opened = opener.open(bytes(changed))
        assert opened.err == (lib.GW_E_NOENT if place < 4 else lib.GW_E_ICV), place
        assert opened.inner == b""
    # None of them moved the window or harmed the state.
    assert opener.open(sealed).inner == packet


@suites
@backends
def test_a_replayed_packet_is_refused_before_it_is_opened(suite: Suite, backend: int) -> None:
    opener = inbound(suite, backend=backend)
    sealed = outbound(suite).seal(7, inner4(60))
    assert opener.open(sealed).err == lib.GW_OK
    assert opener.open(sealed).err == lib.GW_E_REPLAY
    wrong_icv = sealed[:-1] + bytes([sealed[-1] ^ 1])
    assert opener.open(wrong_icv).err == lib.GW_E_REPLAY


@suites
@backends
def test_esn_goes_on_over_two_to_the_32(suite: Suite, backend: int) -> None:
    seal, opener = outbound(suite, esn=True, backend=backend), inbound(suite, esn=True)
    wrap = 1 << 32
    order = [wrap - 4, wrap - 2, wrap, wrap - 1, wrap + 3, wrap - 3, wrap + 1, wrap + 1000]
    for seq in order:
        sealed = seal.seal(seq, inner4(40))
        assert sealed[4:8] == (seq % wrap).to_bytes(4, "big")
        assert opener.open(sealed).err == lib.GW_OK, seq
    for seq in order[3:]:
        assert opener.open(seal.seal(seq, inner4(40))).err == lib.GW_E_REPLAY
    # Below the window the low half can only stand for the next 2^32: its ICV is then wrong.
    assert opener.open(seal.seal(wrap - 500, inner4(40))).err == lib.GW_E_ICV


def test_without_esn_the_sequence_number_ends_at_32_bits() -> None:
    seal = outbound(GCM)
    assert seal.try_seal((1 << 32) - 1, inner4(40))[0] == lib.GW_OK
    assert seal.try_seal(1 << 32, inner4(40)) == (lib.GW_E_LIMIT, b"")
    assert outbound(GCM, esn=True).try_seal((1 << 64) - 1, inner4(40))[0] == lib.GW_OK


@both_ends
def test_an_output_buffer_too_small_is_refused_and_nothing_moves(suite: Suite) -> None:
    seal, opener = outbound(suite), inbound(suite)
    packet = inner4(100)
    sealed = seal.seal(1, packet)
    assert seal.try_seal(1, packet, len(sealed) - 1) == (lib.GW_E_SPACE, b"")
    assert seal.try_seal(1, packet, len(sealed))[0] == lib.GW_OK
    assert opener.open(sealed, 99).err == lib.GW_E_SPACE
    longest = len(sealed) - 8 - suite.iv_len - 2 - suite.icv_len
    assert opener.open(sealed, longest - 1).err == lib.GW_E_SPACE
    assert opener.open(sealed, longest).inner == packet


def test_arguments_that_break_the_contract_are_refused() -> None:
    seal, opener = outbound(GCM), inbound(GCM)
    packet = inner4(40)
    assert seal.try_seal(0, packet)[0] == lib.GW_E_INVALID
    assert opener.try_seal(1, packet)[0] == lib.GW_E_INVALID
    assert seal.open(seal.seal(1, packet)).err == lib.GW_E_INVALID
    assert seal.try_seal(1, b"")[0] == lib.GW_E_INVALID
    assert seal.try_seal(1, b"\x51" * 40)[0] == lib.GW_E_INVALID
    assert seal.try_seal(1, b"\x45" * 65535)[0] == lib.GW_E_INVALID


def test_the_longest_packet() -> None:
    for backend in BACKENDS:
        for suite in (GCM, CBC):
            packet = inner4(65535 - 8 - suite.iv_len - suite.icv_len - 32)
            sealed = outbound(suite, backend=backend).seal(1, packet)
            assert inbound(suite, backend=backend).open(sealed).inner == packet


@pytest.mark.parametrize(
    ("change", "err"),
    [
        ({"spi": 255}, lib.GW_E_INVALID),
        ({"window": 63}, lib.GW_E_INVALID),
        ({"window": 4097}, lib.GW_E_INVALID),
        ({"backend": 3}, lib.GW_E_INVALID),
        ({"encr_key": b""}, lib.GW_E_INVALID),
        ({"integ_key": bytes(32)}, lib.GW_E_INVALID),
        ({"encr_key": bytes(35)}, lib.GW_E_UNSUPPORTED),
    ],
)
def test_an_sa_that_cannot_be_is_refused(change: dict[str, int], err: int) -> None:
    result, state = try_new(fill_sa(GCM, **change), False)  # type: ignore[arg-type]  # one key each
    assert result == err
    assert state.pointer == ffi.NULL


def test_an_unknown_suite_is_unsupported() -> None:
    sa = fill_sa(GCM)
    sa.encr = 3
    assert try_new(sa, True)[0] == lib.GW_E_UNSUPPORTED
    assert lib.gw_backend_name(3, 0, 24, lib.GW_BACKEND_BEST) == ffi.NULL
    assert lib.gw_esp_overhead(3, 0, 100) == 0


def test_the_best_back_end_is_the_fastest_present() -> None:
    names = {lib.GW_BACKEND_OPENSSL: b"openssl", lib.GW_BACKEND_IPSECMB: b"ipsecmb"}
    best = lib.gw_backend_name(Encr.AES_GCM_16, Integ.NONE, 36, lib.GW_BACKEND_BEST)
    assert ffi.string(best) == names[BACKENDS[-1]]
    for backend in BACKENDS:
        name = lib.gw_backend_name(Encr.AES_CBC, Integ.HMAC_SHA2_256_128, 32, backend)
        assert ffi.string(name) == names[backend]


@both_ends
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(suite: Suite, data: bytes) -> None:
    packet = SPI.to_bytes(4, "big") + data
    expected = {lib.GW_E_SHORT, lib.GW_E_ICV, lib.GW_E_REPLAY}
    assert inbound(suite).open(packet).err in expected
    assert inbound(suite, esn=True).open(packet).err in expected


@settings(max_examples=100, deadline=None)
@given(
    suite=st.sampled_from(SUITES),
    backend=st.sampled_from(BACKENDS),
    seq=st.integers(1, (1 << 32) - 1),
    payload=st.binary(max_size=3000),
)
def test_any_packet_comes_back(suite: Suite, backend: int, seq: int, payload: bytes) -> None:
    packet = b"\x60" + payload
    sealed = outbound(suite, backend=backend).seal(seq, packet)
    opened = inbound(suite).open(sealed)
    assert (opened.err, opened.inner, opened.next_header) == (lib.GW_OK, packet, 41)


def test_bench_measures_and_refuses_what_it_cannot() -> None:
    ns = ffi.new("double *")
    for seal in (False, True):
        for library in (False, True):
            assert lib.gw_esp_bench(fill_sa(CBC), seal, library, 500, 32, ns) == lib.GW_OK
            assert 1 < ns[0] < 1e6
    assert lib.gw_esp_bench(fill_sa(GCM), True, False, 0, 32, ns) == lib.GW_E_INVALID
    assert lib.gw_esp_bench(fill_sa(GCM), True, False, 65535, 32, ns) == lib.GW_E_INVALID
    assert lib.gw_esp_bench(fill_sa(GCM), True, False, 500, 0, ns) == lib.GW_E_INVALID
