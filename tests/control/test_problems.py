"""Problem documents: RFC 9457's members, a stable code, field and value."""

from __future__ import annotations

import json

from gateway.control.problems import (
    LONGEST_VALUE,
    ApiProblem,
    FieldError,
    invalid,
    not_found,
    shown,
    title,
)


def test_a_problem_has_the_members_of_rfc_9457_and_ours() -> None:
    problem = invalid("vpn_tunnel.inner_cidr", "10.0.0.0/8", "must be a /30")
    assert problem.as_json() == {
        "type": "https://twinspan.dev/problems/invalid",
        "title": "A value is not allowed",
        "status": 422,
        "code": "invalid",
        "detail": "vpn_tunnel.inner_cidr: must be a /30",
        "field": "vpn_tunnel.inner_cidr",
        "value": "10.0.0.0/8",
    }


def test_a_problem_without_a_field_does_not_name_one() -> None:
    document = not_found("vpn_tunnel", "tun-2").as_json()
    assert document["status"] == 404
    assert "field" not in document
    assert "errors" not in document


def test_several_mistakes_are_told_at_once() -> None:
    errors = [FieldError("invalid", "a.b", "must be 1", 2), FieldError("unknown_field", "a.c", "?")]
    document = ApiProblem(422, "invalid", "2 mistakes", errors=errors).as_json()
    assert document["errors"] == [
        {"code": "invalid", "field": "a.b", "value": 2, "detail": "must be 1"},
        {"code": "unknown_field", "field": "a.c", "value": None, "detail": "?"},
    ]


def test_further_members_stand_in_the_document() -> None:
    document = ApiProblem(412, "precondition_failed", "old", extra={"revision": 7}).as_json()
    assert document["revision"] == 7


def test_a_code_of_one_part_has_the_title_of_its_status() -> None:
    assert title("asn_reserved", 422).startswith("Unprocessable")


def test_a_huge_value_is_told_back_short() -> None:
    text = shown("x" * (1 << 20))
    assert isinstance(text, str)
    assert len(text) == LONGEST_VALUE + 3


def test_a_number_is_told_back_as_a_number() -> None:
    assert [shown(value) for value in (7, 1.5, True)] == [7, 1.5, True]


def test_any_value_can_be_told_back() -> None:
    for value in (None, True, 1.5, float("nan"), "\0\u202e\ud800", b"\xff", {"a": object()}):
        json.dumps(shown(value), allow_nan=False, ensure_ascii=False).encode()
