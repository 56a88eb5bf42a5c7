"""MTU and MSS: the table AWS publishes for an outer MTU of 1500, and packets built byte by byte."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway._native import lib
from gateway.dataplane.interface import EncapKind
from gateway.ike.config import Encap
from gateway.node.mtu import InnerMtu, inner_mtu, room_inside, tcp_mss
from gateway.node.plan import TunnelPlan, plan
from gateway.sa import Encr, Integ
from tests.support.documents import FIRST, document

GCM, CHACHA, CBC = Encr.AES_GCM_16, Encr.CHACHA20_POLY1305, Encr.AES_CBC
NONE, SHA256 = Integ.NONE, Integ.HMAC_SHA2_256_128
SHA384, SHA512 = Integ.HMAC_SHA2_384_192, Integ.HMAC_SHA2_512_256
ESP, UDP = EncapKind.ESP, EncapKind.UDP

# AWS Site-to-Site VPN user guide, "maximum transmission unit": suite, encapsulation, MTU, MSS over
# IPv4, MSS over IPv6; outer IPv4 of 1500 bytes.
AWS = [
    (GCM, NONE, ESP, 1446, 1406, 1386),
    (GCM, NONE, UDP, 1438, 1398, 1378),
    (CBC, SHA256, ESP, 1438, 1398, 1378),
    (CBC, SHA256, UDP, 1422, 1382, 1362),
    (CBC, SHA384, ESP, 1422, 1382, 1362),
    (CBC, SHA384, UDP, 1422, 1382, 1362),
    (CBC, SHA512, ESP, 1422, 1382, 1362),
    (CBC, SHA512, UDP, 1406, 1366, 1346),
]
SUITES = [(GCM, NONE), (CHACHA, NONE), (CBC, SHA256), (CBC, SHA384), (CBC, SHA512)]


@dataclass(frozen=True, slots=True)
class Child:
    encr: Encr
    integ: Integ
    udp_encap: bool


def tunnel(*edits: tuple[str, object]) -> TunnelPlan:
    return plan(document(*(((*FIRST, key), value) for key, value in edits))).tunnels[0]


def wire_len(encr: Encr, integ: Integ, inner: int) -> int:
    """Return the length of an ESP packet, SPI to ICV, built as RFC 4303 section 2 draws it."""
    packet = bytes(4) + bytes(4)  # SPI, sequence number
    packet += bytes(16 if encr is CBC else 8)  # IV: RFC 3602, RFC 4106, RFC 7634
    body = bytes(inner)
    while (len(body) + 2) % (16 if encr is CBC else 4):
        body += b"\0"
    icv = {NONE: 128, SHA256: 128, SHA384: 192, SHA512: 256}[integ] // 8  # RFC 4868
    return len(packet + body + bytes(2) + bytes(icv))


@pytest.mark.parametrize(("encr", "integ", "encap", "mtu", "mss4", "mss6"), AWS)
def test_published_table(
    encr: Encr, integ: Integ, encap: EncapKind, mtu: int, mss4: int, mss6: int
) -> None:
    child = Child(encr, integ, encap is UDP)
    assert room_inside(encr, integ, encap, 4, 1500) == mtu
    assert inner_mtu(tunnel(), child, 1500) == InnerMtu(mtu, mss4, mss6)


@given(
    st.sampled_from(SUITES),
    st.sampled_from([ESP, UDP]),
    st.sampled_from([4, 6]),
    st.integers(700, 9500),
)
def test_largest_packet_fits_and_one_byte_more_does_not(
    suite: tuple[Encr, Integ], encap: EncapKind, version: int, outer: int
) -> None:
    around = {4: 20, 6: 40}[version] + (8 if encap is UDP else 0)
    mtu = room_inside(*suite, encap, version, outer)
    assert around + wire_len(*suite, mtu) <= outer
    assert around + wire_len(*suite, mtu + 1) > outer


@pytest.mark.parametrize(("encr", "integ"), SUITES)
@pytest.mark.parametrize("outer", [1280, 1460, 1500, 9000])
def test_the_fast_path_adds_what_is_reckoned_with(encr: Encr, integ: Integ, outer: int) -> None:
    mtu = room_inside(encr, integ, ESP, 4, outer)
    assert 20 + mtu + lib.gw_esp_overhead(encr, integ, mtu) <= outer
    assert 20 + mtu + 1 + lib.gw_esp_overhead(encr, integ, mtu + 1) > outer


def test_without_a_child_sa_the_smallest_possible_room_holds() -> None:
    assert inner_mtu(tunnel(), None, 1500).mtu == 1422  # aes256-sha256 in UDP is in our list
    only_gcm = tunnel(("esp_proposals", ["aes256gcm16"]))
    assert inner_mtu(only_gcm, None, 1500).mtu == 1438
    raw = replace(only_gcm, ike=replace(only_gcm.ike, encap=Encap.NEVER))
    assert inner_mtu(raw, None, 1500).mtu == 1446


def test_the_plan_makes_the_mtu_smaller_but_never_larger() -> None:
    child = Child(GCM, NONE, True)
    assert inner_mtu(tunnel(("mtu", 1300)), child, 1500) == InnerMtu(1300, 1260, 1240)
    assert inner_mtu(tunnel(("mtu", 1500)), child, 1500).mtu == 1438


def test_a_path_that_is_too_narrow_leaves_the_least() -> None:
    assert inner_mtu(tunnel(), Child(CBC, SHA512, True), 600).mtu == 576
    assert room_inside(CBC, SHA512, UDP, 6, 60) < 0


def test_outer_ipv6_costs_twenty_bytes_more() -> None:
    assert room_inside(GCM, NONE, UDP, 6, 1500) == 1418
    assert tcp_mss(1418, 6) == 1358
