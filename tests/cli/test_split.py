"""`twinspan split` as a person or a script calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.model.load import load_document
from gateway.model.toml_text import toml_text
from gateway.model.tunnels import resolve_tunnels
from lab import pages
from tests.support.documents import PSK, edited


@pytest.fixture
def description(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(toml_text(edited()))
    return file


def run(*words: str | Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["split", *map(str, words)], input=answer)


NODES = ("--node", "vm1=192.0.2.1", "--node", "vm2=198.51.100.1")


def test_each_vm_gets_a_document_beside_the_description(description: Path) -> None:
    before = description.read_text()
    done = run(description, *NODES, "--yes")
    assert done.exit_code == 0, done.output
    for name, tunnel in (("vm1", "office-1"), ("vm2", "office-2")):
        file = description.with_name(f"{name}.toml")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text().startswith("# Made by `twinspan split gateway.toml`")
        assert load_document(file).vpn_connection[0].tunnel[0].name == tunnel
        assert str(file) in done.stdout
    assert description.read_text() == before


def test_keys_are_not_shown(description: Path) -> None:
    done = run(description, "--dry-run")
    assert '+psk = "(not shown)"' in done.stdout
    assert PSK not in done.output
    assert list(description.parent.iterdir()) == [description]


def test_an_edit_is_shown_as_the_difference_it_makes(description: Path) -> None:
    run(description, *NODES, "--yes")
    table = edited((("vpn_connection", 0, "tunnel", 1, "preference"), 7))
    description.write_text(toml_text(table))
    done = run(description, *NODES, "--yes")
    lines = [
        line for line in done.stdout.splitlines() if line[:1] in "+-" and line[1:2] not in "+-"
    ]
    assert lines == ["-preference = 101", "+preference = 7"]


def test_a_changed_key_is_told_but_not_shown(description: Path) -> None:
    run(description, *NODES, "--yes")
    other = "another-horse-battery-staple"
    description.write_text(description.read_text().replace(PSK, other))
    done = run(description, *NODES, "--yes")
    assert "only secrets differ" in done.stdout
    assert other not in done.output
    assert other in description.with_name("vm1.toml").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--node", "vm1=192.0.2.1"), "needs two or more VMs; has 1"),
        (("--node", "a/b=192.0.2.1", "--node", "b=198.51.100.1"), "gateway.name: must be 1 to 32"),
        (("--node", "gateway=192.0.2.1", "--node", "b=198.51.100.1"), "is the description itself"),
    ],
)
def test_what_can_not_be_is_refused(description: Path, words: tuple[str, ...], said: str) -> None:
    done = run(description, *words, "--yes")
    assert done.exit_code == 1
    assert said in done.stderr
    assert list(description.parent.iterdir()) == [description]


def test_a_connection_of_one_vm_is_warned_of(description: Path) -> None:
    one = edited((("vpn_connection", 0, "tunnel"), [{"inner_cidr": "169.254.10.0/30"}]))
    description.write_text(toml_text(one))
    done = run(description, *NODES, "--dry-run")
    assert "vpn_connection[office]: all its tunnels are on vm1: it ends with that VM" in done.stderr


def test_the_guides_description_becomes_a_document_for_each_vm(description: Path) -> None:
    (whole, customer) = pages.blocks("two-vms", "toml")
    description.write_text(whole)
    key = description.with_name("office.psk")
    key.write_text(PSK)
    assert run(description, *NODES, "--yes").exit_code == 0
    office = description.with_name("office.toml")
    office.write_text(customer)
    theirs = {(t.remote, t.local): t for t in resolve_tunnels(load_document(office))}
    for name in ("vm1", "vm2"):
        (ours,) = resolve_tunnels(load_document(description.with_name(f"{name}.toml")))
        assert ours.tunnel.inner_cidr == theirs[ours.local, ours.remote].tunnel.inner_cidr


def test_json_is_one_object(description: Path) -> None:
    told = json.loads(run(description, *NODES, "--json", "--yes").stdout)
    assert told["nodes"] == {"vm1": ["192.0.2.1"], "vm2": ["198.51.100.1"]}
    assert (told["ok"], told["written"]) == (True, True)
    assert PSK not in json.dumps(told)
