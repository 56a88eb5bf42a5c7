"""What `twinspan capture` writes, and what it refuses. Scapy is the judge of the file's form."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.pcap import pcapng
from gateway.cli.pcap.frames import VNET_HEADER, packets_of
from gateway.cli.pcap.session import KeyFiles
from gateway.cli.pcap.wireshark import key_line
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import Running
from tests.support.pcapng import packets_in

AT_NS = 1_795_000_000_123_456_789
ESP = {
    "kind": "esp",
    "source": "192.0.2.1",
    "destination": "2001:db8::1",
    "spi": "0x0000abcd",
    "encr": 20,
    "integ": 0,
    "encr_key": "00" * 36,
    "integ_key": "",
}
IKE = {
    "kind": "ike",
    **{"spi_i": "1" * 16, "spi_r": "2" * 16, "encr": 20, "key_bits": 256, "integ": 0},
    **{"sk_ei": "aa", "sk_er": "bb", "sk_ai": "", "sk_ar": ""},
}


def test_a_file_is_read_back_by_another_program() -> None:
    data = pcapng.section("twinspan capture", "VPN Tunnel office-1")
    data += pcapng.interface("eth0 (outer)", pcapng.ETHERNET)
    data += pcapng.interface("ts-office-1 (inner)", pcapng.RAW_IP)
    sent = [b"x" * size for size in (60, 61, 1514)]
    for number, packet in enumerate(sent):
        data += pcapng.packet(number % 2, AT_NS + number, packet, is_outbound=number > 0)
    found = packets_in(data)
    assert [packet for packet, _ in found] == sent
    assert [meta.linktype for _, meta in found] == [1, 101, 1]
    for number, (_, meta) in enumerate(found):
        assert (meta.tshigh << 32 | meta.tslow) == AT_NS + number
        assert meta.tsresol == 1_000_000_000
    # Every block has its length at both ends, a multiple of four.
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("=I", data, at + 4)
        assert length % 4 == 0
        assert struct.unpack_from("=I", data, at + length - 4) == (length,)
        at += length


def frame(packet: Packet, *, kind: int = 5, size: int = 100, link: bytes = b"") -> bytes:
    return VNET_HEADER.pack(0, kind, 0, size, 0, 0) + link + bytes(packet)


@pytest.mark.parametrize("link", [b"", b"d" * 12 + b"\x08\x00"])
def test_udp_segments_become_the_packets_that_were_on_the_wire(link: bytes) -> None:
    payload = bytes(range(250))
    whole = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=4500, dport=4500) / payload
    found = list(packets_of(frame(whole, link=link), has_ethernet=bool(link)))
    assert len(found) == 3
    for packet in found:
        assert packet.startswith(link)
        read = IP(packet[len(link) :])
        assert read.len == len(packet) - len(link)
        checksum, read.chksum = read.chksum, None
        assert IP(bytes(read)).chksum == checksum
        assert read[UDP].len == read.len - 20
    bodies = [bytes(IP(packet[len(link) :])[UDP].payload) for packet in found]
    assert [len(body) for body in bodies] == [100, 100, 50]
    assert b"".join(bodies) == payload


def test_udp_segments_over_ipv6() -> None:
    whole = IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1, dport=2) / bytes(150)
    first, second = (IPv6(one) for one in packets_of(frame(whole), has_ethernet=False))
    assert (first.plen, second.plen) == (108, 58)


@pytest.mark.parametrize(("kind", "size"), [(0, 0), (1, 1400), (5, 0)])
def test_what_is_no_segments_of_udp_stays_whole(kind: int, size: int) -> None:
    whole = IP() / UDP() / bytes(3000)
    assert list(packets_of(frame(whole, kind=kind, size=size), has_ethernet=False)) == [
        bytes(whole)
    ]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (
            ESP,
            (
                "esp_sa",
                '"IPv4","192.0.2.1","2001:db8::1","0x0000abcd",'
                f'"AES-GCM with 16 octet ICV [RFC4106]","0x{"00" * 36}","NULL",""',
            ),
        ),
        (
            {**ESP, "encr": 12, "integ": 12, "integ_key": "ff"},
            (
                "esp_sa",
                '"IPv4","192.0.2.1","2001:db8::1","0x0000abcd",'
                f'"AES-CBC [RFC3602]","0x{"00" * 36}","HMAC-SHA-256-128 [RFC4868]","0xff"',
            ),
        ),
        (
            IKE,
            (
                "ikev2_decryption_table",
                f"{'1' * 16},{'2' * 16},aa,bb,"
                '"AES-GCM-256 with 16 octet ICV [RFC5282]",,,"NONE [RFC4306]"',
            ),
        ),
        (
            {**IKE, "encr": 12, "key_bits": 128, "integ": 14, "sk_ai": "cc", "sk_ar": "dd"},
            (
                "ikev2_decryption_table",
                f"{'1' * 16},{'2' * 16},aa,bb,"
                '"AES-CBC-128 [RFC3602]",cc,dd,"HMAC_SHA2_512_256 [RFC4868]"',
            ),
        ),
        ({**IKE, "encr": 28}, None),  # Wireshark has no ChaCha20 for IKE
    ],
)
def test_keys_are_written_as_wireshark_reads_them(
    key: dict[str, object], line: tuple[str, str] | None
) -> None:
    assert key_line(key) == line


def test_key_files_are_their_owners_alone_and_hold_each_key_once(tmp_path: Path) -> None:
    directory = tmp_path / "x.keys"
    files = KeyFiles(directory)
    assert [files.add(key) for key in (ESP, ESP, {**IKE, "encr": 28}, IKE)] == [
        *(True, False, False, True)
    ]
    assert (directory / "esp_sa").read_text().count("\n") == 1
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
    with pytest.raises(FileExistsError):
        KeyFiles(directory)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        with process.gateway(tmp_path_factory.mktemp("gw"), "--in-process") as one:
            yield one


def capture(running: Running, *words: str) -> Result:
    environment = {"TWINSPAN_RUNTIME_DIR": str(running.place)}
    return CliRunner().invoke(app, ["capture", *words], env=environment)


@pytest.mark.system
@pytest.mark.parametrize(
    ("tunnel", "said"),
    [("offcie-1", "no tunnel is named 'offcie-1'"), ("office-1", "no route to 203.0.113.9")],
)
def test_what_can_not_be_captured_leaves_no_file(
    running: Running, tmp_path: Path, tunnel: str, said: str
) -> None:
    file = tmp_path / "x.pcapng"
    refused = capture(running, tunnel, str(file), "--with-keys")
    assert refused.exit_code == 1
    assert said in refused.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.system
def test_no_file_is_replaced(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    file.write_text("mine")
    refused = capture(running, "office-1", str(file))
    assert refused.exit_code == 1
    assert "File exists" in refused.output
    assert file.read_text() == "mine"
