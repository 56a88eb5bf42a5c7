"""
A capture of a tunnel with its keys, opened by others: scapy for ESP, `cryptography` for IKE, and
Debian's tshark for both.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether

from gateway.cli.pcap.wireshark import OPTIONS
from lab import iperf, searched, twins
from lab.commands import Process, run, start, wait_for
from lab.netns import Lab
from lab.twins import Twins
from lab.twinspan import ROOT
from tests.support.pcapng import packets_in
from tests.system.support import FIRST, ping

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def made(lab: Lab) -> Twins:
    return twins.build(lab, None, {"esp_proposals": ["aes256gcm16-x25519-noesn"]})


def begun(made: Twins, file: Path, *options: str) -> Process:
    """Begin a capture at site a; return when it runs."""
    argv = [str(ROOT / ".venv/bin/twinspan"), "capture", FIRST, str(file), *options]
    log = made.a.directory / f"{file.stem}.log"
    process = start([*argv, "--runtime-dir", str(made.a.directory)], log)
    wait_for("the capture", lambda: "capturing" in log.read_text(), 15.0)
    return process


def packets(file: Path) -> tuple[list[bytes], list[bytes]]:
    """Return the packets outside and inside."""
    found = packets_in(file.read_bytes())
    outer = [data for data, meta in found if meta.linktype == 1]
    return outer, [data for data, meta in found if meta.linktype == 101]


def sas(directory: Path) -> dict[int, Any]:
    make: Any = SecurityAssociation
    found = {}
    for row in csv.reader((directory / "esp_sa").read_text().splitlines()):
        spi, key = int(row[3], 16), bytes.fromhex(row[5][2:])
        found[spi] = make(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=key)
    return found


def opened(outer: list[bytes], keys: dict[int, Any]) -> Iterator[IP]:
    """Yield what is inside the ESP packets whose keys there are."""
    for data in outer:
        packet = IP(data[14:])
        body = bytes(packet[UDP].payload) if UDP in packet else b""
        if UDP not in packet or packet[UDP].dport != 4500 or body[:4] == bytes(4) or len(body) < 8:
            continue
        sealed = IP(src=packet.src, dst=packet.dst, proto=50) / ESP(body)
        spi = sealed[ESP].spi
        if spi in keys:
            yield keys[spi].decrypt(sealed)


def test_with_its_keys_others_read_a_capture_outside_as_inside(made: Twins, tmp_path: Path) -> None:
    file = tmp_path / "all.pcapng"
    process = begun(made, file, "--seconds", "0", "--with-keys", "--packets", "2000")
    keys = tmp_path / "all.pcapng.keys"
    wait_for("the keys", lambda: (keys / "esp_sa").exists(), 10.0)
    assert ping(made.pair.a.host, made.pair.b.host4)
    iperf.measure(made.pair.a.host, made.pair.b.host, made.pair.b.host4, seconds=1.0)
    assert process.wait(20.0) == 0
    outer, inner = packets(file)
    # What UDP_SEGMENT and UDP_GRO had put together is apart again.
    assert max(len(one) for one in outer) <= 1514
    found = list(opened(outer, sas(keys)))
    echoes = [one for one in found if ICMP in one]
    assert len(echoes) >= 6
    plain = {bytes(IP(one)[ICMP]) for one in inner if IP(one).proto == 1}
    assert {bytes(one[ICMP]) for one in echoes} <= plain
    assert len(found) > 100
    _ike_opens(outer, keys)
    _wireshark_opens(file, keys, len(echoes))
    assert "capture begins" in made.a.log_text()
    assert 'keys="given out"' in made.a.log_text()
    assert "capture_begins" in made.a.cli("events", "--tunnel", FIRST, "-o", "json")


def _ike_opens(outer: list[bytes], keys: Path) -> None:
    """Check that some message of IKE opens with the table's keys (RFC 5282)."""
    rows = list(csv.reader((keys / "ikev2_decryption_table").read_text().splitlines()))
    secrets = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    count = 0
    for data in outer:
        packet = IP(data[14:])
        body = bytes(packet[UDP].payload) if UDP in packet else b""
        message = body[4:] if body[:4] == bytes(4) else b""
        spis = message[:8].hex(), message[8:16].hex()
        if spis not in secrets or message[16] != 46:  # SK, not a fragment
            continue
        is_initiators = bool(message[19] & 0x08)
        key = bytes.fromhex(secrets[spis][0 if is_initiators else 1])
        nonce = key[-4:] + message[32:40]
        assert AESGCM(key[:-4]).decrypt(nonce, message[40:], message[:32])
        count += 1
    assert count >= 2


