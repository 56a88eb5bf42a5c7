"""
IKE SAs with one Child SA a second: our core against our core, strongSwan against strongSwan.

Ours: two processes, each with a real `IkeEndpoint` on a UDP socket of the loopback device; the
initiator keeps a few handshakes open at a time. No data plane is attached, so the figure is that of
the IKE core (`scale` shows whole gateways). strongSwan: two daemons in two namespaces, all
connections started at once over vici; kernel-libipsec installs the Child SAs. Both use x25519, PSK
and AES-256-GCM. Ours is run once more with ML-KEM-768 beside x25519 (RFC 9370), as our gateways do
it among themselves, once with ECP-384 in place of x25519, as strongSwan's is, once more with a
sealed record of each change kept with a data plane process, and once with ECDSA P-256 certificates
in place of the PSK (each end verifies another chain of two with each peer), all in turns with the
one without, so the ratios are of one run.

CPU is that of the responder for one IKE SA with its Child SA, in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import secrets
import select
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from multiprocessing.connection import Connection as Pipe
from pathlib import Path as File

from rich.console import Console
from rich.table import Table

from gateway.dataplane.reach import spawn_dataplane
from gateway.dataplane.remote import RemotePlane
from gateway.ike.config import Identity, Start, TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Event, Failed, Send
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.node.journal import Journal
from gateway.node.keeper import Keeper
from gateway.pki.credentials import Credentials
from gateway.pki.issue import Issuer, Wish, issue, make_key, private_pem
from gateway.pki.keys import private_key_of
from gateway.pki.question import Mode
from gateway.sa import Path
from gateway.secret import Secret
from lab import cpu, sites, topology
from lab.commands import LabError, end_cleanly, wait_for
from lab.netns import Lab
from lab.strongswan import Connection as SwanConnection
from lab.strongswan import StrongSwan
from lab.topology import Site

IKE = "aes256gcm16-prfsha384-x25519"
HYBRID = f"{IKE}-ke1_mlkem768"
ECP = "aes256gcm16-prfsha384-ecp384"
ESP = "aes256gcm16"
_TURNS = 2  # of each of ours, taken alternately; the better one counts
_OPEN_AT_ONCE = 16
_PLAIN, _MLKEM, _KEPT = "twinspan", "twinspan, mlkem768", "twinspan, kept"
_ECDSA, _ECP = "twinspan, ecdsa", "twinspan, ecp384"
_SWAN, _SWAN_ECP = "strongswan", "strongswan, ecp384"
_HUB = IPv4Address("192.0.2.1")
_FIRST_BRANCH = int(IPv4Address("10.0.0.1"))
# Each datagram carries the branch's number and the port, which stand for its addresses.
_HEAD = struct.Struct("!HH")
_BUFFER_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Rate:
    """Handshakes a second by the wall clock, and the responder's CPU for one."""

    per_s: float
    cpu_ms: float
    record_bytes: float = 0.0  # that the data plane process keeps for one


class SystemRandom:
    """The randomness of the core, from the system."""

    def bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return secrets.token_bytes(count)

    def uniform(self) -> float:
        """Return a number from 0.0 up to 1.0."""
        return secrets.randbelow(1 << 53) / (1 << 53)

    def private_key(self, group: int) -> None:
        """Leave the private value to the library."""


def _branch(number: int) -> IPv4Address:
    return IPv4Address(_FIRST_BRANCH + number)


@dataclass(frozen=True, slots=True)
class _Way:
    """How the two ends do it: by a pre-shared key, or with `ca_key` by certificates."""

    ike: str
    psk: bytes
    ca_key: str = ""  # PEM: each process makes the certificates of its ends


def _credentials(name: str, ca: Issuer) -> Credentials:
    own = make_key("ecdsa")
    made = issue(Wish(name, 2, (name,)), own, ca, datetime.now(UTC))
    return Credentials(own, (made,), (ca.certificate,), revocation=Mode.OFF)


