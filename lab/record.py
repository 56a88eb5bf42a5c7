"""
Exchanges of our IKE core with a real strongSwan, recorded for the tests.

    python -m lab.record --debian sid tests/vectors/pq

For each of `RECORDED` a file: what the core was called with and when, what it drew, what it sent.
The core begins everything (set-up, rekeys of the Child SA and of the IKE SA, the end), because its
part is then a matter of what it draws: a test can let it do the same once more, without a network.
The keys are for the tests, and no secret.
"""

from __future__ import annotations

import argparse
import json
import secrets
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path as File
from typing import Any

from gateway.ike.config import Identity, Ppk, TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Event, IkeSaDown, IkeSaUp, Send
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.sa import IKE_PORT, NAT_T_PORT, Path
from gateway.secret import Secret
from lab import sites, topology
from lab import strongswan as swan
from lab.commands import LabError
from lab.interop import unpack
from lab.netns import Lab

PSK = "recorded for tests, not a secret"
PPK = "0x" + "5c" * 32
RECORDED = {"mlkem768": "x25519-ke1_mlkem768", "both-ppk": "x25519-ke1_mlkem768-ke2_mlkem1024"}
MARKER = bytes(4)  # non-ESP marker (RFC 3948 section 2.2)
Step = dict[str, Any]


def config(exchange: str, ppk: bool) -> TunnelConfig:
    """Return our tunnel."""
    key = bytes.fromhex(PPK.removeprefix("0x"))
    return TunnelConfig(
        name="office-1",
        local=ip_address("192.0.2.1"),
        remote=ip_address("192.0.2.2"),
        local_id=Identity.parse("192.0.2.1"),
        remote_id=Identity.parse("192.0.2.2"),
        psk=Secret(PSK.encode()),
        ike_proposals=(parse_proposal(f"aes256gcm16-prfsha384-{exchange}", ProtocolId.IKE),),
        esp_proposals=(parse_proposal(f"aes256gcm16-{exchange}-noesn", ProtocolId.ESP),),
        local_ts=(parse_selector("10.10.0.0/24"),),
        remote_ts=(parse_selector("10.20.0.0/24"),),
        ppk=Ppk(b"quantum-1", Secret(key)) if ppk else None,
    )


@dataclass
class Draws:
    """Randomness that remembers, or, given what another has drawn, gives the same once more."""

    drawn: dict[str, list[Any]] = field(default_factory=dict)
    is_again: bool = False

    def _draw(self, kind: str, fresh: Callable[[], Any]) -> Any:  # noqa: ANN401 - as JSON has it
        values = self.drawn.setdefault(kind, [])
        if self.is_again:
            return values.pop(0)
        values.append(fresh())
        return values[-1]

    def private_key(self, group: int) -> bytes:
        """Return a private value: of X25519, or the seed of ML-KEM."""
        length = 32 if group == 31 else 64
        return bytes.fromhex(self._draw(f"private {group}", lambda: secrets.token_hex(length)))

    def uniform(self) -> float:
        """Return a number from 0.0 up to 1.0."""
        return float(self._draw("uniform", lambda: secrets.randbelow(1000) / 1000))

    def bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return bytes.fromhex(self._draw(f"bytes {count}", lambda: secrets.token_hex(count)))


# ---- in the namespace: the core on two sockets ----


