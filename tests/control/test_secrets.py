"""Sealed secrets: they open only where they were put, and outlive a change of the master key."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.secrets import (
    CREDENTIAL,
    CannotOpen,
    KeyRing,
    MasterKey,
    is_sealed,
    key_file,
    key_file_text,
    load_key_ring,
    master_key_id,
    new_master_key,
    reseal_object,
    sealed_fields,
)
from gateway.control.store.interface import Key
from gateway.errors import ConfigError
from gateway.secret import Secret

HERE = Key("tunnel", "t-1")
PSK = Secret(b"correct-horse-battery-staple")
OLD, NEW = MasterKey(Secret(bytes(range(32)))), MasterKey(Secret(bytes(32)))


@given(st.binary(max_size=200))
def test_a_sealed_secret_opens_where_it_was_put(secret: bytes) -> None:
    ring = KeyRing([OLD])
    sealed = ring.seal(Secret(secret), HERE, "psk")
    assert is_sealed(sealed)
    assert ring.open(sealed, HERE, "psk").reveal() == secret


@pytest.mark.parametrize(
    ("key", "where"),
    [
        (Key("tunnel", "t-2"), "psk"),
        (Key("tunnel2", "t-1"), "psk"),
        (HERE, "ps"),
        (HERE, "tunnel/0/psk"),
    ],
)
def test_a_secret_that_was_moved_does_not_open(key: Key, where: str) -> None:
    ring = KeyRing([OLD])
    sealed = ring.seal(PSK, HERE, "psk")
    for call in (ring.open, KeyRing([NEW, OLD]).reseal):
        with pytest.raises(CannotOpen, match=f"{key}: {where}: is damaged, or was sealed for"):
            call(sealed, key, where)


def test_parts_of_two_secrets_make_no_third() -> None:
    ring = KeyRing([OLD])
    one = ring.seal(PSK, HERE, "psk").split(":")
    other = ring.seal(PSK, HERE, "psk").split(":")
    with pytest.raises(CannotOpen):
        ring.open(":".join([*one[:4], other[4]]), HERE, "psk")


def test_every_changed_byte_is_noticed() -> None:
    ring = KeyRing([OLD])
    head, wrapped, text = ring.seal(PSK, HERE, "psk").rsplit(":", 2)
    for number in range(len(base64.b64decode(text))):
        blob = bytearray(base64.b64decode(text))
        blob[number] ^= 1
        sealed = f"{head}:{wrapped}:{base64.b64encode(blob).decode()}"
        with pytest.raises(CannotOpen):
            ring.open(sealed, HERE, "psk")


@pytest.mark.parametrize("text", ["", "sealed:v1:", "sealed:v2:0:AA==:AA==", "psk"])
def test_what_is_not_sealed_is_not_opened(text: str) -> None:
    assert not is_sealed(text)
    with pytest.raises(CannotOpen, match="tunnel/t-1: psk: is not a sealed secret"):
        KeyRing([OLD]).open(text, HERE, "psk")


@pytest.mark.parametrize("blob", ["AA==", "A", "AAAAAAAAAAAAAAAA"])
def test_what_is_too_short_does_not_open(blob: str) -> None:
    with pytest.raises(CannotOpen):
        KeyRing([OLD]).open(f"sealed:v1:{OLD.id}:{blob}:{blob}", HERE, "psk")


def test_another_master_key_is_named() -> None:
    sealed = KeyRing([OLD]).seal(PSK, HERE, "psk")
    with pytest.raises(CannotOpen, match=f"sealed with the master key {OLD.id}, not given"):
        KeyRing([NEW]).open(sealed, HERE, "psk")


def test_old_secrets_open_until_they_are_sealed_anew_and_then_without_the_old_key() -> None:
    value = {
        "psk": KeyRing([OLD]).seal(PSK, HERE, "psk"),
        "tunnel": [{"a/b~": KeyRing([OLD]).seal(PSK, HERE, "tunnel/0/a~1b~0")}],
        "name": "office",
    }
    both = KeyRing([NEW, OLD])
    assert both.open(value["psk"], HERE, "psk") == PSK  # type: ignore[arg-type] # a string
    changed = reseal_object(both, HERE, json.dumps(value).encode())
    assert changed is not None
    fields = dict(sealed_fields(changed))
    assert set(fields) == {"psk", "tunnel/0/a~1b~0"}
    for where, sealed in fields.items():
        assert master_key_id(sealed) == NEW.id
        assert KeyRing([NEW]).open(sealed, HERE, where) == PSK
    assert json.loads(changed)["name"] == "office"
    assert reseal_object(both, HERE, changed) is None


def test_a_process_takes_up_a_new_key_when_it_meets_it(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    write(file, OLD)
    ring = load_key_ring(file)
    write(file, NEW, OLD)
    sealed = KeyRing([NEW]).seal(PSK, HERE, "psk")
    assert ring.open(sealed, HERE, "psk") == PSK
    assert ring.current == NEW.id


def write(file: Path, *keys: MasterKey) -> None:
    file.write_text(key_file_text(keys))
    file.chmod(0o600)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o600, "has no master key"),
        ("AAAA", 0o600, "line 1: must be base64 of 32 bytes"),
        (key_file_text([OLD]) + "!!", 0o600, "line 2: must be base64 of 32 bytes"),
        (key_file_text([OLD]), 0o640, "others may read it"),
    ],
)
def test_a_wrong_key_file_is_named(tmp_path: Path, text: str, mode: int, said: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"{file}: {said}"):
        load_key_ring(file)
    with pytest.raises(ConfigError, match="can not be read: no such file"):
        load_key_ring(tmp_path / "none")


def test_systemd_gives_the_file_as_a_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert key_file() is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = key_file()
    assert file == tmp_path / CREDENTIAL
    write(file, OLD)
    file.chmod(0o440)  # how the ACL of a service's user shows
    assert load_key_ring(file).current == OLD.id


def test_keys_do_not_print() -> None:
    key = new_master_key()
    assert base64.b64encode(key.secret.reveal()).decode() not in repr(key)
    assert "<Secret 32 bytes>" in repr(key)
    assert new_master_key().id != key.id
