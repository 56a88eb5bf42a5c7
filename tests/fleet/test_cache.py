"""The document on disk: there as it was, or not taken."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gateway.fleet.messages import Position, Wanted
from gateway.node.fleet.cache import CREDENTIAL, FILE, KEY_FILE, Cache, CacheError

WANTED = Wanted(
    node="node-a",
    at=Position(epoch=1, generation=7, tag="t"),
    document={"gateway": {"name": "a"}, "psk": "correct-horse-battery-staple"},
)


@pytest.fixture
def kept(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path)
    cache.save(WANTED)
    return cache


def test_what_was_kept_is_there_again_and_cannot_be_read_on_disk(
    kept: Cache, tmp_path: Path
) -> None:
    assert kept.load() == WANTED
    for name in (FILE, KEY_FILE):
        file = tmp_path / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert b"correct-horse" not in file.read_bytes()


def test_nothing_is_kept_at_first(tmp_path: Path) -> None:
    assert Cache(tmp_path).load() is None


@pytest.mark.parametrize("place", [0, 12, 40, -1])
def test_a_changed_byte_is_noticed(kept: Cache, tmp_path: Path, place: int) -> None:
    blob = bytearray((tmp_path / FILE).read_bytes())
    blob[place] ^= 1
    (tmp_path / FILE).write_bytes(blob)
    with pytest.raises(CacheError, match=r"document\.sealed is damaged"):
        kept.load()


@pytest.mark.parametrize("size", [0, 5, 12, 60])
def test_half_a_file_is_noticed(kept: Cache, tmp_path: Path, size: int) -> None:
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:size])
    with pytest.raises(CacheError, match="damaged"):
        kept.load()


def test_a_key_that_is_gone_or_another_is_said(kept: Cache, tmp_path: Path) -> None:
    key = (tmp_path / KEY_FILE).read_bytes()
    (tmp_path / KEY_FILE).write_bytes(bytes(32))
    with pytest.raises(CacheError, match="another key"):
        kept.load()
    (tmp_path / KEY_FILE).write_bytes(key[:-1])
    with pytest.raises(CacheError, match="has 31 bytes"):
        kept.load()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(CacheError, match=r"needs its key, .*document\.key, which is gone"):
        kept.load()


def test_a_credential_of_systemd_is_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "credentials"
    given.mkdir()
    (given / CREDENTIAL).write_bytes(bytes(range(32)))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    Cache(tmp_path).save(WANTED)
    assert not (tmp_path / KEY_FILE).exists()
    assert Cache(tmp_path).load() == WANTED


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"document\.sealed can not be written"):
        Cache(tmp_path / "gone").save(WANTED)
