"""Bulk traffic from one site to the other: what arrived of it, and what it cost the gateways."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab import cpu, iperf, pacer
from lab.peers import Joined
from lab.topology import Pair

IMIX = (64,) * 7 + (576,) * 4 + (1400,)  # the usual one, but for what fits into a tunnel
_UDP_HEADERS = 28  # IPv4 and UDP
_OVERLOAD_PPS = 2_000_000  # more than a source can send
JUMBO = 9000


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of traffic.

    iperf3 with `words`, or the paced source when there is a rate. Sizes are of the IPv4 packets
    inside the tunnel; none for TCP.
    """

    words: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    pps: int = 0
    mtu: int = 1500
    is_paced: bool = False  # slower than any way carries: what counts is what is lost

    @property
    def size(self) -> float:
        """Return the mean size of a packet in bytes."""
        return statistics.fmean(self.sizes)


def _udp(size: int, rate: str = "0") -> Kind:
    words = ("-u", "-b", rate, "-l", str(size - _UDP_HEADERS))
    return Kind(words, (size,), is_paced=rate != "0")


KINDS: Mapping[str, Kind] = {
    "tcp1": Kind(),
    "tcp4": Kind(("-P", "4")),
    "tcp1_reverse": Kind(("-R",)),
    "tcp1_jumbo": Kind(mtu=JUMBO),
    "udp64": _udp(64),
    "udp512": _udp(512),
    "udp1400": _udp(1400),
    "imix": Kind(sizes=IMIX, pps=_OVERLOAD_PPS),
    "loss500": _udp(1400, "500M"),
    "loss1000": _udp(1400, "1000M"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one kind of traffic."""

    gbps: float
    kpps: float
    loss_percent: float
    cpu_s_per_gbit: float  # of one gateway


@dataclass(frozen=True, slots=True)
class _Carried:
    gbps: float
    kpps: float
    sent: int
    arrived: int
    seconds: float


def sample(joined: Joined, kind: Kind, seconds: float) -> Sample:
    """Run one kind of traffic from site a to site b and return what it carried and cost."""
    before = [cpu.cpu_s(pids) for pids in joined.pids]
    flow = (
        _by_source(joined.pair, kind, seconds)
        if kind.pps
        else _by_iperf(joined.pair, kind, seconds)
    )
    used = [cpu.cpu_s(pids) - b for pids, b in zip(joined.pids, before, strict=True)]
    return Sample(
        gbps=flow.gbps,
        kpps=flow.kpps,
        loss_percent=100.0 * (1.0 - flow.arrived / flow.sent) if flow.sent else 0.0,
        cpu_s_per_gbit=(
            statistics.fmean(used) / (flow.gbps * flow.seconds) if used and flow.gbps else 0.0
        ),
    )


def _by_iperf(pair: Pair, kind: Kind, seconds: float) -> _Carried:
    flow = iperf.measure(pair.a.host, pair.b.host, pair.b.host4, *kind.words, seconds=seconds)
    gbps = flow.kpps * kind.size * 8 / 1e6 if kind.sizes else flow.gbps
    return _Carried(gbps, flow.kpps, flow.sent, flow.arrived, flow.seconds)


def _by_source(pair: Pair, kind: Kind, seconds: float) -> _Carried:
    # It has twice the time for what it can not send in time.
    run = pacer.send(pair.a.host, pair.b.host, pair.b.host4, kind.pps, kind.sizes, seconds / 2)
    kpps = run.arrived / run.seconds / 1e3
    return _Carried(kpps * kind.size * 8 / 1e6, kpps, run.sent, run.arrived, run.seconds)


def figures(name: str, way: str, samples: Sequence[Sample]) -> dict[str, float]:
    """Return the named figures of one kind of traffic over one way: medians."""
    key, kind = f"{name}.{way}", KINDS[name]
    if kind.is_paced:
        return {f"{key}.percent": round(statistics.median(s.loss_percent for s in samples), 2)}
    named = {key: round(statistics.median(each.gbps for each in samples), 4)}
    if kind.sizes:
        named[f"{key}.kpps"] = round(statistics.median(each.kpps for each in samples), 2)
    if way != "plain":
        cost = round(statistics.median(each.cpu_s_per_gbit for each in samples), 4)
        named[f"{key}.cpu_s_per_gbit"] = cost
        if way == "twinspan":
            named[f"{name}.cpu_s_per_gbit"] = cost
    return named


def words(name: str, one: Sample) -> str:
    """Return one run for a person who waits."""
    if KINDS[name].is_paced:
        return f"{one.loss_percent:.2f} % lost"
    rate = f"{one.gbps:.2f} Gbit/s"
    return f"{rate}, {one.kpps:.0f} kpps" if KINDS[name].sizes else rate
