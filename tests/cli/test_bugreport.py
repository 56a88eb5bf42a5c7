"""`twinspan bugreport`: what is in it, and that no secret is."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.bugreport.redact import MASK, Redactor, forms_of
from tests.node import process
from tests.node.network import ip, own_network
from tests.node.process import DOCUMENT

pytestmark = pytest.mark.system

TEXT = "correct-horse-battery-staple"
HEX = bytes.fromhex("00112233445566778899aabbccddeeff0123456789")
BASE64 = b"\x90\x7f\xfe\xe1 sixteen bytes \xbf"
FILED = 'a "key" in a file, with ümlaut'
PASSWORD = "of-the-session-7"
OLD = "an-old-key-in-a-comment"
BINARY = bytes(range(7, 39))
SECRETS = [TEXT.encode(), HEX, BASE64, FILED.encode(), PASSWORD.encode(), OLD.encode(), BINARY]


def document(directory: Path) -> str:
    """Return a document with a secret of each kind."""
    (directory / "office.psk").write_text(FILED + "\n")
    (directory / "office.psk").chmod(0o600)
    text = DOCUMENT.replace('name = "office"\npublic', 'name = "office"\nasn = 65010\npublic', 1)
    text = text.replace('remote_cidrs = ["10.20.0.0/16"]', 'routing = "bgp"')
    text = text.replace(
        'start = "respond"', f'start = "respond"\nbgp_password = "{PASSWORD}"  # was {OLD}'
    )
    first, second = (f'inner_cidr = "169.254.10.{n}/30"' for n in (0, 4))
    text = text.replace(first, f'{first}\npsk = "0x{HEX.hex()}"')
    return text.replace(second, f'{second}\npsk_file = "office.psk"')


def careless(directory: Path) -> None:
    """Write secrets to where they ought not to be, in every encoding."""
    lines = []
    for secret in SECRETS:
        for before in (b"", b"x", b"xy"):
            encoded = base64.b64encode(before + secret + b"after").decode()
            lines += [encoded, base64.urlsafe_b64encode(before + secret).decode().rstrip("=")]
        lines += [secret.hex(), secret.hex().upper(), secret.hex(":"), secret.hex(" ")]
        lines += [json.dumps(secret.decode("latin-1")), repr(secret)]
        lines.append(json.dumps(secret.decode("utf-8", "replace")))
    content = "\n".join(lines).encode() + b"\n" + b"\n".join(SECRETS)
    (directory / "careless.log").write_bytes(content)
    (directory / "seal.key").write_bytes(BINARY)
    (directory / "spare.psk").write_text(f"0s{base64.b64encode(BASE64).decode()}\n{OLD}\n")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Result]]:
    """A report of a gateway with BGP whose peers never answer."""
    place = tmp_path_factory.mktemp("gw")
    with own_network():
        for address in ("192.0.2.1/32", "198.51.100.1/32"):
            ip(f"addr add {address} dev lo")
        ip("link add eth1 type veth peer name vpc")
        ip(f"link set eth1 alias {TEXT}")
        (place / "gateway.toml").write_text(document(place))
        (place / "gateway.toml").chmod(0o600)
        with process.gateway(place):
            careless(place)
            file = place / "report.tar.gz"
            options = ["--runtime-dir", str(place)]  # the document is that of the gateway
            began_at = time.monotonic()
            done = CliRunner().invoke(app, ["bugreport", str(file), *options])
            print(f"{time.monotonic() - began_at:.2f} s")
            yield file, done


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        found = {entry.name.partition("/")[2]: tar.extractfile(entry) for entry in tar}
        return {name: opened.read() for name, opened in found.items() if opened}


def readings(data: bytes) -> Iterator[bytes]:
    """Yield what a text says, and what its hexadecimal, base64 and escapes say."""
    yield data
    yield re.sub(rb"\\u00(..)", lambda m: bytes.fromhex(m[1].decode()), data)
    yield data.decode("unicode_escape", "replace").encode()
    for run in re.findall(rb"(?:[0-9A-Fa-f]{2}[: ]?){4,}", data):
        digits = re.sub(rb"[^0-9A-Fa-f]", b"", run)
        for start in (0, 1):
            even = digits[start:][: (len(digits) - start) // 2 * 2]
            yield bytes.fromhex(even.decode())
    for run in re.findall(rb"[A-Za-z0-9+/_-]{8,}", data):
        plain = run.translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            part = plain[start:]
            yield base64.b64decode(part[: len(part) // 4 * 4])


def test_no_secret_is_in_it_in_any_encoding(report: tuple[Path, Result]) -> None:
    file, done = report
    assert done.exit_code == 0, done.output
    for name, data in contents(file).items():
        for reading in readings(data):
            for secret in SECRETS:
                assert secret not in reading, f"{secret!r} in {name}"
        assert FILED.encode("unicode_escape") not in data
    for word in (TEXT, PASSWORD, OLD, HEX.hex()):
        assert word not in done.output


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """The judge itself: in what nobody has cleaned it finds each secret."""
    careless(tmp_path)
    data = (tmp_path / "careless.log").read_bytes()
    lines = data.splitlines()
    for secret in SECRETS:
        for encoded in (secret.hex(":").encode(), base64.b64encode(b"x" + secret + b"after")):
            assert encoded in lines
            assert any(secret in reading for reading in readings(encoded))


def test_what_is_needed_is_in_it(report: tuple[Path, Result]) -> None:
    file, done = report
    found = contents(file)
    assert set(found) >= {
        *("README.txt", "doctor.json", "version.json", "document.toml", "status.json"),
        *("routes.json", "bgp.json", "explain.json", "log.json", "events.json"),
        *("bird/bird.conf", "logs/careless.log", "network/own/nft-list-ruleset.txt"),
        *("network/own/ip-address.txt", "network/own/snmp.txt", "machine/os-release.txt"),
    }
    assert b'password "[secret]";' in found["bird/bird.conf"]
    assert found["document.toml"].count(b'psk = "[secret]"') == 2
    assert b"#" not in found["document.toml"]
    (status,) = json.loads(found["status.json"])
    assert [tunnel["name"] for tunnel in status["tunnels"]] == ["office-1", "office-2"]
    assert json.loads(found["doctor.json"])["summary"]["ok"] > 10
    assert {one["name"] for one in json.loads(found["explain.json"])} == {"office-1", "office-2"}
    for name in found:
        assert name in done.output
    assert str(file) in done.output


def test_it_is_its_owners_alone_and_never_replaces_a_file(report: tuple[Path, Result]) -> None:
    file, _ = report
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    again = CliRunner().invoke(app, ["bugreport", str(file), "--runtime-dir", "/nowhere"])
    assert again.exit_code == 1
    assert "File exists" in again.output
    assert file.read_bytes() == before


def test_without_a_gateway_and_a_document_there_is_a_report_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text(f'psk = "{TEXT}"\nbroken = \n')
    file = tmp_path / "report.tar.gz"
    options = ["--config", str(tmp_path / "gateway.toml"), "--runtime-dir", str(tmp_path)]
    done = CliRunner().invoke(app, ["bugreport", str(file), *options])
    assert done.exit_code == 0
    found = contents(file)
    assert "status.json" not in found
    assert b"status.json: no gateway process at" in found["README.txt"]
    assert b"THE DOCUMENT COULD NOT BE READ" in found["README.txt"]
    assert "THE DOCUMENT COULD NOT BE READ" in done.output
    assert [name for name, data in found.items() if TEXT.encode() in data] == []


def test_a_report_that_breaks_off_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fdopen", _full)
    file = tmp_path / "report.tar.gz"
    options = ["--config", "/nowhere", "--runtime-dir", str(tmp_path)]
    done = CliRunner().invoke(app, ["bugreport", str(file), *options])
    assert done.exit_code == 1
    assert "No space left" in done.output
    assert not file.exists()


def _full(descriptor: int, mode: str) -> object:
    os.close(descriptor)
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "text",
    [
        'bgp_password = "x1"',
        "neighbor 10.0.0.1; password 'x1';",
        '{"token": "x1", "a": 1}',
        "psk=x1 tunnel=office-1",
        "ppk = 'x1'",
        "  aead rfc4106(gcm(aes)) 0x01ab01ab 128",
        "Authorization: Bearer x1y2",
        "-----BEGIN EC PRIVATE KEY-----\nx1\n-----END EC PRIVATE KEY-----",
    ],
)
def test_an_unknown_secret_goes_by_its_place(text: str) -> None:
    redactor = Redactor([])
    cleaned = redactor.clean(text.encode())
    assert b"x1" not in cleaned
    assert b"01ab" not in cleaned
    assert MASK in cleaned
    assert redactor.found >= 1


def test_what_is_no_secret_stays() -> None:
    text = b"psk_file = office.psk\nauthentication_failed: the pre-shared key, and both identities"
    assert Redactor([b"abc"]).clean(text) == text
    answer = json.dumps({"ppk": False, "psk": None, "suite": "a"}).encode()
    assert Redactor([]).clean(answer) == answer
    assert list(forms_of(b"abc")) == []


def test_ten_thousand_secrets_cost_little_more_than_one() -> None:
    secrets = [f"key number {number:06d} of a fleet".encode() for number in range(10_000)]
    redactor = Redactor(secrets)
    data = b"nothing to see here, 0123456789abcdef " * 5_000 + secrets[-1]
    began_at = time.monotonic()
    assert redactor.clean(data) == data[: -len(secrets[-1])] + MASK
    assert time.monotonic() - began_at < 5.0
