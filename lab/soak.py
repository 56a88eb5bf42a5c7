"""
Mixed traffic for long while keys are replaced every few seconds: nothing is lost, nothing grows.

    host a --- gw a (twinspan) ==== wan1, wan2 ==== gw b (twinspan) --- host b

Each way flow 1,000 small datagrams a second, which are counted one by one, 5,000 packets a second
of IMIX, and a TCP stream paced to 100 Mbit/s, with BGP and BFD in both tunnels. Every few seconds
one end replaces the keys of a Child SA or of an IKE SA, sometimes both ends at the same moment. The
lines lose nothing, so every datagram must arrive, and no gateway may count a dropped packet. Memory
is compared with that after the first minute.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import iperf, lasting, pacer, stream, twins
from lab.commands import LabError, end_cleanly, wait_for
from lab.inventory import take
from lab.netns import Lab
from lab.sites import tunnel_name
from lab.topology import Site
from lab.twins import Twins
from lab.twinspan import Twinspan

_PAUSE_S = (1.0, 4.0)  # between two replacements
_BOTH = 0.2  # how often both ends begin one at once
_WARM_S = 60.0
_MOST_GROWN_MIB = 4.0
_TUNNELS = (tunnel_name(1), tunnel_name(2))
_IMIX_PPS = 5000
_IMIX = (64,) * 7 + (576,) * 4 + (1400,)
_TCP = "100M"
_TCP_PORT = 5300
# What a gateway counts without a packet being lost by it: NAT keepalives.
_HARMLESS = {"keepalive"}


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found; each field is one figure of `--json`."""

    minutes: float
    rekeys: int
    slowest_s: float  # until both ends had new keys
    gbit: float  # that the tunnels carried
    datagrams: int  # of those counted one by one
    lost: int
    silence_ms: float
    dropped: Mapping[str, int]  # by the gateways, for whatever reason
    first_mib: Mapping[str, float]  # resident memory of each process after the first minute
    grown_mib: Mapping[str, float]  # and how much more it is at the end


@dataclass(slots=True)
class Soak:
    """Two gateways that carry traffic."""

    network: Twins
    dice: random.Random
    rekeys: int = 0
    slowest_s: float = 0.0

    @property
    def ends(self) -> tuple[Twinspan, Twinspan]:
        return self.network.a, self.network.b

    def turn(self, seconds: float) -> None:
        """Replace keys again and again for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(self.dice.uniform(*_PAUSE_S))
            print(f"{time.strftime('%H:%M:%S')} {self.replace_keys()}", file=sys.stderr)

    def replace_keys(self) -> str:
        """Have one end, or both at once, replace keys of a tunnel; return what, when it is done."""
        tunnel = self.dice.choice(_TUNNELS)
        ike = self.dice.random() < 0.3
        ends = self.ends if self.dice.random() < _BOTH else (self.dice.choice(self.ends),)
        before = [_keys(end, tunnel, ike) for end in self.ends]
        began = time.monotonic()
        for end in ends:
            end.cli("rekey", tunnel, *(["--ike"] if ike else []))
        for end, old in zip(self.ends, before, strict=True):
            wait_for(
                f"new keys of {tunnel} at {end.machine.name}",
                lambda end=end, old=old: _are_new(_keys(end, tunnel, ike), old),  # type: ignore[misc]
                20.0,
                every_s=0.1,
            )
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.rekeys += len(ends)
        kind = "IKE SA" if ike else "Child SA"
        return f"{kind} of {tunnel} by {' and '.join(end.machine.name for end in ends)}"

    def carried_gbit(self) -> float:
        """Return what the tunnels have carried, both ways."""
        views = (view for end in self.ends for view in end.tunnels().values())
        return sum(int(str(view.raw["out_bytes"])) for view in views) * 8 / 1e9

    def dropped(self) -> Counter[str]:
        """
        Return the drops of both gateways by reason, but for what is harmless.

        Those of their kernels before and behind them are `udp_buffer` and `tun_queue`.
        """
        found: Counter[str] = Counter()
        for end in self.ends:
            found["udp_buffer"] += iperf.udp_counters(end.machine)["RcvbufErrors"]
            found["tun_queue"] += sum(_queue_drops(end, name) for name in _TUNNELS)
            of_machine = end.status()["counters"]
            assert isinstance(of_machine, Mapping)
            for each in (of_machine["drops"], *(view.drops for view in end.tunnels().values())):
                found.update(each)
        return Counter({name: count for name, count in found.items() if name not in _HARMLESS})


def _keys(end: Twinspan, tunnel: str, ike: bool) -> tuple[object, ...]:
    """Return the SPI of a tunnel's IKE SA, or those of its Child SAs."""
    view = end.tunnels()[tunnel]
    if not ike:
        return view.spis
    sa = view.raw["ike"]
    assert isinstance(sa, Mapping)
    return (sa.get("spi_i"),)


