"""Liveness, closing, reconnecting, duplicates, NAT, configuration changes: an IKE SA over time."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import pairwise

import pytest

from gateway.errors import UsageError
from gateway.ike.config import Encap, Start, Timers
from gateway.ike.events import (
    ChildSaUp,
    Failed,
    IkeSaDown,
    IkeSaUp,
    Keepalive,
    PathChanged,
    Send,
)
from gateway.ike.iana import ExchangeType, NotifyType, ProtocolId
from gateway.ike.message import parse_header
from gateway.ike.payloads import Delete, Notify
from gateway.sa import Path
from gateway.secret import Secret
from tests.support.forge import Forger
from tests.support.pair import (
    A_ADDRESS,
    B_ADDRESS,
    TUNNEL,
    IkePair,
    Side,
    config_a,
    config_b,
)

NO_LIVENESS = Timers(liveness=0.0)


def sent(side: Side, exchange: ExchangeType) -> int:
    return sum(parse_header(event.datagram).exchange == exchange for event in side.all(Send))


# ---- liveness ----


def test_silent_peer_is_asked_and_answers() -> None:
    pair = IkePair.established()
    pair.advance(100.0)
    assert 8 <= sent(pair.a, ExchangeType.INFORMATIONAL) <= 22
    assert pair.a.ike_sas == 1
    assert pair.has_traffic()


def test_the_round_trip_of_a_check_counts_if_it_was_sent_once() -> None:
    """Which of two sendings is answered can not be told (Karn's rule)."""
    pair = IkePair.established()
    assert pair.a.endpoint.round_trip(TUNNEL) is None
    pair.advance(12.0)
    first = pair.a.endpoint.round_trip(TUNNEL)
    assert first is not None
    assert 0.0 <= first[1] < 0.4
    pair.cut()
    pair.advance(10.2)  # a check is lost, and sent again
    pair.cut(False)
    pair.advance(2.0)
    assert pair.a.ike_sas == 1
    assert pair.a.endpoint.round_trip(TUNNEL) == first
    pair.advance(12.0)
    assert pair.a.endpoint.round_trip(TUNNEL) != first
    assert pair.a.endpoint.round_trip("another") is None


def test_ages_are_those_of_what_is_in_use() -> None:
    pair = IkePair.established()
    pair.advance(100.0)
    found = pair.a.endpoint.ages(TUNNEL, pair.now)
    assert found.ike_s == pytest.approx(100.0, abs=1.0)
    assert found.child_s == pytest.approx(100.0, abs=1.0)
    pair.a.rekey_child()
    pair.advance(10.0)
    found = pair.a.endpoint.ages(TUNNEL, pair.now)
    assert found.child_s == pytest.approx(10.0, abs=1.0)
    assert found.ike_s > 100.0


def test_esp_counts_as_life() -> None:
    pair = IkePair.established()
    for _ in range(50):
        pair.advance(4.0)
        pair.a.esp_heard()
        pair.b.esp_heard()
    assert sent(pair.a, ExchangeType.INFORMATIONAL) == 0


def test_dead_peer_is_noticed_in_time() -> None:
    """10 s of silence, then 0.5 + 1 + 2 + 3 s of asking."""
    pair = IkePair.established()
    pair.cut()
    pair.advance(16.4)
    assert pair.a.ike_sas == 1
    pair.advance(0.2)
    assert pair.a.ike_sas == 0
    assert pair.a.all(IkeSaDown)[0].reason.code == "peer_unreachable"
    assert not pair.a.plane.inbound
    assert pair.a.plane.outbound is None


def test_dead_peer_is_noticed_in_time_while_a_rekey_is_outstanding() -> None:
    pair = IkePair.established()
    pair.advance(9.0)
    pair.cut()
    pair.a.rekey_child()
    pair.advance(8.0)
    assert pair.a.ike_sas == 0


def test_a_process_that_stood_still_asks_again_before_it_gives_the_peer_up() -> None:
    """The answer to the liveness check waits in the socket while the process does not run."""
    pair = IkePair.established()
    pair.advance(9.9)
    pair.a.is_frozen = pair.b.is_frozen = True
    pair.now = pair.a.endpoint.deadline
    pair.a.on_time()
    pair.now += 60.0
    pair.a.on_time()
    pair.a.is_frozen = pair.b.is_frozen = False
    pair.deliver_all()
    pair.advance(1.0)
    assert pair.a.all(IkeSaDown) == []
    assert pair.a.state == "established"


def test_no_liveness_where_it_is_off() -> None:
    pair = IkePair.established(config_a(timers=NO_LIVENESS), config_b(timers=NO_LIVENESS))
    pair.advance(500.0)
    assert sent(pair.a, ExchangeType.INFORMATIONAL) == 0


def test_unprotected_word_of_a_lost_ike_sa_only_makes_us_ask() -> None:
    pair = IkePair.established()
    pair.b.crash()
    pair.a.rekey_child()
    pair.deliver_to_b()
    # <-- b: N(INVALID_IKE_SPI), in the clear
    pair.deliver_to_a()
    assert pair.a.ike_sas == 1
    assert pair.a.drops("clear") == 1
    pair.wait_for(pair.has_traffic, 60.0)


# ---- closing ----


@pytest.mark.parametrize("who", ["a", "b"])
def test_close_takes_down_both_ends(who: str) -> None:
    pair = IkePair.established()
    getattr(pair, who).close()
    pair.deliver_all()
    assert pair.a.ike_sas == pair.b.ike_sas == 0
    assert pair.a.plane.outbound is pair.b.plane.outbound is None
    pair.advance(1.0)
    assert not pair.a.plane.inbound
    assert not pair.b.plane.inbound


def test_closed_tunnel_stays_down_until_it_is_initiated() -> None:
    pair = IkePair.established()
    pair.a.close()
    pair.advance(300.0)
    assert pair.a.state == "idle"
    pair.a.initiate()
    pair.deliver_all()
    assert pair.has_traffic()


def test_both_close_at_once() -> None:
    pair = IkePair.established()
    pair.a.close()
    pair.b.close()
    pair.advance(1.0)
    assert pair.a.state == pair.b.state == "idle"
    assert pair.a.ike_sas == pair.b.ike_sas == 0


def test_lost_delete_is_repeated_and_given_up() -> None:
    pair = IkePair.established()
    pair.a.close()
    pair.drop_to_b()
    pair.advance(0.6)
    assert pair.b.ike_sas == 0
    other = IkePair.established()
    other.cut()
    other.a.close()
    other.advance(40.0)
    assert other.a.state == "idle"


@pytest.mark.parametrize("delivered", range(4))
def test_close_while_it_is_set_up_leaves_nothing(delivered: int) -> None:
    pair = IkePair.started()
    for _ in range(delivered):
        pair.link.arrive(pair.link.flights.popleft())
    pair.a.close()
    pair.advance(60.0)
    assert pair.a.state == pair.b.state == "idle"
    assert not pair.a.plane.inbound
    assert not pair.b.plane.inbound
    assert pair.a.codes() == []


def test_tunnel_closed_and_wanted_again_while_it_is_set_up_is_tried_for_ever() -> None:
    """The peer never answers IKE_AUTH: a new attempt follows, as after any other failure."""
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.cut()
    pair.link.flights.clear()
    pair.a.close()
    pair.a.initiate()
    pair.advance(60.0)
    assert "peer_unreachable" in pair.a.codes()
    pair.cut(False)
    pair.wait_for(pair.has_traffic, 120.0)


def test_tunnel_closed_and_wanted_again_while_it_is_set_up_comes_up() -> None:
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.a.close()
    pair.a.initiate()
    pair.deliver_all()
    assert pair.has_traffic()


def test_close_all_closes_all() -> None:
    pair = IkePair.established()
    pair.a.take(pair.a.endpoint.close_all(pair.now))
    pair.deliver_all()
    assert pair.b.ike_sas == 0
    assert pair.b.all(IkeSaDown)[0].reason.code == "deleted_by_peer"


# ---- reconnecting ----


def test_peers_delete_is_followed_by_an_immediate_attempt() -> None:
    pair = IkePair.established()
    pair.b.close()
    pair.b.take(pair.b.endpoint.allow("office", pair.now))
    pair.deliver_all()
    assert pair.a.state == "established"
    assert pair.a.all(IkeSaDown)[0].reason.code == "deleted_by_peer"
    assert pair.has_traffic()


def test_peer_that_always_deletes_is_not_hammered() -> None:
    pair = IkePair.established()
    ups = []
    for _ in range(60):
        pair.b.close()
        pair.b.take(pair.b.endpoint.allow("office", pair.now))
        pair.advance(2.0)
        ups.append(len(pair.a.all(IkeSaUp)))
    assert len(pair.a.all(IkeSaUp)) < 15


def test_attempts_go_on_for_ever_with_growing_pauses() -> None:
    pair = IkePair(config_a(timers=Timers(retransmit_after=(0.5, 1.0))), config_b())
    pair.cut()
    pair.start()
    times: list[float] = []
    for _ in range(40):
        before = len(pair.a.all(Failed))
        while len(pair.a.all(Failed)) == before:
            pair.now = pair.a.endpoint.deadline
            pair.a.on_time()
        times.append(pair.now)
    pauses = [later - sooner - 1.5 for sooner, later in pairwise(times)]
    assert pauses[:3] == pytest.approx([1.0, 1.8, 3.24])
    assert pauses[-1] == pytest.approx(60.0)
    pair.cut(False)
    pair.b.start()
    pair.wait_for(pair.has_traffic, 61.0)


def test_killed_and_restarted_responder_is_reached_again() -> None:
    pair = IkePair.established()
    pair.b.crash()
    assert not pair.has_traffic()
    waited = pair.wait_for(pair.has_traffic, 30.0)
    assert waited < 20.0
    assert pair.a.ike_sas == 1


def test_killed_and_restarted_initiator_clears_its_old_sas_at_the_peer() -> None:
    """INITIAL_CONTACT: the old IKE SA goes at once, not after its liveness check."""
    pair = IkePair.established()
    pair.advance(5.0)
    pair.a.crash()
    pair.fire()
    pair.deliver_all()
    reasons = [event.reason.code for event in pair.b.all(IkeSaDown)]
    assert reasons == ["initial_contact"]
    assert pair.has_traffic()
    assert len(pair.b.plane.inbound) == 1


def test_new_child_sa_is_there_before_the_old_one_goes() -> None:
    pair = IkePair.established()
    pair.advance(5.0)
    pair.a.crash()
    pair.fire()
    pair.deliver_all()
    kinds = [type(event).__name__ for event in pair.b.events]
    assert kinds.index("ChildSaDown") > len(kinds) - 1 - kinds[::-1].index("ChildSaUp")


def test_failure_and_its_end_are_in_the_status() -> None:
    pair = IkePair.started(config_a(psk=Secret(b"not the same key at all")))
    pair.deliver_all()
    status = pair.a.endpoint.tunnel_status("office")
    assert status.state == "idle"
    assert status.last_failure is not None
    assert status.last_failure.code == "authentication_failed"
    assert status.retry_at > pair.now
    assert status.attempts == 1


# ---- both begin at once ----


def assert_converged(pair: IkePair) -> None:
    pair.advance(20.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1, pair.story()
    one, other = (side.endpoint.tunnel_status("office") for side in pair.sides())
    assert (one.spi_i, one.spi_r) == (other.spi_i, other.spi_r)
    assert len(pair.a.plane.inbound) == len(pair.b.plane.inbound) == 1
    assert pair.has_traffic()
    pair.advance(100.0)
    assert pair.a.ike_sas == 1


def both_begin(first_a: int = 0x90, first_b: int = 0xA0) -> IkePair:
    pair = IkePair(config_a(), config_b(start=Start.INITIATE))
    pair.a.random.nonces_start(first_a)
    pair.b.random.nonces_start(first_b)
    pair.start()
    return pair


@pytest.mark.parametrize("firsts", [(1, 2), (2, 1)])
def test_both_ends_begin_at_once(firsts: tuple[int, int]) -> None:
    pair = both_begin(*firsts)
    had_traffic = False
    for _ in range(60):
        if not pair.link.flights:
            break
        pair.link.arrive(pair.link.flights.popleft())
        if had_traffic:
            assert pair.has_traffic(), pair.story()
        had_traffic = had_traffic or pair.has_traffic()
    assert_converged(pair)


def test_established_responder_gives_up_its_own_first_message() -> None:
    pair = both_begin()
    pair.drop_to_a()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.deliver_to_b()
    pair.deliver_all()
    pair.advance(60.0)
    assert sent(pair.b, ExchangeType.IKE_AUTH) == 1
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert pair.b.codes() == []


@pytest.mark.parametrize("firsts", [(1, 2), (2, 1)])
def test_peer_that_never_sorts_out_duplicates(firsts: tuple[int, int]) -> None:
    """b never deletes anything by itself: after ten seconds a deletes the one that a began."""
    pair = both_begin(*firsts)
    pair.deliver_all()
    pair.b.is_frozen = True
    assert pair.a.ike_sas == 2
    for _ in range(20):
        pair.advance(1.0)
        assert pair.has_traffic(), pair.story()
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert not pair.a.endpoint.tunnel_status("office").original_initiator


def test_ike_sas_of_one_tunnel_are_bounded() -> None:
    """The peer begins again and again without INITIAL_CONTACT: the oldest go."""
    pair = IkePair.established()
    for _ in range(8):
        pair.now += 1.0
        pair.a.crash()
        pair.fire()
        pair.deliver_all()
    assert pair.b.ike_sas == 1
    assert len(pair.b.plane.inbound) == 1
    assert pair.has_traffic()


# ---- NAT ----


NAT_ADDRESS = ip_address("203.0.113.5")


class Masquerade:
    """A NAT before a: its packets come from another address, ports 500 and 4500 are mapped."""

    def __init__(self, pair: IkePair) -> None:
        self.shift = 20000
        pair.link.rewrite_out = self.out
        pair.link.rewrite_in = self.back

    def out(self, path: Path) -> Path:
        return Path(NAT_ADDRESS, path.local_port + self.shift, path.remote, path.remote_port)

    def back(self, path: Path) -> Path | None:
        if path.local_port - self.shift not in (500, 4500):
            return None
        return Path(A_ADDRESS, path.local_port - self.shift, path.remote, path.remote_port)


def natted(encap: Encap = Encap.AUTO) -> tuple[IkePair, Masquerade]:
    pair = IkePair(config_a(encap=encap), config_b(encap=encap, remote=None))
    nat = Masquerade(pair)
    pair.start()
    pair.deliver_all()
    return pair, nat


def test_nat_is_found_and_both_move_to_4500() -> None:
    pair, _ = natted()
    a, b = (side.endpoint.tunnel_status("office") for side in pair.sides())
    assert (a.nat_local, a.nat_remote) == (True, False)
    assert (b.nat_local, b.nat_remote) == (False, True)
    assert a.path == Path(A_ADDRESS, 4500, B_ADDRESS, 4500)
    assert b.path == Path(B_ADDRESS, 4500, NAT_ADDRESS, 24500)
    assert pair.a.all(ChildSaUp)[0].udp_encap
    assert pair.b.all(ChildSaUp)[0].udp_encap
    assert pair.has_traffic()


def test_only_the_end_behind_the_nat_sends_keepalives() -> None:
    pair = IkePair(
        config_a(encap=Encap.AUTO, timers=NO_LIVENESS),
        config_b(encap=Encap.AUTO, remote=None, timers=NO_LIVENESS),
    )
    Masquerade(pair)
    pair.start()
    pair.deliver_all()
    pair.advance(101.0)
    assert len(pair.a.all(Keepalive)) == 5
    assert not pair.b.all(Keepalive)


def test_new_port_is_followed_when_the_message_is_authentic() -> None:
    pair, nat = natted()
    nat.shift = 30000
    pair.advance(25.0)
    assert pair.b.all(PathChanged)[-1].path == Path(B_ADDRESS, 4500, NAT_ADDRESS, 34500)
    assert pair.has_traffic()
    pair.b.rekey_child()
    pair.deliver_all()
    assert len(pair.a.all(ChildSaUp)) == 2


def test_forged_message_from_elsewhere_moves_nothing() -> None:
    pair, _ = natted()
    before = pair.b.endpoint.tunnel_status("office").path
    elsewhere = Path(B_ADDRESS, 4500, ip_address("203.0.113.66"), 4500)
    genuine = pair.a.all(Send)[-1].datagram
    garbage = genuine[:-1] + bytes([genuine[-1] ^ 1])
    pair.b.receive(garbage, elsewhere)
    pair.b.receive(genuine, elsewhere)
    assert pair.b.endpoint.tunnel_status("office").path == before
    assert not pair.b.all(PathChanged)


def test_peer_without_a_nat_is_not_followed() -> None:
    pair = IkePair.established(config_a(encap=Encap.AUTO), config_b(encap=Encap.AUTO))
    forger = Forger.of(pair.a)
    before = pair.b.endpoint.tunnel_status("office").path
    datagram = forger.seal(forger.message(ExchangeType.INFORMATIONAL, ()))
    pair.b.receive(datagram, Path(B_ADDRESS, 500, ip_address("203.0.113.66"), 500))
    assert pair.b.endpoint.tunnel_status("office").path == before
    # but the answer goes where the question came from
    assert pair.b.all(Send)[-1].path.remote == ip_address("203.0.113.66")


def test_esp_from_a_new_port_moves_ike_as_well() -> None:
    pair, nat = natted()
    nat.shift = 40000
    path = Path(B_ADDRESS, 4500, NAT_ADDRESS, 44500)
    pair.b.take(pair.b.endpoint.esp_path("office", path, pair.now))
    pair.b.rekey_child()
    pair.deliver_all()
    assert len(pair.a.all(ChildSaUp)) == 2


def test_peer_on_another_port_is_spoken_to_from_4500() -> None:
    pair = IkePair.established(config_a(remote_ike_port=4500), config_b())
    assert pair.a.all(Send)[0].path == Path(A_ADDRESS, 4500, B_ADDRESS, 4500)


# ---- configuration ----


def test_unchanged_tunnel_is_not_touched() -> None:
    pair = IkePair.established()
    before = len(pair.a.events)
    pair.a.reconfigure(config_a())
    assert len(pair.a.events) == before


def test_changed_tunnel_is_begun_again() -> None:
    pair = IkePair.established()
    pair.a.reconfigure(config_a(encap=Encap.AUTO))
    pair.fire()
    pair.deliver_all()
    assert pair.a.all(IkeSaDown)[0].reason.code == "reconfigured"
    assert pair.a.ike_sas == pair.b.ike_sas == 1
    assert pair.has_traffic()
    pair.advance(15.0)
    assert pair.a.ike_sas == pair.b.ike_sas == 1


def test_late_answer_to_a_changed_tunnel_is_not_heard_of() -> None:
    """
    Its IKE SA is closed without having been up: what is up by that name now is another one, with
    another path.
    """
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    pair.deliver_to_b()
    # <-- b: IKE_AUTH { IDr, AUTH ... } is late
    late = pair.hold_to_a()
    pair.a.reconfigure(config_a(encap=Encap.AUTO, start=Start.RESPOND))
    pair.release(late)
    assert not pair.a.all(IkeSaUp)
    assert not pair.a.all(IkeSaDown)
    # a: INFORMATIONAL { D } -->
    pair.deliver_all()
    assert [down.reason.code for down in pair.b.all(IkeSaDown)] == ["deleted_by_peer"]
    assert pair.b.plane.outbound is None


def test_removed_tunnel_is_closed_and_others_stay() -> None:
    pair = IkePair.established()
    other = config_a(name="other", remote=ip_address("203.0.113.1"))
    pair.a.take(pair.a.endpoint.configure([config_a(), other], pair.now))
    assert pair.has_traffic()
    pair.a.take(pair.a.endpoint.configure([other], pair.now))
    pair.deliver_all()
    assert pair.b.ike_sas == 0
    assert pair.a.endpoint.tunnel_status("other").state in ("idle", "connecting")


def test_two_tunnels_between_the_same_two_ends_do_not_disturb_each_other() -> None:
    """Twin tunnels: the same peer, the same identities, two addresses of ours."""
    second = ip_address("198.51.100.2")
    pair = IkePair(config_a(), config_b())
    pair.b.take(
        pair.b.endpoint.configure([config_b(), config_b(name="office-2", local=second)], pair.now)
    )
    pair.a.take(
        pair.a.endpoint.configure([config_a(), config_a(name="office-2", remote=second)], pair.now)
    )
    pair.fire()
    pair.deliver_all()
    for side in pair.sides():
        for name in ("office", "office-2"):
            assert side.endpoint.tunnel_status(name).state == "established"
            assert len(side.endpoint.tunnel_status(name).children) == 1
    pair.a.close()
    pair.deliver_all()
    assert pair.b.endpoint.tunnel_status("office-2").state == "established"


# ---- deleting from the far end, odd ways ----


@pytest.mark.parametrize("kind", [NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SYNTAX])
def test_fatal_error_of_the_peer_ends_the_ike_sa(kind: NotifyType) -> None:
    pair = IkePair.established()
    Forger.of(pair.b).send(ExchangeType.INFORMATIONAL, Notify(kind))
    assert pair.a.ike_sas == 0


def test_delete_of_ike_and_esp_in_one_message() -> None:
    pair = IkePair.established()
    spi = pair.b.all(ChildSaUp)[0].inbound.spi.to_bytes(4, "big")
    Forger.of(pair.b).send(
        ExchangeType.INFORMATIONAL, Delete(ProtocolId.ESP, (spi,)), Delete(ProtocolId.IKE)
    )
    assert pair.a.ike_sas == 0
    assert pair.a.plane.outbound is None


# ---- our own caller ----


def test_wrong_calls_are_usage_errors() -> None:
    pair = IkePair(config_a(), config_b(remote=None))
    pair.start()
    with pytest.raises(UsageError, match="no tunnel 'nowhere'"):
        pair.a.endpoint.initiate("nowhere", pair.now)
    with pytest.raises(UsageError, match="address is not known"):
        pair.b.endpoint.initiate("office", pair.now)


def test_status_follows_the_life_of_a_tunnel() -> None:
    pair = IkePair.started()
    states = [pair.a.state]
    pair.deliver_all()
    states.append(pair.a.state)
    pair.a.close()
    states.append(pair.a.state)
    pair.advance(1.0)
    states.append(pair.a.state)
    assert states == ["connecting", "established", "closing", "idle"]
