"""
What strangers send to a live daemon: malformed IKE, wrong ESP. It stays alive and counts.

    host a --- gw a (twinspan) ==== wan1 ==== gw b (strongSwan, and the stranger) --- host b
"""

from __future__ import annotations

import random
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import rdpcap

from lab import probe
from lab.commands import wait_for
from tests.system.support import (
    FIRST,
    Ends,
    assert_nothing_lost,
    counters,
    drops,
    inject,
    reach_each_other,
)

pytestmark = pytest.mark.system

OURS, STRANGER = "192.0.2.1", "192.0.2.66"
SPI = bytes(range(1, 9))
MARKER = bytes(4)


@pytest.fixture(scope="module")
def up(ends: Ends) -> Iterator[Ends]:
    """Return the ends with tunnel 1 up for the whole module."""
    ends.agree([ends.connection()], {"start": "initiate"})
    ends.ours.wait_up()
    yield ends
    reach_each_other(ends.pair)


def _udp(data: bytes, port: int = 500, source: str = STRANGER, source_port: int = 0) -> bytes:
    header = IP(src=source, dst=OURS) / UDP(sport=source_port or port, dport=port)
    return bytes(header / Raw(data))


def _header(
    *,
    spi_i: bytes = SPI,
    spi_r: bytes = bytes(8),
    first: int = 33,
    version: int = 0x20,
    exchange: int = 34,
    flags: int = 0x08,
    message_id: int = 0,
    length: int = 28,
) -> bytes:
    words = struct.pack("!BBBBLL", first, version, exchange, flags, message_id, length)
    return spi_i + spi_r + words


def _message(body: bytes, **fields: int) -> bytes:
    return _header(length=28 + len(body), **fields) + body  # type: ignore[arg-type]  # no SPI given


@dataclass(frozen=True, slots=True)
class Bad:
    """A datagram to port 500 that must be dropped or answered, and never believed."""

    name: str
    data: bytes


BAD_IKE = [
    Bad("nothing", b""),
    Bad("one byte", b"\x00"),
    Bad("header cut short", _header()[:27]),
    Bad("header alone", _header()),
    Bad("length too long", _header(length=29)),
    Bad("length too short", _header(length=27) + b"x"),
    Bad("length of four gigabytes", _header(length=0xFFFFFFFF)),
    Bad("initiator SPI zero", _header(spi_i=bytes(8))),
    Bad("version 1", _header(version=0x10)),
    Bad("version 3", _header(version=0x30)),
    Bad("unknown exchange", _header(exchange=200)),
    Bad("response to nothing", _header(flags=0x20)),
    Bad("payload of length zero", _message(bytes(4))),
    Bad("payload of length three", _message(b"\x00\x00\x00\x03")),
    Bad("payload longer than the message", _message(b"\x00\x00\xff\xff")),
    Bad("three hundred empty payloads", _message(b"\x2b\x00\x00\x04" * 300)),
    Bad("unknown critical payload", _message(b"\x00\x80\x00\x04", first=200)),
    Bad("proposal count without proposals", _message(b"\x00\x00\x00\x08\x02\x00\x00\x08")),
    Bad("key exchange of no bytes", _message(b"\x00\x00\x00\x08\x00\x1f\x00\x00", first=34)),
    Bad("sealed, unknown SPI", _message(b"\0\0\0\x24" + bytes(32), first=46, exchange=35)),
    Bad("fragment 0 of 0", _message(b"\0\0\0\x28" + bytes(36), first=53, exchange=35)),
]


@pytest.mark.parametrize("bad", BAD_IKE, ids=lambda bad: bad.name)
@pytest.mark.parametrize("port", [500, 4500])
def test_malformed_ike_changes_nothing(up: Ends, bad: Bad, port: int) -> None:
    spis, before = up.ours.tunnels()[FIRST].spis, drops(up.ours)
    data = bad.data if port == 500 else MARKER + bad.data
    inject(up.pair.b.gateway, [_udp(data, port)])
    wait_for("it to be counted", lambda: drops(up.ours) > before, 5.0, 0.1)
    assert drops(up.ours) == before + 1
    assert up.ours.tunnels()[FIRST].spis == spis
    assert up.ours.is_alive