def _authority(key: str) -> Issuer:
    """Return the CA of a key: both processes trust its key, whichever of them has made it."""
    own = private_key_of(key)
    return Issuer(issue(Wish("CA", 9, is_ca=True), own, None, datetime.now(UTC)), own)


def _configs(count: int, is_hub: bool, way: _Way) -> Iterator[TunnelConfig]:
    if not way.ca_key:
        yield from (_config(number, is_hub, way) for number in range(count))
        return
    ca = _authority(way.ca_key)
    hub = _credentials("hub.test", ca)
    for number in range(count):
        own = hub if is_hub else _credentials(f"branch{number}.test", ca)
        yield replace(_config(number, is_hub, way), psk=None, credentials=own)


def _config(number: int, is_hub: bool, way: _Way) -> TunnelConfig:
    hub, branch = Identity.parse("hub.test"), Identity.parse(f"branch{number}.test")
    everything = (parse_selector("0.0.0.0/0"),)
    return TunnelConfig(
        name=f"t{number}",
        local=_HUB if is_hub else _branch(number),
        remote=_branch(number) if is_hub else _HUB,
        local_id=hub if is_hub else branch,
        remote_id=branch if is_hub else hub,
        psk=Secret(way.psk),
        ike_proposals=(parse_proposal(way.ike, ProtocolId.IKE),),
        esp_proposals=(parse_proposal(ESP, ProtocolId.ESP),),
        local_ts=everything,
        remote_ts=everything,
        start=Start.RESPOND,
    )


@dataclass(slots=True)
class _End:
    """One endpoint on a socket."""

    endpoint: IkeEndpoint
    link: socket.socket
    is_hub: bool
    keeper: Keeper | None

    @classmethod
    def make(
        cls,
        link: socket.socket,
        count: int,
        is_hub: bool,
        way: _Way,
        keeper: Keeper | None = None,
    ) -> _End:
        """Return an endpoint with `count` tunnels."""
        now = time.monotonic()
        endpoint = IkeEndpoint(SystemRandom(), now, is_kept=keeper is not None)
        endpoint.set_clock(time.time() - now)
        endpoint.configure(_configs(count, is_hub, way), now)
        return cls(endpoint, link, is_hub, keeper)

    def turn(self, wait_s: float) -> list[Event]:
        """Take in what is there, or the time; return the events, sent ones included."""
        events: list[Event] = []
        if select.select([self.link], [], [], wait_s)[0]:
            events += self._receive()
        if self.endpoint.deadline <= time.monotonic():
            events += self.carry_out(self.endpoint.on_time(time.monotonic()))
        return events

    def _receive(self) -> list[Event]:
        datagram = self.link.recv(65536)
        number, port = _HEAD.unpack_from(datagram)
        local, remote = (_HUB, _branch(number)) if self.is_hub else (_branch(number), _HUB)
        path = Path(local, port, remote, port)
        events = self.endpoint.receive(datagram[_HEAD.size :], path, time.monotonic())
        return self.carry_out(events)

    def carry_out(self, events: list[Event]) -> list[Event]:
        """Keep what has changed, send what is to be sent; return all the events."""
        if self.keeper is not None:
            self.keeper.keep(self.endpoint.changes())
        for event in events:
            if isinstance(event, Send):
                branch = event.path.remote if self.is_hub else event.path.local
                head = _HEAD.pack(int(branch) - _FIRST_BRANCH, event.path.remote_port)
                self.link.send(head + event.datagram)
        return events


def _socket() -> socket.socket:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    link.bind(("127.0.0.1", 0))
    return link


@contextlib.contextmanager
def _kept() -> Iterator[tuple[RemotePlane, Keeper]]:
    """Start a data plane process that keeps records."""
    with tempfile.TemporaryDirectory(prefix="handshake") as name:
        plane = spawn_dataplane(name, ["--workers", "1"])
        try:
            yield plane, Keeper(plane, File(name) / "seal.key", Journal(sys.stderr, time.time))
        finally:
            plane.stop()


