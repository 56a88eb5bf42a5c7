"""The control process as a process: who is at its sockets, TLS, systemd's words, and its end."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner, Result

from gateway.cli import app
from tests.cli.control_process import READY_S, TWINSPAN


def certificate(name: str, place: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = place / "tls.pem", place / "tls.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def options(place: Path) -> list[str]:
    return ["--store", f"sqlite:{place / 'control.db'}", "--key-file", str(place / "master.key")]


def init(place: Path) -> None:
    subprocess.run([*TWINSPAN, "control", "init", *options(place)], check=True, capture_output=True)


def run(place: Path, *words: str, stdin: str = "") -> Result:
    """Run `twinspan control` in this process."""
    given = {"TWINSPAN_STORE": options(place)[1], "TWINSPAN_KEY_FILE": options(place)[3]}
    return CliRunner().invoke(app, ["control", *words], env=given, input=stdin)


@contextlib.contextmanager
def notified(place: Path) -> Iterator[socket.socket]:
    """A socket that takes what a service tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(place / "notify"))
        sock.settimeout(READY_S)
        yield sock


def start(place: Path, *more: str, **environ: str) -> subprocess.Popen[bytes]:
    words = [*options(place), "--socket", str(place / "control.sock"), *more]
    return subprocess.Popen(
        [*TWINSPAN, "control", *words],
        stderr=subprocess.PIPE,
        env={**os.environ, "NOTIFY_SOCKET": str(place / "notify"), **environ},
    )


def raw(place: Path, text: bytes) -> bytes:
    """Return what the Unix socket answers to any bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(READY_S)
        sock.connect(str(place / "control.sock"))
        sock.sendall(text)
        answer = b""
        while more := sock.recv(65536):
            answer += more
        return answer


def common_name(port: int) -> str:
    """Return the name in the certificate that a port has, once it is asked for."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), READY_S) as sock,
        context.wrap_socket(sock) as secured,
    ):
        der = secured.getpeercert(binary_form=True)
    assert der is not None
    (name,) = x509.load_der_x509_certificate(der).subject
    return str(name.value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_it_serves_tls_says_so_to_systemd_and_ends_when_it_is_told(tmp_path: Path) -> None:
    run(tmp_path, "init")
    port = free_port()
    cert, key = certificate("first", tmp_path)
    tls = ["--listen", f"127.0.0.1:{port}", "--tls-cert", str(cert), "--tls-key", str(key)]
    with notified(tmp_path) as systemd:
        process = start(tmp_path, *tls, WATCHDOG_USEC="500000")
        try:
            said = systemd.recv(4096)
            while b"READY=1" not in said:
                said = systemd.recv(4096)
            while systemd.recv(4096) != b"WATCHDOG=1":
                pass
            assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600

            me = raw(tmp_path, b"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert json.loads(me.partition(b"\r\n\r\n")[2])["actor"].startswith("local:")
            for garbage in (b"\x16\x03\x01 no HTTP\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x" * 70_000):
                answer = raw(tmp_path, garbage)
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert b"application/problem+json" in answer

            context = ssl.create_default_context(cafile=str(cert))
            context.check_hostname = False
            stranger = http.client.HTTPSConnection("127.0.0.1", port, context=context)
            stranger.request("GET", "/v1/me")
            assert stranger.getresponse().status == 401
            stranger.close()

            certificate("second", tmp_path)
            assert common_name(port) == "first"
            process.send_signal(signal.SIGHUP)
            until = time.monotonic() + READY_S
            while common_name(port) != "second" and time.monotonic() < until:
                pass
            assert common_name(port) == "second"

            process.terminate()
            assert process.wait(READY_S) == 0
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--listen", "0.0.0.0:0"], 2, "others can reach it"),
        (["--metrics", "localhost"], 2, "must be ADDRESS:PORT"),
        (["--prometheus", "ftp://p.test"], 2, "--prometheus: 'ftp://p.test' must be as http"),
        (["--metrics", "192.0.2.1:9470"], 1, "--metrics 192.0.2.1:9470: "),
        (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], 2, "--tls-cert /nowhere"),
        (["--store", "sqlite:/nowhere/x.db"], 1, "there is no store"),
        (["--store", "mysql:x"], 2, "must be sqlite:PATH or etcd:"),
        (["--key-file", "/nowhere"], 2, "/nowhere: can not be read"),
        (["--socket", "/proc/x.sock"], 2, "--socket /proc/x.sock"),
    ],
)
def test_what_can_not_be_is_refused_at_once(
    tmp_path: Path, words: list[str], status: int, text: str
) -> None:
    run(tmp_path, "init")
    done = run(tmp_path, "--socket", str(tmp_path / "s"), "--listen", "127.0.0.1:0", *words)
    assert (done.exit_code, text in done.output) == (status, True), done.output


def test_init_makes_what_is_missing_and_leaves_what_is_there(tmp_path: Path) -> None:
    first = ("init", "--admin", "ada", "--password-file", "-")
    refused = run(tmp_path, *first, stdin="short\n")
    assert (refused.exit_code, "password" in refused.output) == (2, True)
    assert "user ada: new" in run(tmp_path, *first, stdin="correct horse battery\n").output
    key = (tmp_path / "master.key").read_bytes()
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert "user ada: as he is" in run(tmp_path, *first, stdin="another password\n").output
    assert (tmp_path / "master.key").read_bytes() == key


def test_no_other_command_imports_the_web_framework() -> None:
    text = (
        "import sys, gateway.cli;"
        "print(sorted({'fastapi', 'uvicorn', 'pydantic', 'argon2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
