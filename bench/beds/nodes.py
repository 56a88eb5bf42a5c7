"""
Nodes without a gateway: the node's own code for identity and messages, over TLS, many in a process.

It runs beside the control process, from where each node comes by an address of its own, and writes
what it finds to standard output, as lines of JSON: `Joined` when all nodes have their first
document and have reported, `Talked` at the end.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gateway.fleet.messages import (
    CONTROL_NAME,
    DOCUMENT_BYTES_MAX,
    PATH,
    REPORT_S,
    WAIT_S,
    Counters,
    Position,
    Report,
    TunnelState,
    Turn,
    parse_token,
    read,
)
from gateway.node.fleet import identity as identities
from gateway.node.fleet.http import Http, Place
from gateway.node.fleet.link import DOCUMENT_S, Link, register

PASSES_S = 30.0  # so often one tunnel of a node goes down, and is up again with the next report
VERSION = "bench"


@dataclass(frozen=True, slots=True)
class Joined:
    """What the first document cost the node that waited longest: seconds, and bytes on the wire."""

    document_s: float
    document_bytes: int
    tunnels: int  # of all nodes


@dataclass(frozen=True, slots=True)
class Talked:
    """What reporting has come to, of all nodes."""

    reports: int
    report_p95_ms: float


@dataclass(slots=True)
class Simulated:
    """One node."""

    place: Place
    token: str
    folder: Path
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    number: int = 0
    at: Position = field(default_factory=Position)
    tunnels: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.time)
    taken_s: list[float] = field(default_factory=list)
    link: Link | None = None

    async def join(self) -> tuple[float, int]:
        """Register and get the first document; return its seconds and its bytes on the wire."""
        secret, fingerprint = parse_token(self.token)
        identity = await register(self.place, secret, fingerprint, VERSION)
        identities.save(self.folder, identity)
        http = Http(self.place, identities.presenting(identity, self.folder))
        await http.request("GET", f"{PATH}/ca", timeout_s=10.0, most_bytes=1 << 16)  # TLS is up now
        began = time.perf_counter()
        answer = await http.request(
            "GET", f"{PATH}/document?wait=0", timeout_s=DOCUMENT_S, most_bytes=DOCUMENT_BYTES_MAX
        )
        took = time.perf_counter() - began
        http.close()
        self._take(read(Turn, answer.body))
        self.link = Link(self.place, identity, self.folder)
        await self.report(is_full=True)
        return took, int(answer.headers["content-length"])

    def _take(self, turn: Turn) -> None:
        if turn.wanted is None:
            return
        self.at = turn.wanted.at
        connections = turn.wanted.document.get("vpn_connection", [])
        assert isinstance(connections, list)
        self.tunnels = [str(one["name"]) for each in connections for one in each["tunnel"]]

    async def follow(self) -> None:
        """Wait for the next document, for ever."""
        assert self.link is not None
        while True:
            self._take(await self.link.turn(self.at, WAIT_S))

    async def talk(self, seconds: float, first_s: float) -> None:
        """Report every 5 s as long as that, the first time after `first_s`."""
        began = time.monotonic()
        due, passes = began + first_s, began + PASSES_S / 2 + first_s
        down = ""
        while due < began + seconds:
            await asyncio.sleep(due - time.monotonic())
            others, down = [down] if down else [], ""
            if time.monotonic() >= passes and self.tunnels:
                passes += PASSES_S
                down = secrets.choice(self.tunnels)
            await self.report(others=others, down=down)
            due += REPORT_S

    async def report(
        self, *, is_full: bool = False, others: Sequence[str] = (), down: str = ""
    ) -> None:
        """Report all counters, and the states of some tunnels: of all if it is a full one."""
        assert self.link is not None
        self.number += 1
        names = {*(self.tunnels if is_full else others), *([down] if down else [])}
        report = Report(
            session=self.session,
            number=self.number,
            full=is_full,
            at=self.at,
            version=VERSION,
            since=self.since,
            notes=() if is_full else None,
            tunnels=tuple(self._state(name, is_up=name != down) for name in sorted(names)),
            counters={name: self._counters() for name in self.tunnels},
        )
        began = time.perf_counter()
        heard = await self.link.report(report)
        self.taken_s.append(time.perf_counter() - began)
        if heard.full:
            await self.report(is_full=True)

    def _state(self, name: str, *, is_up: bool) -> TunnelState:
        return TunnelState(
            name=name,
            admin="up",
            operational="up" if is_up else "down",
            since=time.time(),
            interface="ts-" + name.partition("-")[2],
            suite="aes256gcm16-prfsha384-x25519",
            mtu=1400,
        )

    def _counters(self) -> Counters:
        carried = self.number * 1_000_000 + secrets.randbelow(1_000_000)
        return Counters(
            in_bytes=carried,
            out_bytes=carried // 2,
            in_packets=carried // 1000,
            out_packets=carried // 2000,
            in_bps=carried % 100_000,
            out_bps=carried % 50_000,
        )


async def simulate(nodes: Sequence[Simulated], seconds: float) -> None:
    """Have the nodes join one after the other, then report side by side."""
    costs = [await node.join() for node in nodes]
    joined = Joined(
        document_s=round(max(took for took, _ in costs), 4),
        document_bytes=max(size for _, size in costs),
        tunnels=sum(len(node.tunnels) for node in nodes),
    )
    print(json.dumps(asdict(joined)), flush=True)
    following = [asyncio.create_task(node.follow()) for node in nodes]
    spread = REPORT_S / len(nodes)
    await asyncio.gather(*(node.talk(seconds, spread * at) for at, node in enumerate(nodes)))
    for task in following:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    taken = sorted(one for node in nodes for one in node.taken_s)
    talked = Talked(len(taken), round(taken[int(0.95 * (len(taken) - 1))] * 1e3, 2))
    print(json.dumps(asdict(talked)), flush=True)


def main() -> None:
    """Read `{"seconds": 60, "port": 8444, "nodes": [[address, token], ...]}` from a file."""
    told = json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as folder:
        nodes = []
        for number, (address, token) in enumerate(told["nodes"]):
            own = Path(folder) / str(number)
            own.mkdir(mode=0o700)
            nodes.append(Simulated(Place(address, told["port"], CONTROL_NAME), token, own))
        asyncio.run(simulate(nodes, told["seconds"]))


if __name__ == "__main__":
    main()