def _respond(pipe: Pipe, count: int, way: _Way, is_kept: bool) -> None:
    with _socket() as link, contextlib.ExitStack() as stack:
        plane, keeper = stack.enter_context(_kept()) if is_kept else (None, None)
        pipe.send(link.getsockname()[1])
        link.connect(("127.0.0.1", pipe.recv()))
        hub = _End.make(link, count, is_hub=True, way=way, keeper=keeper)
        pipe.send("ready")
        before = time.process_time()
        while not pipe.poll():
            hub.turn(0.05)
        pipe.send(time.process_time() - before)
        records = plane.kept() if plane is not None else {}
        pipe.send(sum(map(len, records.values())) / count)


def twinspan(
    count: int, ike: str = IKE, *, is_kept: bool = False, has_certificates: bool = False
) -> Rate:
    """Return the rate of our core: `count` handshakes. Raises LabError if one fails."""
    ca_key = private_pem(make_key("ecdsa")) if has_certificates else ""
    way = _Way(ike, secrets.token_bytes(32), ca_key)
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    responder = context.Process(target=_respond, args=(other, count, way, is_kept), daemon=True)
    responder.start()
    with _socket() as link:
        link.connect(("127.0.0.1", pipe.recv()))
        pipe.send(link.getsockname()[1])
        branches = _End.make(link, count, is_hub=False, way=way)
        pipe.recv()
        began = time.monotonic()
        _initiate_all(branches, count)
        wall = time.monotonic() - began
    pipe.send("end")
    used, record_bytes = pipe.recv(), pipe.recv()
    responder.join(5.0)
    return Rate(count / wall, used / count * 1e3, record_bytes)


def _initiate_all(branches: _End, count: int) -> None:
    up = begun = 0
    end = time.monotonic() + 10.0 + count / 10.0
    while up < count:
        while begun < min(count, up + _OPEN_AT_ONCE):
            now = time.monotonic()
            branches.carry_out(branches.endpoint.initiate(f"t{begun}", now))
            begun += 1
        for event in branches.turn(1.0):
            if isinstance(event, Failed):
                raise LabError(f"{event.tunnel}: {event.reason.text}")
            up += isinstance(event, ChildSaUp)
        if time.monotonic() > end:
            raise LabError(f"only {up} of {count} handshakes came to an end")


def _swan_connections(
    here: Site, there: Site, count: int, psk: str, ike: str
) -> list[SwanConnection]:
    """Return connections with identities and branch networks of their own; site b is the hub."""
    base = sites.swan_connection(here, there, sites.Secrets((psk,)), ike=ike, esp=ESP)
    is_hub = here.name == "b"
    hub_lan = (here if is_hub else there).lan4
    made = []
    for number in range(count):
        ids, nets = ("hub.test", f"branch{number}.test"), ((hub_lan,), (_branch_net(number),))
        local, remote = (0, 1) if is_hub else (1, 0)
        child = replace(base.child, local_ts=nets[local], remote_ts=nets[remote])
        named = replace(base, name=f"t{number}", local_id=ids[local], remote_id=ids[remote])
        made.append(replace(named, child=child))
    return made


def _branch_net(number: int) -> str:
    return f"10.{100 + number // 250}.{number % 250}.0/24"


