"""The sealed state that one gateway process leaves to the next."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.node.seal import Legacy, SealError, load_key, make_key, seal, unseal
from gateway.secret import Secret

KEY = Secret(bytes(range(32)))


NAMES = st.frozensets(st.text(max_size=20), max_size=4)


@given(st.binary(max_size=200), st.tuples(NAMES, NAMES, NAMES, NAMES))
def test_what_is_sealed_is_unsealed(
    snapshot: bytes,
    names: tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str]],
) -> None:
    legacy = Legacy(snapshot, *names)
    assert unseal(seal(legacy, KEY), KEY) == legacy


@given(st.binary(max_size=100))
def test_any_other_bytes_are_refused(blob: bytes) -> None:
    with pytest.raises(SealError):
        unseal(blob, KEY)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    blob = bytearray(seal(Legacy(b"state", frozenset({"a"})), KEY))
    blob[place % len(blob)] ^= change
    with pytest.raises(SealError):
        unseal(bytes(blob), KEY)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealError, match="another gateway"):
        unseal(seal(Legacy(b"state", frozenset()), KEY), Secret(bytes(32)))


def test_the_snapshot_is_not_in_the_blob() -> None:
    assert b"sk_d of an IKE SA" not in seal(Legacy(b"sk_d of an IKE SA", frozenset()), KEY)


def test_the_key_is_found_again_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    place = tmp_path / "seal.key"
    key = make_key(place)
    assert len(key) == 32
    assert load_key(place) == key
    assert place.stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_file_is_in_nobodys_way_when_something_is_sealed(tmp_path: Path) -> None:
    place = tmp_path / "seal.key"
    place.write_bytes(b"short")
    place.with_suffix(".new").write_bytes(b"left by a process that was killed")
    key = make_key(place)
    assert load_key(place) == key
    assert [file.name for file in tmp_path.iterdir()] == ["seal.key"]


def test_a_damaged_key_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "seal.key"
    place.write_bytes(b"short")
    with pytest.raises(SealError, match="5 bytes, need 32"):
        load_key(place)