def _wireshark_opens(file: Path, keys: Path, echoes: int) -> None:
    """Check that tshark, told as the command says, shows what is in both, and finds no fault."""
    profile = file.parent / ".config/wireshark/profiles/twinspan"
    shutil.copytree(keys, profile)
    environment = {**os.environ, "HOME": str(file.parent)}

    def shown(what: str, *fields: str) -> list[list[str]]:
        words = [word for field in fields for word in ("-e", field)]
        options = ("-C", "twinspan", *OPTIONS.split(), "-o", "esp.enable_authentication_check:TRUE")
        read = ("tshark", "-r", str(file), *options, "-Y", what, "-T", "fields", *words)
        return [line.split("\t") for line in run(*read, env=environment).splitlines()]

    opened = shown("esp && icmp", "esp.spi", "icmp.type")
    assert len(opened) == echoes
    assert {kind for _, kind in opened} == {"8", "0"}
    assert len({spi for spi, _ in opened}) >= 2
    assert shown("esp.icv_bad == 1", "esp.spi") == []
    said = shown("isakmp.enc.decrypted", "isakmp.exchangetype", "isakmp.messageid")
    assert len(said) >= 4  # the rekey of the Child SA and the Delete of the old one, both ways
    assert {exchange for exchange, _ in said} >= {"36", "37"}
    assert shown("isakmp.enc.decrypted && isakmp.nonce", "isakmp.messageid")


def keys_in(directory: Path) -> list[bytes]:
    """Return all keys of a capture: those of IKE by the table, those of ESP."""
    found: list[bytes] = []
    for row in csv.reader((directory / "ikev2_decryption_table").read_text().splitlines()):
        found += [bytes.fromhex(row[column]) for column in (2, 3, 5, 6) if len(row[column]) >= 32]
    for row in csv.reader((directory / "esp_sa").read_text().splitlines()):
        found.append(bytes.fromhex(row[5][2:]))
    return found


def test_nothing_but_a_capture_with_its_keys_tells_one(
    made: Twins, lab: Lab, tmp_path: Path
) -> None:
    """Not the logs, the status, the events, what is told to strongSwan's tools, nor a report."""
    file, report = tmp_path / "known.pcapng", tmp_path / "report.tar.gz"
    process = begun(made, file, "--seconds", "1", "--with-keys")
    made.a.cli("rekey", FIRST)
    assert process.wait(20.0) == 0
    keys = keys_in(tmp_path / "known.pcapng.keys")
    assert len(keys) >= 4
    psks = [one.encode() for one in searched.secrets_of(made.a.directory)]
    assert psks
    made.a.cli("bugreport", str(report), "--config", str(made.a.config))
    with tarfile.open(report) as packed:
        members = [one for one in packed.getmembers() if one.isfile()]
        reported = [(one.name, read(packed, one)) for one in members]
    assert reported
    asked = ("status -o json", "events -o json", f"explain {FIRST}", f"trace {FIRST} --last")
    answers = [(one, made.a.cli(*one.split()).encode()) for one in asked]
    listed = [
        (one, made.a.swanctl(one, "--raw").encode()) for one in ("--list-sas", "--list-conns")
    ]
    places = [*searched.files(lab.directory), *reported, *answers, *listed]
    assert searched.told(places, [*keys, *psks]) == []
    for pid in made.a.pids():
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0", limits), "a core would tell them"


def read(packed: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = packed.extractfile(member)
    assert file is not None
    return file.read()


def test_without_asking_for_keys_none_is_written(made: Twins, tmp_path: Path) -> None:
    file = tmp_path / "plain.pcapng"
    process = begun(made, file, "--seconds", "1")
    run = partial(ping, made.pair.a.host, made.pair.b.host4)
    assert run()
    assert process.wait(20.0) == 0
    outer, inner = packets(file)
    assert outer
    assert [one for one in inner if IP(one).proto == 1]
    assert [path.name for path in tmp_path.iterdir()] == ["plain.pcapng"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert Ether(outer[0]).type == 0x0800
    assert "keys=kept" in made.a.log_text()
