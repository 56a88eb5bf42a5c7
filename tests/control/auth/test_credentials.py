"""Tokens and sessions as text: found by their hash, never kept themselves."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.auth.credentials import (
    SESSION,
    TOKEN,
    bearer,
    cookie,
    cookie_name,
    csrf_token,
    is_csrf_token,
    make,
    read,
    set_cookie,
)
from gateway.control.store.interface import is_id

NOISE = bytes(range(32))


def test_a_token_is_a_prefix_and_256_bits_and_its_hash_is_kept() -> None:
    text = make(TOKEN, NOISE)
    credential = read(TOKEN, text)
    assert text.startswith("tsp_")
    assert len(text) == 47
    assert credential is not None
    assert credential.hash == hashlib.sha256(text.encode()).hexdigest()
    assert credential.is_of(credential.hash)
    assert not credential.is_of(credential.hash[:-1] + "x")
    assert not credential.is_of(None)
    assert is_id(credential.id)
    assert credential.id.startswith("tok-")
    assert len(credential.id) == 14


def test_a_session_is_no_token() -> None:
    assert read(TOKEN, make(SESSION, NOISE)) is None
    assert read(SESSION, make(TOKEN, NOISE)) is None


@given(st.text())
def test_any_text_is_a_credential_or_is_not(text: str) -> None:
    for given_text in (text, "tsp_" + text):
        found = read(TOKEN, given_text)
        assert found is None or (len(given_text) == 47 and given_text.startswith("tsp_"))


def test_text_of_the_right_length_outside_ascii_is_none() -> None:
    assert read(TOKEN, "tsp_" + "\u202e" * 43) is None


def test_a_csrf_token_is_of_its_session_alone() -> None:
    one, other = make(SESSION, NOISE), make(SESSION, NOISE[::-1])
    assert is_csrf_token(one, csrf_token(one))
    assert not is_csrf_token(one, csrf_token(other))
    assert not is_csrf_token(one, "")
    assert not is_csrf_token(one, "\ud800")
    assert one not in csrf_token(one)


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (None, None),
        ("", None),
        ("Basic YTpi", None),
        ("Bearer", ""),
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
    ],
)
def test_the_authorization_header(header: str | None, credential: str | None) -> None:
    assert bearer(header) == credential


def test_a_cookie_is_found_beside_garbage() -> None:
    assert cookie("a=1; [=; twinspan=x=y; b", "twinspan") == "x=y"
    assert cookie("nottwinspan=1", "twinspan") is None
    assert cookie(None, "twinspan") is None
    assert cookie("a" * (1 << 20) + "; twinspan=1", "twinspan") is None


def test_over_tls_a_cookie_is_bound_to_the_host() -> None:
    name = cookie_name("twinspan", is_secure=True)
    assert set_cookie(name, "v", 60, is_secure=True) == (
        "__Host-twinspan=v; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"
    )
    assert "Secure" not in set_cookie("twinspan", "v", 60, is_secure=False)
