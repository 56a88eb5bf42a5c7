"""
A peer that follows a script: it says what a true one says, but for one change.

A `Wire` is a message as its header and the payloads' bytes, so that any bit of it can be changed; a
sealed message is sealed again after that, with the right keys. A change of IKE_SA_INIT is signed by
AUTH as it was sent, so that the conversation can go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.ike.exchanges.init import finish_keys
from gateway.ike.iana import ExchangeType, PayloadType
from gateway.ike.ike_sa import IkeSa, Keys
from gateway.ike.message import (
    GENERIC_HEADER_LEN,
    HEADER_LEN,
    Header,
    open_payload,
    parse_header,
)
from gateway.ike.snapshot import stamp_of
from tests.support.pair import TUNNEL, Flight, IkePair, Side


@dataclass(frozen=True)
class Part:
    """
    One payload; `flags` is the critical bit and those that are reserved. `length` and `following`
    are what its header says instead of the truth.
    """

    kind: int
    body: bytes
    flags: int = 0
    length: int | None = None
    following: int | None = None

    def serialise(self, following: int) -> bytes:
        length = len(self.body) + GENERIC_HEADER_LEN if self.length is None else self.length
        kind = following if self.following is None else self.following
        return bytes([kind, self.flags]) + length.to_bytes(2, "big") + self.body


@dataclass(frozen=True)
class Wire:
    """A message as it is on the wire, opened."""

    header: Header
    parts: tuple[Part, ...]
    tail: bytes = b""  # after the last payload
    length_change: int = 0  # of the header's length, against the truth

    def body(self, kind: int) -> bytes:
        """Return the body of the first payload of a type."""
        return next(part.body for part in self.parts if part.kind == kind)


Edit = Callable[[Wire], Wire]


def read(datagram: bytes, keys: Keys | None) -> Wire:
    """Return a message; `keys` are its sender's, None for one in the clear."""
    header = parse_header(datagram)
    first, content = header.next_payload, datagram[HEADER_LEN:]
    if first == PayloadType.SK:
        assert keys is not None
        first, content = open_payload(datagram, 0, keys.seal)
    return Wire(header, _parts(first, content))


def _parts(kind: int, content: bytes) -> tuple[Part, ...]:
    parts: list[Part] = []
    while kind:
        following, flags, length = content[0], content[1], int.from_bytes(content[2:4], "big")
        parts.append(Part(kind, content[GENERIC_HEADER_LEN:length], flags))
        kind, content = following, content[length:]
    return tuple(parts)


def write(wire: Wire, keys: Keys | None) -> bytes:
    """Return the datagram, sealed with its sender's keys."""
    kinds = [*(part.kind for part in wire.parts), 0]
    chain = b"".join(
        part.serialise(following) for part, following in zip(wire.parts, kinds[1:], strict=True)
    )
    return _framed(wire, kinds[0], chain + wire.tail, keys)


def _framed(wire: Wire, first: int, chain: bytes, keys: Keys | None) -> bytes:
    if wire.header.next_payload != PayloadType.SK:
        header = replace(wire.header, next_payload=first, length=HEADER_LEN + len(chain))
        return replace(header, length=header.length + wire.length_change).serialise() + chain
    assert keys is not None
    cipher = keys.seal
    payload_len = GENERIC_HEADER_LEN + cipher.sealed_len(len(chain))
    header = replace(wire.header, length=HEADER_LEN + payload_len + wire.length_change)
    prefix = header.serialise() + bytes([first, 0]) + payload_len.to_bytes(2, "big")
    return prefix + cipher.seal(prefix, b"\xee" * cipher.iv_len, chain)


# ---- where the change is made ----


def at_init(pair: IkePair) -> None:
    pair.start()


def at_auth(pair: IkePair) -> None:
    pair.start()
    pair.deliver_to_b()
    pair.deliver_to_a()


def at_intermediate(pair: IkePair) -> None:
    """As `at_auth`, where a key exchange comes before it."""
    at_auth(pair)


def at_child_rekey(pair: IkePair) -> None:
    pair.start()
    pair.deliver_all()
    pair.now += 1.0
    pair.a.rekey_child()


def at_new_child(pair: IkePair) -> None:
    """Begin a Child SA on an IKE SA that has lost its first."""
    pair.start()
    pair.deliver_all()
    spi = next(iter(pair.a.plane.inbound))
    pair.a.take(pair.a.endpoint.close_child(spi, pair.now))
    pair.advance(20.0)
    pair.a.initiate()


