"""
Who shares an address with a good peer, behind one NAT, or sends with that address from elsewhere,
does not keep it out: whatever is refused makes room, and errors are said to who proves an address.
"""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address

import pytest

from gateway.ike.context import EndpointLimits
from gateway.ike.endpoint import IkeEndpoint
from gateway.ike.events import Event, Send
from gateway.ike.halfopen import HalfOpen
from gateway.ike.iana import NotifyType, ProtocolId
from gateway.ike.message import parse_clear, serialise_clear
from gateway.ike.payloads import KeyExchange
from gateway.ike.proposals import parse_proposal
from gateway.sa import Address, Path
from gateway.secret import Secret
from tests.support.fixed import FixedRandom
from tests.support.pair import A_ADDRESS, B_ADDRESS, IkePair, config_a, config_b

WRONG = Secret(b"another key than theirs")


def neighbour(pair: IkePair, number: int, *, is_silent: bool = False) -> None:
    """
    Let somebody with a's address and another port begin with b, as far as b lets them: to be
    refused for a wrong key, or to fall silent after IKE_SA_INIT.
    """
    endpoint, port = IkeEndpoint(FixedRandom(number % 256), pair.now), 40000 + number
    endpoint.configure([config_a(psk=WRONG)], pair.now)
    waiting: list[Event] = endpoint.on_time(pair.now)
    while waiting:
        event = waiting.pop(0)
        if not isinstance(event, Send):
            continue
        if is_silent and event.path.local_port == 4500:
            return
        theirs = Path(event.path.remote, event.path.remote_port, A_ADDRESS, port)
        for answer in pair.b.endpoint.receive(event.datagram, theirs, pair.now):
            if isinstance(answer, Send):
                waiting += endpoint.receive(answer.datagram, event.path, pair.now)


def counted(pair: IkePair, name: str) -> int:
    return pair.b.endpoint.counters.get(name, 0)


def come_in_time(pair: IkePair) -> bool:
    """Let a begin while its neighbours are there; return whether it gets through."""
    pair.link.flights.clear()
    pair.now += 0.6
    pair.a.initiate()
    pair.deliver_all()
    return pair.has_traffic()


@pytest.mark.parametrize("is_named", [True, False], ids=["configured", "any address"])
def test_refused_neighbours_behind_one_address_keep_no_good_peer_out(is_named: bool) -> None:
    """RFC 7296 section 2.6 bounds who waits; who was refused waits for nothing."""
    pair = IkePair(b=config_b() if is_named else config_b(remote=None))
    pair.start()
    for number in range(60):
        pair.now += 0.6
        pair.b.on_time()
        neighbour(pair, number)
    assert counted(pair, "refused.authentication_failed") == 60
    assert counted(pair, "drop.half_open_limit") == 0
    assert come_in_time(pair)


def test_neighbours_that_fall_silent_keep_no_configured_peer_out() -> None:
    pair = IkePair()
    pair.start()
    for number in range(60):
        pair.now += 0.6
        pair.b.on_time()
        neighbour(pair, number, is_silent=True)
    assert counted(pair, "drop.half_open_limit") == 0
    assert come_in_time(pair)


def test_strangers_that_fall_silent_stay_bounded_where_they_are() -> None:
    pair = IkePair(b=config_b(remote=None))
    pair.start()
    for number in range(30):
        pair.now += 0.6
        pair.b.on_time()
        neighbour(pair, number, is_silent=True)
    assert counted(pair, "out.response.ike_sa_init") == 20  # ten without a cookie, ten with one
    assert counted(pair, "half_open_replaced") == 0
    assert counted(pair, "drop.half_open_limit") >= 10


@pytest.mark.parametrize("is_named", [True, False], ids=["configured", "any address"])
def test_one_source_is_let_in_at_its_rate_and_no_faster(is_named: bool) -> None:
    """Each costs a key exchange and a check of who it is."""
    pair = IkePair(b=config_b() if is_named else config_b(remote=None))
    pair.start()
    for number in range(100):
        pair.now += 0.1
        neighbour(pair, number)
    # Twenty have room, 80 come in the eight seconds after that.
    assert 20 + 15 <= counted(pair, "refused.authentication_failed") <= 20 + 17
    assert counted(pair, "drop.half_open_limit") >= 60


