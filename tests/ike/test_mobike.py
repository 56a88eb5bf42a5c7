"""MOBIKE as the responder (RFC 4555): a peer from anywhere moves, and its Child SAs stay."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.ike.config import Encap
from gateway.ike.events import ChildSaUp, IkeSaUp, PathChanged
from gateway.ike.iana import ExchangeType, NotifyType
from gateway.ike.message import Message, open_sealed, parse_header
from gateway.ike.nat import detection_hash
from gateway.ike.payloads import Notify
from gateway.sa import Path
from tests.support.forge import Forger
from tests.support.pair import IkePair, config_a, config_b

ELSEWHERE = ip_address("203.0.113.77")
UPDATE = Notify(NotifyType.UPDATE_SA_ADDRESSES)
MOBIKE = Notify(NotifyType.MOBIKE_SUPPORTED)


def mobile(fixed: bool = False, **changes: object) -> tuple[IkePair, Message]:
    """
    Return a pair whose a has said in IKE_AUTH that it can move, with b's answer to that. a itself
    knows nothing of it: the test speaks for it from then on.
    """
    b = config_b(**changes) if fixed else config_b(remote=None, **changes)
    pair = IkePair.started(config_a(**changes), b)
    pair.deliver_to_b()
    sa = next(iter(pair.a.endpoint._context.sas.values()))
    pair.deliver_to_a()
    request = pair.hold_to_b()
    assert sa.keys is not None
    opened = open_sealed(request.datagram, parse_header(request.datagram), sa.keys.seal)
    told = replace(opened, payloads=(opened.payloads[0], MOBIKE, *opened.payloads[1:]))
    request.datagram = sa._seal(told)[0]
    pair.release(request)
    answer = pair.link.flights[0].datagram
    opened = open_sealed(answer, parse_header(answer), sa.keys.open)
    pair.deliver_all()
    assert pair.has_traffic()
    return pair, opened


def said_from(pair: IkePair, forger: Forger, path: Path, *payloads: Notify) -> Message:
    """Let a say something from another place; return b's answer, which goes there."""
    message = forger.message(ExchangeType.INFORMATIONAL, payloads)
    forger.saved["window"]["next"] += 1
    pair.b.receive(forger.seal(message), path)
    flight = pair.hold_to_a()
    back = flight.path
    assert (back.remote, back.remote_port) == (path.remote, path.remote_port)
    return forger.open(flight.datagram)


def moved(pair: IkePair, port: int = 4500) -> Path:
    """Return b's view of the path to where a is now."""
    path = pair.b.endpoint.tunnel_status("office").path
    assert path is not None
    return Path(path.local, path.local_port, ELSEWHERE, port)


def test_a_peer_from_anywhere_moves() -> None:
    pair, answer = mobile()
    assert answer.notify(NotifyType.MOBIKE_SUPPORTED) is not None
    forger, path = Forger.of(pair.a), moved(pair)
    cookie = Notify(NotifyType.COOKIE2, bytes(range(20)))
    told = said_from(pair, forger, path, UPDATE, cookie)
    assert [event.path for event in pair.b.all(PathChanged)] == [path]
    assert pair.b.endpoint.tunnel_status("office").path == path
    echoed = told.notify(NotifyType.COOKIE2)
    assert echoed is not None
    assert echoed.data == cookie.data
    spis = told.spi_i, told.spi_r
    destination = told.notify(NotifyType.NAT_DETECTION_DESTINATION_IP)
    assert destination is not None
    assert destination.data == detection_hash(*spis, ELSEWHERE, 4500)
    assert len(pair.b.all(IkeSaUp)) == len(pair.b.all(ChildSaUp)) == 1
    said_from(pair, forger, path, UPDATE)  # once more: nothing changes
    assert len(pair.b.all(PathChanged)) == 1


@pytest.mark.parametrize("behind_nat", [False, True])
def test_what_nat_detection_says_of_the_new_path_holds(behind_nat: bool) -> None:
    pair, _ = mobile()
    forger, path = Forger.of(pair.a), moved(pair, 40000 if behind_nat else 4500)
    message = forger.message(ExchangeType.INFORMATIONAL, ())
    spis = message.spi_i, message.spi_r
    here = (ip_address("10.0.0.7") if behind_nat else ELSEWHERE, 4500)
    source = Notify(NotifyType.NAT_DETECTION_SOURCE_IP, detection_hash(*spis, *here))
    ours = detection_hash(*spis, path.local, path.local_port)
    destination = Notify(NotifyType.NAT_DETECTION_DESTINATION_IP, ours)
    said_from(pair, forger, path, UPDATE, source, destination)
    status = pair.b.endpoint.tunnel_status("office")
    assert (status.nat_local, status.nat_remote) == (False, behind_nat)


def test_it_is_kept_over_a_rekey_and_a_restart() -> None:
    pair, _ = mobile()
    pair.b.rekey_ike()
    pair.deliver_all()
    pair.b.restart()
    forger, path = Forger.of(pair.a), moved(pair)
    assert not forger.is_initiator  # of this IKE SA, but not of the first
    said_from(pair, forger, path, UPDATE)
    assert pair.b.endpoint.tunnel_status("office").path == path


def test_a_peer_with_a_fixed_address_stays() -> None:
    pair, answer = mobile(fixed=True, encap=Encap.AUTO)
    assert answer.notify(NotifyType.MOBIKE_SUPPORTED) is None
    told = said_from(pair, Forger.of(pair.a), moved(pair), UPDATE)
    assert told.payloads == ()
    assert not pair.b.all(PathChanged)


def test_another_address_of_ours_is_not_acceptable() -> None:
    pair, _ = mobile()
    path = replace(moved(pair), local=ip_address("198.51.100.99"))
    told = said_from(pair, Forger.of(pair.a), path, UPDATE)
    assert told.notify(NotifyType.UNACCEPTABLE_ADDRESSES) is not None
    assert not pair.b.all(PathChanged)


def test_a_cookie_comes_back_whoever_asks() -> None:
    pair = IkePair.established()
    cookie = Notify(NotifyType.COOKIE2, bytes(8))
    Forger.of(pair.a).send(ExchangeType.INFORMATIONAL, cookie)
    told = Forger.of(pair.a).answer()
    assert [one.data for one in told.all(Notify)] == [bytes(8)]
