"""`bench/esp.py`: the figures it writes are there and can be true."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import esp
from gateway._native import ffi, lib


def test_figures_are_written_under_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "esp.json"
    arguments = ["--suite", "aes256gcm16", "--size", "1400", "--rounds", "1", "--json", str(file)]
    assert esp.main(arguments) == 0
    figures = json.loads(file.read_text())
    backends = [
        name
        for backend, name in esp.BACKENDS.items()
        if lib.gw_backend_name(20, 0, 36, backend) != ffi.NULL
    ]
    assert set(figures) == {
        f"{what}.aes256gcm16.1400.{backend}.ns"
        for what in ("seal", "open", "library", "library_open")
        for backend in backends
    }
    # No machine encrypts 1400 bytes in 20 ns, and none needs 100 us.
    assert all(20 < ns < 100_000 for ns in figures.values())
    assert "aes256gcm16" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--size", "0"], ["--rounds", "0"], ["--suite", "des"]])
def test_arguments_out_of_range_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        esp.main(wrong)
    assert error.value.code == 2