def _queue_drops(end: Twinspan, tunnel: str) -> int:
    (link,) = json.loads(end.machine.ip("-s", "-j", "link", "show", "dev", f"ts-{tunnel}"))
    return int(link["stats64"]["tx"]["dropped"])


def _are_new(now: Sequence[object], before: Sequence[object]) -> bool:
    return len(now) == 1 and now[0] not in before


def _traffic(stack: ExitStack, network: Twins) -> None:
    """Start what is not counted one by one; it ends with the stack."""
    a, b = network.pair.a, network.pair.b
    for number, (here, there) in enumerate(((a, b), (b, a))):
        imix = pacer.source(here.host, there.host4, 9, _IMIX_PPS, _IMIX)
        stack.callback(imix.stop)
        _tcp(stack, here, there, _TCP_PORT + number)


def _tcp(stack: ExitStack, here: Site, there: Site, port: int) -> None:
    server = there.host.start(f"iperf{port}", "iperf3", "-s", "-p", str(port))
    stack.callback(server.stop)
    wait_for("iperf3", lambda: f":{port}" in there.host.run("ss", "-Hltn"), 5.0)
    words = ("iperf3", "-c", there.host4, "-p", str(port), "-t", "86400", "-b", _TCP, "-i", "0")
    stack.callback(here.host.start(f"tcp{port}", *words).stop)


def run(minutes: float, seed: int) -> Figures:
    """Soak two gateways for so long. Raises LabError."""
    with Lab(f"so{os.getpid()}") as lab, ExitStack() as stack:
        network = twins.build(lab, "300x3")
        soak = Soak(network, random.Random(seed))  # noqa: S311  # not for secrets
        a, b = network.pair.a, network.pair.b
        _traffic(stack, network)
        flows = stream.both_ways((a.host, a.host4), (b.host, b.host4))
        stack.callback(flows.kill)
        # Whoever answers may send before the other end has read the answer.
        at_start = soak.dropped()
        soak.turn(min(_WARM_S, 15.0 * minutes))
        before = take(soak.ends).resident_mib
        soak.turn(60.0 * minutes)
        after = take(soak.ends).resident_mib
        seen = flows.stop()
        dropped = soak.dropped() - at_start
        if not twins.has_all_sessions(network.a):
            raise LabError(f"not every session is up:\n{network.a.cli('bgp')}")
        return Figures(
            minutes=minutes,
            rekeys=soak.rekeys,
            slowest_s=round(soak.slowest_s, 2),
            gbit=round(soak.carried_gbit(), 1),
            datagrams=sum(each.sent for each in seen),
            lost=sum(each.lost for each in seen),
            silence_ms=round(max(each.silence_ms for each in seen), 1),
            dropped=dict(dropped),
            first_mib={name: round(size, 1) for name, size in before.items()},
            grown_mib={name: round(after[name] - before[name], 2) for name in before},
        )


def judge(found: Figures) -> list[str]:
    """Return what is not as it must be."""
    wrong = []
    if found.lost:
        wrong.append(f"{found.lost} of {found.datagrams} datagrams are lost")
    wrong += [f"{count} packets were dropped: {reason}" for reason, count in found.dropped.items()]
    wrong += [
        f"{name} has grown by {grown} MiB"
        for name, grown in found.grown_mib.items()
        if grown > _MOST_GROWN_MIB
    ]
    return wrong


def page(found: Figures, seed: int) -> list[str]:
    """Return what docs/reliability.md says of it."""
    memory = ", ".join(
        f"{name} {size:g} MiB {found.grown_mib[name]:+g}" for name, size in found.first_mib.items()
    )
    rows = [
        ("datagrams counted, lost", f"{found.datagrams:,}, {found.lost}"),
        ("packets that a gateway dropped", f"{sum(found.dropped.values())}"),
        ("carried", f"{found.gbit:,g} Gbit"),
        ("rekeys, the slowest", f"{found.rekeys}, {found.slowest_s:g} s"),
        ("longest silence", f"{found.silence_ms:g} ms"),
        ("memory after the first minute, then", memory),
        ("verdict", "; ".join(judge(found)) or "nothing was lost, nothing has grown"),
    ]
    return [lasting.heading(found.minutes, seed), "", *lasting.table(("", ""), rows)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it from the command line."""
    parser = lasting.parser("soak", __doc__, "whose keys go when")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    chosen = lasting.parse(parser, arguments)
    end_cleanly()
    print(f"soak: seed {chosen.seed}")
    try:
        found = run(chosen.minutes, chosen.seed)
    except LabError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(found), indent=1))
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    if chosen.write is not None:
        lasting.put(chosen.write, "./run soak", page(found, chosen.seed))
    wrong = judge(found)
    print("soak: " + ("; ".join(wrong) or "nothing was lost, nothing has grown"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
