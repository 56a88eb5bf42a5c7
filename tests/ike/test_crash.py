"""Quick crash detection (RFC 6290): who has lost everything proves it, and nobody else can."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.ike.events import IkeSaDown, IkeSaUp
from gateway.ike.iana import NotifyType
from gateway.ike.message import parse_clear, serialise_clear
from gateway.ike.payloads import Notify
from gateway.sa import Path
from gateway.secret import Secret
from tests.support.pair import IkePair, Side, config_a, config_b


def established() -> IkePair:
    pair = IkePair(config_a(), config_b(), has_tokens=True)
    pair.start()
    pair.deliver_all()
    assert pair.has_traffic()
    return pair


def reasons_of(side: Side) -> list[str]:
    return [down.reason.code for down in side.all(IkeSaDown)]


def ask(pair: IkePair) -> None:
    """Let a ask b whether it lives."""
    pair.a.take(pair.a.endpoint.esp_one_way("office", pair.now))


@pytest.mark.parametrize("rekeys", [0, 1, 2])
def test_a_crash_is_known_within_a_round_trip(rekeys: int) -> None:
    """Tokens are of SPIs, so each rekey has to bring new ones."""
    pair = established()
    for at in range(rekeys):
        (pair.a, pair.b)[at % 2].rekey_ike()
        pair.deliver_all()
        pair.advance(1.0)
    pair.a.esp_heard()
    before = pair.now
    pair.b.crash()
    ask(pair)
    pair.deliver_all()
    assert pair.a.codes() == []
    assert reasons_of(pair.a)[-1] == "crash_detected"
    pair.advance(0.1)
    assert pair.now - before < 0.2
    assert pair.has_traffic(), pair.story()
    assert pair.a.ike_sas == 1


def test_without_tokens_it_takes_the_liveness_timeout() -> None:
    pair = IkePair.established()
    pair.b.crash()
    ask(pair)
    pair.advance(5.0)
    assert reasons_of(pair.a) == []
    pair.advance(3.0)
    assert reasons_of(pair.a) == ["peer_unreachable"]


def test_a_peer_without_it_is_told_and_says_nothing() -> None:
    pair = IkePair(config_a(), config_b(), has_tokens=True)
    pair.b.crash_secret = None
    pair.b.crash()
    pair.b.events.clear()
    pair.a.start()
    pair.fire()
    pair.deliver_all()
    assert pair.has_traffic()
    pair.b.crash()
    ask(pair)
    pair.advance(5.0)
    assert reasons_of(pair.a) == []


def lost_answer(pair: IkePair) -> tuple[bytes, Path]:
    """Return b's proof that it has lost the IKE SA, and the path on which a gets it."""
    pair.b.crash()
    ask(pair)
    pair.deliver_to_b()
    flight = pair.hold_to_a()
    path = flight.path
    return flight.datagram, Path(path.remote, path.remote_port, path.local, path.local_port)


def test_a_token_that_is_wrong_or_missing_only_makes_us_ask() -> None:
    pair = established()
    datagram, path = lost_answer(pair)
    whole = parse_clear(datagram)
    for payloads in (
        (whole.payloads[0],),
        (whole.payloads[1],),
        (whole.payloads[0], Notify(NotifyType.QUICK_CRASH_DETECTION, bytes(32), 1)),
        (whole.payloads[0], Notify(NotifyType.QUICK_CRASH_DETECTION, b"", 1)),
    ):
        pair.a.receive(serialise_clear(replace(whole, payloads=payloads)), path)
        assert reasons_of(pair.a) == []
    pair.a.receive(datagram[:-1] + b"\0", path)
    assert reasons_of(pair.a) == []
    pair.a.receive(datagram, path)
    assert reasons_of(pair.a) == ["crash_detected"]


def test_another_secret_proves_nothing() -> None:
    """As after a reboot, where the secret was in memory only: liveness finds out, as without."""
    pair = established()
    pair.b.crash_secret = Secret(bytes(32))
    datagram, path = lost_answer(pair)
    pair.a.receive(datagram, path)
    assert reasons_of(pair.a) == []


def test_the_proof_is_no_longer_than_the_question_and_rare() -> None:
    pair = established()
    pair.b.crash()
    ask(pair)
    question = pair.hold_to_b()
    for _ in range(100):
        pair.release(question)
    answers = [one for one in pair.link.flights if one.sender is pair.b]
    assert 0 < len(answers) <= 21
    assert all(len(one.datagram) <= len(question.datagram) for one in answers)
    pair.link.flights.clear()
    header = question.datagram[:28]
    short = header[:24] + (36).to_bytes(4, "big") + bytes(8)
    pair.advance(2.0, deliver=False)
    pair.link.flights.clear()
    path = question.path
    pair.b.receive(short, Path(path.remote, path.remote_port, path.local, path.local_port))
    (answer,) = pair.link.flights
    assert parse_clear(answer.datagram).notify(NotifyType.QUICK_CRASH_DETECTION) is None


def test_who_has_the_ike_sa_never_says_its_token_in_the_clear() -> None:
    pair = established()
    pair.a.rekey_ike()
    pair.deliver_all()
    pair.advance(30.0)
    sa = next(one for one in pair.a.endpoint._context.sas.values() if one.is_usable)
    wire = b"".join(flight.datagram for flight in pair.link.seen)
    assert len(sa.peer_token) == 32
    assert sa.peer_token.reveal() not in wire


def test_a_restart_that_keeps_the_ike_sas_keeps_the_tokens() -> None:
    pair = established()
    pair.a.restart()
    pair.b.restart()
    assert pair.has_traffic()
    assert len(pair.a.all(IkeSaUp)) == 1
    pair.b.crash()
    ask(pair)
    pair.deliver_all()
    assert reasons_of(pair.a) == ["crash_detected"]


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("rekeys", [0, 1])
def test_nobody_gets_a_token_of_an_ike_sa_that_is_there(who: str, rekeys: int) -> None:
    """Whoever has seen its SPIs could end it by the token: so none for a flag turned over."""
    pair = established()
    for _ in range(rekeys):
        pair.b.rekey_ike()
        pair.deliver_all()
    side: Side = getattr(pair, who)
    status = side.endpoint.tunnel_status("office")
    path = status.path
    assert path is not None
    for spis in ((status.spi_i, status.spi_r), (status.spi_r, status.spi_i)):
        for flags in (0x00, 0x08):
            numbers = bytes([41, 0x20, 37, flags]) + bytes(4)
            datagram = b"".join(spis) + numbers + (200).to_bytes(4, "big") + bytes(172)
            side.receive(datagram, path)
    said = [flight.datagram for flight in pair.link.flights]
    assert said
    kinds = {one.type for datagram in said for one in parse_clear(datagram).all(Notify)}
    assert kinds == {NotifyType.INVALID_IKE_SPI}
    pair.link.flights.clear()
    assert pair.has_traffic()
