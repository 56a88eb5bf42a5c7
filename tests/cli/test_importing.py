"""`twinspan import` as a person or a script calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.model.load import load
from gateway.model.toml_text import toml_text
from gateway.model.tunnels import resolve_tunnels
from tests.importer import files
from tests.support.documents import edited


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(toml_text(edited()))
    file.chmod(0o600)
    return file


def run(cloud: str, text: str, config: Path, *words: str) -> Result:
    file = config.with_name("given")
    file.write_text(text)
    return CliRunner().invoke(app, ["import", cloud, str(file), "--config", str(config), *words])


def test_a_connection_toward_aws_is_written_with_its_keys(config: Path) -> None:
    done = run("aws", files.aws_xml(), config, "--name", "cloud", "--yes")
    assert done.exit_code == 0, done.output
    assert files.KEYS[0] not in done.output
    tunnels = [one for one in resolve_tunnels(load(config).document) if one.name[:5] == "cloud"]
    keys = [one.settings.psk.get_secret_value() for one in tunnels if one.settings.psk]
    assert keys == list(files.KEYS)
    assert config.with_name("cloud-1.psk").stat().st_mode & 0o777 == 0o600


def test_one_toward_azure_is_shown_and_not_written(config: Path) -> None:
    before = config.read_text()
    done = run("azure", files.azure_json(), config, "--dry-run", "--json")
    answer = json.loads(done.stdout)
    assert (answer["written"], answer["tunnels"], answer["vpn_connection"]) == (False, 2, "site-1")
    assert any("ECP384" in warning for warning in answer["warnings"])
    assert config.read_text() == before
    assert not config.with_name("site-1-1.psk").exists()


def test_mistakes_are_named_and_change_nothing(config: Path) -> None:
    before = config.read_text()
    for words, text in (
        (("--remote-cidr", "10.0.0.1/8"), "has host bits set"),
        (("--name", "no name"), "has up to 32 letters"),
        (("--local-address", "127.0.0.1"), "is a loopback address"),
        (("--border-gateway", "other"), "which one? There is: main"),
        (("--name", "office"), "office"),
    ):
        done = run("aws", files.aws_xml(), config, "--yes", *words)
        assert done.exit_code == 1, words
        assert text in done.stderr
    assert run("aws", "<!DOCTYPE a><a/>", config).exit_code == 1
    missing = ["import", "aws", str(config.with_name("none")), "--config", str(config)]
    assert CliRunner().invoke(app, missing).exit_code == 1
    assert config.read_text() == before
