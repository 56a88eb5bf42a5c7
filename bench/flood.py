"""
A gateway under floods of forged datagrams: do configured peers connect, do tunnels carry traffic?

    host a --- gw a ===== wan1 ===== gw b --- host b      a tunnel with a stream each way
                |  +===== peers: strongSwan, one configured tunnel for each try to connect
                +======== internet: the flood, from 16 million addresses

The gateway under attack has a tunnel for any address too, so every forged IKE_SA_INIT could be that
of a peer, and is worth a cookie; those of `known` come from configured peers' addresses. Each kind
of flood goes on for a while; meanwhile strongSwan sets up one tunnel after the other, and each time
from its call to its Child SA is taken.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from rich.table import Table

from bench.handshake import SystemRandom
from gateway.ike.config import Identity, TunnelConfig
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import Send
from gateway.ike.iana import ProtocolId
from gateway.ike.proposals import parse_proposal
from gateway.ike.selectors import parse_selector
from gateway.secret import Secret
from lab import cpu, flood, sites, stream, topology
from lab.commands import LabError, end_cleanly, go_first
from lab.figures import tell
from lab.netns import Lab
from lab.strongswan import Child, StrongSwan
from lab.strongswan import Connection as SwanConnection
from lab.topology import Pair
from lab.twinspan import Connection, Document, Tunnel, Twinspan

RATE = 20_000  # datagrams a second
_ATTACKED = "192.0.2.1"
_PEERS = 40
_FIRST_AWAY = IPv4Address("203.0.114.10")  # of as many configured peers that are away
_TRIES = 10  # under each flood
_FIRST_PEER = IPv4Address("198.51.100.10")
_BEGIN_S = 1.0  # of flood, before anybody connects
_BETWEEN_S = 0.2
_MOST_S = 15.0  # until a peer gives up
_QUIET = "nothing"


def kinds() -> dict[str, flood.Kind]:
    """Return the floods by name."""
    init = _request()
    junk = bytes(16) + bytes([46, 0x20, 35, 8, 0, 0, 0, 1]) + (300).to_bytes(4, "big")
    auth = junk + bytes([0, 0]) + (272).to_bytes(2, "big") + bytes(268)
    marked = bytes(4) + auth
    found = [
        flood.Kind("init", 500, init, [(0, 8)]),
        flood.Kind("known", 500, init, [(0, 8)], str(_FIRST_AWAY), _PEERS),
        flood.Kind("garbage", 500, bytes(200), [(0, 200)]),
        flood.Kind("auth", 500, auth, [(0, 16), (32, 268)]),
        flood.Kind("auth4500", 4500, marked, [(4, 16), (36, 268)]),
        flood.Kind("esp", 4500, b"\x7f" + bytes(199), [(1, 199)]),
    ]
    return {kind.name: kind for kind in found}


def _request() -> bytes:
    """Return an IKE_SA_INIT request that the gateway would take."""
    everything = (parse_selector("0.0.0.0/0"),)
    config = TunnelConfig(
        name="forged",
        local=IPv4Address("45.0.0.1"),
        remote=IPv4Address(_ATTACKED),
        local_id=Identity.parse("nobody.test"),
        remote_id=Identity.parse("hub.test"),
        psk=Secret(secrets.token_bytes(32)),
        ike_proposals=(parse_proposal("aes256gcm16-prfsha384-x25519", ProtocolId.IKE),),
        esp_proposals=(parse_proposal("aes256gcm16", ProtocolId.ESP),),
        local_ts=everything,
        remote_ts=everything,
    )
    endpoint = IkeEndpoint(SystemRandom(), 0.0)
    events = [*endpoint.configure([config], 0.0), *endpoint.on_time(0.0)]
    return next(event.datagram for event in events if isinstance(event, Send))


# ---- the bed ----


@dataclass(frozen=True, slots=True)
class Bed:
    """The gateway under attack, its peers, and where the flood comes from."""

    lab: Lab
    pair: Pair
    attacked: Twinspan
    peers: StrongSwan


def build(lab: Lab) -> Bed:
    """Join everything and bring the tunnel of the stream up."""
    pair, keys = topology.four_machines(lab, paths=1), sites.Secrets()
    gateway, peers, internet = pair.a.gateway, lab.namespace("peers"), lab.namespace("internet")
    lab.wire((gateway, "wanp", ("198.51.100.1/24",)), (peers, "wan1", ()))
    peers.addresses("wan1", [f"{_peer(number)}/24" for number in range(_PEERS)])
    peers.addresses("lo", [_lan(number).replace(".0/", ".1/") for number in range(_PEERS)])
    peers.route("192.0.2.0/24", "via", "198.51.100.1")
    lab.wire((gateway, "wanx", ("203.0.113.1/24",)), (internet, "wan1", ("203.0.113.2/24",)))
    internet.route("192.0.2.0/24", "via", "203.0.113.1")
    internet.route("blackhole", "default")
    gateway.route("default", "via", "203.0.113.2")
    psk = secrets.token_hex(32)
    attacked = Twinspan(gateway, _document(pair, keys, psk)).start()
    other = Twinspan(pair.b.gateway, sites.document(pair.b, pair.a, keys)).start()
    other.wait_up()
    connections = [_swan(number, pair, psk) for number in range(_PEERS)]
    return Bed(lab, pair, attacked, StrongSwan(peers, connections).start())


def _peer(number: int) -> str:
    return str(_FIRST_PEER + number)


def _lan(number: int) -> str:
    return f"10.30.{number}.0/24"


def _document(pair: Pair, keys: sites.Secrets, psk: str) -> Document:
    made = sites.document(pair.a, pair.b, keys)
    peers = [_connection(f"peer{n}", _peer(n), n, psk) for n in range(_PEERS)]
    away = [_connection(f"away{n}", str(_FIRST_AWAY + n), _PEERS + n, psk) for n in range(_PEERS)]
    anyone = _connection("anyone", None, 200, psk, {"identity": "anyone.test"})
    return Document(
        name=made.name,
        public=made.public,
        cidrs=made.cidrs,
        connections=[*made.connections, *peers, *away, anyone],
    )


def _connection(
    name: str, remote: str | None, number: int, psk: str, customer: Mapping[str, str] | None = None
) -> Connection:
    tunnel = Tunnel(name=name, local=_ATTACKED, remote=remote, inner=_inner(number), psk=psk)
    return Connection(
        name=name,
        remote_cidrs=[_lan(number)],
        tunnels=[tunnel],
        settings={"start": "respond"},
        customer=dict(customer or {}),
    )


def _inner(number: int) -> str:
    return f"{IPv4Address('169.254.20.0') + 4 * number}/30"


def _swan(number: int, pair: Pair, psk: str) -> SwanConnection:
    address = _peer(number)
    return SwanConnection(
        name=f"peer{number}",
        local=address,
        remote=_ATTACKED,
        local_id=address,
        remote_id=_ATTACKED,
        psk=psk,
        ike="aes256gcm16-prfsha384-x25519",
        child=Child((_lan(number),), (pair.a.lan4,), "aes256gcm16-x25519"),
    )


# ---- one flood ----


@dataclass(frozen=True, slots=True)
class Seen:
    """What a flood did."""

    sent_per_s: float
    connect_s: tuple[float, ...]  # of each peer; it is _MOST_S for one that did not
    lost: int  # datagrams of the streams, both ways
    silence_ms: float
    cpu: float  # cores that the gateway process used
    dataplane_cpu: float
    us_each: float  # CPU of the gateway process for a datagram that it dropped
    dropped_per_s: float
    grown_mib: float

    def figures(self, name: str) -> dict[str, float]:
        """Return them by name."""
        return {
            f"{name}.sent_per_s": round(self.sent_per_s),
            f"{name}.connect_max_s": round(max(self.connect_s), 3),
            f"{name}.connect_median_s": round(statistics.median(self.connect_s), 3),
            f"{name}.lost": self.lost,
            f"{name}.silence_ms": round(self.silence_ms, 1),
            f"{name}.gateway_cpu": round(self.cpu, 2),
            f"{name}.dataplane_cpu": round(self.dataplane_cpu, 2),
            f"{name}.us_each": round(self.us_each, 1),
            f"{name}.dropped_per_s": round(self.dropped_per_s),
            f"{name}.grown_mib": round(self.grown_mib, 1),
        }


def once(bed: Bed, kind: flood.Kind | None, first: int, rate: int) -> Seen:
    """Let a flood go on while peers connect, the stream beside it. Raises LabError."""
    a, b, gateway = bed.pair.a, bed.pair.b, bed.attacked
    flows = stream.both_ways((a.host, a.host4), (b.host, b.host4))
    try:
        seconds = _BEGIN_S + _TRIES * (_BETWEEN_S + 0.4)
        internet = bed.lab.namespaces["internet"]
        drops, resident = _drops(gateway), cpu.resident_mib(gateway.pids())
        before, begun = _cpu(gateway), time.monotonic()
        flooding = flood.start(internet, _ATTACKED, kind, rate, seconds) if kind else None
        time.sleep(_BEGIN_S)
        connected = [_connect(bed.peers, f"peer{first + turn}") for turn in range(_TRIES)]
        sent = flooding.wait(_TRIES * _MOST_S) if flooding else flood.Sent(0, seconds)
        after, took = _cpu(gateway), time.monotonic() - begun
        dropped = _drops(gateway) - drops
        grown = cpu.resident_mib(gateway.pids()) - resident
        results = flows.stop()
    except BaseException:
        flows.kill()
        raise
    used = after[0] - before[0]
    return Seen(
        sent_per_s=sent.per_s,
        connect_s=tuple(connected),
        lost=sum(one.lost for one in results),
        silence_ms=max(one.silence_ms for one in results),
        cpu=used / took,
        dataplane_cpu=(after[1] - before[1]) / took,
        us_each=used / dropped * 1e6 if dropped else 0.0,
        dropped_per_s=dropped / took,
        grown_mib=grown,
    )


def _connect(peers: StrongSwan, name: str) -> float:
    """Return how long a peer takes to set its tunnel up."""
    time.sleep(_BETWEEN_S)
    begun = time.monotonic()
    try:
        peers.initiate(name, _MOST_S)
    except LabError:
        return _MOST_S
    return time.monotonic() - begun


def _cpu(gateway: Twinspan) -> tuple[float, float]:
    """Return the CPU seconds of the gateway process and of its data plane."""
    own = cpu.run_s([gateway.pid])
    return own, cpu.run_s(gateway.pids()) - own


def _drops(gateway: Twinspan) -> int:
    """Return the IKE datagrams that the gateway process has dropped so far."""
    counters = gateway.status()["counters"]
    assert isinstance(counters, dict)
    return sum(value for name, value in counters["ike"].items() if name.startswith("drop."))


def measure(names: Sequence[str], rate: int) -> dict[str, float]:
    """Return the figures of each flood. Progress goes to standard error."""
    found: dict[str, float] = {}
    floods = kinds()
    with Lab(f"fl{os.getpid()}") as lab:
        bed = build(lab)
        for turn, name in enumerate(names):
            first = turn * _TRIES % _PEERS
            if turn * _TRIES >= _PEERS:
                for each in range(first, first + _TRIES):
                    bed.peers.terminate(f"peer{each}")
            seen = once(bed, floods.get(name), first, rate)
            found |= seen.figures(name)
            print(f"{name}: {seen}", file=sys.stderr)
    return found


def table(found: Mapping[str, float], names: Sequence[str]) -> Table:
    """Return the figures for a person."""
    made = Table(title="Under a flood: seconds to connect, the stream beside it, CPU, memory")
    heads = ("flood", "sent/s", "connect, median", "max", "lost", "silence ms", "gateway cores")
    for head in (*heads, "data plane", "us each", "MiB more"):
        made.add_column(head, justify="left" if head == "flood" else "right")
    keys = ("sent_per_s", "connect_median_s", "connect_max_s", "lost", "silence_ms", "gateway_cpu")
    for name in names:
        values = (found[f"{name}.{key}"] for key in (*keys, "dataplane_cpu", "us_each"))
        made.add_row(name, *(f"{one:g}" for one in values), f"{found[f'{name}.grown_mib']:g}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    every = (_QUIET, *kinds())
    parser = argparse.ArgumentParser(prog="run bench flood", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--rate", type=int, default=RATE, help="datagrams a second")
    parser.add_argument("--kinds", nargs="+", choices=every, default=every, metavar="KIND")
    chosen = parser.parse_args(arguments)
    end_cleanly()
    go_first()
    try:
        found = measure(chosen.kinds, chosen.rate)
    except LabError as error:
        print(f"flood: {error}", file=sys.stderr)
        return 1
    tell(found, table(found, chosen.kinds), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
