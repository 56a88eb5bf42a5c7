"""
Who is let in while many wait to authenticate (RFC 7296 section 2.6): bounds for all, for a source
and for a prefix; configured peers have their own; a cookie opens what spoofed requests have filled.
"""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PeerError
from gateway.ike.config import Start
from gateway.ike.context import EndpointLimits
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import ChildSaUp, Dropped, Send
from gateway.ike.first_look import first_look
from gateway.ike.halfopen import Admission, HalfOpen
from gateway.ike.iana import NotifyType
from gateway.ike.message import parse_clear, parse_header, serialise_clear
from gateway.ike.payloads import Nonce, Notify
from gateway.ike.sources import SourceRates, prefix_of, source_of
from gateway.sa import Address, Path
from tests.support.fixed import FixedRandom
from tests.support.pair import A_ADDRESS, B_ADDRESS, IkePair, config_a, config_b

FROM_A = Path(B_ADDRESS, 500, A_ADDRESS, 500)


def at(number: int) -> Address:
    """Return one of many addresses, each in a /24 of its own."""
    return ip_address("10.0.0.1") + (number << 8)


def path_from(address: Address) -> Path:
    return Path(B_ADDRESS, 500, address, 500)


def stranger_pair(**limits: int) -> IkePair:
    """Return a pair in which b knows a by its identity alone; a's first request is held back."""
    pair = IkePair(config_a(), config_b(remote=None), limits_b=EndpointLimits(**limits))
    pair.start()
    return pair


def forged(pair: IkePair, number: int, cookie: bytes | None = None) -> bytes:
    """Return a's IKE_SA_INIT with another SPI, and a cookie before all else."""
    request = parse_clear(pair.a.all(Send)[0].datagram)
    first = () if cookie is None else (Notify(NotifyType.COOKIE, cookie),)
    spi = number.to_bytes(8, "big")
    changed = dataclasses.replace(request, spi_i=spi, payloads=(*first, *request.payloads))
    return serialise_clear(changed)


def knock(pair: IkePair, number: int, path: Path) -> Notify | None:
    """Let a request come in; return the demand for a cookie, None if there was none."""
    before = len(pair.b.all(Send))
    pair.b.receive(forged(pair, number), path)
    answers = pair.b.all(Send)[before:]
    return parse_clear(answers[0].datagram).notify(NotifyType.COOKIE) if answers else None


def come_back(pair: IkePair, number: int, path: Path) -> bool:
    """Let a request come in as one does who gets our answers; return whether it was let in."""
    demanded = knock(pair, number, path)
    before = pair.b.drops("half_open_limit") + pair.b.drops("cookie_demanded")
    if demanded is not None:
        pair.b.receive(forged(pair, number, demanded.data), path)
    return pair.b.drops("half_open_limit") + pair.b.drops("cookie_demanded") == before


# ---- strangers ----


def test_spoofed_requests_keep_no_stranger_out_that_gets_our_answers() -> None:
    pair = stranger_pair(cookie_from=5, half_open=50)
    genuine = pair.hold_to_b()
    for number in range(1, 501):
        pair.b.receive(forged(pair, number), path_from(at(number)))
    assert pair.b.drops("cookie_demanded") == 495
    assert len(pair.b.endpoint._context.sas) == 5
    pair.link.flights.clear()
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


def test_a_stranger_that_does_get_them_is_bounded_at_its_address_and_in_its_prefix() -> None:
    pair = stranger_pair(cookie_from=0, half_open_per_address=3, half_open_per_prefix=7)
    near = [ip_address("203.0.113.1") + number for number in range(4)]
    entered = [
        come_back(pair, 10 * host + number + 1, path_from(address))
        for host, address in enumerate(near)
        for number in range(5)
    ]
    assert [sum(entered[at : at + 5]) for at in range(0, 20, 5)] == [3, 3, 1, 0]
    assert come_back(pair, 100, path_from(ip_address("198.51.100.9")))  # another site


def test_what_was_never_finished_goes_and_makes_room() -> None:
    pair = stranger_pair(cookie_from=0, half_open=2)
    assert [come_back(pair, number, path_from(at(number))) for number in (1, 2, 3)] == [
        True,
        True,
        False,
    ]
    pair.now += 31.0
    pair.fire()
    assert come_back(pair, 4, path_from(at(4)))


# ---- configured peers ----


