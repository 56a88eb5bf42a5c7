"""The window by itself: what is resent and when, what counts as repeated, what is given back."""

from __future__ import annotations

import math

from gateway.ike.tasks import Task, Work
from gateway.ike.window import Request, Window, digest

SCHEDULE = (0.5, 1.0, 2.0)


def request(message_id: int = 0) -> Request:
    return Request(message_id, 37, (b"bytes",), Task(Work.LIVENESS), SCHEDULE, sent_at=100.0)


def test_a_request_is_resent_on_its_schedule_and_then_given_up() -> None:
    one = request()
    assert (one.tries, one.deadline) == (1, 100.5)
    assert one.next_try(100.5) is True
    assert (one.tries, one.deadline) == (2, 101.5)
    assert one.next_try(101.5) is True
    assert (one.tries, one.deadline) == (3, 103.5)
    assert one.next_try(103.5) is False
    assert (one.tries, one.deadline) == (3, math.inf)


def test_a_new_request_holds_for_the_configuration_that_there_is() -> None:
    assert not request().is_outdated


def test_message_ids_begin_with_zero_and_go_up_by_one() -> None:
    window = Window()
    for message_id in range(3):
        window.open(request(message_id))
        assert window.next_request == message_id + 1
        window.close()


def test_closing_gives_the_request_back_and_frees_the_window() -> None:
    window, one = Window(), request()
    window.open(one)
    assert window.outstanding is one
    assert window.close() is one
    assert window.outstanding is None


def test_a_request_may_be_replaced_under_the_same_message_id() -> None:
    window, other = Window(), request()
    window.open(request())
    window.replace(other)
    assert window.outstanding is other
    assert window.next_request == 1


def test_only_the_request_before_counts_as_repeated_and_only_unchanged() -> None:
    window, one, other = Window(), digest(b"one"), digest(b"other")
    assert not window.is_repeated(0, one)
    window.answer(one, (b"answer",))
    assert (window.expected, window.response, window.answered) == (1, (b"answer",), one)
    assert window.is_repeated(0, one)
    assert not window.is_repeated(0, other)
    assert not window.is_repeated(1, one)
    window.answer(other, (b"second",))
    assert window.is_repeated(1, other)
    assert not window.is_repeated(0, other)


def test_what_a_record_has_of_the_last_answer_is_taken() -> None:
    window = Window(expected=7)
    window.restore(digest(b"one"), (b"answer",))
    assert window.is_repeated(6, digest(b"one"))
    assert window.response == (b"answer",)


def test_nothing_that_identifies_a_request_is_shown() -> None:
    window = Window()
    window.answer(b"digest of a request", ())
    assert "digest" not in repr(window)
