"""
A thousand BGP sessions with BFD on one BIRD, over as many tunnels, beside bulk traffic.

    lan --- hub (twinspan) ==== 1,000 tunnels ==== branches (twinspan, BIRD as all the customers)

One customer and one network behind every two tunnels. The sessions are watched for some minutes; a
session that went down in between is a flap. CPU and memory are those of the hub's processes.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from bench import scale
from gateway.model.load import load
from gateway.node.plan import plan
from gateway.routing.bird_conf import bird_conf
from lab import cpu, iperf, twins
from lab.bird import Bird
from lab.commands import LabError, end_cleanly, go_first, wait_for
from lab.figures import listed, tell
from lab.netns import Lab
from lab.twinspan import Connection, Document, Twinspan

_HUB_ASN, _FIRST_ASN = 65000, 4_200_000_000
_BULK_FROM, _BULK_TO = "10.60.0.1", "10.64.0.1"
_CHUNK_S = 20.0
# As deploy/sysctl.d has it; only the machine's own network namespace has the setting.
_RMEM, _RMEM_BYTES = Path("/proc/sys/net/core/rmem_default"), 4 << 20
_SAME_S = 0.5  # BIRD's time stamps wobble by a millisecond
_ESTABLISHED_S = 120.0


# ---- what the hub and the customers are told ----


def with_bgp(connections: Sequence[Connection]) -> list[Connection]:
    """Return the hub's connections with BGP and BFD instead of static routes."""
    return [
        replace(
            each,
            settings={**each.settings, "routing": "bgp", "bfd": "300x3"},
            customer={"asn": _FIRST_ASN + number},
        )
        for number, each in enumerate(connections)
    ]