def at_ike_rekey(pair: IkePair) -> None:
    pair.start()
    pair.deliver_all()
    pair.a.rekey_ike()


def at_followup(pair: IkePair) -> None:
    """Rekey a Child SA, where a second key exchange follows the first."""
    at_child_rekey(pair)
    pair.deliver_to_b()
    pair.deliver_to_a()


def at_child_delete(pair: IkePair) -> None:
    pair.start()
    pair.deliver_all()
    spi = next(iter(pair.a.plane.inbound))
    pair.a.take(pair.a.endpoint.close_child(spi, pair.now))


def at_close(pair: IkePair) -> None:
    pair.start()
    pair.deliver_all()
    pair.a.close()


def at_liveness(pair: IkePair) -> None:
    pair.start()
    pair.deliver_all()
    pair.now += 1.0
    pair.a.take(pair.a.endpoint.esp_one_way(TUNNEL, pair.now))


Point = Callable[[IkePair], None]


@dataclass
class Meeting:
    """What came of a changed message."""

    pair: IkePair
    tested: Side
    before: dict[str, int]
    answer: Wire | None  # None: silence
    is_unchanged: bool  # the tested end holds what it held

    def counted(self) -> set[str]:
        """Return the counters of drops and errors that have moved."""
        counters = self.tested.endpoint.counters
        return {
            name
            for name, count in counters.items()
            if count != self.before.get(name, 0) and name.startswith(("drop.", "out.error."))
        }


def request_of_a(pair: IkePair, point: Point, edit: Edit) -> Meeting:
    """Have b receive a's request with a change."""
    point(pair)
    flight = pair.hold_to_b()
    return _deliver(pair, flight, edit, _keys(pair.a, flight.datagram))


def response_of_b(pair: IkePair, point: Point, edit: Edit) -> Meeting:
    """Have a receive b's response with a change."""
    point(pair)
    keys = _keys(pair.b, pair.link.flights[0].datagram)  # others hold for what comes after
    pair.deliver_to_b()
    return _deliver(pair, pair.hold_to_a(), edit, keys)


def _deliver(pair: IkePair, flight: Flight, edit: Edit, keys: Keys | None) -> Meeting:
    sender, tested = flight.sender, flight.sender.peer
    sa, before_it = _ike_sa(sender, flight.datagram), _keys(tested, flight.datagram)
    assert sa is not None
    datagram = write(edit(read(flight.datagram, keys)), keys)
    if flight.exchange == ExchangeType.IKE_SA_INIT and sender is pair.a:
        attempt = sa.attempt
        assert attempt is not None
        attempt.requests = dict.fromkeys(attempt.requests, datagram)
    elif flight.exchange == ExchangeType.IKE_SA_INIT:
        sa.init_response = datagram
    before, held = dict(tested.endpoint.counters), held_by(tested)
    already = len(pair.link.flights)
    pair.link.arrive(replace(flight, datagram=datagram))
    said = [one for one in list(pair.link.flights)[already:] if one.sender is tested]
    answer = None
    if said:
        is_response = parse_header(said[0].datagram).is_response
        answer = read(said[0].datagram, before_it if is_response else _keys(tested, datagram))
    return Meeting(pair, tested, before, answer, held_by(tested) == held)


def held_by(side: Side) -> list[object]:
    """Return all that an end knows of its IKE SAs, but for when it heard the peer last."""
    found: list[object] = []
    for sa in side.endpoint._context.sas.values():
        pieces = sa.request_fragments.held_bytes, sa.response_fragments.held_bytes
        found.append((stamp_of(sa) if sa.tunnel is not None else (sa.state, _keys_of(sa)), pieces))
    return found


def _keys(side: Side, datagram: bytes) -> Keys | None:
    """Return the keys that a side has now for the IKE SA of a message, if it has any."""
    sa = _ike_sa(side, datagram)
    return _keys_of(sa) if sa is not None else None


def _keys_of(sa: IkeSa) -> Keys | None:
    # As its next message would have them: a responder computes them when it needs them.
    return finish_keys(sa) if sa.unfinished is not None else sa.keys


def _ike_sa(side: Side, datagram: bytes) -> IkeSa | None:
    """Return the IKE SA of a side that a message belongs to, if there is one already."""
    header = parse_header(datagram)
    sas = side.endpoint._context.sas
    return sas.get(header.spi_i) or sas.get(header.spi_r)
