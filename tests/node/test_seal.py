"""The sealed records that one gateway process leaves to the next, and their key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.node.keeper import Standings
from gateway.node.seal import Sealer, SealError, load_key, make_key
from gateway.secret import Secret

KEY = Secret(bytes(range(32)))
PLACE = b"spi-of-8"
NAMES = st.frozensets(st.text(max_size=20), max_size=4)


@given(st.binary(max_size=64), st.binary(max_size=200))
def test_what_is_sealed_is_opened_by_another_process(place: bytes, content: bytes) -> None:
    assert Sealer(KEY).open(place, Sealer(KEY).seal(place, content)) == content


@given(st.binary(max_size=100))
def test_any_other_bytes_are_refused(record: bytes) -> None:
    with pytest.raises(SealError):
        Sealer(KEY).open(PLACE, record)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    record = bytearray(Sealer(KEY).seal(PLACE, b"state"))
    record[place % len(record)] ^= change
    with pytest.raises(SealError):
        Sealer(KEY).open(PLACE, bytes(record))


def test_another_key_or_another_place_does_not_open_it() -> None:
    record = Sealer(KEY).seal(PLACE, b"state")
    with pytest.raises(SealError, match="another gateway"):
        Sealer(Secret(bytes(32))).open(PLACE, record)
    with pytest.raises(SealError):
        Sealer(KEY).open(b"spi-of-9", record)


def test_no_nonce_comes_twice_and_nothing_is_seen() -> None:
    sealer = Sealer(KEY)
    records = [sealer.seal(PLACE, b"sk_d of an IKE SA") for _ in range(1000)]
    assert len({record[:24] for record in records}) == 1000
    assert not any(b"sk_d" in record for record in records)
    assert Sealer(KEY).seal(PLACE, b"")[:16] != records[0][:16]


@given(st.tuples(NAMES, NAMES, NAMES, NAMES))
def test_standings_are_what_they_were(
    names: tuple[frozenset[str], frozenset[str], frozenset[str], frozenset[str]],
) -> None:
    assert Standings.decode(Standings(*names).encode()) == Standings(*names)


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
