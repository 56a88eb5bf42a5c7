"""
Fuzzes whole endpoints: python -m tests.fuzz.fuzz_endpoint SECONDS [SEED]

Two endpoints do what endpoints do: connect, replace keys, ask whether the other lives, close. They
authenticate by a PSK, by certificates, or with ML-KEM and a PPK. On the link sits somebody who
knows all their keys, those of a half-open IKE SA too, so every message may come changed, inside SK
as well, sealed again with the right key; or twice, late, or not at all. Nothing may escape from an
endpoint, whatever arrives, and what it tells its data plane must hold: no SPI twice, no key used
again.
"""

from __future__ import annotations

import functools
import random
import sys
import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.ike.config import Ppk, TunnelConfig
from gateway.ike.fragments import is_fragment
from gateway.ike.iana import PayloadType, ProtocolId
from gateway.ike.message import SkCipher, open_payload, parse_header, seal_payload
from gateway.ike.proposals import parse_proposal
from gateway.pki.credentials import Credentials
from gateway.pki.question import Mode
from gateway.secret import Secret
from tests.fuzz.fuzz_ike import REFUSALS, mutate, parse_empty, with_length
from tests.fuzz.tally import Tally, kind_of
from tests.support.authority import AT, DAY, NOW, Entity, Wish, build, name_of
from tests.support.pair import Flight, IkePair, Side, config_a, config_b

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
Ends = tuple[TunnelConfig, TunnelConfig]


@functools.cache
def kinds_of_ends() -> Sequence[Ends]:
    """Return both ends' configurations, by each way to authenticate."""
    ike = (parse_proposal("aes256gcm16-prfsha384-x25519-ke1_mlkem768", ProtocolId.IKE),)
    esp = (parse_proposal("aes256gcm16-x25519-ke1_mlkem768-noesn", ProtocolId.ESP),)
    ppk = Ppk(b"quantum-1", Secret(bytes(32)), False)
    quantum = {"ike_proposals": ike, "esp_proposals": esp, "ppk": ppk}
    proven = [{"psk": None, "credentials": _credentials(name)} for name in "ab"]
    return (
        (config_a(), config_b()),
        (config_a(**quantum), config_b(**quantum)),
        (config_a(**proven[0]), config_b(**proven[1])),
    )


def _credentials(name: str) -> Credentials:
    """
    Return an end's certificate behind an intermediate one, long enough for fragments.

    Nothing in them is of chance: the same seed makes the same messages.
    """
    keys = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(3)]
    wishes = [
        Wish("Root", (), is_ca=True, key_usage=None, serial=1, ends=NOW + 3000 * DAY),
        Wish("Intermediate", (), is_ca=True, key_usage=None, serial=2),
        Wish(f"{name}.gw.test", (f"{name}.gw.test",), serial=3),
    ]
    root = Entity(keys[0], build(wishes[0], keys[0], name_of("Root"), keys[0]))
    own = root.issue(wishes[1], keys[1]).issue(wishes[2], keys[2])
    return Credentials(own.private, own.chain, (root.certificate,), revocation=Mode.OFF)


def begun(rng: random.Random) -> IkePair:
    """Return a pair that has set up its SAs, or has just begun to."""
    pair = IkePair(*rng.choice(kinds_of_ends()))
    for side in pair.sides():
        side.endpoint.set_clock(AT - pair.now)
    pair.start()
    if rng.random() < 0.75:
        pair.deliver_all()
        assert pair.a.state == pair.b.state == "established", pair.story()
    return pair


def cipher_of(side: Side, spi_i: bytes) -> SkCipher | None:
    """Return what `side` seals with on the IKE SA of that initiator's SPI, once it has keys."""
    for sa in side.endpoint._context.sas.values():
        if sa.spi_i == spi_i and sa.keys is not None:
            return sa.keys.seal
    return None


def changed(flight: Flight, rng: random.Random) -> tuple[str, bytes]:
    """Return a datagram with something else in it, sealed again where keys are known."""
    datagram = flight.datagram
    header = parse_header(datagram)
    sealed = header.next_payload in (PayloadType.SK, PayloadType.SKF)
    cipher = cipher_of(flight.sender, header.spi_i) if sealed else None
    if cipher is None:
        return kind_of(0), with_length(mutate(datagram, rng, datagram))
    prologue = 4 if is_fragment(header) else 0
    first, content = open_payload(datagram, prologue, cipher)
    if rng.random() < 0.2:
        first = rng.randrange(256)
    outer = PayloadType.SKF if prologue else PayloadType.SK
    return kind_of(outer), seal_payload(
        parse_empty(datagram),
        outer,
        first,
        datagram[32:36] if prologue else b"",
        mutate(content, rng, datagram),
        cipher,
        rng.randbytes(cipher.iv_len),
    )


def carry(pair: IkePair, rng: random.Random, tally: Tally) -> None:
    """Let what is on its way arrive, changed or not."""
    for _ in range(MOST_IN_A_STEP):
        pair.fire()
        if not pair.link.flights:
            return
        flight = pair.link.flights.popleft()
        what = rng.random()
        if what < CHANGED:
            try:
                kind, flight.datagram = changed(flight, rng)
                tally.fed[kind] += 1
            except REFUSALS:  # its keys have gone
                tally.outcomes["as it was"] += 1
            pair.link.arrive(flight)
        elif what < CHANGED + 0.05:
            tally.outcomes["lost"] += 1
        elif what < CHANGED + 0.1:
            tally.outcomes["twice"] += 1
            pair.link.arrive(flight)
            pair.link.flights.append(flight)
        else:
            tally.outcomes["as it was"] += 1
            pair.link.arrive(flight)
    pair.link.flights.clear()


def episode(rng: random.Random, tally: Tally) -> None:
    """Play one pair of endpoints to its end."""
    pair = begun(rng)
    carry(pair, rng, tally)
    for _ in range(STEPS):
        side = rng.choice(pair.sides())
        rng.choice(ACTS)(side)
        carry(pair, rng, tally)
        pair.now += rng.choice(PAUSES)
        tally.outcomes[f"state {side.state}"] += 1


def run(seconds: float, seed: int = 1) -> Tally:
    """Fuzz for a time. The outcomes tell of the other messages, and of the states after steps."""
    tally = Tally()
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        number += 1
        try:
            episode(random.Random(f"{seed} {number}"), tally)
        except Exception:
            print(f"seed {seed}, pair {number}")
            raise
    return tally


if __name__ == "__main__":
    print(run(float(sys.argv[1]), *(int(word) for word in sys.argv[2:])))
