"""
Each row of the tables as one conversation: the answer, the counter, what is reported, what is left.

In the end the tunnel works again, by itself, whatever the peer did.
"""

from __future__ import annotations

import pytest

from gateway.ike.events import IkeSaDown
from gateway.ike.iana import NotifyType, PayloadType
from tests.ike.conformance import requests, responses
from tests.ike.conformance.rows import Row
from tests.ike.conformance.script import Meeting, Wire, request_of_a, response_of_b
from tests.support.pair import IkePair

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


@pytest.mark.parametrize("row", requests.ROWS, ids=str)
def test_request(row: Row) -> None:
    meeting = request_of_a(IkePair(), row.point, row.edit)
    assert (meeting.answer is None) == row.outcome.is_silent
    assert error_of(meeting.answer) == row.outcome.answer
    assert_as_said(row, meeting)


@pytest.mark.parametrize("row", responses.ROWS, ids=str)
def test_response(row: Row) -> None:
    assert_as_said(row, response_of_b(IkePair(), row.point, row.edit))


# Classes of bad input that are not changes of one message, and where they are met.
ELSEWHERE = {
    "D14": "test_certificates.py",
    "D16": "test_certificates.py",
    "D17": "test_cipher.py",
    "D18": "test_bad_peer.py",
    "D19": "test_fragments.py",
    "D20": "test_bad_peer.py",
}


def test_every_group_and_class_has_its_rows() -> None:
    groups = {row.group for row in (*requests.ROWS, *responses.ROWS)} | ELSEWHERE.keys()
    assert {f"D{number}" for number in range(1, 28)} <= groups
    assert {group.rsplit(".", 1)[0] for group in groups if group[0] == "1"} == {"1.1", "1.2", "1.3"}


def test_no_two_rows_have_one_name() -> None:
    for table in (requests.ROWS, responses.ROWS):
        assert len({str(row) for row in table}) == len(table)
