"""`twinspan pki`: a small CA from beginning to end, judged by our own rules and by openssl."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.pki.certificate import certificates_of
from gateway.pki.chain import find_way
from gateway.pki.revocation import State, read_any

RUN = CliRunner()


def run(*arguments: str, code: int = 0) -> dict[str, object]:
    done = RUN.invoke(app, ["pki", *arguments, "--json"])
    assert done.exit_code == code, done.output
    found: dict[str, object] = json.loads(done.output)
    return found


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["ecdsa", "ecdsa384", "ed25519", "rsa"])
def test_a_ca_an_intermediate_one_and_their_certificates(tmp_path: Path, kind: str) -> None:
    root, middle = tmp_path / "root", tmp_path / "middle"
    run("ca", "--name", "O=Example, CN=Root", "--out", str(root), "--key", kind)
    run("ca", "--name", "Middle", "--out", str(middle), "--ca", str(root), "--days", "900")
    run("issue", "gw", "--ca", str(middle), "--san", "gw.test", "--san", "192.0.2.1", "--key", kind)
    run("issue", "office.test", "--ca", str(root))
    (anchor,) = certificates_of((root / "ca.pem").read_text())
    for file, length in ((middle / "gw.pem", 3), (root / "office.test.pem", 2)):
        chain = certificates_of(file.read_text())
        way = find_way([one.der for one in chain], (anchor,), time.time())
        assert len(way) == length
    assert (middle / "gw.key").stat().st_mode & 0o777 == 0o600
    shown = run("show", str(middle / "gw.pem"))[0]  # type: ignore[index]  # a list
    assert shown["identities"] == ["gw.test", "192.0.2.1", "CN=gw"]  # type: ignore[index]
    said = openssl(
        *("verify", "-x509_strict", "-CAfile", str(root / "ca.pem")),
        *("-untrusted", str(middle / "gw.pem"), str(middle / "gw.pem")),
    )
    assert said.strip().endswith(": OK"), said


def test_what_is_revoked_stands_in_the_crl(tmp_path: Path) -> None:
    place = tmp_path / "ca"
    run("ca", "--name", "Root", "--out", str(place))
    for name in ("one.test", "two.test"):
        run("issue", name, "--ca", str(place), "--crl-url", "http://ca.test/ca.crl")
    run("revoke", "two.test", "--ca", str(place))
    assert run("crl", "--ca", str(place))["revoked"] == 1
    blob = (place / "ca.crl").read_bytes()
    (anchor,) = certificates_of((place / "ca.pem").read_text())
    states = []
    for name in ("one.test", "two.test"):
        (one,) = certificates_of((place / f"{name}.pem").read_text())
        states.append(read_any(blob, one, anchor, time.time()))
    assert states == [State.GOOD, State.REVOKED]
    said = openssl(
        "crl", "-inform", "DER", "-in", str(place / "ca.crl"), "-CAfile", str(place / "ca.pem")
    )
    assert "verify OK" in said
    done = RUN.invoke(app, ["pki", "show", str(place / "ca.crl")])
    assert "CRL" in done.output


@pytest.mark.parametrize("legacy", [(), ("-legacy",)], ids=["aes", "rc2"])
def test_what_openssl_has_packed_comes_apart(tmp_path: Path, legacy: tuple[str, ...]) -> None:
    """ikev2/net2net-pkcs12: key, certificate, intermediate CA and root in one file."""
    root, middle, made = tmp_path / "root", tmp_path / "middle", tmp_path / "made"
    run("ca", "--name", "Root", "--out", str(root), "--key", "rsa")
    run("ca", "--name", "Middle", "--out", str(middle), "--ca", str(root), "--days", "900")
    run("issue", "gw", "--ca", str(middle), "--san", "gw.test")
    (tmp_path / "passphrase").write_text("open sesame\n")
    (tmp_path / "wrong").write_text("open barley\n")
    given = ("-in", str(middle / "gw.pem"), "-inkey", str(middle / "gw.key"))
    more = ("-certfile", str(root / "ca.pem"), "-passout", "pass:open sesame")
    packed = tmp_path / "gw.p12"
    said = openssl("pkcs12", "-export", *given, *more, *legacy, "-out", str(packed))
    assert packed.exists(), said
    words = ("unpack", str(packed), "--name", "gw", "--out", str(made))
    refused = run(*words, "--passphrase-file", str(tmp_path / "wrong"), code=1)
    assert "passphrase" in str(refused["problems"])
    assert not made.exists()
    run(*words, "--passphrase-file", str(tmp_path / "passphrase"))
    assert (made / "gw.pem").read_text() == (middle / "gw.pem").read_text()
    assert (made / "gw.key").read_text() == (middle / "gw.key").read_text()
    assert (made / "gw-ca.pem").read_text() == (root / "ca.pem").read_text()
    assert (made / "gw.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x30\x82\x01\x00" + bytes(256)])
def test_what_is_no_pack_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gw.p12").write_bytes(content)
    (tmp_path / "passphrase").write_text("")
    words = ("unpack", str(tmp_path / "gw.p12"), "--out", str(tmp_path))
    refused = run(*words, "--passphrase-file", str(tmp_path / "passphrase"), code=1)
    assert "is no PKCS #12 file" in str(refused["problems"])


def test_nothing_is_overwritten_and_mistakes_are_told(tmp_path: Path) -> None:
    place = tmp_path / "ca"
    run("ca", "--name", "Root", "--out", str(place), "--days", "100")
    before = (place / "ca.key").read_text()
    for arguments, words in (
        (("ca", "--name", "Root", "--out", str(place)), "is there already"),
        (("issue", "long.test", "--ca", str(place), "--days", "200"), "would outlive its CA"),
        (("issue", "../x", "--ca", str(place)), "is no name for a file"),
        (("issue", "a.test", "--ca", str(tmp_path)), "can not be read"),
        (
            ("issue", "a.test", "--ca", str(place), "--san", "ä.test", "--days", "9"),
            "is no address",
        ),
        (
            ("issue", "a.test", "--ca", str(place), "--subject", "CN=", "--days", "9"),
            "is not a distinguished name",
        ),
        (("revoke", "nobody", "--ca", str(place)), "has issued none of this name"),
        (("show", str(place / "issued.json")), "can not be read"),
    ):
        found = run(*arguments, code=1)
        assert words in str(found["problems"]), found
    assert (place / "ca.key").read_text() == before
    assert sorted(one.name for one in place.iterdir()) == ["ca.key", "ca.pem"]