def test_configured_peers_have_room_that_strangers_do_not_take() -> None:
    pair = IkePair(config_a(), config_b(), limits_b=EndpointLimits(cookie_from=2, half_open=4))
    pair.start()
    anyone = dataclasses.replace(config_b(remote=None), name="anyone")
    pair.b.endpoint.configure([config_b(), anyone], pair.now)
    genuine = pair.hold_to_b()
    for number in range(1, 11):
        come_back(pair, number, path_from(at(number)))
    assert pair.b.drops("half_open_limit") == 4
    assert knock(pair, 99, FROM_A) is None  # no cookie for a peer we know
    pair.link.flights.clear()
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


def test_spoofed_known_addresses_fill_what_a_cookie_opens_again() -> None:
    limits = EndpointLimits(half_open_configured=4, half_open_per_address=3)
    pair = IkePair(limits_b=limits)
    pair.start()
    other = dataclasses.replace(config_b(remote=at(1)), name="other")
    pair.b.endpoint.configure([config_b(), other], pair.now)
    genuine = pair.hold_to_b()
    for number in range(1, 101):
        pair.b.receive(forged(pair, number), path_from(at(1)))
        pair.b.receive(forged(pair, 1000 + number), FROM_A)
    assert len(pair.b.endpoint._context.sas) == 4
    assert pair.b.drops("half_open_limit") == 0
    pair.link.flights.clear()
    pair.release(genuine)
    pair.deliver_all()
    assert pair.has_traffic()


def test_two_thousand_peers_come_back_at_once_without_a_cookie() -> None:
    """After a restart of ours each of them begins at the same moment."""
    pair = IkePair()
    pair.start()
    peers = [
        dataclasses.replace(config_b(remote=at(number)), name=f"t{number}", start=Start.RESPOND)
        for number in range(2000)
    ]
    pair.b.endpoint.configure(peers, pair.now)
    for number in range(2000):
        pair.b.receive(forged(pair, number + 1), path_from(at(number)))
    assert pair.b.drops("cookie_demanded") == pair.b.drops("half_open_limit") == 0
    assert len(pair.b.all(Send)) == 2000
    assert not pair.b.all(ChildSaUp)


# ---- memory and answers ----


def test_a_flood_makes_us_hold_nothing_and_no_answer_is_longer_than_its_question() -> None:
    pair = stranger_pair()
    quiet = pair.b.endpoint
    datagrams = [forged(pair, number + 1) for number in range(300)]

    def flood(start: int) -> None:
        for number, datagram in enumerate(datagrams):
            for event in quiet.receive(datagram, path_from(at(start + number)), pair.now):
                assert isinstance(event, Dropped | Send)
                if isinstance(event, Send):
                    assert len(event.datagram) <= len(datagram)

    flood(0)
    tracemalloc.start()
    flood(1000)
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    for turn in range(2, 12):
        flood(1000 * turn)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 3000 * 40  # bytes: less than any object for each of them
    assert len(quiet._context.sas) == EndpointLimits().cookie_from


@pytest.mark.parametrize("exchange", [34, 35, 37])
@pytest.mark.parametrize("version", [0x20, 0x30])
@pytest.mark.parametrize("length", [28, 33, 36, 40, 76, 77, 300])
def test_no_answer_in_the_clear_is_longer_than_its_question(
    exchange: int, version: int, length: int
) -> None:
    for said in (length, 2**32 - 1):
        endpoint = IkeEndpoint(FixedRandom(1), 0.0)
        endpoint.configure([config_b()], 0.0)
        for spi_r in (bytes(8), b"\x07" * 8):
            numbers = bytes([41, version, exchange, 8])
            head = b"\x05" * 8 + spi_r + numbers + bytes(4) + said.to_bytes(4, "big")
            for path in (FROM_A, path_from(at(1))):
                for event in endpoint.receive(head + bytes(length - 28), path, 1.0):
                    assert not isinstance(event, Send) or len(event.datagram) <= length


def test_one_source_does_not_use_up_the_answers_that_others_need() -> None:
    pair = IkePair()
    pair.start()
    for number in range(1, 101):
        pair.b.receive(forged(pair, number), path_from(at(1)))
    assert len(pair.b.all(Send)) == 5
    pair.b.receive(forged(pair, 200), path_from(at(2)))
    assert len(pair.b.all(Send)) == 6


# ---- the parts by themselves ----


def test_the_first_look_sees_what_parsing_sees() -> None:
    pair = stranger_pair()
    for cookie in (None, b"c" * 33, b"c"):
        datagram = forged(pair, 1, cookie)
        look = first_look(parse_header(datagram), datagram)
        assert look.nonce == parse_clear(datagram).one(Nonce).value
        assert look.cookie == cookie


