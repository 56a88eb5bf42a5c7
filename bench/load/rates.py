"""
The highest rate of packets of which fewer than one in a thousand is lost.

The rate is doubled (or halved) until one is too much and one is not, and then the distance between
the two is halved four times, to 4 %. Each rate has two tries: on a machine that does other things
as well, one may fail by no fault of the gateways.
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
_TRIES = 2
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

    0 if even the lowest loses more. Where the source ends first, it is what the source could send.
    """
    good, bad = 0.0, math.inf
    rate = float(_FIRST_PPS)
    while rate >= _LEAST_PPS and (good == 0.0 or bad == math.inf):
        run = _best(trial, int(rate))
        if run.lost >= _MOST_LOST:
            bad = rate
            rate /= 2
        elif _is_late(run, rate):
            return run.kpps
        else:
            good = rate
            rate *= 2
    if good == 0.0:
        return 0.0
    for _ in range(_STEPS):
        rate = math.sqrt(good * bad)
        run = _best(trial, int(rate))
        if run.lost >= _MOST_LOST:
            bad = rate
        elif _is_late(run, rate):
            return run.kpps
        else:
            good = rate
    return good / 1e3


def _best(trial: Trial, rate: int) -> Paced:
    run = trial(rate)
    for _ in range(_TRIES - 1):
        if run.lost < _MOST_LOST and not _is_late(run, rate):
            break
        run = min(run, trial(rate), key=lambda each: each.lost)
    return run


def _is_late(run: Paced, rate: float) -> bool:
    return run.kpps * 1e3 < _KEPT_UP * rate
