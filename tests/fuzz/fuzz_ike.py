"""
Fuzzes the IKE parsers: python tests/fuzz/fuzz_ike.py SECONDS [SEED]

Three kinds of input, all grown from the recorded exchanges: datagrams as a stranger sends them;
chains of payloads inside SK, changed and sealed again with the known keys, since most mistakes of
other daemons lay behind the decryption; and fragments. What parses is then chosen from and narrowed
as the exchanges do. Only the errors that a parser may raise may escape; anything else ends the run
with the input shown.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gateway.errors import (
    IntegrityError,
    NoProposalChosen,
    TsUnacceptable,
    UnsupportedCriticalPayload,
    WireError,
)
from gateway.ike.fragments import Reassembly, is_fragment
from gateway.ike.iana import PayloadType
from gateway.ike.message import (
    Message,
    SkCipher,
    open_payload,
    open_sealed,
    parse_clear,
    parse_header,
    seal_payload,
)
from gateway.ike.payloads import (
    SecurityAssociation,
    TrafficSelectorsI,
    TrafficSelectorsR,
    parse_chain,
    serialise_chain,
)
from gateway.ike.proposals import DEFAULT_ESP, DEFAULT_IKE, select_esp, select_ike, texts
from gateway.ike.selectors import ANY4, ANY6, narrow, parse_selector
from tests.fuzz.tally import Tally
from tests.support.recorded import follow, recordings

REFUSALS = (WireError, UnsupportedCriticalPayload, IntegrityError)
ALLOWED_TS = (ANY4, ANY6, parse_selector("10.0.0.0/8[tcp/80]"), parse_selector("10.10.0.0/16"))
INTERESTING = (0, 1, 3, 4, 7, 8, 0x7F, 0x80, 0xFF, 33, 41, 46, 53)


@dataclass(frozen=True, slots=True)
class Seed:
    """A recorded datagram; for a sealed one also its cipher and what is inside."""

    datagram: bytes
    cipher: SkCipher | None = None
    first: int = 0
    content: bytes = b""


def seeds() -> list[Seed]:
    """Return every recorded datagram with what is needed to seal it again."""
    found = []
    for recording in recordings():
        done = follow(recording)
        found += [Seed(packet.data) for packet in recording.ike[:2]]
        for packet in recording.ike[2:]:
            prologue_len = 4 if is_fragment(parse_header(packet.data)) else 0
            cipher = done.cipher(packet.data)
            first, content = open_payload(packet.data, prologue_len, cipher)
            found.append(Seed(packet.data, cipher, first, content))
    return found


def mutate(data: bytes, rng: random.Random, other: bytes) -> bytes:
    """Return `data` with one to four changes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(7):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at] = rng.choice(INTERESTING)
            case 2:
                changed[at : at + 2] = rng.choice((0, 4, 8, len(data), 65535)).to_bytes(2, "big")
            case 3:
                del changed[at : at + rng.randint(1, 20)]
            case 4:
                changed[at:at] = changed[at : at + rng.randint(1, 40)]
            case 5:
                start = rng.randrange(len(other) + 1)
                changed[at:at] = other[start : start + rng.randint(1, 60)]
            case _:
                changed += rng.randbytes(rng.randint(1, 8))
    return bytes(changed)


def with_length(datagram: bytes) -> bytes:
    """Return the datagram with a header length that is right, so that it gets further."""
    return datagram[:24] + len(datagram).to_bytes(4, "big") + datagram[28:]


def judge(message: Message) -> None:
    """Do with a parsed message what the exchanges do."""
    # A TS payload of unknown selector types is empty by now, which has no encoding.
    empty = (TrafficSelectorsI(()), TrafficSelectorsR(()))
    kept = tuple(one for one in message.payloads if one not in empty)
    assert parse_chain(*serialise_chain(kept)) == kept
    for payload in message.payloads:
        try:
            match payload:
                case SecurityAssociation(proposals):
                    texts(proposals)
                    select_ike(proposals, DEFAULT_IKE)
                    select_esp(proposals, DEFAULT_ESP, want_group=True)
                case TrafficSelectorsI(selectors) | TrafficSelectorsR(selectors):
                    narrow(selectors, ALLOWED_TS)
        except (NoProposalChosen, TsUnacceptable):
            continue


def stranger(seed: Seed, rng: random.Random, other: Seed) -> tuple[str, bytes]:
    """Give the parsers a changed datagram."""
    datagram = mutate(seed.datagram, rng, other.datagram)
    if rng.random() < 0.8:
        datagram = with_length(datagram)
    return "in clear", datagram


def peer(seed: Seed, rng: random.Random, other: Seed) -> tuple[str, bytes]:
    """Seal a changed chain, so that it comes from an authenticated peer."""
    if seed.cipher is None:
        return stranger(seed, rng, other)
    content = mutate(seed.content, rng, other.content)[:60000]
    first = seed.first if rng.random() < 0.8 else rng.randrange(256)
    outer = parse_empty(seed.datagram)
    if rng.random() < 0.7:
        iv = rng.randbytes(seed.cipher.iv_len)
        sealed = seal_payload(outer, PayloadType.SK, first, b"", content, seed.cipher, iv)
        return "inside SK", sealed
    numbers = bytes([0, rng.randrange(4), 0, rng.randrange(4)])
    iv = rng.randbytes(seed.cipher.iv_len)
    sealed = seal_payload(outer, PayloadType.SKF, first, numbers, content, seed.cipher, iv)
    return "inside SKF", sealed


def parse_empty(datagram: bytes) -> Message:
    """Return a message with a recorded header and no payloads."""
    header = parse_header(datagram)
    return Message(
        header.spi_i,
        header.spi_r,
        header.exchange,
        header.message_id,
        header.is_response,
        header.from_original_initiator,
        (),
    )


def receive(datagram: bytes, cipher: SkCipher | None, parts: Reassembly) -> Message | None:
    """Take a datagram the way the endpoint does."""
    header = parse_header(datagram)
    if header.next_payload == PayloadType.SK and cipher is not None:
        return open_sealed(datagram, header, cipher)
    if is_fragment(header) and cipher is not None:
        return parts.add(datagram, header, cipher)
    return parse_clear(datagram)


def run(seconds: float, seed: int = 1) -> Tally:
    """Fuzz for a time. The outcomes are "message", "fragment" and the names of refusals."""
    rng = random.Random(seed)
    pool = seeds()
    makers: tuple[Callable[[Seed, random.Random, Seed], tuple[str, bytes]], ...]
    makers = (stranger, peer, peer)
    tally = Tally()
    parts = Reassembly()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        one, other = rng.choice(pool), rng.choice(pool)
        kind, datagram = rng.choice(makers)(one, rng, other)
        tally.fed[kind] += 1
        try:
            message = receive(datagram, one.cipher, parts)
            if message is not None:
                judge(message)
            tally.outcomes["message" if message else "fragment"] += 1
        except REFUSALS as refusal:
            tally.outcomes[type(refusal).__name__] += 1
        except Exception:
            print(f"seed {seed}, after {tally.fed.total()} inputs: {datagram.hex()}")
            raise
    return tally


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    tally = run(seconds, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    for name, count in (*tally.fed.most_common(), *tally.outcomes.most_common()):
        print(f"{count:9} {name}")


if __name__ == "__main__":
    main()