@given(st.data())
def test_the_first_look_never_takes_what_parsing_refuses_as_a_chain(data: st.DataObject) -> None:
    """Whatever bytes come: it raises what a peer's mistake raises, or has a nonce of its length."""
    pair = stranger_pair()
    good = bytearray(forged(pair, 1, b"c" * 33))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(16, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(28, len(good)))])
    datagram = cut[:24] + len(cut).to_bytes(4, "big") + cut[28:]
    try:
        look = first_look(parse_header(datagram), datagram)
    except PeerError:
        return
    assert 16 <= len(look.nonce) <= 256


def test_a_source_is_what_one_host_has_a_prefix_what_one_site_has() -> None:
    first, second = ip_address("2001:db8:1:2::1"), ip_address("2001:db8:1:2:ffff::9")
    third, other = ip_address("2001:db8:1:3::1"), ip_address("2001:db8:2:2::1")
    assert source_of(first) == source_of(second) != source_of(third)
    assert prefix_of(first) == prefix_of(third) != prefix_of(other)
    assert source_of(at(1)) != source_of(at(1) + 1)
    assert prefix_of(at(1)) == prefix_of(at(1) + 1) != prefix_of(at(2))


def test_each_source_has_its_own_rate_in_bounded_memory() -> None:
    rates = SourceRates(b"salt", 1.0, 3, source_of)
    assert [rates.take(at(1), 10.0) for _ in range(5)] == [True, True, True, False, False]
    assert rates.take(at(2), 10.0)
    assert [rates.take(at(1), 12.0) for _ in range(3)] == [True, True, False]
    for number in range(100_000):
        rates.take(at(number), 12.0)
    assert len(rates._full_at) == 1024


def test_a_ledger_forgets_what_is_over() -> None:
    half_open = HalfOpen(EndpointLimits(half_open_configured=1))
    half_open.add(b"one", at(1), is_configured=True, has_cookie=False)
    known = {"is_configured": True, "has_cookie": False}
    assert half_open.admit(at(2), **known) is Admission.ASK_COOKIE
    half_open.remove(b"one")
    half_open.remove(b"one")
    assert half_open.admit(at(2), **known) is Admission.ADMIT
    assert len(half_open) == 0
    assert all(
        not ledger._by_source and not ledger._by_prefix for ledger in half_open._ledgers.values()
    )


def test_a_ledger_is_as_full_after_one_has_gone_as_before_it_came() -> None:
    half_open = HalfOpen(EndpointLimits(half_open_configured=2))
    known = {"is_configured": True, "has_cookie": False}
    half_open.add(b"one", at(1), **known)
    half_open.add(b"two", at(2), **known)
    assert half_open.admit(at(9), **known) is Admission.ASK_COOKIE
    half_open.remove(b"one")
    assert half_open.admit(at(9), **known) is Admission.ADMIT
    half_open.add(b"three", at(3), **known)
    assert half_open.admit(at(9), **known) is Admission.ASK_COOKIE


def test_only_those_that_came_with_a_cookie_make_room() -> None:
    half_open = HalfOpen(EndpointLimits())
    for spi, has_cookie in ((b"without", False), (b"first", True), (b"second", True)):
        half_open.add(spi, at(1), is_configured=True, has_cookie=has_cookie)
    half_open.add(b"stranger", at(1), is_configured=False, has_cookie=True)
    half_open.add(b"elsewhere", at(2), is_configured=True, has_cookie=True)
    assert half_open.oldest(at(1), is_configured=True) == (b"first", b"second")
    assert half_open.oldest(at(1), is_configured=False) == (b"stranger",)
    assert half_open.oldest(at(3), is_configured=True) == ()


def test_an_address_that_many_tunnels_name_may_have_as_many_more() -> None:
    """After a restart of ours all of them come back at once."""
    half_open = HalfOpen(EndpointLimits(half_open_per_address=10))
    half_open.expect([at(1)] * 250 + [at(2)])
    known = {"is_configured": True, "has_cookie": False}

    def admitted(address: Address, is_configured: bool) -> int:
        how = {**known, "is_configured": is_configured}
        for count in range(1000):
            if half_open.admit(address, **how) is not Admission.ADMIT:
                return count
            half_open.add(b"%d %d" % (int(address), count), address, **how)
        raise AssertionError("no bound")

    assert admitted(at(1), True) == 259
    assert admitted(at(2), True) == 10
    assert admitted(at(1), False) == 10  # with an address of ours that no tunnel is for
    half_open.expect([])
    assert half_open.admit(at(2), **known) is Admission.ASK_COOKIE
