"""
Two thousand peers that come back at once, after the hub they all have a tunnel to was away.

    hub 192.0.2.1 ======== peers 203.0.112.1 to 203.0.119.208

The hub is one of our gateways with its data plane and a TUN device for each tunnel; it is started
at the moment at which every peer begins. The peers are one process of the IKE core alone, with an
address and a tunnel each: they send again and begin anew as any of our gateways does. What is
measured is the time from the hub's start until each peer has its IKE SA and Child SA.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bench.handshake import SystemRandom
from gateway.ike.config import Encap, Identity, TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Event, Failed, IkeSaDown, Send
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.sa import IKE_PORT, NAT_T_PORT
from gateway.sa import Path as UdpPath
from gateway.secret import Secret
from lab import cpu
from lab.commands import LabError, end_cleanly, go_first
from lab.figures import listed, tell
from lab.netns import Lab, Namespace
from lab.twinspan import Connection, Document, Tunnel, Twinspan

HUB = IPv4Address("192.0.2.1")
MOST = 2000
_FIRST = IPv4Address("203.0.112.1")
_FIRST_INNER = IPv4Address("169.254.100.0")
_FIRST_NET = IPv4Address("10.64.0.0")
_MOST_S = 120.0
_MARKER = bytes(4)  # before IKE on port 4500 (RFC 3948 section 2.2)
_IP_PKTINFO, _SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 8, 33, 32
_PKTINFO = struct.Struct("@I4s4s")
_BUFFER_BYTES = 16 << 20
_READ_AT_ONCE = 64
_IKE = "aes256gcm16-prfsha384-x25519"


def peer(number: int) -> IPv4Address:
    """Return the address of a peer."""
    return _FIRST + number


def name(number: int) -> str:
    """Return the name of a tunnel."""
    return f"p{number}"


# ---- the hub ----


class Hub(Twinspan):
    """A gateway that is not asked for its status while it starts: of 2,000 tunnels that is work."""

    def _answers(self) -> bool:
        if not self.is_alive:
            raise LabError(f"the hub ended:\n{self.log_text()[-3000:]}")
        return (self.directory / "gateway.sock").exists()


def build(lab: Lab, count: int, psk: str) -> tuple[Hub, Namespace]:
    """Return the hub, not started, and where the peers are."""
    hub, peers = lab.namespace("hub"), lab.namespace("peers")
    hub.ip("link", "add", "lan", "type", "bridge")
    hub.address("lan", "10.60.0.1/16")
    lab.wire((hub, "wan", (f"{HUB}/24",)), (peers, "wan", ("192.0.2.2/24",)))
    peers.addresses("lo", [f"{peer(number)}/32" for number in range(count)])
    hub.route("203.0.112.0/20", "via", "192.0.2.2")
    connections = [_connection(number, psk) for number in range(count)]
    return Hub(hub, Document("hub", [str(HUB)], ["10.60.0.0/16"], connections)), peers


def _connection(number: int, psk: str) -> Connection:
    inner = f"{_FIRST_INNER + 4 * number}/30"
    tunnel = Tunnel(name(number), str(HUB), str(peer(number)), inner, psk)
    return Connection(
        name(number), [f"{_FIRST_NET + 256 * number}/24"], [tunnel], {"start": "respond"}
    )


# ---- the peers ----


@dataclass(slots=True)
class Peers:
    """All peers: one endpoint, two sockets that send from each peer's own address."""

    endpoint: IkeEndpoint
    sockets: dict[int, socket.socket]  # by port
    up: set[str] = field(default_factory=set)
    failures: int = 0

    @classmethod
    def make(cls) -> Peers:
        """Open the sockets, in this network namespace."""
        return cls(
            IkeEndpoint(SystemRandom(), time.monotonic()),
            {port: _socket(port) for port in (IKE_PORT, NAT_T_PORT)},
        )

    def run(self, count: int, psk: bytes) -> float:
        """Begin every tunnel; return the seconds until the last one is up, inf if it never is."""
        begun = time.monotonic()
        configs = [_config(number, psk) for number in range(count)]
        self._carry_out(self.endpoint.configure(configs, time.monotonic()))
        told = begun
        while len(self.up) < count and time.monotonic() - begun < _MOST_S:
            if time.monotonic() - told >= 1.0:
                told = time.monotonic()
                print(f"{len(self.up)} up after {told - begun:.0f} s", file=sys.stderr)
            wait_s = max(0.0, min(self.endpoint.deadline - time.monotonic(), 0.5))
            readable, _, _ = select.select(list(self.sockets.values()), [], [], wait_s)
            for sock in readable:
                self._read(sock)
            now = time.monotonic()
            if self.endpoint.deadline <= now:
                self._carry_out(self.endpoint.on_time(now))
        return time.monotonic() - begun if len(self.up) == count else math.inf

    def _read(self, sock: socket.socket) -> None:
        port = sock.getsockname()[1]
        for _ in range(_READ_AT_ONCE):
            try:
                data, ancillary, _, source = sock.recvmsg(65535, 64)
            except BlockingIOError:
                return
            local = IPv4Address(_PKTINFO.unpack(ancillary[0][2])[2])
            if port == NAT_T_PORT:
                if data[:4] != _MARKER:
                    continue
                data = data[4:]
            path = UdpPath(local, port, IPv4Address(source[0]), source[1])
            self._carry_out(self.endpoint.receive(data, path, time.monotonic()))

    def _carry_out(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Send(datagram, path):
                    self._send(datagram, path)
                case ChildSaUp():
                    self.up.add(event.tunnel)
                case IkeSaDown():
                    self.up.discard(event.tunnel)
                case Failed():
                    self.failures += 1
                case _:
                    pass

    def _send(self, datagram: bytes, path: UdpPath) -> None:
        info = _PKTINFO.pack(0, path.local.packed, bytes(4))
        marker = _MARKER if path.local_port == NAT_T_PORT else b""
        there = str(path.remote), path.remote_port
        control = [(socket.IPPROTO_IP, _IP_PKTINFO, info)]
        try:
            self.sockets[path.local_port].sendmsg([marker, datagram], control, 0, there)
        except OSError:  # an ICMP error: nobody listens there yet
            return


def _socket(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    sock.bind(("0.0.0.0", port))  # in a namespace of the laboratory
    return sock


def _config(number: int, psk: bytes) -> TunnelConfig:
    everything = (parse_selector("0.0.0.0/0"),)
    return TunnelConfig(
        name=name(number),
        local=peer(number),
        remote=HUB,
        local_id=Identity.parse(str(peer(number))),
        remote_id=Identity.parse(str(HUB)),
        psk=Secret(psk),
        ike_proposals=(parse_proposal(_IKE, ProtocolId.IKE),),
        esp_proposals=(parse_proposal("aes256gcm16", ProtocolId.ESP),),
        local_ts=everything,
        remote_ts=everything,
        encap=Encap.AUTO,
    )


# ---- the bench ----


def measure(prefix: str, count: int) -> dict[str, float]:
    """Return the figures of one storm. Progress goes to standard error."""
    psk = os.urandom(32).hex()
    with Lab(prefix) as lab:
        hub, peers = build(lab, count, psk)
        words = (sys.executable, "-m", "bench.storm", "--peers", str(count), "--as-peers", psk)
        storm = peers.start("storm", *words)
        begun = time.monotonic()
        hub.start(timeout_s=_MOST_S)
        ready_s = time.monotonic() - begun
        storm.wait(_MOST_S + 30.0)
        try:
            said = json.loads(storm.log.read_text().splitlines()[-1])
        except (ValueError, IndexError):
            raise LabError(f"the peers ended:\n{storm.tail()}") from None
        ike = json.loads(hub.cli("status", "--json", timeout_s=_MOST_S))["counters"]["ike"]
        return {
            "peers": count,
            "up": said["up"],
            "hub_ready_s": round(ready_s, 2),
            "last_up_s": said["last_up_s"],
            "after_ready_s": round(said["last_up_s"] - ready_s, 2),
            "failures": said["failures"],
            "cookies_asked": ike.get("drop.cookie_demanded", 0),
            "half_open_refused": ike.get("drop.half_open_limit", 0),
            "shed": ike.get("drop.shed", 0),
            "hub_mib": round(cpu.resident_mib(hub.pids()), 1),
            "hub_cpu_s": round(cpu.cpu_s(hub.pids()), 1),
        }


def be_peers(count: int, psk: str) -> int:
    """Be the peers, in this namespace; the last line on standard output is what came of it."""
    peers = Peers.make()
    seconds = peers.run(count, psk.encode())
    last = round(seconds, 2) if math.isfinite(seconds) else -1.0
    print(json.dumps({"up": len(peers.up), "last_up_s": last, "failures": peers.failures}))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench storm", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--peers", type=int, default=MOST, help=f"1 to {MOST}")
    parser.add_argument("--as-peers", metavar="PSK", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if not 1 <= chosen.peers <= MOST:
        parser.error(f"--peers: 1 to {MOST}, not {chosen.peers}")
    end_cleanly()
    if chosen.as_peers is not None:
        return be_peers(chosen.peers, chosen.as_peers)
    go_first()
    try:
        found = measure(f"st{os.getpid()}", chosen.peers)
    except LabError as error:
        print(f"storm: {error}", file=sys.stderr)
        return 1
    title = f"{chosen.peers} peers that come back at once"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