def test_who_is_dropped_costs_no_look_at_all_that_wait_at_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where many tunnels name one address, that are as many."""
    looks: list[bool] = []
    oldest = HalfOpen.oldest

    def counting(of: HalfOpen, address: Address, *, is_configured: bool) -> tuple[bytes, ...]:
        looks.append(True)
        return oldest(of, address, is_configured=is_configured)

    monkeypatch.setattr(HalfOpen, "oldest", counting)
    pair = IkePair()
    pair.start()
    for number in range(100):
        pair.now += 0.02
        neighbour(pair, number)
    assert counted(pair, "drop.half_open_limit") >= 70
    assert len(looks) == counted(pair, "half_open_replaced") > 0


def test_all_strangers_together_make_room_at_one_rate() -> None:
    limits = EndpointLimits(half_open_per_address=1, cookie_from=0, replaced_strangers_per_s=1.0)
    pair = IkePair(b=config_b(remote=None), limits_b=limits)
    pair.start()
    for number in range(4):
        pair.now += 0.6
        neighbour(pair, number)
    assert counted(pair, "half_open_replaced") == 2
    assert counted(pair, "drop.half_open_limit") >= 1


def spoil(pair: IkePair, genuine: bytes, many: int = 100, source: Address = A_ADDRESS) -> None:
    """Send what is refused with a peer's address, from elsewhere: so nobody gets the answers."""
    request = parse_clear(genuine)
    payloads = tuple(
        dataclasses.replace(one, public=bytes(32)) if isinstance(one, KeyExchange) else one
        for one in request.payloads
    )
    for number in range(1, many + 1):
        spoiled = dataclasses.replace(request, spi_i=number.to_bytes(8, "big"), payloads=payloads)
        pair.b.receive(serialise_clear(spoiled), Path(B_ADDRESS, 500, source, 500))


def test_spoofed_requests_of_one_peer_ask_no_other_one_for_a_cookie() -> None:
    """Some never answer one. Who was asked is not mistaken for anybody else."""
    pair = IkePair()
    other = config_b(name="other", remote=ip_address("203.0.113.77"))
    pair.start()
    pair.b.take(pair.b.endpoint.configure([pair.b.config, other], pair.now))
    genuine = pair.hold_to_b()
    spoil(pair, genuine.datagram, 8000, ip_address("203.0.113.77"))
    pair.link.flights.clear()
    asked = counted(pair, "drop.cookie_demanded")
    assert asked > 7900
    pair.release(genuine)
    assert counted(pair, "drop.cookie_demanded") == asked
    pair.deliver_all()
    assert pair.has_traffic()


def test_spoofed_requests_do_not_use_up_what_a_peer_needs_to_be_told() -> None:
    """A peer that guesses another group gets in by INVALID_KE_PAYLOAD alone (section 1.2)."""
    both = parse_proposal("aes256gcm16-prfsha384-x25519-ecp256", ProtocolId.IKE)
    wanted = parse_proposal("aes256gcm16-prfsha384-ecp256", ProtocolId.IKE)
    pair = IkePair(config_a(ike_proposals=(both,)), config_b(ike_proposals=(wanted,)))
    pair.start()
    genuine = pair.hold_to_b()
    spoil(pair, genuine.datagram)
    assert counted(pair, "drop.refused") == 5
    pair.link.flights.clear()
    pair.release(genuine)
    assert parse_clear(pair.b.all(Send)[-1].datagram).notify(NotifyType.COOKIE) is not None
    pair.deliver_all()
    assert counted(pair, "drop.refused") == 6
    assert counted(pair, "refused.invalid_ke_payload") == 0  # it came with the other group
    assert pair.has_traffic()


def test_a_proposal_that_is_refused_counts_once_with_a_cookie_and_without() -> None:
    """Whoever is asked for a cookie first, because many were refused, is not refused twice."""
    weak = parse_proposal("aes128gcm16-prfsha256-x25519", ProtocolId.IKE)
    pair = IkePair(config_a(ike_proposals=(weak,)))
    pair.start()
    genuine = pair.hold_to_b()
    request = parse_clear(genuine.datagram)
    for number in range(1, 6):
        other = dataclasses.replace(request, spi_i=number.to_bytes(8, "big"))
        pair.b.receive(serialise_clear(other), Path(B_ADDRESS, 500, A_ADDRESS, 500))
    pair.link.flights.clear()
    assert counted(pair, "refused.no_proposal_chosen") == 5
    pair.release(genuine)
    pair.deliver_all()
    assert counted(pair, "drop.cookie_demanded") == 1
    assert counted(pair, "refused.no_proposal_chosen") == counted(pair, "drop.refused") == 6


def test_who_was_asked_for_a_cookie_is_not_let_in_by_a_repetition_without() -> None:
    """
    It could not tell which of its two requests is answered, and sign the wrong one (section 2.15).
    """
    pair = IkePair(limits_b=EndpointLimits(half_open_per_address=1))
    pair.start()
    genuine = pair.hold_to_b()
    neighbour(pair, 1)
    asked = []
    for later in (25.0, 6.0, 6.0):  # seconds; after 30 s there is room again
        pair.now += later
        pair.b.on_time()
        pair.release(genuine)
        asked.append(counted(pair, "drop.cookie_demanded"))
    assert asked == [1, 2, 2]  # some peers never answer a cookie: they have to wait, no more


def test_a_peer_that_repeats_itself_before_its_cookie_comes_gets_in() -> None:
    pair = IkePair(limits_b=EndpointLimits(half_open_per_address=1))
    pair.start()
    genuine = pair.hold_to_b()
    neighbour(pair, 1)
    pair.now += 29.5
    pair.release(genuine)
    pair.link.flights.append(genuine)  # a second too early; by now there is room
    pair.now += 0.6
    pair.deliver_all()
    assert pair.has_traffic()
