"""Certificates and keys in a document: where they come from, what is wrong with them, the plan."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.errors import ConfigError
from gateway.ike.config import IdType
from gateway.model.document import build_document
from gateway.model.load import load
from gateway.model.types import UNSEEN_KEY
from gateway.node.plan import plan
from gateway.pki.question import Mode
from tests.support.authority import Entity, Wish, authority, key

ROOT = authority()
MIDDLE = ROOT.intermediate(1)
OURS = MIDDLE.issue(Wish("gw", ("gw.test", "192.0.2.1")), key("ecdsa", 7))
PEER = ROOT.issue(Wish("office", ("office.test",)), key("ed25519", 8))


def pem(*entities: Entity) -> str:
    chain = [one for entity in entities for one in entity.chain]
    return "".join(one.x509.public_bytes(Encoding.PEM).decode() for one in chain)


@functools.cache
def key_pem(entity: Entity) -> str:
    form = PrivateFormat.PKCS8
    return entity.key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def public_pem(entity: Entity) -> str:
    form = PublicFormat.SubjectPublicKeyInfo
    return entity.key.public_key().public_bytes(Encoding.PEM, form).decode()


GOOD: Mapping[str, object] = {
    "auth": "certificate",
    "certificate": pem(OURS),
    "private_key": key_pem(OURS),
    "ca": pem(ROOT),
}
RAW: Mapping[str, object] = {
    "auth": "raw-key",
    "private_key": key_pem(OURS),
    "remote_public_key": public_pem(PEER),
}


def table(settings: Mapping[str, object], **more: object) -> dict[str, object]:
    connection = {
        "name": "office",
        "border_gateway": "main",
        "customer_gateway": "office",
        "routing": "static",
        "remote_cidrs": ["10.2.0.0/16"],
        "tunnel": [{"name": "office-1"}],
        **settings,
        **more,
    }
    return {
        "gateway": {"public_addresses": ["192.0.2.1"]},
        "border_gateway": [{"name": "main"}],
        "customer_gateway": [{"name": "office", "public_addresses": ["198.51.100.9"]}],
        "vpn_connection": [connection],
    }


def problems(settings: Mapping[str, object], **more: object) -> dict[str, str]:
    """Return what is wrong, by key."""
    _, found = build_document(table(settings, **more))
    return {str(one.path[-1]): one.text for one in found if not one.is_warning}


def test_certificates_become_credentials_and_no_pre_shared_key() -> None:
    document, found = build_document(table(GOOD, revocation="strict", rsa_pss=True))
    assert not [one for one in found if not one.is_warning]
    ike = plan(document).tunnels[0].ike
    assert ike.psk is None
    assert ike.credentials is not None
    assert ike.credentials.chain == OURS.chain
    assert ike.credentials.anchors == (ROOT.certificate,)
    assert ike.credentials.key == OURS.private
    assert ike.credentials.revocation is Mode.STRICT
    assert ike.credentials.use_pss
    # Our identity is the subject, byte for byte; the peer's is its address unless it is said.
    assert (ike.local_id.type, ike.local_id.value) == (IdType.DN, OURS.certificate.subject)
    assert str(ike.remote_id) == "198.51.100.9"
    assert key_pem(OURS).splitlines()[2] not in repr(document) + repr(ike)


def test_raw_keys_become_credentials() -> None:
    document, found = build_document(table(RAW))
    assert not [one for one in found if not one.is_warning]
    credentials = plan(document).tunnels[0].ike.credentials
    assert credentials is not None
    assert (credentials.chain, credentials.anchors) == ((), ())
    assert credentials.peer_keys == (PEER.private.public,)


@pytest.mark.parametrize("key", ["certificate", "private_key", "ca"])
def test_what_is_missing_is_named(key: str) -> None:
    found = problems({name: value for name, value in GOOD.items() if name != key})
    assert found == {key: f'is required with auth = "certificate": {key} or {key}_file'}


MISTAKES: dict[str, tuple[Mapping[str, object], str, str]] = {
    "another key": (
        {**GOOD, "private_key": key_pem(PEER)},
        "certificate",
        "is not for private_key",
    ),
    "order": ({**GOOD, "certificate": pem(MIDDLE, OURS)}, "certificate", "has not issued it"),
    "no certificate": (
        {**GOOD, "certificate": public_pem(OURS)},
        "certificate",
        "holds no certificate in PEM",
    ),
    "no PEM": ({**GOOD, "ca": "/etc/ca.pem"}, "ca", "is not PEM"),
    "no key": ({**GOOD, "private_key": pem(OURS)}, "private_key", "is no private key"),
    "no public key": (
        {**RAW, "remote_public_key": pem(PEER)},
        "remote_public_key",
        "no public key",
    ),
    "our own key": ({**RAW, "remote_public_key": public_pem(OURS)}, "remote_public_key", "is ours"),
    "local_id": (
        {**GOOD, "local_id": "other.test"},
        "local_id",
        "does not stand in our certificate",
    ),
    "local pattern": ({**GOOD, "local_id": "O=Example, CN=*"}, "local_id", "ours is one"),
    "pattern and psk": (
        {"psk": "a key of more than twenty characters", "remote_id": "*.gw.test"},
        "remote_id",
        'needs auth = "certificate"',
    ),
    "forgotten auth": (
        {"psk": "a key of more than twenty characters", "certificate": pem(OURS)},
        "certificate",
        'needs auth = "certificate" beside it',
    ),
    "auth": ({**GOOD, "auth": "eap"}, "auth", "must be one of"),
    "no name": ({**GOOD, "remote_id": "CN="}, "remote_id", "is not a distinguished name"),
}


@pytest.mark.parametrize("which", MISTAKES)
def test_mistakes_are_told_with_their_key(which: str) -> None:
    settings, key, text = MISTAKES[which]
    found = problems(settings)
    assert text in found[key], found
    assert not any(line in str(found) for line in key_pem(OURS).splitlines()[1:-1])


def test_weak_keys_need_allow_legacy() -> None:
    weak = MIDDLE.issue(Wish("gw"), key("rsa1024"))
    settings = {**GOOD, "certificate": pem(weak), "private_key": key_pem(weak)}
    assert "1024 bits" in problems(settings)["private_key"]
    assert not problems(settings, allow_legacy=True)


def test_a_key_that_is_sealed_was_judged_before() -> None:
    assert not problems({**GOOD, "private_key": UNSEEN_KEY})


def test_files_are_read_and_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "gw.pem").write_text(pem(OURS))
    (tmp_path / "gw.key").write_text(key_pem(OURS))
    (tmp_path / "gw.key").chmod(0o640)
    (tmp_path / "ca.pem").write_text(pem(ROOT))
    text = """
[gateway]
public_addresses = ["192.0.2.1"]
[[border_gateway]]
name = "main"
[[customer_gateway]]
name = "office"
public_addresses = ["198.51.100.9"]
[[vpn_connection]]
name = "office"
border_gateway = "main"
customer_gateway = "office"
routing = "static"
remote_cidrs = ["10.2.0.0/16"]
auth = "certificate"
certificate_file = "gw.pem"
private_key_file = "gw.key"
ca_file = "ca.pem"
remote_id = "office.test"
[[vpn_connection.tunnel]]
name = "office-1"
"""
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    file.chmod(0o600)
    loaded = load(file)
    assert plan(loaded.document).tunnels[0].ike.credentials is not None
    assert [one for one in loaded.warnings if "gw.key: holds a private key" in one]
    file.write_text(text.replace('"ca.pem"', '"none.pem"'))
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert [one for one in caught.value.problems if "ca_file: can not be read" in one]
    (tmp_path / "gw.pem").write_bytes(b"\xff\xfe")
    file.write_text(text)
    with pytest.raises(ConfigError, match="certificate_file: is not PEM"):
        load(file)