def strongswan(count: int, prefix: str, ike: str = IKE) -> Rate:
    """Return the rate of two charon daemons: `count` handshakes."""
    options = ("dos_protection = no", "ikesa_table_size = 256", "ikesa_table_segments = 16")
    psk = secrets.token_hex(32)
    with Lab(prefix) as lab:
        pair = topology.four_machines(lab, paths=1)
        # kernel-libipsec wants an address of ours inside each local traffic selector.
        firsts = [_branch_net(number).replace(".0/24", ".1/32") for number in range(count)]
        pair.a.gateway.addresses("lan", firsts)
        branches, hub = (
            StrongSwan(
                here.gateway,
                _swan_connections(here, there, count, psk, ike),
                log_level=0,
                options=options,
            ).start()
            for here, there in ((pair.a, pair.b), (pair.b, pair.a))
        )
        before, began = cpu.cpu_s([hub.pid]), time.monotonic()
        branches.initiate_all([f"t{number}" for number in range(count)])
        wait_for(f"{count} IKE SAs", lambda: hub.established() >= count, 60.0, 0.02)
        wall = time.monotonic() - began
        return Rate(count / wall, (cpu.cpu_s([hub.pid]) - before) / count * 1e3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench handshake", description=__doc__)
    parser.add_argument("--json", type=File, metavar="FILE", help="write the figures here")
    parser.add_argument("--count", type=int, default=1000, help="handshakes of ours")
    parser.add_argument("--swan-count", type=int, default=300, help="handshakes of strongSwan")
    chosen = parser.parse_args(arguments)
    end_cleanly()
    try:
        print(f"{chosen.count} handshakes, our core", file=sys.stderr)
        rates = _ours(chosen.count)
        print(f"{chosen.swan_count} handshakes, strongSwan", file=sys.stderr)
        for name, ike in ((_SWAN, IKE), (_SWAN_ECP, ECP)):
            rates[name] = strongswan(chosen.swan_count, f"hs{os.getpid()}", ike)
    except LabError as error:
        print(f"handshake: {error}", file=sys.stderr)
        return 1
    _show(rates)
    if chosen.json is not None:
        found = {}
        for name, rate in rates.items():
            found[f"{name}.per_s"] = round(rate.per_s, 1)
            found[f"{name}.cpu_ms"] = round(rate.cpu_ms, 3)
            found[f"{name}.per_core_s"] = round(1e3 / rate.cpu_ms, 1)
        found["mlkem768.cost"] = round(_cost(rates, _MLKEM), 3)
        found["ecp384.per_strongswan"] = round(_ecp_ratio(rates), 3)
        found["ecdsa.cost"] = round(_cost(rates, _ECDSA), 3)
        found["kept.cost"] = round(_cost(rates, _KEPT), 3)
        found["kept.record_bytes"] = round(rates[_KEPT].record_bytes)
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def _ours(count: int) -> dict[str, Rate]:
    """Return our rates: plain, with ML-KEM, ECP-384, records, certificates; in turns."""
    ikes = {_MLKEM: HYBRID, _ECP: ECP}
    best: dict[str, Rate] = {}
    for _ in range(_TURNS):
        for name in (_PLAIN, _MLKEM, _ECP, _KEPT, _ECDSA):
            ike = ikes.get(name, IKE)
            found = twinspan(count, ike, is_kept=name == _KEPT, has_certificates=name == _ECDSA)
            best[name] = min(best.get(name, found), found, key=lambda rate: rate.cpu_ms)
    return best


def _cost(rates: Mapping[str, Rate], name: str) -> float:
    """Return how much more of the responder's CPU such a handshake takes, as a ratio."""
    return rates[name].cpu_ms / rates[_PLAIN].cpu_ms


def _ecp_ratio(rates: Mapping[str, Rate]) -> float:
    """Return our rate a core with ECP-384 divided by strongSwan's."""
    return rates[_SWAN_ECP].cpu_ms / rates[_ECP].cpu_ms


def _show(rates: Mapping[str, Rate]) -> None:
    table = Table(title=f"IKE SAs with one Child SA, {IKE}, {ESP}")
    heads = (
        "",
        "a second, both ends on this machine",
        "CPU ms of the responder",
        "a second and core",
    )
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for name, rate in rates.items():
        core = f"{1e3 / rate.cpu_ms:.0f}"
        table.add_row(name, f"{rate.per_s:.0f}", f"{rate.cpu_ms:.2f}", core)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    words_of = {
        _MLKEM: "with ML-KEM-768",
        _KEPT: "with its record kept",
        _ECDSA: "with ECDSA P-256 certificates",
    }
    for name, words in words_of.items():
        cost = _cost(rates, name)
        console.print(f"{words} a handshake takes {cost:.2f} times the responder's CPU")
    console.print(f"with ECP-384 a core does {_ecp_ratio(rates):.2f} times what strongSwan's does")
    console.print(f"a record has {rates[_KEPT].record_bytes:.0f} bytes")


if __name__ == "__main__":
    sys.exit(main())
