"""`twinspan customer-config` as a person or a script calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.customer.catalog import DEVICES
from gateway.model.toml_text import toml_text
from tests.customer.documents import KEY, MODES
from tests.support.documents import edited


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(toml_text(edited(*MODES["bgp"])))
    file.chmod(0o600)
    return file


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["customer-config", *map(str, words)])


def made(config: Path, *words: str | Path) -> Result:
    return run("office", "--config", config, *words)


def test_the_devices_are_listed() -> None:
    shown = run("--list").stdout
    assert [line.split()[0] for line in shown.splitlines()] == ["DEVICE", *DEVICES]
    listed = json.loads(run("--list", "--json").stdout)["devices"]
    assert [one["device"] for one in listed] == list(DEVICES)


def test_files_are_printed_and_notes_are_told_apart(config: Path) -> None:
    done = made(config, "--device", "strongswan")
    assert done.exit_code == 0
    assert "==> swanctl.conf <==" in done.stdout
    assert "note: " not in done.stdout
    assert "note: keys are left out" in done.stderr
    assert KEY not in done.output


def test_files_are_written_for_their_owner_alone(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/folder"
    for _ in range(2):  # what is there is replaced
        done = made(config, "--device", "strongswan", "--secrets", "--out", out)
        assert done.exit_code == 0, done.output
    assert {file.name for file in out.iterdir()} == {
        *("swanctl.conf", "charon.conf", "setup.sh", "bird.conf"),
    }
    assert KEY in (out / "swanctl.conf").read_text()
    assert (out / "swanctl.conf").stat().st_mode & 0o777 == 0o600
    assert KEY not in done.output


def test_each_machine_gets_a_folder(config: Path, tmp_path: Path) -> None:
    done = made(config, "--device", "strongswan-libipsec", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out/office-2/bird.conf").exists()


def test_a_script_gets_one_object(config: Path) -> None:
    done = made(config, "--device", "generic", "--json")
    answer = json.loads(done.stdout)
    assert answer["ok"]
    assert [file["name"] for file in answer["files"]] == ["sheet.md", "sheet.json"]
    sheet = json.loads(answer["files"][1]["text"])
    assert [tunnel["name"] for tunnel in sheet["tunnels"]] == ["office-1", "office-2"]


def test_mistakes_are_named(config: Path, tmp_path: Path) -> None:
    for words, text in (
        (("--device", "pix"), "there is: strongswan"),
        ((), "--device: is required for office; --list shows all"),
        (("--device", "generic", "--announce", "10.0.0.1/8"), "announce: has host bits set"),
        (("--device", "generic", "--wan-interface", "a b"), "wan_interface: is no name"),
        (("--device", "generic", "--out", config), "File exists"),
    ):
        done = made(config, *words)
        assert done.exit_code == 1, words
        assert text in done.stderr
    assert not json.loads(made(config, "--device", "pix", "--json").stdout)["ok"]
    assert run("office", "--device", "generic", "--config", tmp_path / "none").exit_code == 1


def test_the_shell_completes_connections_and_devices(config: Path) -> None:
    def completed(words: str) -> str:
        env = {
            "_TWINSPAN_COMPLETE": "complete_bash",
            "COMP_WORDS": f"twinspan customer-config {words}",
            "COMP_CWORD": str(len(words.split()) + 1 + words.endswith(" ")),
        }
        return CliRunner().invoke(app, [], env=env, prog_name="twinspan").stdout

    assert completed("--device cisc").split() == ["cisco-ios-xe"]
    assert completed(f"--config {config} off").split() == ["office"]
    assert completed("--config /nowhere off").split() == []