@pytest.mark.alone
def test_a_storm_of_noise_stops_no_traffic(up: Ends) -> None:
    noise = random.Random(2026)
    running = probe.start(up.pair.a.host, up.pair.b.host, up.pair.b.host4)
    before = drops(up.ours)
    packets = [
        _udp(noise.randbytes(noise.randrange(1, 600)), noise.choice((500, 4500)))
        for _ in range(3000)
    ]
    inject(up.pair.b.gateway, packets)
    wait_for("most to be counted", lambda: drops(up.ours) > before + 1000, 10.0)
    assert_nothing_lost(running.stop())


@pytest.mark.alone
def test_half_open_requests_from_many_addresses_stop_no_handshake(up: Ends) -> None:
    """Two thousand IKE_SA_INIT of strangers that never go on; strongSwan still gets its rekey."""
    noise = random.Random(7)
    nonce = b"\x00\x00\x00\x14" + bytes(16)
    packets = [
        _udp(
            _message(b"\x28\x00\x00\x04" + nonce),
            source=f"192.0.2.{noise.randrange(10, 250)}",
            source_port=noise.randrange(1024, 65536),
        )
        for _ in range(2000)
    ]
    inject(up.pair.b.gateway, packets)
    spis = up.ours.tunnels()[FIRST].spis
    up.swan.rekey_child(FIRST)
    wait_for("the rekey", lambda: up.ours.tunnels()[FIRST].spis != spis, 10.0)
    reach_each_other(up.pair)


def _esp_of_strongswan(ends: Ends) -> bytes:
    """Return one ESP datagram (UDP payload) that strongSwan has just sent to us."""
    file = ends.lab.directory / "esp.pcap"
    words = ("-i", "wan1", "-c", "1", "-U", "--immediate-mode", "-w", str(file))
    dump = ends.pair.b.gateway.start(
        "tcpdump", "tcpdump", *words, f"dst {OURS} and udp dst port 4500 and greater 100"
    )
    wait_for("tcpdump", lambda: "listening" in dump.log.read_text(), 5.0)
    reach_each_other(ends.pair)
    dump.wait(5.0)
    dump.child.send_signal(signal.SIGINT)
    return bytes(rdpcap(str(file))[0][UDP].payload)


def _counted(ends: Ends, name: str, datagram: bytes, source: str = "192.0.2.2") -> int:
    before = counters(ends.ours).get(f"drops.{name}", 0)
    inject(ends.pair.b.gateway, [_udp(datagram, 4500, source)])
    wait_for(name, lambda: counters(ends.ours).get(f"drops.{name}", 0) > before, 5.0, 0.1)
    return counters(ends.ours)[f"drops.{name}"] - before


def test_wrong_esp_is_dropped_each_under_its_reason(up: Ends) -> None:
    good = _esp_of_strongswan(up)
    spis = up.ours.tunnels()[FIRST].spis
    before = up.ours.tunnels()[FIRST].in_packets
    later = good[:4] + struct.pack("!L", struct.unpack("!L", good[4:8])[0] + 500) + good[8:]
    flipped = later[:-1] + bytes([later[-1] ^ 1])
    unknown = b"\xfe\xdc\xba\x98" + good[4:]
    assert _counted(up, "replay", good) == 1
    assert _counted(up, "icv", flipped) == 1
    assert _counted(up, "unknown_spi", unknown) == 1
    assert _counted(up, "esp_short", good[:20]) == 1
    assert _counted(up, "marker_short", b"abc") == 1
    assert _counted(up, "keepalive", b"\xff") == 1
    assert up.ours.tunnels()[FIRST].in_packets == before
    assert up.ours.tunnels()[FIRST].spis[-1] == spis[-1]
    # A forged sequence number far ahead must not have moved the window.
    reach_each_other(up.pair)


def test_a_forged_source_does_not_move_the_path(up: Ends) -> None:
    """A replayed or forged packet from another address is no reason to send there."""
    good = _esp_of_strongswan(up)
    assert _counted(up, "replay", good, source=STRANGER) == 1
    reach_each_other(up.pair)
