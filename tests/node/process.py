"""A real `twinspan gateway` process in the calling thread's network namespace."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.client import Json, Refused, Unreachable, ask

DOCUMENT = """
[gateway]
name = "gw1"
public_addresses = ["192.0.2.1", "198.51.100.1"]
workers = 1
[[border_gateway]]
name = "main"
[[vpc_attachment]]
name = "vpc"
border_gateway = "main"
interface = "eth1"
cidrs = ["10.10.0.0/16"]
[[customer_gateway]]
name = "office"
public_addresses = ["203.0.113.9", "203.0.113.10"]
[[vpn_connection]]
name = "office"
border_gateway = "main"
customer_gateway = "office"
remote_cidrs = ["10.20.0.0/16"]
psk = "correct-horse-battery-staple"
start = "respond"
[[vpn_connection.tunnel]]
inner_cidr = "169.254.10.0/30"
[[vpn_connection.tunnel]]
inner_cidr = "169.254.10.4/30"
title = "second-path"
"""
WAIT_S = 20.0


@dataclass(slots=True)
class Running:
    """A gateway process and its place."""

    place: Path
    process: subprocess.Popen[bytes]

    @property
    def config(self) -> Path:
        return self.place / "gateway.toml"

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()

    def status(self) -> Json:
        (answer,) = ask(self.place, {"command": "status"})
        assert isinstance(answer, dict)
        return answer

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait until the process has ended; return its exit status."""
        return self.process.wait(WAIT_S)


def wait_until(what: str, holds: object, running: Running) -> None:
    """Poll until `holds()` is true. Raises AssertionError with the log after 20 seconds."""
    assert callable(holds)
    give_up_at = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < give_up_at, f"not {what}:\n{running.log}"
        assert running.process.poll() is None, f"ended before {what}:\n{running.log}"
        time.sleep(0.02)


def start(
    place: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Running:
    """
    Start a gateway whose files are in `place`, by a command that becomes it; it may not answer yet.
    """
    config = place / "gateway.toml"
    if not config.exists():
        config.write_text(DOCUMENT)
        config.chmod(0o600)
    argv = [*inside, sys.executable, "-m", "gateway", "gateway", "--config", str(config)]
    argv += ["--runtime-dir", str(place), *options]
    with (place / "log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=log, env={**os.environ, **(environ or {})}
        )
    return Running(place, process)


def answers(running: Running) -> bool:
    """Say whether the gateway serves its control socket."""
    try:
        return bool(running.status())
    except (Unreachable, Refused):
        return False


@contextlib.contextmanager
def gateway(
    place: Path,
    *options: str,
    environ: Mapping[str, str] | None = None,
    inside: Sequence[str] = (),
) -> Iterator[Running]:
    """Run a gateway until it answers; end it with its data plane, however the test ends."""
    running = start(place, *options, environ=environ, inside=inside)
    try:
        wait_until("answering", lambda: answers(running), running)
        yield running
    finally:
        end(running)


def has_dataplane(place: Path) -> bool:
    """Say whether a data plane process listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        return probe.connect_ex(str(place / "dataplane.sock")) == 0


def end(running: Running) -> None:
    """Stop the gateway and its data plane; start one for that if only the data plane is left."""
    if running.process.poll() is not None and has_dataplane(running.place):
        running.process = start(running.place).process
        wait_until("answering", lambda: answers(running), running)
    if running.process.poll() is None:
        with contextlib.suppress(Unreachable, Refused):
            list(ask(running.place, {"command": "stop"}))
        try:
            running.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
            raise
