"""
Fuzzes whole endpoints: python -m tests.fuzz.fuzz_endpoint SECONDS [SEED]

Two endpoints do what endpoints do: connect, replace keys, ask whether the other lives, close. On
the link sits somebody who knows all their keys, so every message may come changed, inside SK as
well, sealed again with the right key; or twice, late, or not at all. Nothing may escape from an
endpoint, whatever arrives, and what it tells its data plane must hold: no SPI twice, no key used
again.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable

from gateway.ike.fragments import is_fragment
from gateway.ike.iana import PayloadType
from gateway.ike.message import open_payload, parse_header, seal_payload
from tests.fuzz.fuzz_ike import REFUSALS, mutate, parse_empty, with_length
from tests.support.forge import Forger
from tests.support.pair import Flight, IkePair, Side

STEPS = 25  # of one pair of endpoints
MOST_IN_A_STEP = 40  # datagrams: changed ones may cause others
PAUSES = (0.0, 0.0, 0.5, 3.0, 40.0)  # seconds of the pair's clock after a step
CHANGED = 0.25  # of the messages
ACTS: tuple[Callable[[Side], None], ...] = (
    Side.rekey_child,
    Side.rekey_child,
    Side.rekey_ike,
    Side.initiate,
    Side.esp_heard,
    Side.close,
    Side.restart,
)


def changed(flight: Flight, rng: random.Random) -> bytes:
    """Return a datagram with something else in it, sealed again where keys are known."""
    datagram = flight.datagram
    header = parse_header(datagram)
    sealed = header.next_payload in (PayloadType.SK, PayloadType.SKF)
    forger = Forger.of_spis(flight.sender, header.spi_i) if sealed else None
    if forger is None:
        return with_length(mutate(datagram, rng, datagram))
    cipher = forger.cipher
    prologue = 4 if is_fragment(header) else 0
    first, content = open_payload(datagram, prologue, cipher)
    if rng.random() < 0.2:
        first = rng.randrange(256)
    return seal_payload(
        parse_empty(datagram),
        PayloadType.SKF if prologue else PayloadType.SK,
        first,
        datagram[32:36] if prologue else b"",
        mutate(content, rng, datagram),
        cipher,
        rng.randbytes(cipher.iv_len),
    )


def carry(pair: IkePair, rng: random.Random, outcomes: Counter[str]) -> None:
    """Let what is on its way arrive, changed or not."""
    for _ in range(MOST_IN_A_STEP):
        pair.fire()
        if not pair.link.flights:
            return
        flight = pair.link.flights.popleft()
        what = rng.random()
        if what < CHANGED:
            try:
                flight.datagram = changed(flight, rng)
                outcomes["changed"] += 1
            except REFUSALS:  # it was a changed one already, which nobody can open
                outcomes["again"] += 1
            pair.link.arrive(flight)
        elif what < CHANGED + 0.05:
            outcomes["lost"] += 1
        elif what < CHANGED + 0.1:
            outcomes["twice"] += 1
            pair.link.arrive(flight)
            pair.link.flights.append(flight)
        else:
            outcomes["as it was"] += 1
            pair.link.arrive(flight)
    pair.link.flights.clear()


def episode(rng: random.Random, outcomes: Counter[str]) -> None:
    """Play one pair of endpoints to its end."""
    pair = IkePair.started() if rng.random() < 0.25 else IkePair.established()
    carry(pair, rng, outcomes)
    for _ in range(STEPS):
        side = rng.choice(pair.sides())
        rng.choice(ACTS)(side)
        carry(pair, rng, outcomes)
        pair.now += rng.choice(PAUSES)
        outcomes[f"state {side.state}"] += 1


def run(seconds: float, seed: int = 1) -> Counter[str]:
    """Fuzz for a time. Return how often each thing was done, and in which state an endpoint was."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            episode(random.Random(f"{seed} {number}"), outcomes)
        except Exception:
            print(f"seed {seed}, pair {number}")
            raise
    return outcomes


if __name__ == "__main__":
    print(run(float(sys.argv[1]), *(int(word) for word in sys.argv[2:])))
