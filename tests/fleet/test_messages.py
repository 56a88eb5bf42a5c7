"""What nodes and control plane say to each other, read from what may be anything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.messages import (
    MessageError,
    Position,
    Report,
    Turn,
    is_newer,
    parse_token,
    read,
    token_text,
)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_message_or_said_to_be_none(body: bytes) -> None:
    for kind in (Turn, Report):
        with contextlib.suppress(MessageError):
            assert isinstance(read(kind, body), kind)


def test_what_is_wrong_in_a_message_is_named_and_secrets_are_not_told() -> None:
    with pytest.raises(MessageError, match=r"^wanted\.at\.generation: ") as caught:
        read(
            Turn,
            b'{"wanted": {"node": "n", "at": {"generation": "psk"}, "document": {"psk": "hush"}}}',
        )
    assert "hush" not in str(caught.value)


def test_fields_of_a_later_version_are_ignored() -> None:
    assert read(Turn, b'{"colour": 1}') == Turn()


@pytest.mark.parametrize(
    ("offered", "held", "is_later"),
    [
        ((1, 5), (1, 4), True),
        ((1, 4), (1, 4), False),
        ((1, 3), (1, 4), False),
        ((2, 1), (1, 900), True),
        ((1, 900), (2, 1), False),
    ],
)
def test_an_epoch_counts_before_a_generation(
    offered: tuple[int, int], held: tuple[int, int], is_later: bool
) -> None:
    one, other = (Position(epoch=e, generation=g) for e, g in (offered, held))
    assert is_newer(one, other) is is_later


def test_a_token_carries_the_cas_fingerprint() -> None:
    secret, fingerprint = "x" * 43, "0f" * 32
    assert parse_token(token_text(secret, fingerprint) + "\n") == (secret, fingerprint)
    for wrong in ("", "tsn-x", token_text(secret, fingerprint[:-1]), "A" * 2000):
        with pytest.raises(MessageError, match="not a registration token"):
            parse_token(wrong)