def customers(count: int) -> str:
    """Return BIRD's configuration as all the customers, with that many sessions."""
    nets = "".join(f"  route {scale.branch_net(n)} unreachable;\n" for n in range(count // 2))
    timers = "min rx interval 300 ms; min tx interval 300 ms; idle tx interval 1 s; multiplier 3;"
    return "\n".join(
        [
            "router id 10.50.0.1;\nprotocol device { scan time 10; }",
            "protocol kernel {\n  netlink rx buffer 16777216;\n  merge paths on limit 8;\n"
            "  ipv4 { import none; export where source = RTS_BGP; };\n}",
            f"protocol static own {{\n  ipv4;\n{nets}}}",
            f'protocol bfd {{\n  accept direct;\n  interface "ts-*" {{ {timers} }};\n}}',
            "template bgp hub {\n  direct; bfd on; graceful restart aware; hold time 30;\n"
            "  connect delay time 1; connect retry time 1; error wait time 1, 2;\n}",
            *map(_session, range(count)),
        ]
    )


def _session(tunnel: int) -> str:
    hub, customer = scale.inner(tunnel).hosts()
    number = tunnel // 2
    return f"""protocol bgp s{tunnel} from hub {{
  interface "ts-{scale.tunnel_name(tunnel)}";
  local {customer} as {_FIRST_ASN + number};
  neighbor {hub} as {_HUB_ASN};
  ipv4 {{ next hop self; import all; export where net = {scale.branch_net(number)}; }};
}}"""


# ---- what becomes of it ----


@dataclass(slots=True)
class Watch:
    """Counts the sessions of a gateway that went down, from reading to reading."""

    gateway: Twinspan
    flaps: int = 0
    slowest_s: float = 0.0  # reading
    since: Mapping[str, datetime] = field(default_factory=dict)  # established, by tunnel

    def read(self) -> int:
        """Take a reading; return how many sessions are established, with BFD."""
        began = time.monotonic()
        peers = self.gateway.bgp()
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        now = {
            str(peer["name"]): datetime.fromisoformat(peer["since"])
            for peer in peers
            if peer["state"] == "established" and peer["bfd"] == "up"
        }
        self.flaps += sum(not _is_as_before(now.get(name), at) for name, at in self.since.items())
        self.since = now
        return len(now)


def _is_as_before(now: datetime | None, before: datetime) -> bool:
    return now is not None and abs((now - before).total_seconds()) < _SAME_S


@dataclass(frozen=True, slots=True)
class Bed:
    """The hub and its customers, everything up."""

    hub: Twinspan
    customers: Bird
    count: int
    established_s: float

    def processes(self) -> dict[str, int]:
        """Return the pids of the hub's processes by name."""
        (plane,) = set(self.hub.pids()) - {self.hub.pid}
        bird = twins.bird_pid(self.hub)
        if bird is None:
            raise LabError("the hub has no BIRD")
        return {"bird": bird, "gateway": self.hub.pid, "plane": plane}


def build(lab: Lab, count: int) -> Bed:
    """Start both gateways and the customers' BIRD; wait until all sessions are established."""
    hub, branches = scale.build(lab, count)
    hub.write(replace(hub.document, connections=with_bgp(hub.document.connections)))
    branches.start(timeout_s=120.0)
    began = time.monotonic()
    hub.start(timeout_s=120.0)
    scale.wait_all_up(hub, count, began)
    branches.machine.address("lo", f"{_BULK_TO}/32")
    began = time.monotonic()
    bird = Bird(branches.machine, customers(count)).start()
    watch = Watch(hub)

    def has_all() -> bool:
        up = watch.read()
        print(f"{up} sessions after {time.monotonic() - began:.1f} s", file=sys.stderr)
        return up == count

    wait_for(f"{count} sessions", has_all, _ESTABLISHED_S, every_s=1.0)
    return Bed(hub, bird, count, time.monotonic() - began)


# ---- the figures ----


@contextmanager
def gateway_buffers() -> Iterator[None]:
    """Give new sockets of this machine the receive buffer of a gateway while the block runs."""
    before = _RMEM.read_text()
    _RMEM.write_text(f"{max(int(before), _RMEM_BYTES)}\n")
    try:
        yield
    finally:
        _RMEM.write_text(before)


def stay(bed: Bed, minutes: float, mbps: int) -> dict[str, float]:
    """Watch the sessions for so long beside bulk traffic; return what it cost."""
    watch, began, rates = Watch(bed.hub), time.monotonic(), []
    watch.read()
    processes = bed.processes()
    before = {name: cpu.cpu_s([pid]) for name, pid in processes.items()}
    while (left_s := 60.0 * minutes - (time.monotonic() - began)) > 0:
        rates.append(_bulk(bed, mbps, min(_CHUNK_S, max(1.0, left_s))))
        up = watch.read()
        print(
            f"{time.monotonic() - began:.0f} s: {up} sessions, {watch.flaps} flaps,"
            f" {rates[-1]:.0f} Mbit/s",
            file=sys.stderr,
        )
    took_s = time.monotonic() - began
    found = {"minutes": took_s / 60.0, "flaps": watch.flaps, "bgp_answer_s": watch.slowest_s}
    found["bulk_mbps"] = sum(rates) / len(rates)
    for name, pid in processes.items():
        found[f"{name}_cpu_percent"] = 100.0 * (cpu.cpu_s([pid]) - before[name]) / took_s
        found[f"{name}_mib"] = cpu.resident_mib([pid])
    return found


def _bulk(bed: Bed, mbps: int, seconds: float) -> float:
    arguments = ("-B", _BULK_FROM, "-b", f"{mbps}M")
    sender, receiver = bed.hub.machine, bed.customers.machine
    flow = iperf.measure(sender, receiver, _BULK_TO, *arguments, seconds=seconds)
    return 1000.0 * flow.gbps


def document(lab: Lab, connections: int) -> dict[str, float]:
    """Return how long a document with so many connections takes to be BIRD's configuration."""
    keys = [os.urandom(32).hex() for _ in range(connections)]
    listed = with_bgp(scale.connections(2 * connections, keys, is_hub=True))
    file = lab.directory / "many.toml"
    file.write_text(Document("hub", scale.HUB, [scale.HUB_LAN], listed).toml())
    file.chmod(0o600)
    began = time.monotonic()
    loaded = load(file)
    read_at = time.monotonic()
    (routing,) = plan(loaded.document).routing
    bird_conf(routing, "bird.log")
    return {"document_s": read_at - began, "conf_s": time.monotonic() - read_at}


def reload_one(bed: Bed) -> dict[str, float]:
    """Change the hold time of one session; return what the reload did, as BIRD's log has it."""
    watch = Watch(bed.hub)
    watch.read()
    log = bed.hub.directory / "bird.log"
    before = log.stat().st_size
    first, *others = bed.hub.document.connections
    settings = {**first.tunnels[0].settings, "bgp_hold_s": 9}
    tunnels = [replace(first.tunnels[0], settings=settings), *first.tunnels[1:]]
    edited = [replace(first, tunnels=tunnels), *others]
    bed.hub.write(replace(bed.hub.document, connections=edited))
    began = time.monotonic()
    bed.hub.cli("reload")
    took_s = time.monotonic() - began
    with log.open() as file:
        file.seek(before)
        touched = re.findall(r"(?:Adding|Removing|Restarting) protocol (\S+)", file.read())
    wait_for("all sessions", lambda: watch.read() == bed.count, _ESTABLISHED_S, every_s=1.0)
    return {
        "reload_s": took_s,
        "reload_sessions": len(touched),
        "reload_flaps": watch.flaps - len(touched),
    }


def measure(prefix: str, count: int, minutes: float, mbps: int) -> dict[str, float]:
    """Return the figures of one run, as the README of the benches has them."""
    with gateway_buffers(), Lab(prefix) as lab:
        print(f"starting two gateways with {count} tunnels", file=sys.stderr)
        bed = build(lab, count)
        found = {
            "sessions": count,
            "established_s": bed.established_s,
            **stay(bed, minutes, mbps),
            **reload_one(bed),
            **document(lab, count),
        }
    return {name: round(value, 3) for name, value in found.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench from the command line."""
    parser = argparse.ArgumentParser(prog="run bench sessions", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--sessions", type=int, default=scale.MOST, metavar="N")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long they are watched")
    parser.add_argument("--mbps", type=int, default=200, help="bulk traffic beside, Mbit/s")
    chosen = parser.parse_args(arguments)
    if chosen.sessions % 2 or not 2 <= chosen.sessions <= scale.MOST:
        parser.error(f"--sessions: an even number from 2 to {scale.MOST}, not {chosen.sessions}")
    if not chosen.minutes > 0:
        parser.error(f"--minutes: more than 0, not {chosen.minutes}")
    if chosen.mbps < 1:
        parser.error(f"--mbps: at least 1, not {chosen.mbps}")
    end_cleanly()
    go_first()
    try:
        found = measure(f"se{os.getpid()}", chosen.sessions, chosen.minutes, chosen.mbps)
    except LabError as error:
        print(f"sessions: {error}", file=sys.stderr)
        return 1
    title = f"{chosen.sessions} BGP sessions with BFD on one BIRD"
    tell(found, listed(found, title), chosen.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
