"""Request bodies: JSON that means one thing, and what is refused with which code."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.api.body import MAX_DEPTH, judge_media_type, parse_body
from gateway.control.problems import ApiProblem


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "malformed_json", "line 1, column 1"),
        (b'{"a": 1,}', "malformed_json", "line 1"),
        (b"[]", "malformed_json", "must be a JSON object"),
        (b"\xff{}", "malformed_json", "is not UTF-8: byte 0"),
        (b'{"a": 1, "a": 2}', "malformed_json", "'a' twice"),
        (b'{"t": {"a": 1, "a": 1}}', "malformed_json", "'a' twice"),
        (b'{"a": NaN}', "malformed_json", "NaN"),
        (b'{"a": -Infinity}', "malformed_json", "-Infinity"),
        (b'{"a": 1e999}', "malformed_json", "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "malformed_json", "digits"),
        (b'{"a": ' + b"[" * 100_000, "malformed_json", "deep"),
        (b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "malformed_json", f"{MAX_DEPTH} deep"),
        (b'{"name": "a\\u0000b"}', "character_not_allowed", "U+0000"),
        (b'{"t": [{"x": "\\ud800"}]}', "character_not_allowed", "U+D800"),
        (b'{"a\\u0000": 1}', "character_not_allowed", "U+0000"),
    ],
)
def test_a_body_that_is_not_clear_is_refused(body: bytes, code: str, words: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        parse_body(body)
    assert caught.value.code == code
    assert words in caught.value.detail
    assert caught.value.status in (400, 422)


def test_the_place_of_a_bad_character_is_named() -> None:
    with pytest.raises(ApiProblem) as caught:
        parse_body(b'{"tags": {"x": "\\u0000"}, "list": ["", "\\u0000"]}')
    assert {error.field for error in caught.value.errors} == {"tags.x", "list[1]"}


def test_a_body_is_read_as_it_was_written() -> None:
    text = '{"a": [1, 2.5, null, true], "ü": {"b": "\\ud83d\\ude00"}}'
    assert parse_body(text.encode()) == {"a": [1, 2.5, None, True], "ü": {"b": "😀"}}


@given(st.binary(max_size=64))
def test_any_bytes_are_an_object_or_a_problem(body: bytes) -> None:
    with contextlib.suppress(ApiProblem):
        assert isinstance(parse_body(body), dict)


@pytest.mark.parametrize(
    "header",
    ["application/json", "Application/JSON; charset=UTF-8", "application/merge-patch+json"],
)
def test_json_is_taken(header: str) -> None:
    judge_media_type(header)


@pytest.mark.parametrize(
    "header", [None, "", "text/plain", "application/json; charset=latin-1", "multipart/form-data"]
)
def test_another_media_type_is_415(header: str | None) -> None:
    with pytest.raises(ApiProblem) as caught:
        judge_media_type(header)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")
