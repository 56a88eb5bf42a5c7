"""
Table: datagrams that are not what they say (classes D1, D17, D19 and D20 of bad input): each is
dropped under its reason, changes nothing and is not answered; then the true one goes on as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from gateway.ike.fragments import FRAGMENTS_MAX
from gateway.ike.iana import PayloadType, ProtocolId
from gateway.ike.ike_sa import IkeSa
from gateway.ike.message import HEADER_LEN, parse_header, seal_payload
from gateway.ike.proposals import parse_proposal
from tests.ike.conformance.script import (
    Point,
    at_auth,
    at_child_rekey,
    at_ike_rekey,
    at_init,
    at_liveness,
    held_by,
)
from tests.support.pair import IkePair, config_a, config_b

Change = Callable[[bytes, IkeSa], bytes]
NEXT_AT, LENGTH_AT, SK_LENGTH_AT = 16, 24, HEADER_LEN + 2  # offsets in a datagram


def gcm() -> IkePair:
    return IkePair()


def cbc() -> IkePair:
    ike = {"ike_proposals": (parse_proposal("aes256-sha256-x25519", ProtocolId.IKE),)}
    return IkePair(config_a(**ike), config_b(**ike))


def true_length(datagram: bytes) -> bytes:
    """Return a datagram whose header says how long it is."""
    length = len(datagram).to_bytes(4, "big")
    return datagram[:LENGTH_AT] + length + datagram[LENGTH_AT + 4 :]


def plain(change: Callable[[bytes], bytes]) -> Change:
    return lambda datagram, _: change(datagram)


def at(offset: int, data: bytes) -> Change:
    """Overwrite bytes; a negative offset counts from the end."""

    def change(datagram: bytes, _: IkeSa) -> bytes:
        start = offset % len(datagram)
        return datagram[:start] + data + datagram[start + len(data) :]

    return change


def cut_to(count: int) -> Change:
    """Cut a datagram, and let both lengths be true."""

    def change(datagram: bytes, _: IkeSa) -> bytes:
        short = datagram[:count]
        if count >= SK_LENGTH_AT + 2:
            length = (count - HEADER_LEN).to_bytes(2, "big")
            short = short[:SK_LENGTH_AT] + length + short[SK_LENGTH_AT + 2 :]
        return true_length(short)

    return change


def flipped(offset: int) -> Change:
    def change(datagram: bytes, _: IkeSa) -> bytes:
        start = offset % len(datagram)
        return datagram[:start] + bytes([datagram[start] ^ 1]) + datagram[start + 1 :]

    return change


def before_sk(datagram: bytes, _: IkeSa) -> bytes:
    """Put a payload of nobody's, in the clear, before SK."""
    other = bytes([PayloadType.SK, 0, 0, 8]) + b"more"
    with_it = datagram[:NEXT_AT] + b"\xc8" + datagram[NEXT_AT + 1 : HEADER_LEN] + other
    return true_length(with_it + datagram[HEADER_LEN:])


def fragment(number: int, total: int, content: bytes = bytes(40)) -> Change:
    """Send a fragment, sealed with the right keys, in place of the message."""

    def change(datagram: bytes, sa: IkeSa) -> bytes:
        header = parse_header(datagram)
        assert sa.keys is not None
        whole = sa.message(header.exchange, header.message_id, (), is_response=False)
        numbers = number.to_bytes(2, "big") + total.to_bytes(2, "big")
        cipher = sa.keys.seal
        iv = b"\xee" * cipher.iv_len
        return seal_payload(whole, PayloadType.SKF, 33, numbers, content, cipher, iv)

    return change


@dataclass(frozen=True)
class Row:
    group: str
    case: str
    change: Change
    reason: str
    points: tuple[Point, ...]
    pair: Callable[[], IkePair] = gcm


