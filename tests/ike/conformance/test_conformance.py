"""
Each row of the tables as one conversation: the answer, the counter, what is reported, what is left.

In the end the tunnel works again, by itself, whatever the peer did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.ike.auth import psk_auth
from gateway.ike.events import IkeSaDown
from gateway.ike.exchanges import proof
from gateway.ike.iana import NotifyType, PayloadType
from gateway.ike.payloads import IdInitiator
from tests.ike.conformance import certificates, requests, responses
from tests.ike.conformance.edits import put
from tests.ike.conformance.rows import Row
from tests.ike.conformance.script import Meeting, Wire, read, request_of_a, response_of_b, write
from tests.ike.conformance.test_datagrams import ROWS as DATAGRAMS
from tests.support.pair import PSK, IkePair

AGAIN_S = 600.0  # the longest back-off, and a replaced IKE SA that goes unused
ERRORS_END = 16384  # notify types below are errors (RFC 7296 section 3.10.1)


def error_of(answer: Wire | None) -> NotifyType | None:
    """Return the first error of an answer."""
    parts = answer.parts if answer is not None else ()
    kinds = [int.from_bytes(p.body[2:4], "big") for p in parts if p.kind == PayloadType.NOTIFY]
    return next((NotifyType(kind) for kind in kinds if kind < ERRORS_END), None)


def assert_as_said(row: Row, meeting: Meeting) -> None:
    """Assert what holds when the message has been dealt with, and that all is well in the end."""
    outcome, pair = row.outcome, meeting.pair
    if outcome.counter.startswith("drop."):
        assert meeting.is_unchanged
    assert meeting.counted() == ({outcome.counter} if outcome.counter else set())
    pair.deliver_all()
    assert meeting.tested.ike_sas == row.is_up, pair.story()
    ended = {event.reason.code for event in meeting.tested.all(IkeSaDown)}
    said = {*meeting.tested.codes(), *(ended - {"rekeyed", "deleted_by_peer"})}
    if outcome.code:
        assert said == {outcome.code}
    elif outcome.is_up and not outcome.answer:
        assert not said
    pair.wait_for(pair.has_traffic, AGAIN_S)


AS_RESPONDER = (*requests.ROWS, *certificates.REQUESTS)
AS_INITIATOR = (*responses.ROWS, *certificates.RESPONSES)


@pytest.mark.parametrize("row", AS_RESPONDER, ids=str)
def test_request(row: Row) -> None:
    meeting = request_of_a(row.pair(), row.point, row.edit)
    assert (meeting.answer is None) == row.outcome.is_silent
    assert error_of(meeting.answer) == row.outcome.answer
    assert_as_said(row, meeting)


@pytest.mark.parametrize("row", AS_INITIATOR, ids=str)
def test_response(row: Row) -> None:
    assert_as_said(row, response_of_b(row.pair(), row.point, row.edit))


RETRANSMISSION = "conformance/test_retransmission.py::test_as_"


def test_reserved_bytes_of_an_identity_are_covered_by_auth() -> None:
    """A later version may give them a meaning: they are signed as they were sent (section 2.15)."""
    pair = IkePair.started()
    pair.deliver_to_b()
    pair.deliver_to_a()
    (sa,) = pair.a.endpoint._context.sas.values()
    assert sa.suite is not None
    identity = IdInitiator(2, b"a.gw.test", b"\1\2\3")
    auth = psk_auth(sa.suite.prf, PSK, proof.octets_of(sa, identity, None))
    wire = read(pair.link.flights[0].datagram, sa.keys)
    changed = put(PayloadType.ID_I, identity.serialise())(wire)
    changed = put(PayloadType.AUTH, b"\2\0\0\0" + auth)(changed)
    flight = pair.hold_to_b()
    pair.link.arrive(replace(flight, datagram=write(changed, sa.keys)))
    assert pair.b.state == "established"


# What is more than a change of one message, and the test that meets it: as responder, as initiator.
ELSEWHERE = {
    "1.1.2": (RETRANSMISSION + "responder_a_doubled", RETRANSMISSION + "initiator_a_lost_request"),
    "1.1.3": (
        "test_life.py::test_killed_and_restarted_initiator",
        "test_life.py::test_killed_and_restarted_responder",
    ),
    "1.1.5": (
        "test_handshake.py::test_stranger_is_asked_for_a_cookie",
        "test_handshake.py::test_cookie_goes_with_the_corrected_group",
    ),
    "1.2.2": (RETRANSMISSION + "responder_a_doubled", RETRANSMISSION + "initiator_a_lost_answer"),
    "1.2.3": (
        "test_rekey_child.py::test_rekey_from_either_end",
        "test_rekey_child.py::test_rekey_from_either_end",
    ),
    "1.2.6": (
        "test_interleavings.py::test_every_order_with_one_loss_ends_well",
        "test_interleavings.py::test_every_order_with_one_loss_ends_well",
    ),
    "1.2.7": (
        "test_payloads.py::test_reserved_bits_and_the_critical_bit",
        "test_payloads.py::test_reserved_bits_and_the_critical_bit",
    ),
    "1.3.2": (RETRANSMISSION + "responder_a_doubled", RETRANSMISSION + "initiator_who_is_never"),
    "D17": ("conformance/test_datagrams.py::test_a_datagram_that_is_not", "test_message.py::test_"),
    "D18": ("../test_searched.py::test_", "../test_searched.py::test_"),
}
PLAN = {  # the sections of the plan that are for a security gateway
    *(f"1.1.{number}" for number in range(1, 12)),
    *(f"1.2.{number}" for number in range(1, 8)),
    *(f"1.3.{number}" for number in range(1, 4)),
}


def is_there(name: str) -> bool:
    """Return whether a test whose name begins so is in its file."""
    file, _, test = name.partition("::")
    return f"\ndef {test}" in (Path(__file__).parent.parent / file).read_text()


@pytest.mark.parametrize("role", [0, 1])
def test_every_group_of_the_plan_is_met_in_both_roles(role: int) -> None:
    table = (AS_RESPONDER, AS_INITIATOR)[role]
    met = {row.group for row in table} | {
        group for group, names in ELSEWHERE.items() if names[role]
    }
    assert met >= PLAN
    assert all(is_there(names[role]) for names in ELSEWHERE.values())


def test_every_class_of_bad_input_has_its_rows() -> None:
    groups = {row.group for row in (*AS_RESPONDER, *AS_INITIATOR)}
    groups |= {row.group for row in DATAGRAMS} | ELSEWHERE.keys()
    assert {f"D{number}" for number in range(1, 28)} <= groups


def test_no_two_rows_have_one_name() -> None:
    for table in (AS_RESPONDER, AS_INITIATOR):
        assert len({str(row) for row in table}) == len(table)
