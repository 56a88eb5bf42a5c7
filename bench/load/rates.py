"""
The highest rate of packets of which fewer than one in a thousand is lost.

The rate is doubled (or halved) until one is too much and one is not, and then the distance between
the two is halved four times, to 4 %. A rate counts if two of three tries hold: a second in which
something else had the CPUs neither ends a search nor does a lucky one carry it on. It is the same
for all ways.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.load.bulk import IMIX
from lab import pacer
from lab.pacer import Paced
from lab.peers import Joined


@dataclass(frozen=True, slots=True)
class Load:
    """Sizes of the IPv4 packets, in turn, and how many leave the sender as one message."""

    sizes: tuple[int, ...]
    train: int = 1


LOADS: Mapping[str, Load] = {
    "rate64": Load((64,)),
    "rate512": Load((512,)),
    "rate1400": Load((1400,)),
    "rate1400_trains": Load((1400,), 16),  # as senders of QUIC hand them to the kernel
    "rate_imix": Load(IMIX),
}
_MOST_LOST = 0.001
_FIRST_PPS, _LEAST_PPS = 40_000, 500
_STEPS = 4
_KEPT_UP = 0.97  # of the rate; a source that sends less is at its own limit

Trial = Callable[[int], Paced]


def search(joined: Joined, load: Load, seconds: float) -> float:
    """Return the highest such rate from site a to site b, in thousand packets a second."""
    pair = joined.pair

    def trial(rate: int) -> Paced:
        hosts = (pair.a.host, pair.b.host, pair.b.host4)
        return pacer.send(*hosts, rate, load.sizes, seconds, load.train)

    return highest(trial)


def highest(trial: Trial) -> float:
    """
    Return the highest rate at which `trial` loses few enough, in thousand packets a second.

    0 if even the lowest loses more. A source that can not keep up with a rate, as what it feeds has
    the CPUs, has no better one above; what it did send counts if it was not lost.
    """
    most, good, bad, halved = 0.0, 0.0, math.inf, 0
    rate = float(_FIRST_PPS)
    while rate >= _LEAST_PPS and halved <= _STEPS:
        run = _middle(trial, int(rate))
        if _holds(run):
            most = max(most, run.kpps)
        if _holds(run) and run.kpps * 1e3 >= _KEPT_UP * rate:
            good = rate
        else:
            bad = rate
        if good > 0.0 and bad < math.inf:
            rate = math.sqrt(good * bad)
            halved += 1
        else:
            rate *= 2 if good > 0.0 else 0.5
    return most


def _middle(trial: Trial, rate: int) -> Paced:
    """Return the middle one of three tries by what was lost; a third only if two disagree."""
    runs = [trial(rate), trial(rate)]
    if _holds(runs[0]) != _holds(runs[1]):
        runs.append(trial(rate))
    # Of two that agree the worse one counts.
    return sorted(runs, key=lambda each: each.lost)[1]


def _holds(run: Paced) -> bool:
    return run.lost < _MOST_LOST
