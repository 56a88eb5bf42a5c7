"""`twinspan check`, `genpsk` and `schema` as a person or a script calls them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli.check import (
    PSK_ALPHABET,
    PSK_CHARACTERS,
    check,
    generate_psk,
    genpsk,
    schema,
)
from tests.model.test_load import TEXT, write
from tests.support.documents import PSK

APP = typer.Typer()
for command in (check, genpsk, schema):
    APP.command()(command)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(APP, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_good_file_is_ok(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT)
    assert run("check", str(path)) == (0, f"{path}: ok: VPN Connections: 1, VPN Tunnels: 2\n", "")


def test_show_lists_what_the_tunnels_come_to_without_keys(tmp_path: Path) -> None:
    code, out, _ = run("check", str(write(tmp_path, TEXT)), "--show")
    assert code == 0
    assert "name=office-1  interface=ts-office-1  local=192.0.2.1  remote=203.0.113.9" in out
    assert "routes=10.20.0.0/16@101" in out
    assert "bgp=off" in out
    assert PSK not in out


def test_show_says_with_whom_bgp_is_spoken(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "docs/examples/bgp.toml"
    code, out, _ = run("check", str(example), "--show")
    assert code == 0
    assert "bgp=AS65000-AS65010@100,bfd=300x3" in out


def test_every_mistake_is_said_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, TEXT.replace("[gateway]", "[gateway]\nname = 5\nworkers = 99"))
    code, out, err = run("check", str(path))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        f"{path}:2: gateway.name: must be a string in quotes (5)",
        f"{path}:3: gateway.workers: must be at most 16 (99)",
        "2 mistakes",
    ]


def test_warnings_go_to_stderr_and_do_not_fail(tmp_path: Path) -> None:
    code, out, err = run("check", str(write(tmp_path, TEXT, mode=0o644)))
    assert code == 0
    assert "ok" in out
    assert err.startswith("warning: ")


@pytest.mark.parametrize(("text", "code"), [(TEXT, 0), ("x = 1", 1), ("x = ", 1)])
def test_json_is_one_object_either_way(tmp_path: Path, text: str, code: int) -> None:
    status, out, err = run("check", str(write(tmp_path, text)), "--json")
    answer = json.loads(out)
    assert (status, err) == (code, "")
    assert answer["ok"] is (code == 0)
    assert bool(answer["problems"]) is (code == 1)


def test_generated_keys_have_256_bits_and_suit_every_device() -> None:
    keys = {generate_psk() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == PSK_CHARACTERS and key[0].isalpha() for key in keys)
    assert all(set(key) <= set(PSK_ALPHABET) for key in keys)
    bits = math.log2(52) + (PSK_CHARACTERS - 1) * math.log2(len(PSK_ALPHABET))
    assert bits >= 256


def test_genpsk_prints_one_key_and_schema_prints_json() -> None:
    code, out, _ = run("genpsk")
    assert (code, len(out.strip())) == (0, PSK_CHARACTERS)
    code, out, _ = run("schema")
    assert (code, json.loads(out)["title"]) == (0, "Document")