SEALED = (at_auth, at_child_rekey, at_ike_rekey, at_liveness)
ANY = (at_init, *SEALED)
SK_START = HEADER_LEN + 4
ROWS = (
    Row("D1", "no bytes", plain(lambda _: b""), "malformed", ANY),
    Row("D1", "a keepalive of NAT", plain(lambda _: b"\xff"), "malformed", ANY),
    Row("D1", "a marker and nothing else", plain(lambda _: bytes(4)), "malformed", ANY),
    Row("D1", "27 bytes", plain(lambda one: one[:27]), "malformed", ANY),
    Row("D1", "a header of its own", plain(lambda one: one[:HEADER_LEN]), "malformed", ANY),
    Row("D1", "half of it", plain(lambda one: one[: len(one) // 2]), "malformed", ANY),
    Row("D1", "a length of 27", at(LENGTH_AT, b"\0\0\0\x1b"), "malformed", ANY),
    Row("D1", "a length of 4 GiB", at(LENGTH_AT, b"\xff\xff\xff\xff"), "malformed", ANY),
    Row("D1", "65,507 bytes", plain(lambda one: one.ljust(65507, b"\0")), "malformed", ANY),
    Row("D1", "SPI of zeros", at(0, bytes(8)), "malformed", ANY),
    Row("D17", "a changed check value", flipped(-1), "bad_icv", SEALED),
    Row("D17", "a changed content", flipped(SK_START + 8), "bad_icv", SEALED),
    Row("D17", "a changed IV", flipped(SK_START), "bad_icv", SEALED),
    Row("D17", "another payload inside", flipped(HEADER_LEN), "bad_icv", SEALED),
    Row("D17", "reserved bits that were not sealed", flipped(HEADER_LEN + 1), "bad_icv", SEALED),
    Row("D17", "SK one byte too long", flipped(SK_LENGTH_AT + 1), "bad_icv", SEALED),
    Row("D17", "SK of no length", at(SK_LENGTH_AT, b"\0\0"), "bad_icv", SEALED),
    Row("D17", "bytes after SK", plain(lambda one: true_length(one + b"x")), "bad_icv", SEALED),
    Row("D17", "nothing inside of SK", cut_to(SK_START), "bad_icv", SEALED),
    Row("D17", "half an IV", cut_to(SK_START + 4), "bad_icv", SEALED),
    Row("D17", "an IV alone", cut_to(SK_START + 8), "bad_icv", SEALED),
    Row("D17", "no whole check value", cut_to(SK_START + 8 + 15), "bad_icv", SEALED),
    Row("D17", "CBC: an IV alone", cut_to(SK_START + 16), "bad_icv", SEALED, cbc),
    Row("D17", "CBC: no whole block", cut_to(SK_START + 16 + 17), "bad_icv", SEALED, cbc),
    Row("D17", "CBC: a changed check value", flipped(-1), "bad_icv", SEALED, cbc),
    Row("D17", "CBC: a changed last block", flipped(-17), "bad_icv", SEALED, cbc),
    Row("D3", "a payload in the clear before SK", before_sk, "clear", (at_auth, at_ike_rekey)),
    Row("D19", "fragment 0", fragment(0, 2), "fragment", SEALED),
    Row("D19", "fragment 0 of 0", fragment(0, 0), "fragment", SEALED),
    Row("D19", "fragment 1 of 0", fragment(1, 0), "fragment", SEALED),
    Row("D19", "fragment 3 of 2", fragment(3, 2), "fragment", SEALED),
    Row("D19", "too many fragments", fragment(1, FRAGMENTS_MAX + 1), "fragment", SEALED),
    Row("D19", "65,535 fragments", fragment(1, 65535), "fragment", SEALED),
    Row("D19", "fragment without its numbers", cut_to(SK_START + 2), "bad_icv", SEALED),
)
CASES = [(row, point) for row in ROWS for point in row.points]


@pytest.mark.parametrize(
    ("row", "point"), CASES, ids=[f"{row.group} {at.__name__[3:]}: {row.case}" for row, at in CASES]
)
def test_a_datagram_that_is_not_what_it_says_changes_nothing(row: Row, point: Point) -> None:
    pair = row.pair()
    point(pair)
    flight = pair.hold_to_b()
    sa = pair.a.endpoint._context.sas[flight.datagram[:8]]
    before, held = dict(pair.b.endpoint.counters), held_by(pair.b)
    pair.link.arrive(replace(flight, datagram=row.change(flight.datagram, sa)))
    counted = {
        name: count - before.get(name, 0)
        for name, count in pair.b.endpoint.counters.items()
        if count != before.get(name, 0)
    }
    assert counted == {"drop." + row.reason: 1}
    assert held_by(pair.b) == held
    assert not pair.waiting(pair.b)
    pair.release(flight)
    pair.deliver_all()
    assert pair.has_traffic(), pair.story()
    assert pair.a.codes() == pair.b.codes() == []
    pair.advance(20.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1


def test_a_fragment_where_none_were_agreed_on_is_dropped() -> None:
    """Sealed with the right keys or not (D20)."""
    pair = IkePair.established()
    (sa,) = pair.b.endpoint._context.sas.values()
    (own,) = pair.a.endpoint._context.sas.values()
    sa.fragmentation = False
    pair.b.endpoint.not_kept()
    pair.a.take(pair.a.endpoint.esp_one_way("office", pair.now))
    flight = pair.hold_to_b()
    for change in (fragment(1, 1), fragment(1, 2)):
        pair.link.arrive(replace(flight, datagram=change(flight.datagram, own)))
    assert pair.b.drops("fragment") == 2
    assert not pair.waiting(pair.b)
    pair.release(flight)
    pair.deliver_all()
    assert pair.has_traffic()
