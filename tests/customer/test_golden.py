"""
Each device's configuration for each way of routing: golden files.

Those that should change are written anew by `python -m tests.customer.test_golden`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.customer.device import Options
from tests.customer.documents import KEY, MODES, PAIRS, as_text, rendered

GOLDEN = Path(__file__).parent / "golden"


def golden(device: str, mode: str) -> Path:
    return GOLDEN / mode / f"{device}.txt"


@pytest.mark.parametrize(("device", "mode"), PAIRS)
def test_a_connection_gives_the_golden_text(device: str, mode: str) -> None:
    assert as_text(rendered(device, mode)) == golden(device, mode).read_text()


def test_there_is_a_golden_file_for_every_device_and_no_other() -> None:
    found = {file for file in GOLDEN.rglob("*") if file.is_file()}
    assert found == {golden(device, mode) for device, mode in PAIRS}


@pytest.mark.parametrize(("device", "mode"), PAIRS)
def test_no_address_is_there_that_the_document_does_not_say(device: str, mode: str) -> None:
    known = {
        *("192.0.2.1", "198.51.100.1", "203.0.113.9", "203.0.113.10"),
        *("169.254.10.1", "169.254.10.2", "169.254.10.5", "169.254.10.6"),
        *("169.254.10.0", "169.254.10.4"),
        *("10.10.0.0", "10.20.0.0", "10.10.1.0", "10.10.2.0", "10.20.1.0", "10.20.2.0"),
    }
    masks = {"0.0.0.0", "0.0.0.255", "0.0.255.255", "255.255.0.0"}
    masks |= {"255.255.255.0", "255.255.255.252", "255.255.255.255"}
    text = as_text(rendered(device, mode))
    found = set(re.findall(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", text))
    assert found - known - masks == set()
    assert {"192.0.2.1", "198.51.100.1"} <= found


@pytest.mark.parametrize(("device", "mode"), PAIRS)
def test_keys_are_shown_only_when_they_are_asked_for(device: str, mode: str) -> None:
    shown = rendered(device, mode)
    assert KEY in as_text(shown)
    for file in shown.files:
        assert file.is_secret or KEY not in file.text
    hidden = as_text(rendered(device, mode, options=Options()))
    assert KEY not in hidden
    assert "a-Password4BGP" not in hidden
    assert "REPLACE-WITH-THE-KEY-OF-office-1" in hidden


if __name__ == "__main__":
    for mode in MODES:
        (GOLDEN / mode).mkdir(parents=True, exist_ok=True)
    for device, mode in PAIRS:
        golden(device, mode).write_text(as_text(rendered(device, mode)))