class Driver:
    """Calls the core as the daemon does, and writes every call down."""

    def __init__(self, name: str) -> None:
        self.draws = Draws()
        self.steps: list[Step] = []
        self.events: list[Event] = []
        self._began = time.monotonic()
        self._sockets = {port: _bind(port) for port in (IKE_PORT, NAT_T_PORT)}
        self.endpoint = IkeEndpoint(self.draws, 0.0)
        tunnel = config(RECORDED[name], "ppk" in name)
        self.call("configure", lambda now: self.endpoint.configure([tunnel], now))

    def call(self, name: str, call: Callable[[float], list[Event]], **more: object) -> None:
        """Make a call, carry out what follows, and write both down."""
        now = round(time.monotonic() - self._began, 6)
        events = call(now)
        self.events += events
        sent = [event for event in events if isinstance(event, Send)]
        for event in sent:
            port = event.path.local_port
            marked = MARKER + event.datagram if port == NAT_T_PORT else event.datagram
            self._sockets[port].sendto(marked, (str(event.path.remote), event.path.remote_port))
        written = [event.datagram.hex() for event in sent]
        self.steps.append({"call": name, "now": now, **more, "sent": written})

    def run_until(self, is_done: Callable[[], bool], most_s: float = 10.0) -> None:
        """Take in what comes. Raises LabError if it is not done in time."""
        end = time.monotonic() + most_s
        while not is_done():
            if time.monotonic() > end:
                raise LabError(f"not done: {self.events[-5:]}")
            ready = select.select(list(self._sockets.values()), [], [], 0.05)[0]
            for link in ready:
                self._receive(link)
            if self.endpoint.deadline <= time.monotonic() - self._began:
                self.call("on_time", self.endpoint.on_time)

    def _receive(self, link: socket.socket) -> None:
        datagram, (host, remote_port) = link.recvfrom(65536)
        port = link.getsockname()[1]
        if port == NAT_T_PORT:
            if not datagram.startswith(MARKER):
                return
            datagram = datagram[len(MARKER) :]
        path = Path(ip_address("192.0.2.1"), port, ip_address(host), remote_port)
        self.call(
            "receive",
            lambda now: self.endpoint.receive(datagram, path, now),
            datagram=datagram.hex(),
            ports=[port, remote_port],
        )

    def count(self, kind: type[Event]) -> int:
        """Return how many events of a kind there were."""
        return sum(isinstance(event, kind) for event in self.events)


def _bind(port: int) -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.bind(("192.0.2.1", port))
    return link


def drive(name: str) -> Step:
    """Return the recording of one tunnel's life."""
    driver = Driver(name)
    endpoint, tunnel = driver.endpoint, "office-1"
    driver.call("on_time", endpoint.on_time)
    driver.run_until(lambda: driver.count(ChildSaUp) == 1)
    driver.call("rekey_child", lambda now: endpoint.rekey_child(tunnel, now))
    driver.run_until(lambda: driver.count(ChildSaUp) == 2)
    _settle(driver)
    driver.call("rekey_ike", lambda now: endpoint.rekey_ike(tunnel, now))
    driver.run_until(lambda: driver.count(IkeSaUp) == 2)
    _settle(driver)
    driver.call("rekey_child", lambda now: endpoint.rekey_child(tunnel, now))
    driver.run_until(lambda: driver.count(ChildSaUp) == 3)
    _settle(driver)
    driver.call("close", lambda now: endpoint.close(tunnel, now))
    driver.run_until(lambda: driver.count(IkeSaDown) == 2)
    _settle(driver)
    return {"exchange": RECORDED[name], "ppk": "ppk" in name, "draws": driver.draws.drawn} | {
        "steps": driver.steps
    }


def _settle(driver: Driver) -> None:
    until = time.monotonic() + 0.5
    driver.run_until(lambda: time.monotonic() > until)


# ---- outside ----


def record(name: str, tree: File) -> Step:
    """Return a recording of our core with the strongSwan in a Debian tree."""
    exchange, has_ppk = RECORDED[name], "ppk" in name
    ike, esp = f"aes256gcm16-prfsha384-{exchange}", f"aes256gcm16-{exchange}"
    with Lab() as lab:
        pair = topology.four_machines(lab, paths=1)
        keys = sites.Secrets((PSK,))
        connection = sites.swan_connection(pair.b, pair.a, keys, ike=ike, esp=esp)
        ppk = swan.Ppk("quantum-1", PPK, "yes") if has_ppk else None
        peer = swan.StrongSwan(pair.b.gateway, [replace(connection, ppk=ppk)], tree=tree)
        peer.start()
        out = pair.a.gateway.run(sys.executable, "-m", "lab.record", "--drive", name)
        made_with = f"strongSwan {peer.version()} (Debian, {tree.name}), as responder"
        return {"name": name, "made_with": made_with, "psk": PSK, **json.loads(out)}


def main() -> int:
    """Record all, or drive one in the namespace this runs in."""
    parser = argparse.ArgumentParser(prog="python -m lab.record", description=__doc__)
    parser.add_argument("directory", type=File, nargs="?", help="where the recordings go")
    parser.add_argument("--debian", default="sid", help="release whose strongSwan has ML-KEM")
    parser.add_argument("--drive", choices=sorted(RECORDED), help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.drive:
        print(json.dumps(drive(wanted.drive)))
        return 0
    if wanted.directory is None:
        parser.error("the directory is required")
    wanted.directory.mkdir(exist_ok=True)
    for name in RECORDED:
        found = record(name, unpack(wanted.debian))
        (wanted.directory / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(name, len(found["steps"]), "steps")
    return 0


if __name__ == "__main__":
    sys.exit(main())
