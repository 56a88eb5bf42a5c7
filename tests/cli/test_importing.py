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
from tests.cli.control_process import Control
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


def aws_files(folder: Path) -> list[str]:
    """Return the files of two connections of AWS, one toward each of our addresses."""
    second = files.aws_xml().replace("192.0.2.1<", "198.51.100.1<")
    for old, new in (("52.0.2.", "52.0.3."), ("169.254.44.", "169.254.45."), ("0abc12de", "0f")):
        second = second.replace(old, new)
    texts = {"first.xml": files.aws_xml(), "second.xml": second}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [str(folder / name) for name in texts]


def test_a_control_plane_gets_the_tunnels_of_a_connection_that_was_begun(
    plane: Control, tmp_path: Path
) -> None:
    """AWS wants our addresses before it tells its own: until then there are placeholders."""
    plane.done("bgw", "create", "main", "--asn", "65010")
    plane.done(
        *("cgw", "create", "aws", "--asn", "64512", "--description", "two VPN connections"),
        *("--public-addresses", "203.0.113.1,203.0.113.2,203.0.113.3,203.0.113.4"),
    )
    plane.done(
        *("connection", "create", "aws", "--border-gateway", "main", "--customer-gateway", "aws"),
        *("--tunnels", "0", "--tag", "env=prod"),
    )
    words = ["import", "aws", *aws_files(tmp_path), "--name", "aws", "--fleet"]
    shown = plane.done(*words, "--dry-run")
    assert '+public_addresses = ["52.0.2.1", "52.0.2.65", "52.0.3.1", "52.0.3.65"]' in shown
    assert files.KEYS[0] not in shown
    assert plane.json("tunnel", "list")["items"] == []
    assert plane.run(*words, "--yes").exit_code == 0
    tunnels = plane.json("tunnel", "list")["items"]
    assert isinstance(tunnels, list)
    assert [(one["local_address"], one["remote_address"]) for one in tunnels] == [
        ("192.0.2.1", "52.0.2.1"),
        ("192.0.2.1", "52.0.2.65"),
        ("198.51.100.1", "52.0.3.1"),
        ("198.51.100.1", "52.0.3.65"),
    ]
    connection = plane.json("connection", "show", "aws")
    assert (connection["routing"], connection["tags"]) == ("bgp", {"env": "prod"})
    customer = plane.json("cgw", "show", "aws")
    assert customer["description"] == "two VPN connections"
    key = plane.json("tunnel", "psk", "aws-2")
    assert key["psk"] == files.KEYS[1]
    assert "no difference" in plane.done(*words, "--yes")
    refused = plane.run("cgw", "update", "aws", "--public-addresses", "203.0.113.1,203.0.113.2")
    assert refused.exit_code == 5
