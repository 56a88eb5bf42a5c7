"""Secrets that were told are found, in whatever form."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from lab import searched

PSK = "correct horse battery staple"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "gw-twinspan").mkdir()
    document = f'[gateway]\nname = "gw"\n[[tunnel]]\npsk = "{PSK}"\nbgp_password = "short"\n'
    (tmp_path / "gw-twinspan" / "gateway.toml").write_text(document)
    (tmp_path / "gw-twinspan1.log").write_text("tunnel up, as it should be\n")
    return tmp_path


def test_where_nothing_is_told_nothing_is_found(lab: Path) -> None:
    assert searched.secrets_of(lab) == {PSK}
    assert searched.told_in(lab) == []


@pytest.mark.parametrize(
    "form", [PSK, PSK.encode().hex(), base64.b64encode(PSK.encode()).decode().rstrip("=")]
)
def test_a_told_secret_is_found_in_each_form(lab: Path, form: str) -> None:
    (lab / "gw-twinspan1.log").write_text(f"the key is {form}!\n")
    (lab / "gw-twinspan" / "dataplane.log").write_text(f"dataplane key={form}\n")
    named = ["gw-twinspan/dataplane.log: secret 0", "gw-twinspan1.log: secret 0"]
    assert searched.told_in(lab) == named


def test_bytes_are_found_as_python_shows_them() -> None:
    key = bytes(range(120, 152))
    assert searched.told([("log", repr(key).encode())], [key]) == ["log: secret 0"]
